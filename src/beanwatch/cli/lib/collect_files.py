"""The files of `beanwatch collect`: its log, its state and its spool; each error is exit 2."""

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
    """The collector's log, on standard error unless a file is set.

    With --once it is plain text on standard error, as cron mails that to a person.
    """
    style, file = ("plain", "") if once else (config.log_format, config.log_file)
    try:
        configure(style, file, stream=STDERR)
    except OSError as error:
        raise click.UsageError(f"log file {file}: {error.strerror}") from None
    return get_logger("collector")


def state_path(
    given: str, servers: Sequence[Server], *, once: bool, environ: Mapping[str, str] = os.environ
) -> str:
    """The state file: as given, else in systemd's directory, else, for --once, in a usual place.

    Its name is made of the servers, so that collectors of different servers can run at once.
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
    """The state file, locked against a second collector for as long as `stack` is open."""
    if not path:
        return None
    try:
        if directory := os.path.dirname(path):
            os.makedirs(directory, mode=0o700, exist_ok=True)
        stack.enter_context(locked(f"{path}.lock"))
    except LockedError:
        raise click.UsageError(
            f"another beanwatch collect is running (it holds {path}.lock)"
        ) from None
    except OSError as error:
        raise click.UsageError(
            f"state file {path}: {error.strerror}; name another with --state FILE"
        ) from None
    return StateFile(path)


def load_state(state: StateFile | None, log: FilteringBoundLogger) -> State:
    """Return the state of an earlier run; {} if it cannot be read, which is logged."""
    try:
        return state.load() if state else {}
    except StateError as error:
        log.warning(f"{error}; starting anew")
        return {}


def open_spool(directory: str, problems: ProblemLog, stack: ExitStack) -> Spool | None:
    """The spool, if one is set, locked against a second collector."""
    if not directory:
        return None
    try:
        spool = Spool(directory, problems)
        stack.enter_context(locked(os.path.join(directory, ".lock")))
    except LockedError as error:
        raise click.UsageError(
            f"spool {directory} is in use by another beanwatch collect ({error})"
        ) from None
    except OSError as error:
        raise click.UsageError(f"spool {directory}: {error.strerror}") from None
    return spool
