"""Poison is a job whose runs kill workers: runs are counted, not deliveries to dead connections."""

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from beanwatch.net.redis_reader import RedisReader
from beanwatch.net.redis_url import parse_redis_url
from beanwatch.store import started_runs
from beanwatch.store.started_runs import STARTED_INDEX, record_start, started_key
from tests.real import Proxy, Redis, closed_port, wait_until
from tests.worker_core.conftest import QUEUE, Broker, StartWorker


def lose_deliveries(broker: Broker, job_id: int, count: int) -> None:
    """Reserve a job and go away without a word, as a worker that lost its power."""
    for _ in range(count):
        with broker.server.client(watch=QUEUE) as client:
            client.reserve_job(job_id)
        wait_until(lambda: broker.job(job_id)["state"] == "ready")


def test_a_job_that_was_handed_to_dead_connections_runs_as_if_it_were_new(
    start_worker: StartWorker, broker: Broker, redis_server: Redis
) -> None:
    job_id = broker.put("fail")
    lose_deliveries(broker, job_id, 6)  # its max_attempts is 3
    worker = start_worker()
    wait_until(lambda: worker.outcomes("fail") == ["retry", "retry", "buried"])
    assert [run["attempt"] for run in worker.runs("fail")] == [1, 2, 3]
    assert broker.job(job_id)["reserves"] == 9
    with redis_server.client() as redis:
        assert not redis.keys("{beanwatch}:started:*"), "each run was acknowledged"


def test_without_redis_a_job_that_was_handed_to_dead_connections_is_retried_as_often(
    start_worker: StartWorker, broker: Broker
) -> None:
    job_id = broker.put("fail")
    lose_deliveries(broker, job_id, 6)  # its max_attempts is 3
    worker = start_worker(redis=f"redis://127.0.0.1:{closed_port()}/0")
    wait_until(lambda: worker.outcomes("fail") == ["retry", "retry", "buried"])
    # Nobody knows whether it ran before, so the number of an attempt is that of its delivery.
    assert [run["attempt"] for run in worker.runs("fail")] == [7, 8, 9]
    last = worker.runs("fail")[-1]["reason"]
    assert last.endswith(
        "(attempt 3, the last; not counted: 6 deliveries that nobody acknowledged)"
    )


def test_workers_behind_connections_that_stay_half_open_poison_no_job(
    start_worker: StartWorker, broker: Broker, proxy: Callable[[str], Proxy]
) -> None:
    fronts = [proxy(broker.server.address) for _ in range(2)]
    for front in fronts:
        dead = start_worker(name=f"dead{front.port}", server=front.address)
        dead.wait_for("idle")
        front.blackhole()
        dead.signal(signal.SIGKILL)
        dead.exit_code()
    job_id = broker.put("ok")
    for reserves, front in enumerate(fronts, 1):
        wait_until(lambda n=reserves: broker.job(job_id)["reserves"] == n)
        front.close()  # at last the server learns of the dead connection
    live = start_worker("--max-attempts", 1)
    wait_until(lambda: live.outcomes("ok") == ["ok"])


def test_without_redis_three_times_as_many_deliveries_are_poison_and_the_text_says_so(
    start_worker: StartWorker, broker: Broker
) -> None:
    may_run, is_poison = broker.put("ok"), broker.put("ok")
    lose_deliveries(broker, may_run, 2)
    lose_deliveries(broker, is_poison, 3)
    redis = f"redis://127.0.0.1:{closed_port()}/0"
    worker = start_worker("--max-attempts", 1, redis=redis)
    wait_until(lambda: len(worker.outcomes("ok")) == 2)
    by_job = {run["job_id"]: run for run in worker.runs()}
    assert by_job[may_run]["outcome"] == "ok"
    assert by_job[is_poison]["outcome"] == "poison"
    assert "deliveries that were never acknowledged: 3" in by_job[is_poison]["reason"]
    assert "redis 127.0.0.1" in by_job[is_poison]["reason"]


def test_a_run_whose_acknowledgement_was_lost_counts_as_a_run(
    start_worker: StartWorker, broker: Broker, redis_server: Redis, tmp_path: Path
) -> None:
    taken = tmp_path / "taken"
    job_id = broker.put("give-away", {"taken": str(taken)})
    worker = start_worker("--max-attempts", 1)
    wait_until(lambda: worker.running().name == "give-away")
    with broker.server.client(watch=QUEUE) as other:
        assert other.reserve(10).id == job_id
        taken.touch()
        wait_until(lambda: worker.outcomes() == ["lost"])
    wait_until(lambda: worker.outcomes() == ["lost", "poison"])
    assert "runs that started and were never acknowledged: 1" in worker.runs()[1]["reason"]


def test_the_usual_way_of_a_job_asks_redis_nothing(
    start_worker: StartWorker, broker: Broker, redis_server: Redis
) -> None:
    for _ in range(3):
        broker.put("ok")
    worker = start_worker()
    wait_until(lambda: worker.outcomes("ok") == ["ok"] * 3)
    with redis_server.client() as redis:
        assert not redis.keys("{beanwatch}:started*")


def test_records_of_started_runs_are_bounded_and_counted_once(
    redis_server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(started_runs, "STARTED_KEPT", 10)
    with RedisReader(parse_redis_url(redis_server.url), 5) as link:
        for job_id in range(30):
            assert record_start(link.execute, "5e1f", job_id, 1, time.time() + job_id) == 0
        assert record_start(link.execute, "5e1f", 29, 1, time.time() + 30) == 0  # the same run
        assert record_start(link.execute, "5e1f", 29, 3, time.time() + 30, {1, 2}) == 2
        assert record_start(link.execute, "other", 29, 3, time.time() + 30) == 0
    with redis_server.client() as redis:
        keys = redis.keys("{beanwatch}:started:*")
        assert sorted(keys) == sorted(redis.zrange(STARTED_INDEX, 0, -1))
        assert len(keys) == 10
        assert 0 < redis.ttl(started_key("5e1f", 29)) <= 7 * 86400
