"""What the collector tells of the workers: nothing that it cannot know, and no death of a spare."""

import logging
import time
from collections.abc import Sequence
from typing import Any

import pytest

from beanwatch.collectors.poll.worker_series import FleetPoll, WorkerPoller
from beanwatch.net.redis_url import parse_redis_url
from beanwatch.store.heartbeats import (
    RECORD_EXPIRY,
    WORKERS_KEY,
    Worker,
    encode_heartbeat,
    worker_key,
)
from beanwatch.telemetry.logging.problems import ProblemLog
from tests.real import Redis, closed_port
from tests.records import make_beat


class Watched:
    """A poller, what it has told, and all workers that it has counted."""

    def __init__(self, url: str, **settings: Any) -> None:
        self.told: list[FleetPoll] = []
        self.counted: list[Sequence[Worker]] = []
        self.poller = WorkerPoller(
            parse_redis_url(url),
            ProblemLog(logging.getLogger()),  # type: ignore[arg-type]
            [self.told.append],
            self.counted.append,
            timeout=2.0,
            **settings,
        )

    def poll(self) -> FleetPoll | None:
        """Poll once, and return what was told of it."""
        self.told.clear()
        self.poller.poll(1)
        return self.told[0] if self.told else None

    def names(self) -> set[str]:
        fleet = self.poll()
        return {worker.id for worker in fleet.workers} if fleet else set()


def beat(redis: Redis, worker: str, *, age: float = 0.0, **fields: Any) -> None:
    """Write a worker's heartbeat as if it had been sent `age` seconds ago."""
    client = redis.client()
    if not fields.pop("has_expired", False):
        client.set(worker_key(worker), encode_heartbeat(make_beat(**fields)))
    client.zadd(WORKERS_KEY, {worker: time.time() - age})


def test_heartbeats_that_cannot_be_read_are_told_if_somebody_wants_them() -> None:
    url = f"redis://127.0.0.1:{closed_port()}"
    assert Watched(url).poll() == FleetPoll(1, is_known=False)
    assert Watched(url, is_wanted=False).poll() is None


def test_a_redis_that_nobody_has_named_is_told_once_it_has_a_worker(redis_server: Redis) -> None:
    seen = Watched(redis_server.url, is_wanted=False)
    assert seen.poll() is None, "it may be for something else"
    beat(redis_server, "web1.mail")
    assert seen.names() == {"web1.mail"}
    redis_server.stop()
    assert seen.poll() == FleetPoll(1, is_known=False)


def test_nobody_is_dead_while_redis_was_just_started(redis_server: Redis) -> None:
    beat(redis_server, "web1.mail", age=60.0)
    beat(redis_server, "web2.mail")
    seen = Watched(redis_server.url)
    assert seen.poll() is None, "web1.mail may not have connected again yet"
    assert not seen.counted
    beat(redis_server, "web1.mail")
    assert seen.names() == {"web1.mail", "web2.mail"}


def test_a_worker_that_was_replaced_is_not_told_and_one_that_lacks_is(old_redis: Redis) -> None:
    beat(old_redis, "k8s.pod-1", age=60.0)
    beat(old_redis, "k8s.pod-2")
    beat(old_redis, "k8s.pod-2-7", child_of="k8s.pod-2")
    beat(old_redis, "web1.mail", age=60.0)
    beat(old_redis, "web1.mail-9", age=60.0, child_of="web1.mail")
    beat(old_redis, "web1.old", age=RECORD_EXPIRY + 60.0, has_expired=True)
    beat(old_redis, "web1.named", age=RECORD_EXPIRY + 60.0, has_expired=True)
    groups = {"k8s.*": 2, "web1.*": 0}
    seen = Watched(old_redis.url, expected=["web1.named"], groups=groups)
    assert seen.names() == {"k8s.pod-2", "k8s.pod-2-7", "web1.named"}
    assert len(seen.counted[0]) == 7, "the runs of all workers count"
    assert seen.told[0].missing == {"web1.named": 0, "k8s.*": 1, "web1.*": 0}
    assert "web1.mail" in Watched(old_redis.url).names(), "without a group, each death is told"


@pytest.mark.parametrize("is_over", [False, True])
def test_a_worker_that_lets_its_group_down_is_missing(old_redis: Redis, is_over: bool) -> None:
    beat(old_redis, "k8s.pod-1", age=70.0, is_over=is_over)
    assert Watched(old_redis.url, groups={"k8s.*": 1}).poll().missing == {"k8s.*": 1}  # type: ignore[union-attr]


def test_an_expected_worker_is_missing_while_nobody_has_heard_of_it(old_redis: Redis) -> None:
    seen = Watched(old_redis.url, expected=["web1.mail", "web1.new"])
    beat(old_redis, "web1.mail", age=60.0)
    assert seen.names() == {"web1.mail"}, "its death is told"
    assert seen.told[0].missing == {"web1.mail": 0, "web1.new": 1}
    beat(old_redis, "web1.new")
    old_redis.client().zrem(WORKERS_KEY, "web1.mail")  # Redis was started anew with nothing
    assert seen.names() == {"web1.new"}
    assert seen.told[0].missing == {"web1.mail": 1, "web1.new": 0}
