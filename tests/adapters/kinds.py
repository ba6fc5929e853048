"""The kinds of workers that the tests start: each framework in its lowest and newest version."""

import sys
from collections.abc import Iterator

from tests.adapters.workers import Kind

RQ_CLASSES = {"fork": "Worker", "simple": "SimpleWorker"}
POOLS = ("prefork", "threads", "solo")
BROKERS = ("redis", "rabbitmq")
# The lowest versions of two frameworks do not work on newer Pythons: Celery 5.0 does not start, and
# Dramatiq 1.15 ends no job at its time limit.
RUNS_OLD = sys.version_info < (3, 13)
CELERY = ("5.0", "5") if RUNS_OLD else ("5",)
DRAMATIQ = ("1", "2") if RUNS_OLD else ("2",)


def rq(version: str, way: str) -> Kind:
    """RQ, which forks for each job, or is simple."""
    name = f"rq{version}-{way}"
    worker = f"rq_app.Named{RQ_CLASSES[way]}"
    options = ("--url", "{BROKER_URL}", "--worker-class", worker)
    command = ("rq", "worker", *options, "mail")
    return Kind(name, f"rq-{version}", "rq_app.py", command, limit=("job_timeout", 1))


def celery(version: str, pool: str, broker: str) -> Kind:
    """Celery with two jobs at a time, or one if it is solo."""
    name = f"celery{version.replace('.', '')}-{pool}"
    options = ("-P", pool, "-c", "2", "-n", "{WORKER_NAME}@%h")
    command = ("celery", "-A", "celery_app", "worker", *options)
    limit = ("soft_time_limit", 1)
    return Kind(name, f"celery-{version}", "celery_app.py", command, broker, limit)


def dramatiq(version: str, broker: str) -> Kind:
    """Dramatiq with one process and two threads."""
    name = f"dramatiq{version}-{broker}"
    command = ("dramatiq", "dramatiq_app", "--processes", "1", "--threads", "2")
    limit = ("time_limit", 1000)
    return Kind(name, f"dramatiq-{version}", "dramatiq_app.py", command, broker, limit)


def all_kinds() -> Iterator[Kind]:
    """All kinds. The pools of Celery take turns with the brokers."""
    for version in ("2", "3"):
        for way in RQ_CLASSES:
            yield rq(version, way)
    for number, version in enumerate(CELERY):
        for place, pool in enumerate(POOLS):
            yield celery(version, pool, BROKERS[(number + place) % 2])
    for version in DRAMATIQ:
        for broker in BROKERS:
            yield dramatiq(version, broker)
