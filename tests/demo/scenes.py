"""The four troubles: how each is made and mended, and which alerts must come of it."""

import json
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from tests.demo.mailbox import Expected
from tests.demo.nagios import BURIED, CONSUMERS, DEPTH, WORKERS
from tests.demo.stage import Stage


class Scene(NamedTuple):
    """One trouble. `make` and `mend` only act; the director waits."""

    title: str
    breaks: str
    make: Callable[[Stage], None]
    alerts: tuple[Expected, ...]
    mends: str
    mend: Callable[[Stage], None]
    recoveries: tuple[Expected, ...]


def put(stage: Stage, queue: str, job: str, data: dict[str, object], times: int = 1) -> None:
    stage.run(["beanwatch", "put", queue, job, json.dumps(data)], times)


def put_failing_emails(stage: Stage) -> None:
    put(stage, "email.bulk", "email.send", {"to": "ann@example.org", "fail": True}, times=3)


def put_endless_image(stage: Stage) -> None:
    put(stage, "images", "image.resize", {"path": "endless.jpg", "hang": 3600})


def delete_buried(stage: Stage, queue: str) -> None:
    stage.run(["beanwatch", "queues", "empty", queue, "--only", "buried", "--yes"])


def kill_mailer(stage: Stage) -> None:
    stage.workers["mailer"].kill()


def start_mailer(stage: Stage) -> None:
    stage.workers["mailer"].start()


def fill_newsletter(stage: Stage) -> None:
    with stage.beanstalkd.client(use="newsletter") as client:
        for number in range(200):
            data = {"to": f"reader{number}@example.org"}
            client.put(json.dumps({"job": "email.send", "data": data}))


def start_newsletter_worker(stage: Stage) -> None:
    stage.add_worker("newsletter", ["newsletter"])


SCENES = [
    Scene(
        "Jobs fail until they are buried",
        "three emails are refused, three times each",
        put_failing_emails,
        (Expected(BURIED, "WARNING", "email.bulk"),),
        "the buried emails are deleted",
        partial(delete_buried, queue="email.bulk"),
        (Expected(BURIED, "OK"),),
    ),
    Scene(
        "A handler hangs",
        "an image never ends: 1 s after its time its worker ends itself, and is started again",
        put_endless_image,
        (
            Expected(BURIED, "WARNING", "images"),
            Expected(WORKERS, "WARNING", "ran past its hard deadline"),
        ),
        "the buried image is deleted; the worker has mended itself",
        partial(delete_buried, queue="images"),
        (Expected(BURIED, "OK"), Expected(WORKERS, "OK")),
    ),
    Scene(
        "A worker is killed",
        "the mailer gets a SIGKILL, and nobody starts it again",
        kill_mailer,
        (
            Expected(WORKERS, "CRITICAL", "mailer: dead"),
            Expected(CONSUMERS, "CRITICAL", "no worker watches it, dead: web1.mailer"),
        ),
        "the mailer is started again",
        start_mailer,
        (
            Expected(CONSUMERS, "OK"),
            Expected(WORKERS, "WARNING", "killed while"),
            Expected(WORKERS, "OK"),
        ),
    ),
    Scene(
        "A queue fills up that no worker watches",
        "200 newsletters are put",
        fill_newsletter,
        (
            Expected(DEPTH, "CRITICAL", "newsletter"),
            Expected(CONSUMERS, "CRITICAL", "newsletter: 200 jobs ready and no worker watches it"),
        ),
        "a worker for newsletters is started",
        start_newsletter_worker,
        (Expected(DEPTH, "OK"), Expected(CONSUMERS, "OK")),
    ),
]
