"""`beanwatch run -- COMMAND`: run any program as a watched worker."""

import os

import click

from beanwatch.cli.lib.options import DURATION, config_option, load_config
from beanwatch.cli.lib.output import print_line
from beanwatch.config import ConfigError
from beanwatch.net.systemd import SystemdNotifier
from beanwatch.worker.api.monitor import WorkerMonitor
from beanwatch.worker.wrapper.child import StartError, end_as
from beanwatch.worker.wrapper.environment import read_watchdog
from beanwatch.worker.wrapper.program import Program, ProgramOptions
from beanwatch.worker.wrapper.tree import TreeFacts


@click.command("run")
@click.argument("program", metavar="-- COMMAND", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option(
    "--name", required=True, help="name of this worker, unique on its host and kept over restarts"
)
@click.option(
    "-Q",
    "--queue",
    "-T",
    "--tube",
    "queues",
    multiple=True,
    metavar="QUEUE",
    help="a queue from which the program takes jobs; repeatable (-T and --tube mean the same)",
)
@click.option(
    "--host",
    help="host name in the worker's id (this host's short name; all of it for an IP address)",
)
@click.option(
    "--server",
    metavar="NAME",
    default="",
    help="name of the queue server, in the paths of metrics (run)",
)
@click.option(
    "--redis",
    metavar="URL",
    help="Redis to which heartbeats and the ledger go (the configured one)",
)
@click.option(
    "--metrics",
    metavar="URL",
    help="where metrics go: statsd://host:8125 or graphite://host:2003 (default: nowhere)",
)
@click.option(
    "--notify",
    is_flag=True,
    help="the program says READY=1 in its notify socket: until then, it is starting",
)
@click.option(
    "--watchdog",
    type=DURATION,
    default=0.0,
    help="the program hangs if it sends no WATCHDOG=1 for so long (systemd's, if it feeds that)",
)
@click.option(
    "--job-timeout",
    type=DURATION,
    help="a job that the program reports hangs after this time (worker.job_timeout, else 1h; "
    "0: never)",
)
@click.option(
    "--stop-timeout",
    type=DURATION,
    help="kill the program so long after TERM, INT or QUIT (worker.shutdown_timeout, else 30s; "
    "0: never)",
)
@click.option(
    "--log-file",
    metavar="FILE",
    help="write the log to this file (the configured one, else stderr)",
)
@config_option
def command(
    program: tuple[str, ...],
    name: str,
    queues: tuple[str, ...],
    host: str | None,
    server: str,
    redis: str | None,
    metrics: str | None,
    notify: bool,
    watchdog: float,
    job_timeout: float | None,
    stop_timeout: float | None,
    log_file: str | None,
    config_file: str | None,
) -> int:
    """Run any program as a watched worker: send its heartbeats, and end as it ends.

    The program has this command's input, output and open files. Signals go to it. It may tell more
    by the socket $NOTIFY_SOCKET, as sd_notify(3) describes it: READY=1, STATUS=TEXT, WATCHDOG=1,
    STOPPING=1 and MAINPID=PID; and by X_BEANWATCH_JOB=NAME, X_BEANWATCH_QUEUE=QUEUE,
    X_BEANWATCH_ID=ID, X_BEANWATCH_DONE=OUTCOME and X_BEANWATCH_REASON=TEXT.

    \b
    Exit codes:
      that of the program; if a signal killed it, this command ends by the same signal (a shell
      shows 128 plus its number, and so does a container)
      0    also if `beanwatch workers stop` stopped it
      2    wrong usage or configuration
      10   to be restarted: `beanwatch workers restart` was sent
      126  the program cannot be executed
      127  the program was not found

    \b
    Example:
      beanwatch run --name mail-1 --queue mail -- php worker.php
    """
    config = load_config(config_file)
    systemd = SystemdNotifier()
    timeout = config.worker.shutdown_timeout if stop_timeout is None else stop_timeout
    options = ProgramOptions(
        program,
        queues[0] if queues else "",
        watchdog,
        read_watchdog(os.environ),
        notify,
        timeout,
    )
    runner = Program(options, systemd)
    try:
        monitor = WorkerMonitor(
            name,
            queues,
            kind="run",
            redis=redis,
            host=host,
            server=server,
            config=config_file,
            metrics=metrics,
            log_file=log_file,
            job_timeout=job_timeout,
            max_idle=options.longest_silence,
            has_own_loop=True,
            commands=runner.commands,
            reports_jobs=False,
            facts=TreeFacts(),
        )
    except (ValueError, ConfigError) as error:
        raise click.UsageError(str(error)) from None
    except OSError as error:
        raise click.UsageError(f"cannot open log file {error.filename}: {error.strerror}") from None
    try:
        return end_as(runner.run(monitor))
    except StartError as error:
        monitor.start()
        monitor.stop(failure=str(error))
        print_line(f"beanwatch: {error}", err=True)
        return error.code
