"""`beanwatch worker MODULE:APP`: run one worker."""

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
    config_option,
    load_config,
    override,
    pick_job_server,
)
from beanwatch.config import Config, ConfigError
from beanwatch.net.redis_url import DEFAULT_URL
from beanwatch.queues.servers import short_host
from beanwatch.telemetry.logging import setup as logs
from beanwatch.worker.api.app import App
from beanwatch.worker.api.envelope import EnvelopeError, check_target
from beanwatch.worker.api.errors import WorkerError
from beanwatch.worker.core.process import run_worker
from beanwatch.worker.core.settings import WORKER_NAME, Settings


@click.command("worker")
@click.argument("application", metavar="MODULE:APP")
@click.option(
    "-Q",
    "--queue",
    "-T",
    "--tube",
    "queues",
    multiple=True,
    required=True,
    metavar="QUEUE",
    help="take jobs from this queue; repeatable (-T, --tube: aliases)",
)
@click.option("--name", required=True, help="this worker's name on its host: keep it over restarts")
@click.option("--host", default="", help="instead of this host's short name")
@click.option("--server", metavar="NAME|ADDRESS", help="the beanstalkd to take jobs from")
@click.option("--redis", "redis_url", metavar="URL", help="where heartbeats go")
@click.option("--metrics", metavar="URL", help="statsd://host:8125 or graphite://host:2003")
@click.option(
    "--metrics-per-worker/--metrics-for-all",
    default=None,
    help="with StatsD, series of its own for this worker; or added up over all workers",
)
@click.option("--prefix", type=PREFIX, help="first part of metric names")
@click.option(
    "--reserve-timeout", type=DURATION, help="longest wait for a job before checking for orders"
)
@click.option("--job-timeout", type=DURATION, help="timeout of jobs that set none")
@click.option("--grace", type=DURATION, help="from a job's timeout to its hard deadline")
@click.option("--max-attempts", type=COUNT, help="attempts of jobs that set none")
@click.option("--shutdown-timeout", type=DURATION, help="time for the running job to end at a stop")
@click.option("--heartbeat-interval", type=DURATION, help="between two heartbeats")
@click.option("--max-jobs", type=COUNT, help="restart after this many jobs")
@click.option("--max-time", type=DURATION, help="restart after this time")
@click.option("--max-memory", type=SIZE, help="restart above this resident memory")
@click.option("--tmp-root", metavar="DIR", help="where jobs get their temporary directories")
@click.option("--min-free-disk", type=SIZE, help="take no jobs while less is free there")
@click.option("--restart-spread", type=DURATION, help="restart within this time after a deploy")
@click.option("--ledger", type=click.Choice(["all", "failures", "off"]), help="runs to record")
@click.option("--log-format", type=click.Choice(["json", "console"]), help="of the log lines")
@click.option("--log-file", metavar="FILE", help="instead of standard output")
@click.option("-v", "--verbose", is_flag=True, help="log debug messages too")
@config_option
def command(
    application: str,
    queues: tuple[str, ...],
    name: str,
    host: str,
    server: str | None,
    redis_url: str | None,
    prefix: str | None,
    log_format: str | None,
    log_file: str | None,
    verbose: bool,
    config_file: str | None,
    **flags: Any,
) -> int:
    """Run the jobs of one application, one at a time, and report on each.

    \b
    Exit codes:
      0   told to stop        10  reached a limit (--max-...), or told to restart
      1   fatal               11  a job did not end by its hard deadline
      2   wrong usage         12  another worker with this id runs

    \b
    Example:
      beanwatch worker beanwatch.worker.example:app --queue email.regular --name w1
    """
    config = load_config(config_file)
    config = override(config, prefix=prefix, log_format=log_format, log_file=log_file)
    config = config._replace(worker=override(config.worker, **flags))
    settings = make_settings(config, queues, name, host or short_host(), server, redis_url)
    try:
        output = logs.configure(config.log_format, config.log_file, "debug" if verbose else "info")
    except OSError as error:
        raise click.UsageError(f"log file {config.log_file}: {error.strerror}") from None
    app = load_app(application)
    try:
        return run_worker(app, settings, output)
    except WorkerError as error:
        click.echo(f"beanwatch: {error}", err=True)
        return error.code
    except ValueError as error:  # of a URL
        raise click.UsageError(str(error)) from None


def make_settings(
    config: Config,
    queues: tuple[str, ...],
    name: str,
    host: str,
    server: str | None,
    redis_url: str | None,
) -> Settings:
    """Everything a worker needs to know, checked. Raises UsageError."""
    for what, word in (("--name", name), ("--host", host)):
        if not WORKER_NAME.fullmatch(word):
            raise click.UsageError(f"{what} {word!r}: expected 1 to 64 of A-Z a-z 0-9 _ -")
    for queue in queues:
        try:
            check_target(queue, 0, 0, 1)
        except EnvelopeError:
            raise click.UsageError(
                f"--queue {queue!r}: expected 1 to 200 of A-Z a-z 0-9 - + / ; . $ _ ( )"
            ) from None
    chosen = pick_job_server(config, server)
    values = config.worker
    for field in ("job_timeout", "heartbeat_interval", "reserve_timeout"):
        if not getattr(values, field) > 0:
            raise click.UsageError(f"--{field.replace('_', '-')}: more than 0 is needed")
    worker = f"{host}.{name}"
    return Settings(
        name=name,
        host=host,
        address=chosen.address,
        server_node=chosen.node,
        queues=tuple(dict.fromkeys(queues)),
        redis_url=redis_url or config.redis.url or DEFAULT_URL,
        redis_password=read_password(config),
        prefix=config.prefix,
        is_expected=worker in config.expected_workers,
        options=values,
    )


def read_password(config: Config) -> str:
    """Redis's password from its file or the environment, or "". Raises UsageError."""
    try:
        return config.redis.read_password()
    except ConfigError as error:
        raise click.UsageError(str(error)) from None


def load_app(name: str) -> App:
    """Import the application `module:attribute`. Raises UsageError with the cause in one line."""
    module_name, colon, attribute = name.partition(":")
    if not colon or not module_name or not attribute:
        raise click.UsageError(f"{name!r}: expected MODULE:APP, as in mailer.jobs:app")
    sys.path.insert(0, os.getcwd())  # as `python -m` does: the application is often just here
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise click.UsageError(
            f"{module_name} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    app = getattr(module, attribute, None)
    if not isinstance(app, App):
        found = "nothing" if app is None else f"a {type(app).__name__}"
        raise click.UsageError(
            f"{name}: expected a beanwatch.worker.App, found {found} called {attribute!r}"
        )
    return app
