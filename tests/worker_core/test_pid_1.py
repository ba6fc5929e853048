"""A worker that is PID 1, as in a container."""

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from beanwatch.worker.monitor.host import find_descendants
from tests.real import wait_until
from tests.worker_core.conftest import Broker, RunningWorker, StartWorker

APP = "tests.worker_core.hostile_jobs:app"


@pytest.fixture
def pid_1() -> list[str]:
    """The command that runs another one as PID 1 of a namespace; its exit code is passed on."""
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    command = ["unshare", *user, "--pid", "--fork", "--mount-proc", "--kill-child"]
    if subprocess.run([*command, "true"], capture_output=True).returncode:
        pytest.skip("this machine does not allow namespaces (unshare failed)")
    return command


def processes(worker: RunningWorker) -> list[int]:
    """PID 1 of the namespace, the worker, and their other children."""
    return find_descendants(worker.process.pid)


def zombies(worker: RunningWorker) -> list[int]:
    stats = [(pid, Path(f"/proc/{pid}/stat")) for pid in processes(worker)]
    return [pid for pid, stat in stats if stat.read_text().rpartition(")")[2].split()[0] == "Z"]


def test_it_reaps_orphans_and_no_exit_code_of_a_job_is_lost(
    start_worker: StartWorker, broker: Broker, pid_1: list[str]
) -> None:
    worker = start_worker(app=APP, wrapper=pid_1)
    broker.put("orphans")
    wait_until(lambda: worker.outcomes() == ["ok"])
    wait_until(lambda: len(processes(worker)) == 2)
    assert zombies(worker) == []


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 0), (signal.SIGQUIT, 0), (signal.SIGKILL, 137)]
)
def test_signals_reach_it_and_its_exit_code_is_that_of_the_container(
    start_worker: StartWorker, pid_1: list[str], number: int, code: int
) -> None:
    worker = start_worker(app=APP, wrapper=pid_1)
    wait_until(lambda: worker.logged("the worker starts") and worker.health() == "idle")
    init, child = processes(worker)
    os.kill(init, signal.SIGHUP)
    os.kill(child if number == signal.SIGKILL else init, number)
    assert worker.exit_code() == code


def test_ctrl_c_at_the_terminal_of_its_container_lets_the_job_end(
    start_worker: StartWorker, broker: Broker, pid_1: list[str]
) -> None:
    """The terminal signals PID 1 and the worker."""
    control, terminal = pty.openpty()
    take_terminal = (
        "import os, sys\n"
        "os.setsid()\n"
        "os.set_inheritable(os.open(sys.argv[1], os.O_RDWR), True)\n"
        "os.execvp(sys.argv[2], sys.argv[2:])\n"
    )
    at_terminal = [sys.executable, "-S", "-I", "-c", take_terminal, os.ttyname(terminal)]
    worker = start_worker(wrapper=[*at_terminal, *pid_1])
    broker.put("sleep", {"seconds": 5})
    wait_until(lambda: worker.running().name == "sleep", 30)
    os.write(control, b"\x03")
    assert worker.exit_code() == 0
    assert worker.outcomes() == ["ok"]
    assert worker.logged("the worker ends: it received SIGINT")
    os.close(control)
    os.close(terminal)


def test_wrong_use_is_its_exit_code_too(start_worker: StartWorker, pid_1: list[str]) -> None:
    assert start_worker("--max-jobs", "many", wrapper=pid_1).exit_code() == 2
