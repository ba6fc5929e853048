"""`beanwatch passive`: run all checks in one process, and submit their results to Nagios."""

import errno
import os
import select
import stat
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import click

from beanwatch.checks.lib.own_services import OwnServices, read_own_services
from beanwatch.checks.lib.passive import PassiveRound, ServiceResult
from beanwatch.checks.lib.services import LIST_FILES, Service, list_own, plan_services
from beanwatch.cli.lib.absent_parts import PresentParts
from beanwatch.cli.lib.options import (
    DURATION,
    check_durations,
    config_option,
    load_config,
    pick_servers,
    server_option,
)
from beanwatch.cli.lib.output import print_line
from beanwatch.config import Config
from beanwatch.queues.servers import Server
from beanwatch.words import count

COMMAND_FILES = ("/var/lib/nagios4/rw/nagios.cmd", "/var/spool/nagios/cmd/nagios.cmd")
DEFAULT_LISTS = (LIST_FILES["nagios"], LIST_FILES["icinga2"])
# Bytes that one write to a pipe sends as a whole. The parts of a longer command could be mixed with
# a command that another process writes.
PIPE_BUF = select.PIPE_BUF
# The comment of a custom notification. It has no foreign text: Nagios passes it to a shell.
GROWN = "one more problem than before; the state is the same"
ETB = b"\x17"  # ends a result for send_nsca, which would read a line end as a part of the output
MAX_NSCA_LINE = 4000  # bytes; send_nsca does not send a longer line


class SubmitError(Exception):
    """The results of the checks could not be submitted. The text says where and why."""


@click.command()
@click.option("--once", is_flag=True, help="run the checks once, then exit: 0 if submitted, else 1")
@click.option(
    "--to",
    type=click.Choice(["stdout", "nsca", "command-file"]),
    default="stdout",
    show_default=True,
    help="where to submit the results",
)
@click.option(
    "--monitor", metavar="HOST[:PORT]", help="for nsca: the monitoring server (port 5667)"
)
@click.option(
    "--nsca-config",
    metavar="FILE",
    default="/etc/send_nsca.cfg",
    show_default=True,
    help="for nsca: the configuration file of send_nsca",
)
@click.option(
    "--command-file",
    metavar="FILE",
    help=f"for command-file: the external command file of Nagios ({' or '.join(COMMAND_FILES)})",
)
@click.option(
    "--interval", type=DURATION, default=60.0, help="time between two runs of the checks (60s)"
)
@click.option(
    "-t", "--timeout", type=DURATION, default=10.0, help="longest wait for the servers (10s)"
)
@click.option(
    "--services",
    "list_file",
    metavar="FILE",
    help="report the services of this list, which `beanwatch install` writes (default: "
    f"{' or '.join(DEFAULT_LISTS)}, if it exists; else those of the configuration)",
)
@click.option(
    "--discover",
    is_flag=True,
    help="without a list: also report each queue and each kind of job that exists now by itself",
)
@server_option
@config_option
def command(
    once: bool,
    to: str,
    monitor: str | None,
    nsca_config: str,
    command_file: str | None,
    interval: float,
    timeout: float,
    list_file: str | None,
    discover: bool,
    servers: tuple[str, ...],
    config_file: str | None,
) -> int:
    """Run all checks in one process, and submit their results as passive results.

    These are the checks for which `beanwatch install nagios --passive` generates services. The
    list of these services is read before each run. A queue that is not in it belongs to the service
    `... of other queues` from the first run on.

    \b
    Examples:
      beanwatch passive --once
      beanwatch passive --to nsca --monitor monitoring.example.org
    """
    check_durations(interval=interval, timeout=timeout)
    config = load_config(config_file)
    picked = pick_servers(config, servers)
    submit: Callable[[Iterable[ServiceResult]], int]
    if to == "nsca":
        if not monitor:
            raise click.UsageError("--to nsca needs --monitor HOST")
        submit = lambda results: submit_nsca(results, monitor, nsca_config)  # noqa: E731
    elif to == "command-file":
        path = command_file or next(filter(os.path.exists, COMMAND_FILES), COMMAND_FILES[0])
        submit = lambda results: submit_commands(results, path)  # noqa: E731
    else:
        submit = submit_stdout
    planner = ServicePlanner(picked, list_file, discover)
    due = time.monotonic()
    parts = PresentParts()
    while True:
        present = parts.turn_off_absent(config)
        now = PassiveRound(present, picked, timeout)
        now.read()
        services, own = planner.plan(now, present)
        try:
            sent, code = submit(now.judge(services, own)), 0
        except SubmitError as error:
            print_line(f"beanwatch: {error}", err=True)
            code = 1
        else:
            if to != "stdout" and once:
                print_line(f"{count(sent, 'check result')} submitted")
        now.save()
        if once:
            return code
        due = max(due + interval, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))


class ServicePlanner:
    """Plans the services of each round: those of the list, or else those of the configuration.

    Raises UsageError if `list_file` was named and cannot be read at the start.
    """

    def __init__(self, servers: Sequence[Server], list_file: str | None, discover: bool) -> None:
        self._servers, self._discover = servers, discover
        self._path = list_file or next(filter(os.path.exists, DEFAULT_LISTS), "")
        self._list: OwnServices | None = None
        if self._path:
            self._read()
            if self._list is None:
                raise click.UsageError(self._trouble)

    def _read(self) -> None:
        """Read the list again. If it cannot be read, keep the one that was read before."""
        self._trouble = ""
        try:
            self._list = read_own_services(self._path)
        except OSError as error:
            self._trouble = f"cannot read {self._path}: {error.strerror}"
        except (ValueError, RecursionError) as error:
            self._trouble = f"{self._path} is not a list of services: {error}"

    def plan(self, now: PassiveRound, config: Config) -> tuple[list[Service], OwnServices]:
        """Return the services, and what the catch-all services leave out."""
        if self._path:
            self._read()
            if self._trouble:
                print_line(f"beanwatch: {self._trouble}; using the list read before", err=True)
        if self._list is not None:
            found = self._list
            services = plan_services(config, self._servers, found.queues, found.jobs)
            return services, list_own(services)
        if not self._discover:
            services = plan_services(config, self._servers)
            return services, list_own(services)
        services = plan_services(config, self._servers, now.queues(), now.kinds())
        # Nagios may have no service for a queue that came later: the catch-all service has it, too.
        first = plan_services(config, self._servers, now.first_queues(), now.kinds())
        return services, list_own(first)


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

    `monitor` is HOST or HOST:PORT, `config` the file for its option -c. Raises SubmitError.
    """
    host, _, port = monitor.partition(":")
    # send_nsca doubles a backslash, so Nagios would read `\n` as text, and what follows as
    # performance data. It passes on a real line end, since ETB ends each result.
    lines = list(format_nsca(results, "\n"))
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
    return len(lines)


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
