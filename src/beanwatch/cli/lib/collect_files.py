"""Open the files of `beanwatch collect`: log, state and spool. Errors are raised as UsageError."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

import click
from structlog.typing import FilteringBoundLogger

from beanwatch.collectors.deliver.spool import Spool
from beanwatch.collectors.poll.samples import State, StateError, StateFile
from beanwatch.config import Config
from beanwatch.net.files import LockedError, locked
from beanwatch.queues.servers import Server
from beanwatch.telemetry.logging.output import STDERR
from beanwatch.telemetry.logging.problems import ProblemLog
from beanwatch.telemetry.logging.setup import configure, get_logger


def open_log(config: Config, *, once: bool) -> FilteringBoundLogger:
    """Open the collector's log, on standard error unless a file is set.

    With --once, the log is plain text on standard error, because cron mails that to a person.
    """
    style, file = ("plain", "") if once else (config.log_format, config.log_file)
    try:
        configure(style, file, stream=STDERR)
    except OSError as error:
        raise click.UsageError(f"cannot open log file {file}: {error.strerror}") from None
    return get_logger("collector")


def state_path(
    given: str, servers: Sequence[Server], *, once: bool, environ: Mapping[str, str] = os.environ
) -> str:
    """Return the path of the state file: `given`, or a file in a default directory; "" for none.

    The default directory is $STATE_DIRECTORY of systemd. If that is not set, it is, with --once
    only, /var/lib/beanwatch for root and ~/.local/state/beanwatch for others. The name of the
    file is a hash of the servers, so that collectors of different servers can run side by side.
    """
    if given:
        return given
    directory = environ.get("STATE_DIRECTORY", "").partition(":")[0]
    if not directory and once:
        home = environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
        directory = "/var/lib/beanwatch" if os.geteuid() == 0 else os.path.join(home, "beanwatch")
    if not directory:
        return ""
    names = " ".join(sorted(str(server) for server in servers))
    digest = hashlib.sha256(names.encode()).hexdigest()[:8]
    return os.path.join(directory, f"collect-{digest}.json")


def open_state(path: str, stack: ExitStack) -> StateFile | None:
    """Open the state file, and lock it until `stack` is closed. None if `path` is empty.

    The lock keeps a second collector from using the same file. It raises ClickException, not
    UsageError, because the other one may end: the exit code must let systemd try again.
    """
    if not path:
        return None
    try:
        if directory := os.path.dirname(path):
            os.makedirs(directory, mode=0o700, exist_ok=True)
        stack.enter_context(locked(f"{path}.lock"))
    except LockedError:
        raise click.ClickException(
            f"another `beanwatch collect` uses the state file {path}: it has locked {path}.lock"
        ) from None
    except OSError as error:
        raise click.UsageError(
            f"cannot open state file {path}: {error.strerror}; choose another with --state FILE"
        ) from None
    return StateFile(path)


def load_state(state: StateFile | None, log: FilteringBoundLogger) -> State:
    """Return the counters that an earlier run saved. If they cannot be read, log it, return {}."""
    try:
        return state.load() if state else {}
    except StateError as error:
        log.warning(f"{error}; starting without saved counters")
        return {}


def open_spool(directory: str, problems: ProblemLog, stack: ExitStack) -> Spool | None:
    """Open the spool directory, and lock it until `stack` is closed. None if it is not set."""
    if not directory:
        return None
    try:
        spool = Spool(directory, problems)
        stack.enter_context(locked(os.path.join(directory, ".lock")))
    except LockedError as error:
        raise click.ClickException(
            f"another `beanwatch collect` uses the spool directory {directory} ({error})"
        ) from None
    except OSError as error:
        raise click.UsageError(
            f"cannot open spool directory {directory}: {error.strerror}"
        ) from None
    return spool
