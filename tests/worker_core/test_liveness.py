"""Nine states of a worker, each produced for real and recognised from outside."""

import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from beanwatch.net.processes import parse_process, read_process
from beanwatch.store.heartbeats import WORKERS_KEY, worker_key
from beanwatch.worker.core.connection_protocol import JobStats, Reserved
from beanwatch.worker.core.loop import Loop
from beanwatch.worker.core.state import WorkerState
from tests.real import Beanstalkd, Proxy, Redis, wait_until
from tests.records import running_job
from tests.worker_core.conftest import Broker, StartWorker

MakeProxy = Callable[[str], Proxy]


def test_killed_it_is_dead_and_its_last_job_is_known(
    start_worker: StartWorker, broker: Broker
) -> None:
    job_id = broker.put("sleep", {"seconds": 50}, envelope={"id": "some-uuid"})
    worker = start_worker()
    wait_until(lambda: worker.running().id == str(job_id))
    worker.signal(signal.SIGKILL)
    worker.process.wait()
    wait_until(lambda: worker.health() == "dead", 30)
    beat, job = worker.beat(), worker.running()
    assert (beat.state, job.name, job.uuid, job.queue) == ("busy", "sleep", "some-uuid", "work")
    assert read_process(beat.pid) == "gone"
    wait_until(lambda: broker.job(job_id)["state"] == "ready", message="the job is back")


def test_frozen_it_is_dead_to_redis_but_its_process_is_stopped(
    start_worker: StartWorker, broker: Broker
) -> None:
    job_id = broker.put("sleep", {"seconds": 50})
    worker = start_worker()
    wait_until(lambda: worker.running().id == str(job_id))
    worker.signal(signal.SIGSTOP)
    wait_until(lambda: worker.health() == "dead", 30)
    assert read_process(worker.beat().pid) == "stopped"


def test_hung_in_python_code_it_uses_the_processor(
    start_worker: StartWorker, broker: Broker
) -> None:
    broker.put("loop")
    worker = start_worker("--grace", 50)
    wait_until(lambda: worker.health() == "hung", 30)
    wait_until(lambda: (worker.running().cpu or 0.0) > 1.0)
    beat, job = worker.beat(), worker.running()
    assert beat.state == "busy"
    assert job.where.endswith("loop")
    assert job.deadline < beat.beat_at < job.hard_deadline


def test_after_a_long_job_the_main_loop_is_not_stuck_for_a_moment() -> None:
    moved_at = []  # whenever the worker has no job any more

    class State(WorkerState):
        def __setattr__(self, name: str, value: object) -> None:
            super().__setattr__(name, value)
            if name == "job" and value is None and hasattr(self, "loop_at"):
                moved_at.append(self.loop_at)

    def nothing(*_: object, **__: object) -> None:
        pass

    stats = JobStats(1, "work", 0, 0, 0, 60, 1, 0, 0, 0)
    part: Any = SimpleNamespace(
        job_stats=lambda _: stats, run=nothing, clean_up=nothing, end=nothing, tick_within=nothing
    )
    state = State(clock=lambda: 100.0)
    loop = Loop(part, part, part, state, part, nothing, part, monotonic=lambda: 5000.0)
    loop._work_on(Reserved(1, b""))
    assert moved_at == [5000.0]


def test_hung_in_a_system_call_it_uses_none(start_worker: StartWorker, broker: Broker) -> None:
    broker.put("blocked")
    worker = start_worker("--grace", 50)
    wait_until(lambda: worker.health() == "hung", 30)
    job = worker.running()
    assert job.where.endswith("blocked")
    assert "jobs.py:" in job.where
    assert job.cpu is not None
    assert job.cpu < 0.5
    assert read_process(worker.beat().pid) == "waiting"


def test_with_the_interpreter_locked_it_is_dead_to_redis_but_its_process_runs(
    start_worker: StartWorker, broker: Broker
) -> None:
    broker.put("lock")
    worker = start_worker("--grace", 50)
    wait_until(lambda: worker.health() == "dead", 30)
    assert read_process(worker.beat().pid) == "running"


def test_idle_it_is_idle_however_long(start_worker: StartWorker) -> None:
    worker = start_worker("--reserve-timeout", 1)
    first = worker.wait_for("idle")
    wait_until(lambda: worker.beat().loop_at > first.loop_at + 1.5)
    assert worker.health() == "idle"
    assert worker.running().name == ""


def test_busy_it_shows_its_progress(start_worker: StartWorker, broker: Broker) -> None:
    broker.put("progress", {"seconds": 30})
    worker = start_worker()
    wait_until(lambda: worker.running().progress)
    first = worker.running()
    wait_until(lambda: worker.running().progress > first.progress)
    job = worker.running()
    assert worker.health() == "busy"
    assert job.note.startswith("page ")
    assert job.progress[1] == 1000


def test_of_a_coroutine_that_awaits_the_line_is_known(
    start_worker: StartWorker, broker: Broker
) -> None:
    broker.put("async-sleep")
    worker = start_worker()
    wait_until(lambda: worker.running().name)
    wait_until(lambda: worker.running().where.endswith(" inner"))


def test_told_to_wait_it_waits(start_worker: StartWorker, broker: Broker) -> None:
    worker = start_worker()
    worker.wait_for("idle")
    broker.put_raw('{"command": "wait"}', queue=f"beanwatch.control.{worker.id}")
    assert worker.wait_for("waiting").reason == "an operator sent the command `wait`"
    assert worker.health() == "waiting"


def test_stopping_it_says_why_and_what_it_still_does(
    start_worker: StartWorker, broker: Broker
) -> None:
    broker.put("sleep", {"seconds": 50})
    worker = start_worker()
    wait_until(lambda: worker.running().name == "sleep")
    worker.signal(signal.SIGTERM)
    beat = worker.wait_for("stopping")
    assert (running_job(beat).name, beat.reason) == ("sleep", "it received SIGTERM")


def test_cut_off_from_beanstalkd_it_is_blocked_and_says_by_what(
    start_worker: StartWorker, broker: Broker, beanstalkd: Beanstalkd, proxy: MakeProxy
) -> None:
    path = proxy(beanstalkd.address)
    worker = start_worker("--reserve-timeout", 1, server=path.address)
    worker.wait_for("idle")
    path.blackhole()
    beat = worker.wait_for("blocked", 40)
    assert path.address in beat.reason
    alive_since = beat.beat_at
    wait_until(lambda: worker.beat().beat_at > alive_since + 3, message="it beats on")
    assert worker.health() == "blocked"
    path.restore()
    broker.put("ok")
    wait_until(lambda: worker.outcomes() == ["ok"], 60)
    worker.wait_for("idle")
    assert worker.logged("works again")


def test_cut_off_from_redis_it_works_on_and_is_dead_only_to_redis(
    start_worker: StartWorker, broker: Broker, redis_server: Redis, proxy: MakeProxy
) -> None:
    path = proxy(f"127.0.0.1:{redis_server.port}")
    worker = start_worker(redis=f"redis://{path.address}/0")
    worker.redis_url = redis_server.url
    worker.wait_for("idle")
    path.blackhole()
    for _ in range(3):
        broker.put("sleep", {"seconds": 1.5}, ttr=1)
    wait_until(lambda: worker.outcomes() == ["ok"] * 3, 40)
    assert [run["attempt"] for run in worker.runs()] == [1, 1, 1]
    wait_until(lambda: worker.health() == "dead", 30)
    assert read_process(worker.process.pid) == "waiting"
    path.restore()
    wait_until(lambda: worker.health() == "idle", 30)
    wait_until(lambda: worker.logged("heartbeats are written again"))  # it beats, and then says so
    messages = [line["message"] for line in worker.lines()]
    assert sum("cannot write the heartbeat" in message for message in messages) == 1
    assert sum("heartbeats are written again" in message for message in messages) == 1


def test_without_redis_it_starts_and_says_so(
    start_worker: StartWorker, broker: Broker, tmp_path: Path
) -> None:
    broker.put("ok")
    worker = start_worker(redis="redis://127.0.0.1:1/0")
    wait_until(lambda: worker.outcomes() == ["ok"])
    assert worker.logged("could not check in Redis whether this id is in use")


def test_the_command_name_does_not_confuse_the_reading_of_a_process() -> None:
    assert parse_process("17 (a) T (b) R 1 17") == "running"
    assert parse_process("17 (python3) T 1 17") == "stopped"
    assert parse_process("17 (python3) Z 1 17") == "gone"
    assert parse_process("17 (python3) D 1 17") == "waiting"
    assert parse_process("") == "gone"


def test_with_a_redis_that_refuses_writes_it_runs_jobs_says_why_and_is_not_dead(
    start_worker: StartWorker, broker: Broker, redis_server: Redis
) -> None:
    worker = start_worker()
    worker.wait_for("idle")
    redis_server.refuse_writes("OOM")
    reason = "Redis takes no writes: OOM, its memory is full"
    wait_until(lambda: worker.logged("cannot write the heartbeat, jobs keep running: redis"))
    assert reason in str(worker.logged("cannot write the heartbeat"))
    broker.put("ok")
    wait_until(lambda: worker.outcomes() == ["ok"])
    wait_until(lambda: worker.health() == "unknown", 30)
    seen = worker.seen()
    assert seen is not None
    assert seen.doubt == reason
    redis_server.client().config_set("maxmemory", "0")
    worker.wait_for("idle")


def test_a_record_of_its_id_that_cannot_be_read_is_named_in_its_log(
    start_worker: StartWorker, redis_server: Redis
) -> None:
    with redis_server.client() as client:
        client.set(worker_key("here.w1"), '{"pid": "many"}')
        client.zadd(WORKERS_KEY, {"here.w1": client.time()[0]})
    worker = start_worker()
    worker.wait_for("idle")
    line = worker.logged("the last record of this id cannot be read")
    assert line is not None
    assert line["message"].endswith(": pid: expected a whole number, not a text")
