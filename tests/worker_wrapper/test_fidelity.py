"""`beanwatch run` changes nothing: input, output, exit codes, signals, process state."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path
from typing import Self

from tests.real import Redis, wait_until
from tests.worker_core.test_deadlines import is_alive
from tests.worker_core.test_pid_1 import pid_1 as pid_1
from tests.worker_wrapper.conftest import BEANWATCH, TELLER, Fleet, Run

ENDS = {
    "exit 0": 0,
    "exit 7": 7,
    "exit 255": 255,
    "kill -TERM $$": -signal.SIGTERM,
    "kill -KILL $$": -signal.SIGKILL,
    "kill -SEGV $$": -signal.SIGSEGV,
    "kill -PIPE $$": -signal.SIGPIPE,
}


def test_it_ends_as_its_program_ends(run: Run) -> None:
    running = {end: run("sh", "-c", end) for end in ENDS}
    assert {end: program.end()[0] for end, program in running.items()} == ENDS


def test_what_cannot_be_started_has_the_exit_code_of_a_shell(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for command, code, reason in (
        ("no-such-program", 127, "No such file or directory"),
        (f"{file}/below", 127, "Not a directory"),
        (str(file), 126, "Permission denied"),
    ):
        program = run(command)
        assert program.end() == (
            code, b"", f"beanwatch: cannot start {command}: {reason}\n".encode()
        )  # fmt: skip
        assert program.beat().last_words == f"cannot start {command}: {reason}"


def test_input_and_output_are_passed_through_untouched(run: Run) -> None:
    data = bytes(range(256)) * 4096
    program = run("sh", "-c", "tee /dev/stderr")
    out, err = program.process.communicate(data, timeout=60)
    assert out == data
    assert err == data


def test_half_a_line_that_the_program_prints_spoils_no_line_of_the_log(run: Run) -> None:
    argv = ["sh", "-c", 'printf "50 %%" >&2; exec "$0" "$@"', *TELLER]
    options = ["--log-file", ""]  # standard error, which is a pipe
    program = run(*argv, options=options, env={"BEANWATCH_LOG_FORMAT": "json"})
    program.tell("notify", "X_BEANWATCH_JOB=backup")
    program.tell("notify-and-exit", "X_BEANWATCH_DONE=ok", 0)
    code, _, err = program.end()
    assert code == 0
    first, *lines = filter(None, err.split(b"\n"))
    assert first == b"50 %"
    assert "backup" in [json.loads(line)["context"].get("job") for line in lines]


def test_a_program_sees_nothing_of_beanwatch(tmp_path: Path) -> None:
    """What a child inherits is the same with and without: signals, files, limits, environment."""
    script = (
        "grep -E '^(Sig|Shd)(Blk|Ign|Cgt)|^Umask|^NoNewPrivs' /proc/self/status; pwd; ulimit -a;"
        "env | grep -v -e ^NOTIFY_SOCKET -e ^_= | sort; ls /proc/self/fd | wc -l; cat <&5"
    )
    beanwatch = [BEANWATCH, "run", "--name", "x", "--redis", "", "--log-file", tmp_path / "log"]
    seen = []
    for command in (["sh", "-c", script], [*beanwatch, "--", "sh", "-c", script]):
        read_end, write_end = os.pipe()
        os.write(write_end, b"from a file of its own")
        os.close(write_end)
        # The shell leaves signals ignored that were ignored before, as nohup does.
        before = f'trap "" HUP USR1; umask 027; exec "$0" "$@" 5</proc/self/fd/{read_end}'
        done = subprocess.run(
            ["sh", "-c", before, *command],
            pass_fds=[read_end],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
        )
        os.close(read_end)
        assert (done.returncode, done.stderr) == (0, b"")
        seen.append(done.stdout.decode())
    assert seen[0] == seen[1]
    assert "from a file of its own" in seen[0]


def test_the_end_of_a_program_is_seen_where_sigchld_is_ignored(tmp_path: Path) -> None:
    """A daemon passes this on to its children. The kernel would reap the program."""
    script = (
        "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN);"
        "os.execvp(sys.argv[1], sys.argv[1:])"
    )
    beanwatch = [BEANWATCH, "run", "--name", "x", "--redis", "", "--log-file", tmp_path / "log"]
    program = ["grep", "-h", "SigIgn", "/proc/self/status", "/nowhere"]
    seen = []
    for command in (program, [*beanwatch, "--", *program]):
        done = subprocess.run(
            [sys.executable, "-c", script, *command], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 2
        seen.append(int(done.stdout.split()[1], 16) >> (signal.SIGCHLD - 1) & 1)
    assert seen == [1, 1]


def test_signals_reach_the_program_once(run: Run) -> None:
    numbers = [
        *(signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGWINCH),
        *(signal.SIGRTMIN + 1, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGCONT),
    ]
    program = run(*TELLER, *map(str, map(int, numbers)))
    own, group, _ = program.tell("where")
    assert own == group, "it has a process group of its own"
    for number in numbers:
        program.process.send_signal(number)
    expected = sorted(str(int(number)) for number in numbers)

    def has_all() -> bool:
        assert sorted(program.tell("signals")) == expected, program.log_file.read_text()
        return True

    wait_until(has_all)
    program.tell("exit", 4)
    assert program.end()[0] == 4


class Terminal:
    """`beanwatch run` of a Python script at a terminal, with what the terminal shows."""

    def __init__(self, script: str, *options: object) -> None:
        self.control, terminal = pty.openpty()
        self.shown = b""

        def take_terminal() -> None:
            os.setsid()
            os.close(os.open(os.ttyname(terminal), os.O_RDWR))

        program = [sys.executable, "-S", "-I", "-c", script]
        self.process = subprocess.Popen(
            [BEANWATCH, "run", *map(str, options), "--", *program],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            preexec_fn=take_terminal,
        )
        os.close(terminal)

    def has_shown(self, text: bytes) -> bool:
        if select.select([self.control], [], [], 0.1)[0]:
            self.shown += os.read(self.control, 1000)
        return text in self.shown

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.control)


def test_at_a_terminal_the_program_is_in_the_foreground_and_ctrl_c_reaches_it_once(
    tmp_path: Path,
) -> None:
    """The terminal signals the whole process group; other signals are still passed on."""
    script = (
        "import os, signal, time\n"
        "for number in (2, 15): signal.signal(number, lambda n, _: os.write(1, b'got %d;' % n))\n"
        "print(input(), os.tcgetpgrp(0) == os.getpgrp(), flush=True)\n"
        "while True: time.sleep(60)\n"
    )
    options = ["--name", "x", "--redis", "", "--stop-timeout", "0"]
    with Terminal(script, *options, "--log-file", tmp_path / "log") as terminal:
        os.write(terminal.control, b"typed\n")
        wait_until(lambda: terminal.has_shown(b"typed True"), 60)
        os.write(terminal.control, b"\x03")
        wait_until(lambda: terminal.has_shown(b"got 2;"))
        terminal.process.send_signal(signal.SIGTERM)
        wait_until(lambda: terminal.has_shown(b"got 15;"))
        assert terminal.shown.count(b"got 2;") == 1


def test_a_failure_after_the_terminal_was_resized_is_one(
    shared_redis: Redis, tmp_path: Path
) -> None:
    script = "import sys; sys.exit(int(input('begins')))"
    options = ["--name", "resized", "--host", "here", "--redis", shared_redis.url]
    with Terminal(script, *options, "--log-file", tmp_path / "log") as terminal:
        wait_until(lambda: terminal.has_shown(b"begins"), 60)
        termios.tcsetwinsize(terminal.control, (50, 100))
        status = Path(f"/proc/{terminal.process.pid}/status")
        no_signal_waits = re.compile(r"ShdPnd:\t0+$", re.MULTILINE)
        wait_until(lambda: no_signal_waits.search(status.read_text()))
        os.write(terminal.control, b"3\n")
        assert terminal.process.wait(60) == 3
    worker = Fleet(shared_redis).find("here.resized")
    assert worker
    assert worker.heartbeat
    assert worker.heartbeat.last_words.endswith("ended with exit code 3")


def test_no_zombie_stays_and_no_orphan_is_lost(run: Run) -> None:
    program = run(*TELLER)
    orphans = program.tell("orphans", 5)
    parents = {
        pid: int(stat.rpartition(")")[2].split()[1])
        for pid in orphans
        if (stat := _read(f"/proc/{pid}/stat"))
    }
    assert set(parents.values()) <= {program.pid}, "it adopts them"
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in orphans))
    program.tell("exit", 0)
    assert program.end()[0] == 0


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def test_if_it_is_killed_its_program_is_killed_too(run: Run) -> None:
    program = run(*TELLER)
    child, _, _ = program.tell("where")
    program.process.kill()
    wait_until(lambda: not is_alive(child))


def test_what_ignores_term_is_killed_after_the_stop_timeout_with_its_children(
    run: Run, in_c: Path
) -> None:
    program = run(in_c, options=["--stop-timeout", "0.5s"])
    assert program.process.stdout
    child = int(program.process.stdout.readline())
    program.wait_for("busy")
    began = time.monotonic()
    program.process.send_signal(signal.SIGTERM)
    assert program.end()[0] == -signal.SIGKILL
    assert time.monotonic() - began >= 0.5
    wait_until(lambda: not is_alive(child))
    (line,) = (line for line in program.lines() if "did not end within" in line["message"])
    assert "0.5 s after it received SIGTERM" in line["message"]
    assert program.find() is None, "somebody wanted it to stop"
    (job,) = program.runs()
    assert (job["id"], job["outcome"]) == ("c-7", "failed")
    assert job["reason"] == "stubborn was killed by SIGKILL"


def test_as_pid_1_it_reaps_and_exits_with_128_and_the_signal(run: Run, pid_1: list[str]) -> None:
    program = run(*TELLER, wrapper=pid_1)
    assert program.tell("orphans", 3)
    inner = program.tell("where")
    assert inner[0] > 1
    init = _children(program.pid)[0]
    os.kill(init, signal.SIGTERM)
    assert program.end()[0] == 128 + signal.SIGTERM
    assert run("sh", "-c", "exit 9", wrapper=pid_1).end()[0] == 9


def _children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_wrong_usage_starts_nothing(tmp_path: Path) -> None:
    environment = {**os.environ, "BEANWATCH_LOG_FILE": "/no/such"}
    for arguments, reason in (
        (["--name", "a", "--", "touch", "made"], "cannot open log file /no/such: No such file"),
        (["--name", "a b", "--", "touch", "made"], "name 'a b': expected 1 to 64 characters"),
        (["--", "touch", "made"], "Missing option '--name'"),
        (["--name", "a"], "Missing argument '-- COMMAND"),
        (["--name", "a", "--redis", "http://x", "--", "touch", "made"], "redis"),
        (["--name", "a", "--log-file", "/", "--", "touch", "made"], "cannot open log file /: Is a"),
    ):
        done = subprocess.run(
            [BEANWATCH, "run", *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            cwd=tmp_path,
        )
        assert done.returncode == 2, done.stderr
        assert reason in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "made").exists()


def test_a_program_that_goes_into_the_background_is_followed(run: Run) -> None:
    program = run(*TELLER, options=["--notify"])
    assert program.tell("background", 5) is None
    beat = program.wait_for("busy")
    assert beat.reason == "in the background"
    program.process.send_signal(signal.SIGTERM)
    assert program.end()[0] == 5


def test_nothing_is_left_in_the_directory_of_temporary_files(run: Run, tmp_path: Path) -> None:
    script = 'ls -d "$TMPDIR"/*; kill -KILL $$'
    with tempfile.TemporaryDirectory(prefix="short-") as directory:
        code, out, _ = run("sh", "-c", script, env={"TMPDIR": directory}).end()
        assert (code, b"beanwatch-run-" in out) == (-9, True)
        assert list(Path(directory).iterdir()) == []
    # Where the path of a socket would be too long, its name is abstract.
    directory = tmp_path / ("long" * 25)
    directory.mkdir()
    program = run(*TELLER, env={"TMPDIR": str(directory)}, options=["--notify"])
    assert program.tell("env", "NOTIFY_SOCKET").startswith("@")
    assert list(directory.iterdir()) == []
    program.tell("notify", "READY=1")
    program.wait_for("busy")
