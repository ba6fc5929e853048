"""beanwatch_probe: what it answers about a real worker, and how long it takes to start."""

import os
import resource
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from beanwatch.checks.probe import decide
from beanwatch.store.worker_status import SIZE, WorkerStatus, encode_status, parse_status
from tests.real import Beanstalkd, Redis, wait_until
from tests.worker_core.conftest import Broker, StartWorker

PROBE = str(Path(sys.executable).parent / "beanwatch_probe")
BUSY = 60.0  # seconds; the machine may be busy
MAX_EXTRA = 0.030  # seconds more than Python's own start


def probe(root: Path, question: str, *options: str) -> tuple[int, str]:
    argv = [PROBE, question, "--name", "w1", "--tmp-root", str(root), *options]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=BUSY)
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1
    return done.returncode, done.stdout.strip()


def test_a_worker_lives_and_is_ready_until_its_broker_or_it_is_away(
    start_worker: StartWorker, beanstalkd: Beanstalkd, redis_server: Redis, tmp_path: Path
) -> None:
    worker = start_worker("--reserve-timeout", 1)
    wait_until(lambda: probe(tmp_path, "ready") == (0, "w1: ready"), BUSY)
    assert probe(tmp_path, "live", "--host", "here") == (0, "w1: live")
    assert probe(tmp_path, "live", "--host", "there")[0] == 1
    redis_server.kill()
    beanstalkd.kill()
    wait_until(lambda: probe(tmp_path, "ready")[0] == 1, BUSY)
    assert probe(tmp_path, "live") == (0, "w1: live")
    worker.signal(signal.SIGSTOP)
    code, text = probe(tmp_path, "live")
    assert (code, text) == (1, f"w1: its process {worker.process.pid} is stopped")
    worker.process.kill()
    worker.process.wait()
    code, text = probe(tmp_path, "live")
    assert (code, text) == (1, f"w1: its process {worker.process.pid} is gone")
    assert probe(tmp_path, "ready")[0] == 1


def test_a_job_that_holds_the_interpreter_lock_is_live_until_its_deadline(
    start_worker: StartWorker, broker: Broker, tmp_path: Path
) -> None:
    worker = start_worker("--grace", 15)
    worker.wait_for("idle", BUSY)
    broker.put("lock")
    wait_until(lambda: broker.stats()["reserved"] == 1, BUSY)
    time.sleep(11)  # longer than a status counts as known
    assert probe(tmp_path, "live") == (0, "w1: live")
    code, text = probe(tmp_path, "ready")
    assert code == 1
    assert "so nobody knows" in text


@pytest.mark.parametrize(
    "content", [None, b"", b"\0" * 4096, b"1 00000000 nonsense\n" + b"x" * 4076]
)
def test_what_is_not_known_is_not_alive(tmp_path: Path, content: bytes | None) -> None:
    directory = tmp_path / f"beanwatch-web1.w1-{'a' * 16}"
    directory.mkdir()
    if content is not None:
        (directory / "status").write_bytes(content)
    for question in ("live", "ready"):
        code, text = probe(tmp_path, question)
        assert code == 1
        assert text.startswith("w1: cannot read ")
    assert probe(tmp_path / "nowhere", "live")[0] == 1


@pytest.mark.parametrize("question", ["live", "ready"])
def test_a_status_of_this_moment_is_known(monkeypatch: pytest.MonkeyPatch, question: str) -> None:
    """The worker rounds its clock up to a millisecond that has not come yet."""
    at = 1234.5678
    page = encode_status(WorkerStatus(os.getpid(), at, at, 60.0, 0.0, True)).ljust(SIZE, b"\0")
    monkeypatch.setattr(time, "monotonic", lambda: at)
    assert decide(question, parse_status(page), "") == ""


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["live"],
        ["dead", "--name", "w1"],
        ["live", "--name", "../x"],
        ["live", "ready", "--name", "w1"],
        ["live", "--name"],
        ["live", "--name", "w1", "--host=ä"],
        ["live", "--name", "w1", "--nonsense"],
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(argv: list[str]) -> None:
    done = subprocess.run([PROBE, *argv], capture_output=True, text=True, timeout=BUSY)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("beanwatch_probe: ")


def test_it_starts_hardly_slower_than_python(tmp_path: Path) -> None:
    # CPU time, since the machine may be busy; the imports are all that takes time.
    extra = [
        cpu_time([PROBE, "live", "--name", "w1", "--tmp-root", str(tmp_path)])
        - cpu_time([sys.executable, "-c", "pass"])
        for _ in range(9)
    ]
    assert statistics.median(extra) < MAX_EXTRA


def cpu_time(argv: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(argv, stdout=subprocess.DEVNULL, timeout=BUSY)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_it_imports_nothing_slow() -> None:
    code = "import sys, beanwatch.checks.probe; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert not {"click", "argparse", "typing", "json", "redis", "socket"} & set(done.stdout.split())
