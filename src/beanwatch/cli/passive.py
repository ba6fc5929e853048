"""`beanwatch passive`: all checks in one process, submitted as passive results."""

import errno
import os
import select
import stat
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import click

from beanwatch.checks.lib.passive import PassiveRound, ServiceResult
from beanwatch.checks.lib.services import plan_services
from beanwatch.cli.lib.options import (
    DURATION,
    config_option,
    load_config,
    need_time,
    pick_servers,
    server_option,
)

COMMAND_FILES = ("/var/lib/nagios4/rw/nagios.cmd", "/var/spool/nagios/cmd/nagios.cmd")
# A pipe takes so many bytes whole or not at all; more could be mixed with another's command.
PIPE_BUF = select.PIPE_BUF
ETB = b"\x17"  # between the results: send_nsca takes a line end for a part of the output
LINE = 4000  # send_nsca sends nothing of a longer one


class SubmitError(Exception):
    """Results that did not arrive; the text says where and why."""


@click.command()
@click.option("--once", is_flag=True, help="one round, then exit: 0 submitted, 1 not")
@click.option(
    "--to",
    type=click.Choice(["stdout", "nsca", "command-file"]),
    default="stdout",
    show_default=True,
    help="where the results go",
)
@click.option("--monitor", metavar="HOST[:PORT]", help="nsca: the monitoring server")
@click.option(
    "--nsca-config",
    metavar="FILE",
    default="/etc/send_nsca.cfg",
    show_default=True,
    help="nsca: send_nsca's own",
)
@click.option("--command-file", metavar="FILE", help=f"default: {COMMAND_FILES[0]}")
@click.option("--interval", type=DURATION, default=60.0, help="between rounds (default: 60 s)")
@click.option("-t", "--timeout", type=DURATION, default=10.0, help="for reading (default: 10 s)")
@click.option("--discover", is_flag=True, help="the queues that are there now, too")
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
    discover: bool,
    servers: tuple[str, ...],
    config_file: str | None,
) -> int:
    """Evaluate every check that `beanwatch install nagios` makes a service of, and report them.

    \b
    Examples:
      beanwatch passive --once
      beanwatch passive --to nsca --monitor monitoring.example.org
    """
    need_time(interval=interval, timeout=timeout)
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
    due = time.monotonic()
    while True:
        now = PassiveRound(config, picked, timeout)
        now.read()
        services = plan_services(config, picked, now.queues() if discover else None)
        try:
            sent, code = submit(now.judge(services)), 0
        except SubmitError as error:
            click.echo(f"beanwatch: {error}", err=True)
            code = 1
        else:
            if to != "stdout" and once:
                click.echo(f"{sent} results submitted")
        now.save()
        if once:
            return code
        due = max(due + interval, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))


def one_line(result: ServiceResult, room: int) -> str:
    """The output as one line of at most `room` bytes: Nagios reads a `\\n` in it as a line end."""
    lines = result.result.render().rstrip("\n").split("\n")
    text = lines[0].replace("\\", "/")
    if len(text.encode()) > room:  # then the performance data is too long
        text = text.partition(" | ")[0].encode()[:room].decode(errors="ignore")
    for line in lines[1:]:
        longer = rf"{text}\n{line}".replace("\t", " ")
        if len(longer.encode()) > room:
            break
        text = longer
    return text


def format_nsca(results: Iterable[ServiceResult]) -> Iterator[bytes]:
    """Lines as send_nsca reads them."""
    for result in results:
        service = result.service
        head = f"{service.host}\t{service.name}\t{result.result.exit_code}\t"
        yield f"{head}{one_line(result, LINE - len(head.encode()))}\n".encode()


def submit_stdout(results: Iterable[ServiceResult]) -> int:
    """Lines as send_nsca reads them, for whatever reads standard output."""
    sent = 0
    for line in format_nsca(results):
        click.echo(line, nl=False)
        sent += 1
    return sent


def submit_nsca(
    results: Iterable[ServiceResult],
    monitor: str,
    config: str,
    run: Callable[..., Any] = subprocess.run,
) -> int:
    """By one send_nsca. Raises SubmitError."""
    host, _, port = monitor.partition(":")
    lines = list(format_nsca(results))
    argv = ["send_nsca", "-H", host, "-p", port or "5667", "-c", config, "-to", "10"]
    try:
        done = run(
            argv,
            input=b"".join(line.rstrip(b"\n") + ETB for line in lines),
            capture_output=True,
            timeout=60,
        )
    except FileNotFoundError:
        raise SubmitError("no send_nsca here: install nsca-client") from None
    except subprocess.TimeoutExpired:
        raise SubmitError(f"send_nsca to {monitor}: no end within 60 s") from None
    if done.returncode:
        said = " ".join((done.stdout + done.stderr).decode(errors="replace").split())
        raise SubmitError(f"send_nsca to {monitor}: {said or f'exit {done.returncode}'}")
    return len(lines)


def submit_commands(
    results: Iterable[ServiceResult],
    path: str,
    timeout: float = 30.0,
    clock: Callable[[], float] = time.time,
) -> int:
    """Into Nagios's command file, a pipe. Raises SubmitError.

    Not blocking: without a Nagios that reads, opening or writing it would hang for ever.
    """
    try:
        pipe = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        is_deaf = "nobody reads it: is Nagios running?"
        reason = is_deaf if error.errno == errno.ENXIO else error.strerror
        raise SubmitError(f"{path}: {reason} (command_file in nagios.cfg)") from None
    sent = 0
    try:
        if not stat.S_ISFIFO(os.fstat(pipe).st_mode):
            raise SubmitError(f"{path}: this is no pipe of Nagios (command_file in nagios.cfg)")
        poller = select.poll()
        poller.register(pipe, select.POLLOUT)
        for result in results:
            service, state = result.service, result.result.exit_code
            head = f"[{clock():.0f}] PROCESS_SERVICE_CHECK_RESULT;"
            head += f"{service.host};{service.name};{state};"
            line = f"{head}{one_line(result, PIPE_BUF - len(head.encode()) - 1)}\n".encode()
            _write(pipe, line, poller, timeout)
            sent += 1
    except OSError as error:
        raise SubmitError(f"{path}: {error.strerror or 'it is not read any more'}") from None
    finally:
        os.close(pipe)
    return sent


def _write(pipe: int, line: bytes, poller: "select.poll", timeout: float) -> None:
    while True:
        if not poller.poll(timeout * 1000):
            raise TimeoutError
        try:
            os.write(pipe, line)
        except BlockingIOError:  # there is room, but not for all of it
            time.sleep(0.01)
            continue
        return
