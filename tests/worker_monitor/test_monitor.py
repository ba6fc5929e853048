"""WorkerMonitor: what a program says of itself is what everybody sees, and nothing harms it."""

import asyncio
import json
import math
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from beanwatch.checks.lib.worker_verdict import decide
from beanwatch.net.redis_reader import RedisReader
from beanwatch.net.redis_url import Command, parse_redis_url
from beanwatch.store.heartbeats import (
    MAX_JOBS,
    WORKERS_KEY,
    Heartbeat,
    encode_heartbeat,
    worker_key,
)
from beanwatch.store.ledger import read_job
from beanwatch.store.outcome_counts import JobKind, read_outcomes
from beanwatch.worker import CommandRequest, WorkerMonitor
from beanwatch.worker.control.client import send_command
from beanwatch.worker.control.messages import Args
from beanwatch.worker.control.redis_mailbox import RedisMailbox
from beanwatch.worker.monitor.program.monitored_run import RunOptions
from tests.real import Proxy, Redis, closed_port, wait_until
from tests.records import make_beat, make_job
from tests.worker_monitor.conftest import Fleet, Watch

W1 = "web1.w1"


def read_lines(path: Path) -> list[dict[str, object]]:
    """The lines of a log."""
    return [json.loads(line) for line in path.read_text().splitlines()]


@contextmanager
def threads_in_jobs(monitor: WorkerMonitor, names: str) -> Iterator[None]:
    """Threads that each run a job until the end of the block."""
    is_over = threading.Event()

    def work(name: str) -> None:
        with monitor.job("email", name, f"id-{name}", timeout=60) as run:
            run.note(f"note of {name}", 3, 10)
            is_over.wait(60)

    threads = [threading.Thread(target=work, args=(one,), name=f"thread-{one}") for one in names]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


# -- the states


def test_a_program_is_starting_until_its_loop_moves_and_then_idle(watch: Watch, fleet: Fleet):
    monitor = watch(kind="celery", app_version="1.2")
    beat = fleet.wait_for(W1, "starting")
    assert (beat.kind, beat.queues, beat.app_version) == ("celery", ("email",), "1.2")
    monitor.loop()
    first = fleet.wait_for(W1, "idle")
    wait_until(lambda: fleet.beat(W1).beat_at > first.beat_at)
    assert fleet.beat(W1).loop_at == pytest.approx(first.loop_at, abs=0.01), "it stands still"


def test_a_loop_that_stands_still_is_hung_and_one_that_moves_again_is_not(
    watch: Watch, fleet: Fleet
):
    monitor = watch(max_idle=0.2)
    monitor.loop()
    wait_until(lambda: fleet.health(W1) == "hung")
    monitor.loop()
    with threads_in_jobs(monitor, "a"):
        wait_until(lambda: fleet.health(W1) == "busy")
    own = watch("w2", max_idle=0.2, has_own_loop=True)
    with threads_in_jobs(own, "a"):
        wait_until(lambda: fleet.health("web1.w2") == "hung", message="it should move in jobs too")


def test_waiting_for_the_broker_is_blocked_and_a_pause_is_waiting(watch: Watch, fleet: Fleet):
    monitor = watch()
    monitor.blocked("mq1:5672: connection refused")
    beat = fleet.wait_for(W1, "blocked")
    assert (beat.reason, beat.is_disconnected) == ("mq1:5672: connection refused", True)
    monitor.ready()
    fleet.wait_for(W1, "idle")
    monitor.blocked("the disk is full", is_disconnected=False)
    assert not fleet.wait_for(W1, "blocked").is_disconnected
    monitor.ready()
    monitor.paused("told to by ann")
    assert fleet.wait_for(W1, "waiting").reason == "told to by ann"


def test_a_program_that_stops_too_slowly_is_hung(watch: Watch, fleet: Fleet):
    monitor = watch()
    monitor.stopping("it received SIGTERM", 30)
    beat = fleet.wait_for(W1, "stopping")
    assert beat.reason == "it received SIGTERM"
    assert beat.shutdown_deadline == pytest.approx(beat.beat_at + 30, abs=15)
    monitor.stopping("it received SIGTERM", -11)
    wait_until(lambda: fleet.health(W1) == "hung")


def test_a_fork_hardly_waits_for_a_redis_that_does_not_answer(
    watch: Watch, fleet: Fleet, redis: Redis, proxy: Callable[[str], Proxy]
):
    network = proxy(f"127.0.0.1:{redis.port}")
    monitor = watch(redis=f"redis://{network.address}/0")
    fleet.wait_for(W1, "starting")
    network.blackhole()
    waited = 0.0
    for _ in range(20):
        time.sleep(0.1)  # a job runs
        began = time.monotonic()
        if monitor.before_fork():
            monitor.after_fork()
        waited += time.monotonic() - began
    assert waited < 8, "a beat takes a second, and begins again at once"


def test_the_loop_of_a_program_that_stops_is_not_judged(watch: Watch, fleet: Fleet):
    monitor = watch(max_idle=0.2, has_own_loop=True)
    monitor.stopping("it received SIGTERM")
    began = fleet.wait_for(W1, "stopping").beat_at
    wait_until(lambda: fleet.beat(W1).beat_at > began + 1)
    assert fleet.health(W1) == "stopping", "it may wait for its jobs there"


# -- the jobs


def test_each_thread_has_its_job_and_the_line_at_which_it_is(watch: Watch, fleet: Fleet):
    monitor = watch()
    with threads_in_jobs(monitor, "abc"):
        wait_until(lambda: len(fleet.beat(W1).jobs) == 3)
        wait_until(lambda: all(job.where.endswith(" threads_in_jobs.<locals>.work")
                               for job in fleet.beat(W1).jobs))  # fmt: skip
        beat = fleet.beat(W1)
    assert beat.state == "busy"
    assert {(job.name, job.id, job.uuid, job.thread) for job in beat.jobs} == {
        (name, f"id-{name}", f"id-{name}", f"thread-{name}") for name in "abc"
    }
    job = beat.jobs[0]
    assert (job.note, job.progress) == ("note of a", (3, 10))
    assert job.deadline - job.started_at == pytest.approx(60)
    assert job.where.startswith(f"{__file__}:")
    assert job.cpu is not None
    wait_until(lambda: not fleet.beat(W1).jobs)
    assert (fleet.beat(W1).processed, fleet.beat(W1).failed) == (3, 0)


def test_of_tasks_the_line_is_that_of_their_own_coroutine(watch: Watch, fleet: Fleet):
    monitor = watch()
    seen: list[dict[str, str]] = []

    async def sleep_one() -> None:
        await asyncio.sleep(60)

    async def work(name: str) -> None:
        with monitor.job("email", name, name):
            if name == "reader":
                await asyncio.to_thread(look)
            elif name == "blocker":
                await asyncio.sleep(0.2)
                time.sleep(1)
            else:
                await sleep_one()

    def look() -> None:
        def lines() -> dict[str, str]:
            return {job.name: job.where.rpartition(" ")[2] for job in fleet.beat(W1).jobs}

        wait_until(lambda: lines().get("sleeper", "").endswith("sleep_one"))
        seen.append(lines())

    async def main() -> None:
        tasks = [asyncio.create_task(work(one)) for one in ("sleeper", "reader")]
        await tasks[1]
        tasks[0].cancel()

    asyncio.run(main())
    here = "test_of_tasks_the_line_is_that_of_their_own_coroutine.<locals>"
    assert seen == [{"sleeper": f"{here}.sleep_one", "reader": f"{here}.work"}]
    wait_until(lambda: fleet.beat(W1).failed == 1)
    assert fleet.beat(W1).processed == 2


def test_a_job_past_its_deadline_is_hung_whatever_the_others_do(watch: Watch, fleet: Fleet):
    monitor = watch(job_timeout=60)
    with threads_in_jobs(monitor, "a"):
        late = monitor.begin("email", "late", "7", timeout=0.1, hard_timeout=0.2)
        wait_until(lambda: fleet.health(W1) == "hung")
        job = fleet.beat(W1).job
        assert job is not None
        assert (job.name, job.deadline < job.hard_deadline) == ("late", True)
        late.end()
        wait_until(lambda: fleet.health(W1) == "busy")


def test_of_more_jobs_than_a_record_may_have_those_are_shown_that_are_late_or_will_be_first(
    watch: Watch, fleet: Fleet
):
    monitor = watch()
    old = monitor.begin("email", "old", "old")
    runs = [monitor.begin("email", "new", number) for number in range(MAX_JOBS)]
    late = monitor.begin("email", "late", "late", timeout=0.1, hard_timeout=0.2)
    wait_until(lambda: len(fleet.beat(W1).jobs) == MAX_JOBS)
    wait_until(lambda: fleet.health(W1) == "hung")
    names = [job.name for job in fleet.beat(W1).jobs]
    assert names[:3] == ["late", "old", "new"]
    for run in (old, late, *runs):
        run.end()
    wait_until(lambda: fleet.beat(W1).processed == MAX_JOBS + 2)


def test_the_limit_of_a_job_is_its_own_or_the_monitors_or_none(watch: Watch, fleet: Fleet):
    monitor = watch(job_timeout=100)
    runs = [
        monitor.begin("email", "own", 1, timeout=5),
        monitor.begin("email", "general", 2),
        monitor.begin("email", "none", 3, timeout=0),
    ]
    wait_until(lambda: len(fleet.beat(W1).jobs) == 3)
    jobs = {job.name: job for job in fleet.beat(W1).jobs}
    assert jobs["own"].deadline - jobs["own"].started_at == pytest.approx(5)
    assert jobs["general"].deadline - jobs["general"].started_at == pytest.approx(100)
    assert jobs["none"].deadline == 0
    assert (jobs["own"].id, jobs["own"].uuid) == ("1", "")
    for run in runs:
        run.end()


ENDLESS = [math.inf, -math.inf, math.nan, sys.maxsize, 1e300]


@pytest.mark.parametrize("never", ENDLESS)
def test_endless_times_and_numbers_that_are_none_are_not_known(
    never: float, watch: Watch, fleet: Fleet, redis: Redis
):
    """With one of them in the record, nobody could read it."""
    limit = math.inf if math.isnan(never) else abs(never)
    monitor = watch(job_timeout=limit, max_idle=limit)
    options: RunOptions = {"wait": never, "timeout": never, "hard_timeout": never}
    runs = [monitor.begin("email", "own", "a", **options), monitor.begin("email", "general", "b")]
    runs[0].note("x", never, never)  # type: ignore[arg-type]
    runs[1].note("x", 3, None)  # type: ignore[arg-type]
    monitor.stopping("a deploy", never)
    wait_until(lambda: fleet.health(W1) == "stopping" and len(fleet.beat(W1).jobs) == 2)
    beat = fleet.beat(W1)
    assert [(job.deadline, job.hard_deadline) for job in beat.jobs] == [(0.0, 0.0)] * 2
    assert (beat.shutdown_deadline, beat.max_idle) == (0.0, 0.0)
    most = min(never, 2**53)
    assert beat.jobs[0].progress == ((most, most) if 0 < never < math.inf else ())
    assert beat.jobs[1].progress == ()
    for run in runs:
        run.end("retry", "why", delay=never)
    monitor.stop()
    with RedisReader(parse_redis_url(redis.url), 20) as link:
        (entry,) = read_job(link.execute, "a")
    assert (entry.wait, entry.delay) == (None, 0.0)


def test_how_a_run_ended_is_in_log_ledger_counts_and_totals(
    watch: Watch, fleet: Fleet, redis: Redis, tmp_path: Path
):
    monitor = watch(kind="rq")
    with monitor.job("email", "send", "id-1", wait=0.5):
        current = monitor.current()
        assert current is not None
        assert current.name == "send"
    assert monitor.current() is None
    with pytest.raises(KeyError), monitor.job("email", "send", "id-2", attempt=2):
        raise KeyError("no such mail")
    run = monitor.begin("email", "send", "id-3")
    run.end("retry", "the mail server is busy", delay=30)
    run.end("ok")  # it has ended already
    with monitor.job("email", "send", "id-4") as dropped:
        dropped.end("discarded", "revoked")
    monitor.stop()
    lines = read_lines(tmp_path / "log")
    told = [line["context"] for line in lines]
    assert [(one["id"], one["outcome"]) for one in told] == [
        ("id-1", "ok"), ("id-2", "failed"), ("id-3", "retry"), ("id-4", "discarded")
    ]  # fmt: skip
    assert all((one["worker"], one["kind"], one["job"]) == (W1, "rq", "send") for one in told)
    assert (told[0]["wait_ms"], "wait_ms" in told[1]) == (500.0, False), "0 is not what we know"
    assert told[1]["reason"] == "KeyError: 'no such mail'"
    assert "raise KeyError" in str(told[1]["traceback"])
    with RedisReader(parse_redis_url(redis.url), 20) as link:
        assert read_job(link.execute, "id-1") == [], "only failures are kept"
        (failed,) = read_job(link.execute, "id-2")
        assert (failed.outcome, failed.job_id, failed.attempt) == ("failed", "id-2", 2)
        assert failed.wait is None
        assert read_outcomes(link.execute, 60) == {
            JobKind("email", "send"): {"ok": 1, "failed": 1, "retry": 1, "discarded": 1}
        }


def test_an_own_id_and_the_number_of_the_queue_system_are_both_known(watch: Watch, fleet: Fleet):
    monitor = watch()
    with monitor.job("email", "send", 7, uuid="order-15"):
        wait_until(
            lambda: [(job.id, job.uuid) for job in fleet.beat(W1).jobs] == [("7", "order-15")]
        )


def test_kinds_of_job_without_end_share_a_name(watch: Watch, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("beanwatch.worker.api.monitor.MAX_NAMES", 3)
    monitor = watch()
    runs = [monitor.begin("email", f"job-{n}", n) for n in range(5)]
    assert [run.name for run in runs] == ["job-0", "job-1", "job-2", "_other", "_other"]
    for run in runs:
        run.end()


def test_a_name_of_any_length_and_kind_leaves_the_record_readable(watch: Watch, fleet: Fleet):
    """Producers choose some names; those of the runs stay in the record until the end."""
    monitor = watch()
    for _ in range(2):
        with monitor.job("q" * 300, "n\udce4" * 200, 7):
            wait_until(lambda: fleet.beat(W1).jobs)
    wait_until(lambda: sum(sum(one.outcomes.values()) for one in fleet.beat(W1).totals) == 2)
    (kind,) = fleet.beat(W1).totals
    assert (kind.queue, kind.job) == ("q" * 255, ("n?" * 128)[:255])


# -- the end, and the next start


def test_a_program_that_stopped_leaves_no_record_unless_it_is_expected(
    watch: Watch, fleet: Fleet, tmp_path: Path
):
    config = tmp_path / "beanwatch.toml"
    config.write_text(f'[workers]\nexpected = ["{W1}"]\n')
    left = []
    for options, ending in (
        ({}, {"reason": "deployed"}),
        ({"config": str(config)}, {"reason": "deployed"}),
        ({}, {"failure": "ValueError: no database"}),
    ):
        monitor = watch(**options)
        wait_until(lambda: fleet.wait_for(W1, "starting"))
        monitor.stop(**ending)
        found = fleet.find(W1)
        beat = found and found.heartbeat
        left.append(beat and (beat.is_over, beat.reason, beat.last_words))
    assert left == [
        None,
        (True, "deployed", ""),
        (False, "", "ValueError: no database"),
    ]


def test_the_next_start_tells_how_the_one_before_was_killed(
    watch: Watch, fleet: Fleet, redis: Redis, tmp_path: Path
):
    jobs = (make_job(name="resize", deadline=5.0), make_job(name="send"))
    leave_record(redis, make_beat(instance="x", state="busy", jobs=jobs, beat_at=9.0), age=60)
    watch()
    wait_until(lambda: fleet.beat(W1).instance != "x")
    beat = fleet.beat(W1)
    assert (beat.restarts, beat.last_exit) == (
        1,
        "killed, last seen running resize (job 7) and 1 more",
    )
    (line,) = read_lines(tmp_path / "log")
    assert str(line["message"]).startswith("the previous instance ended unexpectedly: killed")
    found = fleet.find(W1)
    assert found is not None
    assert " ago, the previous process ended: killed, last seen" in decide(found)[1]


def leave_record(redis: Redis, beat: Heartbeat, *, age: float) -> None:
    """The record of another process with this id, of that age."""
    with redis.client() as client:
        client.set(worker_key(W1), encode_heartbeat(beat))
        client.zadd(WORKERS_KEY, {W1: time.time() - age})


def test_while_another_process_has_the_id_this_one_is_silent_and_says_so(
    watch: Watch, fleet: Fleet, tmp_path: Path
):
    first = watch()
    wait_until(lambda: fleet.beat(W1))
    second = watch(log_file=str(tmp_path / "log2"))
    wait_until(lambda: second.problem)
    assert "runs already" in second.problem
    assert (first.problem, fleet.beat(W1).restarts) == ("", 0)
    with second.job("email", "send", 1):
        pass  # it works nevertheless


# -- without Redis


def test_without_redis_the_program_works_and_beats_as_soon_as_redis_is_there(
    watch: Watch, tmp_path: Path
):
    monitor = watch(redis=f"redis://127.0.0.1:{closed_port()}/0")
    log = tmp_path / "log"
    wait_until(lambda: log.exists() and "Redis cannot be used" in log.read_text())
    with monitor.job("email", "send", "id-1"):
        pass
    off = watch("w2", redis="")
    with off.job("email", "send", "id-2"):
        pass
    for one in (monitor, off):
        one.stop()
    outcomes = [line["context"].get("outcome") for line in read_lines(log)]  # type: ignore[attr-defined]
    assert outcomes.count("ok") == 2


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"name": "celery@web1"}, "name 'celery@web1': expected 1 to 64 characters"),
        ({"kind": "a b"}, "kind 'a b': expected"),
        ({"host": ""}, "host '': expected"),
        ({"redis": "x"}, "'x'"),
        ({"interval": 0}, "interval 0: expected more than 0 and less than 1e+09 seconds"),
        ({"interval": math.inf}, "interval inf: expected more than 0 and less than 1e+09 seconds"),
        ({"max_idle": -1.0}, "max_idle -1.0: expected 0 or more seconds"),
        ({"job_timeout": math.nan}, "job_timeout nan: expected 0 or more seconds"),
        (
            {"commands": {"status": str}},
            "command 'status': expected dump, stop, restart, wait, resume",
        ),
    ],
)
def test_wrong_arguments_are_refused_at_once(wrong: dict[str, object], text: str, tmp_path: Path):
    with pytest.raises(ValueError, match=re.escape(text)):
        WorkerMonitor(**{"name": "w1", "log_file": str(tmp_path / "log"), **wrong})  # type: ignore[arg-type]


# -- commands


def tell(redis: Redis, fleet: Fleet, command: str, seconds: float | None = None) -> object:
    """The answer to a command, or why there is none."""
    from beanwatch.worker.control.channel import Target

    target = Target(W1, parse_redis_url(redis.url), fleet.beat(W1).instance)
    (result,) = send_command([target], command, Args(seconds), timeout=20, words="a new disk")  # type: ignore[arg-type]
    return (result.ok, result.answer.text) if result.answer else result.problem


def test_a_program_carries_out_what_it_can_and_says_what_it_cannot(
    watch: Watch, fleet: Fleet, redis: Redis
):
    requests: list[CommandRequest] = []

    def refuse(_: CommandRequest) -> str:
        raise RuntimeError("the pool is gone")

    monitor = watch(commands={"wait": requests.append, "stop": requests.append, "resume": refuse})
    wait_until(lambda: fleet.beat(W1))
    beat = fleet.beat(W1)
    assert (beat.commands, beat.commands_by) == (
        ("status", "dump", "wait", "stop", "resume"),
        "redis",
    )
    assert tell(redis, fleet, "wait", 60) == (True, "takes no jobs until `resume`")
    assert tell(redis, fleet, "resume") == (
        False,
        "the command failed: RuntimeError: the pool is gone",
    )
    assert tell(redis, fleet, "restart") == (False, "this program cannot restart")
    assert tell(redis, fleet, "stop") == (True, "stops")
    assert [(one.name, one.seconds) for one in requests] == [("wait", 60.0), ("stop", None)]
    assert requests[0].origin.endswith(": a new disk")
    monitor.stop("the main loop has ended")
    with redis.client() as client:
        ((stop, _),) = client.zrange("{beanwatch}:stops", 0, -1, withscores=True)
    assert json.loads(stop)["reason"].startswith("told to stop by ")


def test_commands_are_read_one_by_one_as_redis_before_6_2_takes_no_number():
    bodies: list[bytes | None] = [b"first", b"second", None]
    asked: list[object] = []
    processed: list[bytes] = []

    class Inbox:
        def process(self, body: bytes, age: float) -> None:
            processed.append(body)

    def execute(commands: Sequence[Command]) -> list[object]:
        asked.extend(commands)
        return [bodies.pop(0)]

    RedisMailbox(execute, "web1.w1", Inbox()).tick(0.0)  # type: ignore[arg-type]
    assert processed == [b"first", b"second"]
    assert asked == [("LPOP", "{beanwatch}:commands:web1.w1")] * 3


def test_a_function_that_hangs_delays_no_heartbeat(
    watch: Watch, fleet: Fleet, redis: Redis, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("beanwatch.worker.control.commands.CALL_TIMEOUT", 0.1)
    is_over = threading.Event()
    watch(commands={"stop": lambda _: is_over.wait(60) and ""})
    wait_until(lambda: fleet.beat(W1))
    ok, text = tell(redis, fleet, "stop")  # type: ignore[misc]
    assert (ok, text) == (True, "was told to stop, and has not said yet whether it does")
    is_over.set()


def test_a_command_needs_the_signature_that_the_configuration_asks_for(
    watch: Watch, fleet: Fleet, redis: Redis, tmp_path: Path
):
    secret, config = tmp_path / "secret", tmp_path / "beanwatch.toml"
    secret.touch(0o600)
    secret.write_text("s" * 40)
    config.write_text(f'[workers]\nsecret_file = "{secret}"\n')
    asked: list[CommandRequest] = []
    watch(config=str(config), commands={"stop": asked.append})
    wait_until(lambda: fleet.beat(W1))
    ok, text = tell(redis, fleet, "stop")  # type: ignore[misc]
    assert (ok, text.startswith("the command was refused: it is not signed")) == (False, True)
    assert asked == []
