"""Submits the results of `beanwatch passive`: prints them, or gives them to NSCA or to Nagios."""

import errno
import os
import select
import stat
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import click

from beanwatch.checks.lib.passive import ServiceResult
from beanwatch.words import count

# Bytes that one write to a pipe sends as a whole. The parts of a longer command could be mixed with
# a command that another process writes.
PIPE_BUF = select.PIPE_BUF
# The comment of a custom notification. It has no foreign text: Nagios passes it to a shell.
GROWN = "one more problem than before; the state is the same"
ETB = b"\x17"  # ends a result for send_nsca, which would read a line end as a part of the output
MAX_NSCA_LINE = 4000  # bytes; send_nsca cuts the output after 4,095
# Bytes in a packet of NSCA. send_nsca cuts longer names, and Nagios knows no such host or service.
MAX_NSCA_HOST = 63
MAX_NSCA_SERVICE = 127
MAX_TOLD = 3  # names that a message lists


class SubmitError(Exception):
    """The results of the checks could not be submitted. The text says where and why."""


def one_line(result: ServiceResult, room: int, line_end: str = r"\n") -> str:
    """Return a check's output as one line of at most `room` bytes.

    Its line ends are written as `line_end`: the characters `\\` and `n`, which Nagios reads as a
    line end in its command file. Lines that do not fit are left out.
    """
    # Nagios would read a backslash and an n in a text as a line end.
    lines = result.result.render().replace("\\", "/").rstrip("\n").split("\n")
    text = lines[0]
    if len(text.encode()) > room:  # leave out the performance data, which is too long
        text = text.partition(" | ")[0].encode()[:room].decode(errors="ignore")
    for line in lines[1:]:
        longer = f"{text}{line_end}{line}".replace("\t", " ")
        if len(longer.encode()) > room:
            break
        text = longer
    return text


def format_nsca(results: Iterable[ServiceResult], line_end: str = r"\n") -> Iterator[bytes]:
    """Yield a line for each result, in the input format of send_nsca (fields between tabs).

    `line_end` stands between the lines of an output.
    """
    for result in results:
        service = result.service
        head = f"{service.host}\t{service.name}\t{result.result.exit_code}\t"
        yield f"{head}{one_line(result, MAX_NSCA_LINE - len(head.encode()), line_end)}\n".encode()


def submit_stdout(results: Iterable[ServiceResult]) -> int:
    """Print the results on standard output, in the input format of send_nsca.

    Return the number of results.
    """
    sent = 0
    for line in format_nsca(results):
        click.echo(line, nl=False)  # noqa: TID251 - bytes, which `plugin_text` has quoted
        sent += 1
    return sent


def submit_nsca(
    results: Iterable[ServiceResult],
    monitor: str,
    config: str,
    run: Callable[..., Any] = subprocess.run,
) -> int:
    """Submit the results with one call of the program send_nsca. Return the number of results.

    `monitor` is HOST or HOST:PORT, `config` the file for its option -c. Raises SubmitError, also if
    it could submit only a part of the results: the names of the others are too long for NSCA.
    """
    host, _, port = monitor.partition(":")
    refused: dict[str, None] = {}
    results = list(results)
    fitting = []
    for result in results:
        if problem := find_long_name(result.service.host, result.service.name):
            refused[problem] = None
        else:
            fitting.append(result)
    # send_nsca doubles a backslash, so Nagios would read `\n` as text, and what follows as
    # performance data. It passes on a real line end, since ETB ends each result.
    lines = list(format_nsca(fitting, "\n"))
    argv = ["send_nsca", "-H", host, "-p", port or "5667", "-c", config, "-to", "10"]
    try:
        done = run(
            argv,
            input=b"".join(line.rstrip(b"\n") + ETB for line in lines),
            capture_output=True,
            timeout=60,
        )
    except FileNotFoundError:
        raise SubmitError(
            "cannot submit results: there is no program send_nsca; install nsca-client"
        ) from None
    except subprocess.TimeoutExpired:
        raise SubmitError(
            f"cannot submit results to {monitor}: send_nsca did not end within 60 s"
        ) from None
    if done.returncode:
        said = " ".join((done.stdout + done.stderr).decode(errors="replace").split())
        raise SubmitError(
            f"cannot submit results to {monitor}: send_nsca: "
            f"{said or f'exit code {done.returncode}'}"
        )
    if refused:
        more = f", and {len(refused) - MAX_TOLD} more" if len(refused) > MAX_TOLD else ""
        raise SubmitError(
            f"submitted only {len(lines)} of {count(len(results), 'result')} to {monitor}: "
            f"{', '.join([*refused][:MAX_TOLD])}{more}; give it a shorter name in beanwatch.toml"
        )
    return len(lines)


def find_long_name(host: str, service: str) -> str:
    """Return a text about the name that NSCA would cut; "" if both fit into its packet."""
    for what, name, limit in (
        ("host", host, MAX_NSCA_HOST),
        ("service", service, MAX_NSCA_SERVICE),
    ):
        if len(name.encode()) > limit:
            return f"the name of {what} {name!r} is longer than the {limit} bytes that NSCA carries"
    return ""


def submit_commands(
    results: Iterable[ServiceResult],
    path: str,
    timeout: float = 30.0,
    clock: Callable[[], float] = time.time,
) -> int:
    """Write the results to the external command file of Nagios, a named pipe. Return their number.

    For a service with more problems than in the round before, Nagios is also told to notify again,
    because it does not do so by itself while the state is the same.

    `timeout` (seconds) limits each write. The pipe is opened without blocking: if Nagios does not
    read it, a blocking open or write would never return. Raises SubmitError.
    """
    try:
        pipe = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        not_read = "no process reads this pipe; is Nagios running?"
        reason = not_read if error.errno == errno.ENXIO else error.strerror
        raise SubmitError(
            f"cannot submit results to {path}: {reason} (see command_file in nagios.cfg)"
        ) from None
    sent = 0
    try:
        if not stat.S_ISFIFO(os.fstat(pipe).st_mode):
            raise SubmitError(
                f"cannot submit results to {path}: it is not a named pipe of Nagios "
                "(see command_file in nagios.cfg)"
            )
        poller = select.poll()
        poller.register(pipe, select.POLLOUT)
        for result in results:
            service, state = result.service, result.result.exit_code
            head = f"[{clock():.0f}] PROCESS_SERVICE_CHECK_RESULT;"
            head += f"{service.host};{service.name};{state};"
            text = one_line(result, PIPE_BUF - len(head.encode()) - 1)
            _write(pipe, f"{head}{text}\n".encode(), poller, timeout)
            sent += 1
            if result.has_grown:
                line = f"[{clock():.0f}] SEND_CUSTOM_SVC_NOTIFICATION;"
                line += f"{service.host};{service.name};0;beanwatch;{GROWN}\n"
                _write(pipe, line.encode(), poller, timeout)
    except OSError as error:
        reason = error.strerror or "Nagios does not read this pipe any more"
        raise SubmitError(f"submitted only {count(sent, 'result')} to {path}: {reason}") from None
    finally:
        os.close(pipe)
    return sent


def _write(pipe: int, line: bytes, poller: "select.poll", timeout: float) -> None:
    while True:
        if not poller.poll(timeout * 1000):
            raise TimeoutError
        try:
            os.write(pipe, line)
        except BlockingIOError:  # the pipe has room, but not for the whole line
            time.sleep(0.01)
            continue
        return
