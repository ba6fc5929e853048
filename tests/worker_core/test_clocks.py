"""A worker whose host has a wrong clock obeys, measures and records as any other."""

import time
from pathlib import Path

import pytest

from beanwatch.net.address import parse_address
from beanwatch.net.redis_reader import RedisReader
from beanwatch.net.redis_url import parse_redis_url
from beanwatch.store.clock import read_time
from beanwatch.store.ledger import decode_entry, find_buried, job_key, read_job
from beanwatch.store.outcome_counts import read_outcomes
from beanwatch.worker.control.channel import Target
from beanwatch.worker.control.client import send_command
from tests.real import Redis, wait_until
from tests.worker_core.conftest import QUEUE, Broker, RunningWorker, StartWorker

HOUR = 3600.0


@pytest.fixture(params=[HOUR, -HOUR], ids=["ahead", "behind"])
def wrong(
    request: pytest.FixtureRequest, start_worker: StartWorker, tmp_path: Path
) -> RunningWorker:
    """A worker whose clock is an hour off."""
    patch = f"import time\nright = time.time\ntime.time = lambda: right() + {request.param}\n"
    (tmp_path / "clock").mkdir()
    (tmp_path / "clock/sitecustomize.py").write_text(patch)
    return start_worker(env={"PYTHONPATH": str(tmp_path / "clock")})


def test_a_wrong_clock_changes_no_order_no_wait_and_no_record(
    wrong: RunningWorker, broker: Broker, redis_server: Redis
) -> None:
    broker.put("ok", envelope={"enqueued_at": time.time()})
    broker.put("raise", {"kind": "bury"}, envelope={"enqueued_at": time.time()})
    wait_until(lambda: wrong.outcomes() == ["ok", "buried"])
    assert abs(wrong.beat().beat_at - time.time()) > HOUR / 2, "the clock is wrong"
    for run in wrong.runs():
        assert 0 <= run["wait_ms"] < 10_000
    with RedisReader(parse_redis_url(redis_server.url), 60) as link:
        instance = broker.server.stats()["id"]
        (buried,) = wait_until(lambda: find_buried(link.execute, instance, QUEUE))
        assert read_time(link.execute) - buried.buried_at < 60
        wait_until(lambda: sum(map(len, read_outcomes(link.execute, 2).values())) == 2)
    told = Target(wrong.id, parse_address(broker.server.address), wrong.beat().instance)
    (result,) = send_command([told], "stop", timeout=8)
    assert result.ok, result.problem
    assert wrong.exit_code() == 0


def test_runs_of_a_job_stay_in_their_order_whatever_the_clocks_of_their_workers_say(
    redis_server: Redis,
) -> None:
    with redis_server.client() as redis:
        for attempt, started_at in ((1, 5000.0), (2, 1400.0), (3, 5002.0)):
            entry = f'{{"job_id": 7, "attempt": {attempt}, "started_at": {started_at}}}'
            assert decode_entry(entry.encode()).attempt == attempt
            redis.zadd(job_key("u-7", "", 0), {entry: started_at})
    with RedisReader(parse_redis_url(redis_server.url), 60) as link:
        assert [run.attempt for run in read_job(link.execute, "u-7")] == [1, 2, 3]
