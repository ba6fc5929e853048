"""Processes with a monitor that fork, are killed, are stuck in C code, or end with an error."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from beanwatch.checks.lib.chosen_workers import with_process
from beanwatch.checks.lib.plugin import Critical, Warn
from beanwatch.checks.lib.worker_verdict import decide, decide_left
from beanwatch.store.fleet import is_of_interest
from beanwatch.store.heartbeats import WORKERS_KEY, Worker
from tests.real import ROOT, Redis, stop_process, wait_until
from tests.worker_monitor.conftest import Fleet

W1 = "web1.w1"
Tell = Callable[[str], int]


class Program:
    """A program that obeys (tests/worker_monitor/program.py)."""

    def __init__(self, redis: Redis, log: Path) -> None:
        self.log = log
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.worker_monitor.program", redis.url, str(log)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            cwd=ROOT,
        )  # fmt: skip

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def fork(self, what: str) -> int:
        """Let it fork; return the pid of the child."""
        self.tell(f"fork {what}")
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())


@pytest.fixture
def program(redis: Redis, fleet: Fleet, tmp_path: Path) -> Iterator[Program]:
    one = Program(redis, tmp_path / "log")
    wait_until(lambda: fleet.beat(W1), 60)
    with one.process:
        yield one
        stop_process(one.process)


def test_half_a_line_that_a_program_prints_spoils_no_line_of_the_log(tmp_path: Path):
    script = (
        "import os\n"
        "from beanwatch.worker import WorkerMonitor\n"
        "monitor = WorkerMonitor('w1', ['email'], kind='celery', redis='')\n"
        "monitor.start()\n"
        "for n in (1, 2):\n"
        "    with monitor.job('email', 'crop', f'id-{n}'): os.write(2, b'50 %')\n"
        "monitor.stop()\n"
    )
    env = {**os.environ, "BEANWATCH_LOG_FORMAT": "json"}
    argv = [sys.executable, "-c", script]
    done = subprocess.run(argv, capture_output=True, cwd=tmp_path, env=env, timeout=60, check=True)
    lines = [line for line in done.stderr.split(b"\n") if line]
    assert lines.count(b"50 %") == 2
    logged = [json.loads(line)["context"] for line in lines if line != b"50 %"]
    assert [one["id"] for one in logged if "outcome" in one] == ["id-1", "id-2"]


def grow_old(redis: Redis, worker: str, fleet: Fleet) -> Worker:
    """Return a worker as it is seen a minute after its last heartbeat, from its own host."""

    def is_silent() -> bool:
        last = fleet.beat(worker).beat_at
        end = time.monotonic() + 1.0
        wait_until(lambda: time.monotonic() > end)
        return fleet.beat(worker).beat_at == last

    wait_until(is_silent, 60, message=f"{worker} is silent")
    with redis.client() as client:
        client.zadd(WORKERS_KEY, {worker: time.time() - 60})
    found = fleet.find(worker)
    assert found is not None
    return with_process(found._replace(age=60.0))


@pytest.mark.parametrize(
    ("how", "state"), [("wait", "waits in a system call"), ("compute", "computes")]
)
def test_of_a_silent_worker_its_own_host_knows_more_than_any_other(
    program: Program, redis: Redis, fleet: Fleet, how: str, state: str
):
    program.tell(f"begin {how}")
    fleet.wait_for(W1, "busy")
    program.tell(f"lock {how}")
    worker = grow_old(redis, W1, fleet)
    pid, job = program.process.pid, f"last seen running {how} (job 7, queue email)"
    there = f"web1.w1: no heartbeat for 1m 0s, but its process {pid} is there and"
    assert decide(worker) == (Critical, f"{there} {state}, {job}")
    beat = worker.heartbeat
    assert beat is not None
    for elsewhere in ("", "x/1/7/7", f"{beat.process.partition('/')[0]}/1/7/7"):
        other = worker._replace(heartbeat=beat._replace(process=elsewhere), process="")
        assert decide(with_process(other)) == (
            Critical,
            f"web1.w1: no heartbeat for 1m 0s: stopped, or stuck in C code, {job}",
        )
    program.process.send_signal(signal.SIGSTOP)
    wait_until(lambda: with_process(worker).process == "stopped")
    assert decide(with_process(worker)) == (
        Critical,
        f"{there} is stopped by a signal, {job}",
    )
    program.process.kill()
    program.process.wait()
    gone = f"web1.w1: dead, no heartbeat for 1m 0s and its process {pid} is gone, {job}"
    assert decide(with_process(worker)) == (Critical, gone)
    # Another process may have its pid by now.
    here = beat.process.rsplit("/", 2)[0]
    reused = worker._replace(heartbeat=beat._replace(process=f"{here}/{os.getpid()}/1"))
    assert with_process(reused).process == "gone"


def test_each_forked_child_is_a_worker_of_its_own_and_the_parent_beats_for_none(
    program: Program, redis: Redis, fleet: Fleet
):
    pids = []
    for worker, job in (("web1.w1-1", "long"), ("web1.w1-2", "other")):
        pids.append(program.fork(job))
        beat = fleet.wait_for(worker, "busy")
        assert (beat.pid, beat.child_of, beat.kind) == (pids[-1], W1, "celery")
        assert [(one.name, one.id) for one in beat.jobs] == [(job, f"id-{job}")]
        assert beat.max_idle == 0, "nobody knows its loop"
    first = pids[0]
    parent = fleet.beat(W1)
    assert (parent.pid, parent.jobs) == (program.process.pid, ())
    program.fork("")  # does not use the monitor, so it takes no number
    os.kill(first, signal.SIGKILL)
    program.tell(f"reap {first} 9 -")  # of another number: changes nothing
    third = program.fork("next")
    wait_until(lambda: fleet.beat("web1.w1-1").pid == third)
    beat = fleet.beat("web1.w1-1")
    assert (beat.restarts, beat.last_exit) == (1, "killed, last seen running long (job id-long)")
    program.fork("short")
    program.tell("process shorter")
    for name in ("short", "shorter"):
        wait_until(lambda: f"{name} ok" in program.log.read_text())  # noqa: B023
    for worker in ("web1.w1-3", "web1.w1-4"):
        wait_until(lambda: fleet.find(worker) is None, message="it has stopped")  # noqa: B023


def test_a_child_that_died_is_told_by_its_parent_and_with_its_parent(
    program: Program, redis: Redis, fleet: Fleet
):
    killed = program.fork("long")
    fleet.wait_for("web1.w1-1", "busy")
    orphan = program.fork("other")
    fleet.wait_for("web1.w1-2", "busy")
    os.kill(killed, signal.SIGKILL)
    program.tell(f"reap {killed} 1 killed by signal 9")
    wait_until(lambda: (found := fleet.find("web1.w1-1")) is not None and found.has_left)
    left = fleet.find("web1.w1-1")
    assert left is not None
    state, text = decide_left(left)
    assert state == Warn
    assert text.startswith("web1.w1-1: ended ")
    assert text.endswith(
        " ago: killed by signal 9, last seen running long (job id-long); web1.w1 started it"
    )
    os.kill(orphan, signal.SIGSTOP)
    child = grow_old(redis, "web1.w1-2", fleet)
    parent = fleet.find(W1)
    assert parent is not None

    def is_told(found: dict[str, Worker]) -> bool:
        return is_of_interest(child, found, lambda _: False, lambda _: False)

    assert is_told({W1: parent}), "the parent is well"
    assert not is_told({}), "the parent has ended"
    assert not is_told({W1: parent._replace(age=60.0)})
    os.kill(orphan, signal.SIGKILL)


def test_a_program_that_ends_says_why_unless_that_is_no_problem(
    program: Program, redis: Redis, fleet: Fleet
):
    program.tell("raise no database")
    assert program.process.wait(60) == 1
    assert fleet.beat(W1).last_words == "ValueError: no database"
    after = Program(redis, program.log)
    with after.process:
        wait_until(lambda: fleet.beat(W1).pid == after.process.pid, 60)
        assert fleet.beat(W1).last_exit == "ValueError: no database"
        _, errors = after.process.communicate("", timeout=60)
    assert (after.process.returncode, errors) == (0, "")
    left = fleet.find(W1)
    assert left is not None
    assert left.has_left
