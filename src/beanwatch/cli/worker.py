"""`beanwatch worker MODULE:APP`: run one worker process."""

import importlib
import os
import sys
from typing import Any

import click

from beanwatch.cli.lib.options import (
    COUNT,
    DURATION,
    PREFIX,
    SIZE,
    apply_flags,
    config_option,
    load_config,
    pick_job_server,
    read_command_secret,
)
from beanwatch.cli.lib.output import print_line
from beanwatch.config import Config, ConfigError, RedisConfig
from beanwatch.config.secrets import read_redis_password
from beanwatch.net.address import AddressError
from beanwatch.net.http_server import parse_listen
from beanwatch.queues.servers import DEFAULT_SERVER, short_host
from beanwatch.quoting import terminal_text
from beanwatch.telemetry.logging import setup as logs
from beanwatch.worker.api.app import App
from beanwatch.worker.api.envelope import EnvelopeError, check_target
from beanwatch.worker.api.errors import AppError, WorkerError
from beanwatch.worker.core.init import leave_pid_1
from beanwatch.worker.core.process import run_failed_start, run_worker
from beanwatch.worker.core.settings import WORKER_NAME, Settings
from beanwatch.worker.core.state import NO_APP
from beanwatch.worker.monitor.exceptions import format_exception_line
from beanwatch.worker.monitor.program.green import find_green_library


@click.command("worker")
@click.argument("application", metavar="MODULE:APP")
@click.option(
    "-Q",
    "--queue",
    "-T",
    "--tube",
    "queues",
    multiple=True,
    metavar="QUEUE",
    help="reserve jobs from this queue; repeatable (-T and --tube mean the same)",
)
@click.option("--name", help="name of this worker, unique on its host and kept over restarts")
@click.option(
    "--host",
    default="",
    help="host name in the worker's id (this host's short name; all of it for an IP address)",
)
@click.option(
    "--server",
    metavar="NAME|ADDRESS",
    help=f"beanstalkd from which to reserve jobs (the configured one, else {DEFAULT_SERVER})",
)
@click.option(
    "--redis",
    "redis_url",
    metavar="URL",
    help="Redis to which heartbeats and the ledger go (the configured one, else "
    f"{RedisConfig().url})",
)
@click.option(
    "--metrics",
    metavar="URL",
    help="where metrics go: statsd://host:8125 or graphite://host:2003 (default: nowhere)",
)
@click.option(
    "--metrics-per-worker/--metrics-for-all",
    default=None,
    help="with StatsD: separate series for this worker, or sums over all workers "
    "(--metrics-for-all)",
)
@click.option("--prefix", type=PREFIX, help="first node of all metric paths (beanwatch)")
@click.option(
    "--reserve-timeout",
    type=DURATION,
    help="longest wait for a job before checking for commands (10s)",
)
@click.option("--job-timeout", type=DURATION, help="timeout of a job whose handler sets none (60s)")
@click.option(
    "--grace",
    type=DURATION,
    help="time from a job's timeout to its hard deadline, at which the worker exits (10s)",
)
@click.option(
    "--max-attempts", type=COUNT, help="bury a job after so many attempts, if it sets none (5)"
)
@click.option(
    "--shutdown-timeout",
    type=DURATION,
    help="time that the running job has to end after a stop command, SIGTERM, SIGINT or SIGQUIT "
    "(30s)",
)
@click.option("--heartbeat-interval", type=DURATION, help="time between two heartbeats (1s)")
@click.option(
    "--max-jobs", type=COUNT, help="exit, to be restarted, after this many jobs (0: never)"
)
@click.option("--max-time", type=DURATION, help="exit, to be restarted, after this time (0: never)")
@click.option(
    "--max-memory",
    type=SIZE,
    help="exit, to be restarted, when the resident memory is larger than this (0: never)",
)
@click.option(
    "--tmp-root",
    metavar="DIR",
    help="directory for the jobs' temporary directories ($TMPDIR, else /tmp)",
)
@click.option(
    "--min-free-disk",
    type=SIZE,
    help="reserve no jobs while the disk of --tmp-root has less free space, or few free inodes "
    "(100M; 0: never)",
)
@click.option(
    "--restart-spread",
    type=DURATION,
    help="after `beanwatch workers restart`: exit within this time, at a random moment (30s)",
)
@click.option(
    "--listen",
    metavar="ADDRESS",
    help="serve /metrics for Prometheus, /livez and /readyz on this host:port, or on this port of "
    "the loopback interface (default: nowhere)",
)
@click.option(
    "--ledger",
    type=click.Choice(["all", "failures", "off"]),
    help="which runs to record in Redis (failures)",
)
@click.option("--log-format", type=click.Choice(["json", "console"]), help="log format (json)")
@click.option("--log-file", metavar="FILE", help="write the log to this file (standard output)")
@click.option("-v", "--verbose", is_flag=True, help="also log debug messages")
@click.option(
    "--check",
    is_flag=True,
    help="only import the application, and exit with 0 or 13; other options are not needed",
)
@config_option
def command(
    application: str,
    queues: tuple[str, ...],
    name: str | None,
    host: str,
    server: str | None,
    redis_url: str | None,
    prefix: str | None,
    log_format: str | None,
    log_file: str | None,
    verbose: bool,
    check: bool,
    config_file: str | None,
    **flags: Any,
) -> int:
    """Run the jobs of one application, one at a time, until the worker is told to stop.

    \b
    Exit codes:
      0   stopped by a command or a signal
      1   stopped by an error, which is printed
      2   wrong usage or configuration
      10  to be restarted: a limit (--max-...) was reached, or a restart was requested
      11  to be restarted: a job still ran at its hard deadline
      12  another worker with this id is running
      13  to be restarted: the application cannot be imported; also with --check

    \b
    Example:
      beanwatch worker beanwatch.worker.example:app --queue email.regular --name w1
    """
    leave_pid_1()
    config = load_config(config_file)
    config = apply_flags(config, prefix=prefix, log_format=log_format, log_file=log_file)
    config = config._replace(worker=apply_flags(config.worker, **flags))
    if check and not (queues and name):
        return check_app(application)
    if not queues or not name:
        raise click.UsageError("a worker needs --queue and --name")
    settings = make_settings(config, queues, name, host or short_host(), server, redis_url)
    if check:
        return check_app(application)
    try:
        output = logs.configure(config.log_format, config.log_file, "debug" if verbose else "info")
    except OSError as error:
        raise click.UsageError(
            f"cannot open log file {config.log_file}: {error.strerror}"
        ) from None
    output.keep_from_jobs()
    try:
        try:
            app = load_app(application)
        except AppError as error:
            print_line(f"beanwatch: {error}", err=True)
            return run_failed_start(settings, str(error))
        refuse_green_threads(application)
        settings = settings._replace(check_command=(*sys.orig_argv, "--check"))
        return run_worker(app, settings, output)
    except WorkerError as error:
        print_line(f"beanwatch: {error}", err=True)
        return error.code
    except ValueError as error:  # a URL in the settings is invalid
        raise click.UsageError(str(error)) from None


def make_settings(
    config: Config,
    queues: tuple[str, ...],
    name: str,
    host: str,
    server: str | None,
    redis_url: str | None,
) -> Settings:
    """Return the settings of the worker. Raises UsageError if a value is not allowed."""
    for what, word in (("--name", name), ("--host", host)):
        if not WORKER_NAME.fullmatch(word):
            raise click.UsageError(
                f"{what} {word!r}: expected 1 to 64 characters of A-Z a-z 0-9 _ -"
            )
    for queue in queues:
        try:
            check_target(queue, 0, 0, 1)
        except EnvelopeError:
            raise click.UsageError(
                f"--queue {queue!r}: expected 1 to 200 characters of A-Z a-z 0-9 - + / ; . $ _ ( )"
            ) from None
    chosen = pick_job_server(config, server)
    values = config.worker
    for field in ("job_timeout", "heartbeat_interval", "reserve_timeout"):
        if not getattr(values, field) > 0:
            raise click.UsageError(f"--{field.replace('_', '-')}: must be more than 0 seconds")
    worker = f"{host}.{name}"
    try:
        listen = parse_listen(values.listen) if values.listen else None
    except AddressError as error:
        raise click.UsageError(f"--listen: {error}") from None
    return Settings(
        name=name,
        host=host,
        address=chosen.address,
        server_node=chosen.node,
        queues=tuple(dict.fromkeys(queues)),
        redis_url=config.redis.url if redis_url is None else redis_url,
        redis_password=read_password(config),
        prefix=config.prefix,
        is_expected=worker in config.expected_workers,
        command_secret=read_command_secret(config),
        options=values,
        listen=listen,
    )


def read_password(config: Config) -> str:
    """Return Redis's password from its file or the environment; "" if there is none.

    Raises UsageError if the file cannot be read.
    """
    try:
        return read_redis_password(config.redis)
    except ConfigError as error:
        raise click.UsageError(str(error)) from None


def check_app(application: str) -> int:
    """Import the application, print its jobs or why it cannot be imported; return the exit code."""
    try:
        app = load_app(application)
    except AppError as error:
        print_line(f"beanwatch: {error}", err=True)
        return NO_APP
    refuse_green_threads(application)
    print_line(f"{application} can be imported; its jobs: {', '.join(sorted(app.handlers))}")
    return 0


def refuse_green_threads(application: str) -> None:
    """Raise UsageError if the application has replaced Python's threads by green ones."""
    if library := find_green_library():
        raise click.UsageError(
            f"{application} has replaced Python's threads and sockets by those of {library}: then "
            "a job stops the worker's heartbeat, and its timeout does not end it; remove the call "
            "of monkey patching from the application"
        )


def load_app(name: str) -> App:
    """Import and return the application `module:attribute`.

    Raises AppError, with the cause in one line, if it cannot be imported or is no App; UsageError
    if `name` has another form.
    """
    module_name, colon, attribute = name.partition(":")
    if not colon or not module_name or not attribute:
        raise click.UsageError(f"{name!r}: expected MODULE:APP, as in mailer.jobs:app")
    sys.path.insert(0, os.getcwd())  # as `python -m` does; the application is often found there
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # a module may call sys.exit
        cause = terminal_text(format_exception_line(error))
        raise AppError(f"cannot import {module_name}: {cause}") from error
    app = getattr(module, attribute, None)
    if not isinstance(app, App):
        found = "does not exist" if app is None else f"is of type {type(app).__name__}"
        raise AppError(f"{name}: {attribute!r} must be a beanwatch.worker.App, but it {found}")
    return app
