"""The four scenes: how each fault is caused and fixed, and which alerts must arrive."""

import json
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from tests.demo.mailbox import Expected
from tests.demo.nagios import BURIED, CONSUMERS, DEPTH, WORKERS

if TYPE_CHECKING:
    from tests.demo.stage import Stage


class Scene(NamedTuple):
    """One fault. `breaks` and `fixes` are printed before `cause` and `fix` are called.

    A picture of the live page is taken during the fault if `is_pictured`.
    Neither function waits. The director waits for the `alerts` and the `recoveries`.
    """

    title: str
    breaks: str
    cause: Callable[["Stage"], None]
    alerts: tuple[Expected, ...]
    fixes: str
    fix: Callable[["Stage"], None]
    recoveries: tuple[Expected, ...]
    is_pictured: bool = False


def put(stage: "Stage", queue: str, job: str, data: dict[str, object], times: int = 1) -> None:
    stage.run(["beanwatch", "put", queue, job, json.dumps(data)], times)


def put_failing_emails(stage: "Stage") -> None:
    put(stage, "email.bulk", "email.send", {"to": "ann@example.org", "fail": True}, times=3)


def put_endless_image(stage: "Stage") -> None:
    put(stage, "images", "image.resize", {"path": "endless.jpg", "hang": 3600})


def delete_buried(stage: "Stage", queue: str) -> None:
    stage.run(["beanwatch", "queues", "empty", queue, "--only", "buried", "--yes"])


def kill_mailer(stage: "Stage") -> None:
    stage.workers["mailer"].kill()


def start_mailer(stage: "Stage") -> None:
    stage.workers["mailer"].start()


def fill_newsletter(stage: "Stage") -> None:
    with stage.beanstalkd.client(use="newsletter") as client:
        for number in range(200):
            data = {"to": f"reader{number}@example.org"}
            client.put(json.dumps({"job": "email.send", "data": data}))


def start_newsletter_worker(stage: "Stage") -> None:
    stage.add_worker("newsletter", ["newsletter"])


SCENES = [
    Scene(
        "Jobs fail until they are buried",
        "three emails cannot be sent; their worker tries each of them three times",
        put_failing_emails,
        (Expected(BURIED, "WARNING", "email.bulk"),),
        "the buried emails are deleted",
        partial(delete_buried, queue="email.bulk"),
        (Expected(BURIED, "OK"),),
    ),
    Scene(
        "A handler hangs",
        "the job of one image hangs: 1 s after its timeout, its worker exits and is restarted",
        put_endless_image,
        (
            Expected(BURIED, "WARNING", "images"),
            Expected(WORKERS, "WARNING", "ran past its hard deadline"),
        ),
        "the buried job is deleted; the worker runs again already",
        partial(delete_buried, queue="images"),
        (Expected(BURIED, "OK"), Expected(WORKERS, "OK")),
    ),
    Scene(
        "A worker is killed",
        "the worker `mailer` is killed by SIGKILL, and is not restarted",
        kill_mailer,
        (
            Expected(WORKERS, "CRITICAL", "mailer: dead, no heartbeat for"),
            Expected(CONSUMERS, "CRITICAL", "no consumer watches it, no heartbeat: web1.mailer"),
        ),
        "the worker `mailer` is started again",
        start_mailer,
        (
            Expected(CONSUMERS, "OK"),
            Expected(WORKERS, "WARNING", "killed while"),
            Expected(WORKERS, "OK"),
        ),
        is_pictured=True,
    ),
    Scene(
        "A queue without a consumer fills up",
        "200 newsletters are put into a queue that nobody watches",
        fill_newsletter,
        (
            Expected(DEPTH, "CRITICAL", "newsletter"),
            Expected(
                CONSUMERS, "CRITICAL", "newsletter: 200 jobs ready and no consumer watches it"
            ),
        ),
        "a worker for this queue is started",
        start_newsletter_worker,
        (Expected(DEPTH, "OK"), Expected(CONSUMERS, "OK")),
    ),
]
