"""Finding workers, and what all of them are told."""

import pytest

from beanwatch.fleet.workers import WorkerError, find_target, match_workers
from beanwatch.net.address import parse_address
from beanwatch.store.heartbeats import Worker
from tests.records import make_beat

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


def test_orders_go_where_the_record_says_unless_an_address_is_given() -> None:
    told, given = parse_address("q1:11300"), parse_address("q2:11300")
    assert find_target(WORKERS[0], None) == ("web1.email-1", told, "a")
    assert find_target(WORKERS[0], given) == ("web1.email-1", given, "a")
    assert find_target(WORKERS[1], given) == ("web2.email-1", given, "")
    with pytest.raises(WorkerError, match="give it with --server"):
        find_target(WORKERS[1], None)
