"""Finding workers, and what all of them are told."""

import pytest

from beanwatch.fleet.workers import WorkerError, find_target, match_workers, why_cannot
from beanwatch.net.address import parse_address
from beanwatch.net.redis_url import parse_redis_url
from beanwatch.store.heartbeats import Worker
from tests.records import make_beat

REDIS = parse_redis_url("redis://cache:6379/0")
WORKERS = [
    Worker("web1.email-1", 1.0, make_beat(instance="a", server="q1:11300")),
    Worker("web2.email-1", 1.0, None),
]


def test_a_glob_or_an_id_finds_workers_and_a_near_miss_is_named() -> None:
    assert match_workers(WORKERS, "*.email-1") == WORKERS
    assert match_workers(WORKERS, "web2.email-1") == WORKERS[1:]
    with pytest.raises(WorkerError, match=r"did you mean web1\.email-1\?"):
        match_workers(WORKERS, "web1.emai-1")
    with pytest.raises(WorkerError, match="no worker matches 'x'; see beanwatch workers list"):
        match_workers(WORKERS, "x")


def test_a_worker_without_beanstalkd_gets_its_commands_through_redis() -> None:
    beat = make_beat(instance="b", kind="celery", commands=("stop", "dump"), commands_by="redis")
    celery = Worker("web1.celery", 1.0, beat)
    assert find_target(celery, REDIS) == ("web1.celery", REDIS, "b")
    assert why_cannot(celery, "stop") == ""
    assert why_cannot(celery, "wait") == (
        "a worker of the kind celery cannot wait; it can stop, dump"
    )
    assert why_cannot(WORKERS[1], "wait") == "", "nobody knows"


def test_orders_go_where_the_record_says_unless_an_address_is_given() -> None:
    told, given = parse_address("q1:11300"), parse_address("q2:11300")
    assert find_target(WORKERS[0], REDIS) == ("web1.email-1", told, "a")
    assert find_target(WORKERS[0], REDIS, given) == ("web1.email-1", given, "a")
    assert find_target(WORKERS[1], REDIS, given) == ("web2.email-1", given, "")
    with pytest.raises(WorkerError, match="give it with --server"):
        find_target(WORKERS[1], REDIS)
