"""A sink, a hook or a tick that raises is logged and counted, and the worker goes on."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from beanwatch.net.address import parse_address
from beanwatch.net.redis_url import parse_redis_url
from beanwatch.worker.control.listener import Listener
from beanwatch.worker.control.messages import Answer, Message, control_queue, encode, parse_answer
from beanwatch.worker.core.connection import RefusedError, WorkerConnection
from beanwatch.worker.core.decide import OK
from beanwatch.worker.core.finish import Finisher
from beanwatch.worker.core.job import RunningJob
from beanwatch.worker.core.state import WorkerState
from beanwatch.worker.core.wake import Wake
from beanwatch.worker.guard.descriptors import OwnDescriptors
from beanwatch.worker.guard.pulse import Pulse
from beanwatch.worker.monitor.internal_errors import LOG_INTERVAL, InternalErrors
from beanwatch.worker.monitor.runs import Run, Sinks
from beanwatch.worker.telemetry.run_starts import RunStarts
from tests.real import Beanstalkd, Proxy, wait_until
from tests.worker_core.conftest import Broker, StartWorker
from tests.worker_core.test_black_box import open_box

APP = "tests.worker_core.raising_jobs:app"
MakeProxy = Callable[[str], Proxy]


class Log:
    """Collects the lines of errors; `is_broken` makes it raise."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.is_broken = False

    def error(self, _event: str, *, part: str, **_context: Any) -> None:
        if self.is_broken:
            raise OSError("the disk is full")
        self.parts.append(part)


class GoodSink:
    def __init__(self) -> None:
        self.seen: list[object] = []

    def on_finishing(self, run: Run) -> None:
        self.seen.append(f"finishing {run.outcome}")

    def on_finished(self, run: Run) -> None:
        self.seen.append(f"finished {run.outcome}")

    def tick(self) -> None:
        self.seen.append("tick")

    def close(self, timeout: float) -> None:
        self.seen.append(f"close {timeout}")


class RaisingSink:
    def on_finishing(self, run: Run) -> None:
        raise ValueError("on_finishing")

    def on_finished(self, run: Run) -> None:
        raise KeyError("on_finished")

    def tick(self) -> None:
        raise OSError("tick")

    def close(self, timeout: float) -> None:
        raise RuntimeError("close")


@pytest.fixture
def state() -> WorkerState:
    return WorkerState()


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def errors(state: WorkerState, log: Log) -> InternalErrors:
    return InternalErrors(state, log)  # type: ignore[arg-type]


def reserve(connection: WorkerConnection) -> RunningJob:
    reserved = connection.reserve(lambda: True)
    assert reserved is not None
    return RunningJob(reserved, connection.job_stats(reserved.id))


def test_a_sink_that_raises_in_each_method_keeps_no_job_and_no_other_sink_from_its_end(
    beanstalkd: Beanstalkd, state: WorkerState, log: Log, errors: InternalErrors, tmp_path: Path
) -> None:
    good = GoodSink()
    sinks = Sinks([RaisingSink(), good], errors)
    connection = WorkerConnection(parse_address(beanstalkd.address), ["work"], 1)
    connection.open()
    with beanstalkd.client(use="work") as client:
        client.put("{}")
    starts = RunStarts(parse_redis_url("redis://127.0.0.1:1/0"), log)  # type: ignore[arg-type]
    with open_box(tmp_path / "job") as box:
        run = Finisher(connection, sinks, starts, state, box).end(reserve(connection), OK)
    sinks.tick()
    sinks.close(2.0)
    connection.close()
    assert run.outcome == "ok"
    assert beanstalkd.stats_tube("work") == {}, "the job is deleted"
    assert good.seen == ["finishing ok", "finished ok", "tick", "close 2.0"]
    assert log.parts == [
        f"RaisingSink.{method}" for method in ("on_finishing", "on_finished", "tick", "close")
    ]
    assert (state.errors, state.processed) == (4, 1)


def test_a_part_that_keeps_failing_is_counted_each_time_and_logged_now_and_then(
    state: WorkerState, log: Log
) -> None:
    now = 100.0
    errors = InternalErrors(state, log, clock=lambda: now)  # type: ignore[arg-type]
    for _ in range(1000):
        errors.report("a", ValueError())
    errors.report("b", ValueError())
    now += LOG_INTERVAL
    errors.report("a", ValueError())
    assert (state.errors, log.parts) == (1002, ["a", "b", "a"])


def test_a_log_that_fails_too_changes_nothing(
    state: WorkerState, log: Log, errors: InternalErrors
) -> None:
    log.is_broken = True
    errors.report("a", ValueError())
    assert state.errors == 1


def start_pulse(step: Callable[[float], None], state: WorkerState, errors: InternalErrors) -> Pulse:
    none: Any = None
    listener = Listener(lambda: None, "here.w", "i", none, errors, none)
    pulse = Pulse([step, lambda now: ticks.append(now)], listener, state, Wake(), errors,
                  OwnDescriptors(), none, tick=0.05)  # fmt: skip
    ticks: list[float] = []
    pulse.ticks = ticks  # type: ignore[attr-defined]
    pulse.start()
    return pulse


def test_a_tick_that_raises_ends_neither_the_pulse_nor_the_worker(
    state: WorkerState, log: Log, errors: InternalErrors
) -> None:
    def step(now: float) -> None:
        raise RuntimeError("a tick")

    pulse = start_pulse(step, state, errors)
    wait_until(lambda: len(pulse.ticks) >= 3, message="the later steps run")  # type: ignore[attr-defined]
    assert pulse.end(5)
    assert state.is_running
    assert state.errors >= 3
    assert len(log.parts) == 1
    assert "step" in log.parts[0]


def test_a_pulse_that_does_not_end_in_time_is_not_taken_for_ended(
    state: WorkerState, errors: InternalErrors
) -> None:
    entered, left = threading.Event(), threading.Event()

    def step(now: float) -> None:
        entered.set()
        left.wait(10)

    pulse = start_pulse(step, state, errors)
    assert entered.wait(5)
    assert not pulse.end(0.1)
    left.set()
    assert pulse.end(5)


def test_a_command_that_fails_is_answered_so(
    beanstalkd: Beanstalkd, state: WorkerState, log: Log, errors: InternalErrors
) -> None:
    def handle(message: Message) -> Answer:
        raise RuntimeError("no stacks today")

    none: Any = None
    address = parse_address(beanstalkd.address)
    listener = Listener(lambda: address, "here.w", "i", handle, errors, none)
    listener.tick()
    with beanstalkd.client(encoding=None, use=control_queue("here.w"), watch="replies") as client:
        client.put(encode(Message("dump", reply_to="replies", id="1")))
        wait_until(lambda: listener.receive() is None and client.stats_tube("replies"))
        answer = parse_answer(client.reserve(5).body)
    listener.close()
    assert (answer.ok, answer.id, answer.text) == (
        False,
        "1",
        "the command failed: RuntimeError: no stacks today",
    )
    assert (log.parts, state.errors) == (["the command dump"], 1)


def test_a_thread_that_puts_just_as_its_job_ends_is_refused_and_the_connection_stays(
    beanstalkd: Beanstalkd, proxy: MakeProxy
) -> None:
    """The put comes while the acknowledgement waits for its answer: the job is still reserved."""
    slow = proxy(beanstalkd.address)
    connection = WorkerConnection(parse_address(slow.address), ["work"], 1)
    connection.open()
    with beanstalkd.client(use="work") as client:
        ids = [client.put("{}") for _ in range(2)]
    job = reserve(connection)
    slow.latency(0.5)
    result: list[object] = []

    def put() -> None:
        wait_until(connection._lock.locked)  # the acknowledgement is on its way
        assert connection.job_id == job.id
        try:
            result.append(connection.put("next", b"{}", 0, 0, 60, during_job=job.id))
        except RefusedError as refused:
            result.append(str(refused))

    thread = threading.Thread(target=put)
    thread.start()
    assert connection.acknowledge("delete", job.id, and_reserve=True)
    thread.join()
    assert result == ["the job has ended, so its threads cannot put jobs any more"]
    assert reserve(connection).id == ids[1], "the reply to the reserve was left to the main thread"
    assert connection.is_open
    connection.close()


def test_threads_that_put_as_their_jobs_end_cut_no_worker_off(
    start_worker: StartWorker, broker: Broker, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    for _ in range(50):
        broker.put("puts-at-its-end", {"file": str(file)})
    worker = start_worker(app=APP)
    wait_until(lambda: len(worker.outcomes()) == 50, 40)
    wait_until(lambda: file.exists() and len(file.read_text().split()) == 50)
    assert set(file.read_text().split()) == {"RefusedError"}
    assert worker.outcomes() == ["ok"] * 50
    assert not worker.logged("the connection to beanstalkd failed")
    assert worker.beat().errors == 0


def test_hooks_and_resources_that_raise_are_counted_in_the_heartbeat(
    start_worker: StartWorker, broker: Broker
) -> None:
    for job in ("before", "after", "resource", "ok"):
        broker.put(job)
    worker = start_worker(app=APP)
    wait_until(lambda: worker.outcomes() == ["buried", "ok", "ok", "ok"])
    # The hook before the job fails the job, as documented, and is no error of the worker.
    wait_until(lambda: worker.beat().errors == 2)
    line = worker.logged("an after_job hook failed, the worker goes on")
    assert line is not None
    assert (line["level_name"], line["context"]["job"]) == ("ERROR", "after")
    assert worker.logged("closing the resource bad failed, the worker goes on")
    assert worker.stop() == 0


@pytest.mark.parametrize("fault", ["sinks", "tick"])
def test_a_worker_whose_sinks_or_ticks_raise_runs_all_jobs_and_ends_as_told(
    start_worker: StartWorker, broker: Broker, fault: str
) -> None:
    worker = start_worker(app=APP, env={"FAULTS": fault})
    for _ in range(3):
        broker.put("ok")
    wait_until(lambda: worker.outcomes() == ["ok"] * 3)
    assert wait_until(lambda: worker.logged("failed, the worker goes on"))["context"]["errors"]
    assert worker.stop() == 0
    assert broker.counts()


def test_nothing_is_shared_with_a_pulse_that_did_not_end(
    start_worker: StartWorker, broker: Broker, tmp_path: Path
) -> None:
    hang = tmp_path / "hang"
    worker = start_worker(app=APP, env={"FAULTS": "pulse", "HANG": str(hang)})
    broker.put("ok")
    wait_until(lambda: worker.outcomes() == ["ok"])
    hang.touch()
    seen = worker.beat()
    wait_until(lambda: (now := worker.seen()) and now.age > 2, message="the pulse hangs")
    worker.process.terminate()
    assert worker.exit_code() == 0
    assert worker.logged("the pulse thread did not end")
    assert worker.beat().instance == seen.instance, "the record is left as it was"
    hang.unlink()
    heir = start_worker(app=APP)
    assert heir.wait_for("idle").last_exit == "", "it was told to stop, as the black box says"
