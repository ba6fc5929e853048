"""What a program tells by its notify socket is in its worker's record, log, ledger and alerts."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from beanwatch.store.heartbeats import WORKERS_KEY
from tests.real import ROOT, wait_until
from tests.worker_wrapper.conftest import APPS, TELLER, Run, WatchedProgram

BIN = ROOT / ".venv" / "bin"


def check(program: WatchedProgram) -> tuple[int, str]:
    """The exit code and the first line of check_worker_heartbeat."""
    done = subprocess.run(
        [BIN / "check_worker_heartbeat", "--redis", program.redis.url, "--worker", program.id],
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout.splitlines()[0]


def beanwatch(program: WatchedProgram, *arguments: str) -> str:
    done = subprocess.run(
        [BIN / "beanwatch", *arguments, "--redis", program.redis.url],
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.stdout + done.stderr


def has_no_reader(pipe: int) -> bool:
    try:
        os.write(pipe, b"x")
    except BrokenPipeError:
        return True
    return False


def wait_for_job(program: WatchedProgram, job_id: str) -> Any:
    wait_until(lambda: [job.id for job in program.beat().jobs] == [job_id], 60)
    return program.beat().jobs[0]


def test_a_program_that_tells_nothing_is_busy_and_its_exit_code_is_in_the_alert(run: Run) -> None:
    program = run("sh", "-c", "read line; exit 3", options=["--queue", "mail"])
    beat = program.wait_for("busy")
    assert (beat.kind, beat.queues, beat.jobs, beat.pid) == ("run", ("mail",), (), program.pid)
    assert beat.reason.startswith("runs sh (pid ")
    assert check(program)[0] == 0
    program.next_line()
    assert program.end()[0] == 3
    # A minute later, nobody has started it again.
    with program.redis.client() as redis:
        redis.zincrby(WORKERS_KEY, -60, program.id)
    code, line = check(program)
    assert code == 2
    assert "it ended itself: sh ended with exit code 3" in line


def test_until_it_says_that_it_is_ready_it_is_starting(run: Run) -> None:
    program = run(*TELLER, options=["--notify"])
    program.wait_for("starting")
    program.tell("notify", "STATUS=loads")
    wait_until(lambda: program.beat().reason == "loads", 60)
    program.tell("notify", "READY=1\nSTATUS=works")
    assert program.wait_for("busy").reason == "works"
    program.tell("notify", "STOPPING=1")
    program.wait_for("stopping")
    program.tell("notify-and-exit", "STATUS=gone", 0)
    assert program.end()[0] == 0
    assert program.find() is None


def test_jobs_that_a_php_worker_reports(run: Run) -> None:
    program = run("php", APPS / "worker.php", options=["--notify", "--queue", "other"])
    program.wait_for("busy")
    for job_id in ("php-1", "php-2"):
        program.next_line()
        job = wait_for_job(program, job_id)
        wait_until(lambda n=job_id: program.beat().jobs[0].note == f"page 3 of {n}", 60)
        assert (job.name, job.queue, job.where, job.cpu) == ("invoice.send", "invoices", "", None)
        program.next_line()
        program.wait_for("idle")
    assert [(run["id"], run["outcome"]) for run in program.runs()] == [
        ("php-1", "ok"),
        ("php-2", "failed"),
    ]
    assert "it ended failed" in beanwatch(program, "job", "php-2")
    beat = program.beat()
    assert (beat.processed, beat.failed) == (2, 1)
    program.next_line()
    assert program.end()[0] == 0


def test_jobs_that_a_shell_script_reports_by_a_helper(run: Run) -> None:
    """The helper has ended before its message is read; it is none that began the job."""
    script = (
        "systemd-notify --ready; read line; "
        "systemd-notify X_BEANWATCH_JOB=backup; read line; "
        "systemd-notify STATUS=half X_BEANWATCH_DONE=ok; read line; exit 0"
    )
    program = run("sh", "-c", script, options=["--notify", "--queue", "night"])
    program.wait_for("busy")
    for state in ("busy", "idle"):
        program.next_line()
        wait_until(lambda s=state: program.beat().state == s and len(program.beat().jobs) == (
            s == "busy"), 60)  # fmt: skip
    (done,) = program.runs()
    assert (done["job"], done["queue"], done["outcome"]) == ("backup", "night", "ok")
    assert program.beat().ignored_values in (None, 0)
    program.process.kill()


def test_a_helper_that_forgets_an_end_spoils_no_later_job(run: Run) -> None:
    """A helper has a pid of its own; only systemd-notify of root sends that of the script."""
    script = (
        f"tell() {{ echo '[\"notify\", \"'$1'\"]' | {' '.join(TELLER)} > /dev/null; }};"
        "for end in ok '' ok ok; do tell X_BEANWATCH_JOB=backup; read line;"
        '[ -z "$end" ] || tell X_BEANWATCH_DONE=$end; done; read line'
    )
    program = run("sh", "-c", script)
    for ended in (0, 1, 2, 3):
        wait_until(lambda n=ended: len(program.runs()) == n and program.beat().jobs, 60)
        program.next_line()
    wait_until(lambda: len(program.runs()) == 4, 60)
    assert [run["outcome"] for run in program.runs()] == ["ok", "failed", "ok", "ok"]
    assert program.runs()[1]["reason"].startswith("the program began another job and did not say")
    program.process.kill()


def test_how_jobs_end_of_which_nobody_says_how(run: Run) -> None:
    program = run(*TELLER)
    program.tell("notify", "X_BEANWATCH_JOB=a")
    program.tell("notify", "X_BEANWATCH_JOB=b")  # the same process runs one at a time
    program.tell("notify", "X_BEANWATCH_JOB=c\nX_BEANWATCH_ID=1")
    program.tell("notify", "X_BEANWATCH_JOB=d\nX_BEANWATCH_ID=2")
    program.tell("notify", "X_BEANWATCH_DONE=retry\nX_BEANWATCH_ID=1\nX_BEANWATCH_REASON=later")
    program.tell("notify-and-exit", "X_BEANWATCH_DONE=ok", 0)  # ends the last one of this process
    assert program.end()[0] == 0
    ends = {run["job"]: (run["outcome"], run.get("reason", "")) for run in program.runs()}
    assert ends == {
        "a": ("failed", "the program began another job and did not say how this one ended"),
        "b": ("failed", f"{Path(sys.executable).name} ended with exit code 0"),
        "c": ("retry", "later"),
        "d": ("ok", ""),
    }


def test_the_job_of_a_process_that_died_has_failed(run: Run) -> None:
    """A prefork program goes on when one of its workers dies."""
    script = f"{TELLER[0]} -S -I {TELLER[3]} 3>&1; exec sleep 60"
    program = run("sh", "-c", script)
    child = program.tell("where")[0]
    program.tell("notify", "X_BEANWATCH_JOB=a\nX_BEANWATCH_ID=7")
    wait_for_job(program, "7")
    seen = program.beat().beat_at
    wait_until(lambda: program.beat().beat_at > seen + 2.5, 60)
    os.kill(child, signal.SIGKILL)
    wait_until(lambda: program.runs() != [], 60)
    (job,) = program.runs()
    assert job["outcome"] == "failed"
    assert job["reason"] == f"its process {child} ended and did not say how the job ended"
    assert program.process.poll() is None


def test_malformed_and_foreign_messages_are_counted_and_break_nothing(run: Run) -> None:
    program = run(*TELLER)
    address = program.tell("env", "NOTIFY_SOCKET")
    bad = [
        *("READY", "WATCHDOG=no", "MAINPID=1", "MAINPID=x", "STATUS=\xff", "STATUS=\0", "x" * 5000),
        *("X_BEANWATCH_DONE=ok", "X_BEANWATCH_DONE=fine", "X_BEANWATCH_JOB=", "X_BEANWATCH_X=1"),
        *("\x1b]0;x\x07", "=", "=\n="),
    ]
    for text in bad:
        program.tell("notify", text)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
        stranger.connect(address)
        stranger.send(b"STATUS=of somebody else")
        read_end, write_end = os.pipe()
        socket.send_fds(stranger, [b"STATUS=with a file"], [read_end])
        os.close(read_end)
        wait_until(lambda: has_no_reader(write_end), 60, "the file that was sent along is closed")
        os.close(write_end)
    # `=` is an unknown variable without a name: systemd ignores it too.
    program.tell("notify", "STATUS=fine")
    wait_until(lambda: program.beat().reason == "fine", 60)
    assert program.beat().ignored_values == len(bad) - 2 + 2
    (line,) = (line for line in program.lines() if line["message"].startswith("ignored"))
    assert "the last one because a line has no `=`" in line["message"]
    program.tell("notify-many", "STATUS=flood\nX_BEANWATCH_JOB", 3000)
    assert program.tell("where")
    program.tell("exit", 6)
    assert program.end()[0] == 6


def test_a_watchdog_that_is_not_fed_is_said_to_be_hung_until_it_is(run: Run) -> None:
    program = run(*TELLER, options=["--watchdog", "1s"])
    assert program.tell("env", "WATCHDOG_USEC") == "1000000"
    assert program.tell("env", "WATCHDOG_PID") == str(program.tell("where")[0])
    program.tell("notify", "WATCHDOG=1\nX_BEANWATCH_JOB=crawl\nX_BEANWATCH_ID=7")
    wait_until(lambda: program.health() == "hung", 60)
    code, line = check(program)
    assert code == 2
    assert "hung with crawl (job 7), has sent no WATCHDOG=1 for" in line
    wait_until(lambda: program.tell("notify", "WATCHDOG=1") and program.health() == "busy", 60)
    program.tell("exit", 0)


def test_a_program_that_says_itself_that_it_hangs_is_hung_or_without_a_watchdog_blocked(
    run: Run,
) -> None:
    watched = run(*TELLER, options=["--watchdog", "2s"])
    watched.tell("notify", "WATCHDOG=1")
    watched.tell("notify", "WATCHDOG=trigger")
    program = run(*TELLER)
    program.tell("notify", "WATCHDOG=trigger")
    assert program.wait_for("blocked").reason == "it says itself that it hangs"
    # It cannot take back its word.
    wait_until(lambda: watched.tell("notify", "WATCHDOG=1") and watched.health() == "hung", 60)
    program.tell("notify", "WATCHDOG=1\nSTATUS=on")
    assert check(program)[0] == 1


def test_memory_and_cpu_are_those_of_the_program_and_its_children(run: Run) -> None:
    program = run(*TELLER)
    before = program.wait_for("busy")
    program.tell("grow", 60)
    program.tell("compute", 0.5)
    wait_until(lambda: (program.beat().cpu or 0) >= (before.cpu or 0) + 0.5, 60)
    after = program.beat()
    assert before.rss
    assert after.rss
    assert before.rss < 60 << 20 < after.rss < 250 << 20
    program.tell("exit", 0)


def test_a_program_that_somebody_stopped_is_blocked(run: Run) -> None:
    program = run(*TELLER)
    child = program.tell("where")[0]
    os.kill(child, signal.SIGSTOP)
    assert "is stopped (SIGSTOP)" in program.wait_for("blocked").reason
    os.kill(child, signal.SIGCONT)
    program.wait_for("busy")


def test_operators_can_stop_and_restart_it_and_see_its_processes(run: Run) -> None:
    stopped, restarted = run(*TELLER), run(*TELLER)
    for program in (stopped, restarted):
        program.wait_for("busy")
    shown = beanwatch(stopped, "workers", "dump", stopped.id)
    assert f"{stopped.tell('where')[0]} python" in shown
    assert "sends SIGTERM" in beanwatch(stopped, "workers", "stop", stopped.id)
    assert "sends SIGTERM" in beanwatch(restarted, "workers", "restart", restarted.id)
    assert stopped.process.wait(60) == 0
    assert restarted.process.wait(60) == 10
    assert stopped.find() is None


@pytest.mark.parametrize(("command", "code"), [("stop", 0), ("restart", 10)])
def test_a_program_that_an_operator_stopped_counts_as_such_whatever_its_code_is(
    run: Run, command: str, code: int
) -> None:
    """As a JVM, which exits with 143: with that, a supervisor would start it again."""
    script = "trap 'exit 143' TERM; echo ready; while :; do sleep 0.1; done"
    program = run("sh", "-c", script)
    assert program.process.stdout
    assert program.process.stdout.readline() == b"ready\n"
    assert "sends SIGTERM" in beanwatch(program, "workers", command, program.id)
    assert program.process.wait(60) == code
    (line,) = [one["message"] for one in program.lines() if "143" in one["message"]]
    assert line.startswith(f"sh ended with exit code 143, told to {command} by ")


class Systemd:
    """The socket of a service manager, which expects a word each second."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "systemd"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self._socket.settimeout(120)

    def close(self) -> None:
        self._socket.close()

    @property
    def env(self) -> dict[str, str]:
        return {"NOTIFY_SOCKET": str(self.path), "WATCHDOG_USEC": "3000000"}

    def wait_for(self, line: str) -> list[str]:
        """The lines that were received until this one."""
        seen: list[str] = []
        while line not in seen:
            seen += self._socket.recv(4096).decode().split("\n")
        return seen

    def is_silent_for(self, seconds: float) -> bool:
        self._socket.settimeout(seconds)
        try:
            return "WATCHDOG=1" not in self._socket.recv(4096).decode()
        except TimeoutError:
            return True


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    with closing(Systemd(tmp_path)) as manager:
        yield manager


def test_under_systemd_it_passes_on_what_the_program_says(run: Run, systemd: Systemd) -> None:
    program = run(*TELLER, options=["--notify"], env=systemd.env)
    assert program.tell("env", "NOTIFY_SOCKET") != str(systemd.path)
    assert program.tell("env", "WATCHDOG_USEC") == "3000000"
    assert "READY=1" not in systemd.wait_for("WATCHDOG=1")
    program.tell("notify", "STATUS=12 jobs\x1b[31m done\nREADY=1")
    assert any("STATUS=12 jobs\\x1b" in one for one in [*systemd.wait_for("READY=1"),
        *systemd.wait_for("WATCHDOG=1"), *systemd.wait_for("WATCHDOG=1")])  # fmt: skip
    # It has not fed its watchdog yet, so beanwatch does. From now on, it must.
    program.tell("notify", "WATCHDOG=1")
    wait_until(lambda: systemd.is_silent_for(2.5), 60)
    assert program.health() == "hung"
    program.process.send_signal(signal.SIGTERM)
    systemd.wait_for("STOPPING=1")
    assert program.end()[0] == -signal.SIGTERM


def test_without_a_word_of_the_program_beanwatch_is_ready_for_it(
    run: Run, systemd: Systemd
) -> None:
    program = run("sleep", "60", env=systemd.env)
    seen = systemd.wait_for("WATCHDOG=1")
    assert "READY=1" in seen
    program.process.send_signal(signal.SIGTERM)
    assert "STOPPING=1" in systemd.wait_for("STOPPING=1")
