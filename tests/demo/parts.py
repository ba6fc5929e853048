"""The queue servers of `make demo QUEUES=all`, each with jobs made by its own framework."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from tests.queues.redis.conftest import APPS, FRAMEWORKS
from tests.queues.sql import databases
from tests.real import Beanstalkd, Redis, spawn, stop_process
from tests.real.gearman import Gearmand
from tests.real.ironmq import TOKEN, IronMq
from tests.real.moto import REGION, Moto
from tests.real.rabbitmq import RabbitMQ
from tests.real.sql_servers import MariaDB, PostgreSQL

QUEUE = "orders"
JOBS = 30  # that pile up: more than the limit of the demo
Act = Callable[[], object]


class Part(NamedTuple):
    """One queue server. `table` is its table in the configuration.

    `pile` puts JOBS jobs that nobody takes, `drain` lets a worker of the framework take them.
    Without `drain`, `beanwatch queues empty` deletes them. `fail` makes a failed job, which
    `beanwatch queues empty --only buried` deletes. Without `fail`, the system keeps no failed jobs
    that belong to a queue.
    """

    name: str  # in the configuration
    title: str
    table: dict[str, Any]
    pile: Act
    drain: Act | None = None
    fail: Act | None = None
    knows_consumers: bool = False  # true if the system can tell that nobody takes jobs


def start_parts(stack: ExitStack, directory: Path, say: Callable[[str], object]) -> Iterator[Part]:
    """Start all queue servers, and yield a part for each. `say` gets what is being started."""
    for start in (start_simple, start_redis, start_rabbitmq, start_databases, start_clouds):
        yield from start(stack, directory, say)


def start_simple(stack: ExitStack, directory: Path, say: Callable[[str], object]) -> Iterator[Part]:
    """Start beanstalkd and gearmand."""
    say("starting beanstalkd and gearmand")
    beans = stack.enter_context(Beanstalkd(directory / "beanstalkd"))
    gearmand = stack.enter_context(Gearmand(directory / "gearmand"))

    def put() -> None:
        with beans.client(use=QUEUE) as client:
            for number in range(JOBS):
                client.put(json.dumps({"job": "order.ship", "data": {"n": number}}))

    def bury() -> None:
        with beans.client(use=QUEUE, watch=QUEUE) as client:
            client.put("{}")
            client.bury(client.reserve(timeout=5))

    yield Part("beans", "beanstalkd", {"url": beans.address}, put, fail=bury, knows_consumers=True)
    yield Part(
        "gearman",
        "Gearman",
        {"url": gearmand.url},
        lambda: repeat(partial(gearmand.put, QUEUE)),
        partial(stack.enter_context, gearmand.worker(QUEUE)),
        knows_consumers=True,
    )


def start_redis(stack: ExitStack, directory: Path, say: Callable[[str], object]) -> Iterator[Part]:
    """Start a Redis whose databases hold the queues of six frameworks."""
    say("starting Redis")
    redis = stack.enter_context(Redis(directory / "queues-redis"))

    def url(database: int) -> str:
        return redis.url.rpartition("/")[0] + f"/{database}"

    def app(database: int, *command: str | Path) -> str:
        variables = {"REDIS_URL": url(database), "REDIS_PORT": str(redis.port)}
        return run(command, variables, APPS)

    def worker(database: int, *command: str | Path) -> None:
        log = directory / f"worker-{database}.log"
        process = spawn([*map(str, command)], log=log, env={"REDIS_URL": url(database)}, cwd=APPS)
        stack.callback(stop_process, process)

    python = FRAMEWORKS / "python"
    rq, sidekiq, celery = "rq_app.py", ("ruby", "sidekiq_app.rb"), "celery_app.py"

    def fail_rq() -> None:
        app(1, python, rq, "put", QUEUE, "fail", "1")
        app(1, python, rq, "work", QUEUE)

    yield Part(
        "rq",
        "RQ",
        {"url": url(1), "layout": "rq"},
        lambda: app(1, python, rq, "put", QUEUE, "send", str(JOBS)),
        lambda: app(1, python, rq, "work", QUEUE),
        fail_rq,
        knows_consumers=True,
    )
    yield Part(
        "sidekiq",
        "Sidekiq",
        {"url": url(2), "layout": "sidekiq"},
        lambda: app(2, *sidekiq, "put", QUEUE, "ok", str(JOBS)),
        lambda: worker(2, "sidekiq", "-r", "./sidekiq_app.rb", "-q", QUEUE, "-c", "2"),
        knows_consumers=True,
    )
    yield Part(
        "celery",
        "Celery",
        {"url": url(3), "layout": "celery", "queues": [QUEUE]},
        lambda: app(3, python, celery, "put", QUEUE, str(JOBS), "0", "0"),
        lambda: worker(
            3,
            *(FRAMEWORKS / "celery", "-A", "celery_app", "worker", "-Q", QUEUE),
            *("--pool", "solo", "--without-gossip", "--without-mingle", "--loglevel", "WARNING"),
        ),
    )

    # Database 0, because Laravel's program for the demo selects no other one.
    yield Part(
        "laravel",
        "Laravel on Redis",
        {"url": url(0), "layout": "laravel", "queues": [QUEUE]},
        lambda: app(0, "php", "laravel_app.php", "put", QUEUE, str(JOBS)),
    )

    def push(key: str, count: int) -> None:
        with redis.client() as client:
            client.select(5)
            client.rpush(key, *range(count))

    yield Part(
        "lists",
        "a Redis list",
        {"url": url(5), "layout": "list", "queues": [QUEUE], "failed": "{queue}:failed"},
        lambda: push(QUEUE, JOBS),
        fail=lambda: push(f"{QUEUE}:failed", 1),
    )


def start_rabbitmq(
    stack: ExitStack, directory: Path, say: Callable[[str], object]
) -> Iterator[Part]:
    """Start a RabbitMQ with a queue and its dead-letter queue."""
    say("starting RabbitMQ")
    server = stack.enter_context(RabbitMQ(directory / "rabbitmq"))
    vhost = server.add_vhost("shop")
    failed = f"{QUEUE}.failed"
    vhost.declare(failed)
    vhost.declare(QUEUE, dead_letter_exchange="", dead_letter_routing_key=failed)
    yield Part(
        "rabbit",
        "RabbitMQ",
        {"url": vhost.url},
        lambda: repeat(partial(vhost.publish, QUEUE, "{}")),
        fail=lambda: vhost.fail(QUEUE, "late order", into=failed),
        knows_consumers=True,
    )


def start_databases(
    stack: ExitStack, directory: Path, say: Callable[[str], object]
) -> Iterator[Part]:
    """Start PostgreSQL and MariaDB with job tables."""
    say("starting PostgreSQL and MariaDB")
    for name, title, server in (
        ("orders_pg", "Laravel on PostgreSQL", PostgreSQL(directory / "postgresql")),
        ("orders_my", "Laravel on MariaDB", MariaDB(directory / "mariadb")),
    ):
        database = stack.enter_context(server).database()
        laravel = partial(databases.laravel, database)
        laravel(["migrate"])
        yield Part(
            name,
            title,
            {"url": database.admin_url, "layout": "laravel"},
            partial(laravel, *[["push", QUEUE, {"n": n}] for n in range(JOBS)]),
            fail=partial(laravel, ["push", QUEUE, {}], ["fail", QUEUE, "late order", "database"]),
        )


def start_clouds(stack: ExitStack, directory: Path, say: Callable[[str], object]) -> Iterator[Part]:
    """Start stand-ins for Amazon SQS (moto) and for IronMQ (a fake of its documentation)."""
    say("starting moto for SQS, and a stand-in for IronMQ")
    moto = stack.enter_context(Moto(directory / "moto"))
    stack.enter_context(variables(AWS_ACCESS_KEY_ID="demo", AWS_SECRET_ACCESS_KEY="demo"))
    moto.create(f"{QUEUE}-failed")
    moto.create(QUEUE, dead_letters=f"{QUEUE}-failed")
    iron = stack.enter_context(IronMq())
    iron.create(QUEUE)
    token = directory / "ironmq-token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    send = moto.client().send_message

    def fill() -> None:
        url = moto.client().get_queue_url(QueueName=QUEUE)["QueueUrl"]
        for _ in range(JOBS):
            send(QueueUrl=url, MessageBody="{}")

    yield Part(
        "sqs",
        "Amazon SQS (moto)",
        {"url": f"sqs://{REGION}", "endpoint_url": moto.url, "queues": [f"{QUEUE}*"]},
        fill,
    )
    yield Part(
        "iron",
        "IronMQ (a stand-in)",
        {"url": iron.url, "password_file": str(token)},
        lambda: iron.put(QUEUE, *["{}"] * JOBS),
    )


def repeat(put: Act) -> None:
    for _ in range(JOBS):
        put()


@contextmanager
def variables(**values: str) -> Iterator[None]:
    """Set variables of the environment, and remove them at the end."""
    os.environ.update(values)
    try:
        yield
    finally:
        for name in values:
            os.environ.pop(name, None)


def run(command: tuple[str | Path, ...], values: dict[str, str], directory: Path) -> str:
    """Run a program of a framework. Raises OSError with its output if it fails."""
    done = subprocess.run(
        [*map(str, command)],
        env={**os.environ, **values},
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=120,
    )
    if done.returncode:
        raise OSError(f"{command[:2]} failed: {done.stderr.strip()[-500:]}")
    return done.stdout


def toml(parts: list[Part]) -> str:
    """Return the tables [servers.NAME] of all parts."""
    lines = []
    for part in parts:
        lines.append(f"[servers.{part.name}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in part.table.items()]
    return "\n".join(lines)
