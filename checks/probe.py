"""beanwatch_probe: exec probe that says whether a worker of this host lives, or is connected.

A container's probe runs every few seconds: so this module imports little (argparse and typing
would take most of the time), and reads one file that the worker writes. It opens no connection.
"""

import os
import sys
import time

from beanwatch.net.processes import read_process
from beanwatch.store.worker_status import (
    FILE_NAME,
    SIZE,
    STALE_AFTER,
    StatusError,
    WorkerStatus,
    parse_status,
    why_not_live,
    why_not_ready,
)

TYPE_CHECKING = False  # as in typing, which takes long to import
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from typing import NoReturn

READS = 5  # a status that is being written is read again
READ_AGAIN_AFTER = 0.005  # seconds
ROUNDED = 0.001  # seconds: the status has milliseconds, which may be rounded up
INSTANCE_DIGITS = 16
QUESTIONS = ("live", "ready")
DEFAULTS = {"--name": "", "--host": "", "--tmp-root": ""}


class Arguments:
    """The arguments. `host` is "" for any."""

    def __init__(self, question: str, name: str, host: str, root: str) -> None:
        self.question, self.name, self.host, self.root = question, name, host, root or pick_root()


def parser() -> "ArgumentParser":
    """Make the command-line parser. It prints one line for wrong usage."""
    import argparse  # takes twice the time of all else

    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> "NoReturn":
            self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")

    def name(text: str) -> str:
        if not is_name(text):
            raise argparse.ArgumentTypeError(f"{text!r}: expected characters of A-Z a-z 0-9 _ -")
        return text

    parser = Parser(
        prog="beanwatch_probe",
        description=(__doc__ or "").partition("\n")[0],
        epilog="Exit codes: 0 yes, 1 no or not known (the reason is printed), 2 wrong usage.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "question",
        choices=QUESTIONS,
        help="live: the main thread moves, or its job is before its hard deadline; ready: the "
        "worker is connected to its queue server",
    )
    parser.add_argument("--name", required=True, type=name, help="the worker's --name")
    parser.add_argument("--host", type=name, help="the worker's --host (default: any)")
    parser.add_argument(
        "--tmp-root",
        metavar="DIR",
        help="the worker's --tmp-root (default: $BEANWATCH_WORKER_TMP_ROOT, $TMPDIR, else /tmp)",
    )
    return parser


def is_name(text: str) -> bool:
    """Return True if a worker or a host of workers can have this name."""
    return text.isascii() and text.replace("-", "a").replace("_", "a").isalnum()


def parse_arguments(argv: list[str]) -> Arguments:
    """Parse the arguments. Exits for wrong usage and for `--help`."""
    question, *rest = argv or [""]
    values = DEFAULTS | dict(zip(rest[::2], rest[1::2], strict=False))
    name, host, root = list(values.values())[: len(DEFAULTS)]
    is_plain = len(rest) % 2 == 0 and values.keys() == DEFAULTS.keys() and question in QUESTIONS
    if is_plain and is_name(name) and (is_name(host) or not host):
        return Arguments(question, name, host, root)
    options = parser().parse_args(argv)
    return Arguments(options.question, options.name, options.host or "", options.tmp_root or "")


def main() -> None:
    """Print one line, and exit with 0 (yes), 1 (no, or not known) or 2 (wrong usage)."""
    arguments = parse_arguments(sys.argv[1:])
    reason = decide(arguments.question, *find_status(arguments))
    sys.stdout.write(f"{arguments.name}: {reason or arguments.question}\n")
    sys.exit(1 if reason else 0)


def pick_root() -> str:
    """Return the directory that has the directories of the workers, if no option names it."""
    environ = os.environ
    return environ.get("BEANWATCH_WORKER_TMP_ROOT") or environ.get("TMPDIR") or "/tmp"  # noqa: S108


def find_status(arguments: Arguments) -> tuple[WorkerStatus | None, str]:
    """Return the newest status of a worker with this name; or None, and why there is none."""
    root = arguments.root
    newest, problem = None, f"no worker with this name has its files in {root} (see --tmp-root)"
    try:
        names = [name for name in os.listdir(root) if is_of_worker(name, arguments)]
    except OSError as error:
        return None, f"cannot read {root}: {error.strerror}"
    for name in names:
        path = f"{root}/{name}/{FILE_NAME}"
        try:
            status = read_status(path)
        except OSError as error:
            problem = f"cannot read {path}: {error.strerror}"
        except StatusError as error:
            problem = f"cannot read {path}: {error}"
        else:
            if newest is None or status.beat_at > newest.beat_at:
                newest = status
    return newest, problem


def is_of_worker(directory: str, arguments: Arguments) -> bool:
    """Return True for the name of the directory of a process of this worker."""
    worker, _, instance = directory.rpartition("-")
    host, _, name = worker.removeprefix("beanwatch-").partition(".")
    is_host = host == arguments.host or not arguments.host
    is_ours = worker.startswith("beanwatch-") and len(instance) == INSTANCE_DIGITS
    return is_ours and is_host and name == arguments.name


def read_status(path: str) -> WorkerStatus:
    """Read a status file. Raises OSError or StatusError."""
    for left in reversed(range(READS)):
        # Without O_NONBLOCK, opening a FIFO would wait for a writer.
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            return parse_status(os.read(fd, SIZE))
        except StatusError:
            if not left:
                raise
        finally:
            os.close(fd)
        time.sleep(READ_AGAIN_AFTER)
    raise AssertionError("not reached")


def decide(question: str, status: WorkerStatus | None, problem: str) -> str:
    """Return why the answer is no, or not known; "" for yes."""
    if status is None:
        return problem
    state = read_process(status.pid)
    if state in ("gone", "stopped"):
        return f"its process {status.pid} is {state}"
    now = time.monotonic()
    if question == "live" and status.hard_deadline:
        # C code that holds the interpreter lock may keep it from writing until the deadline.
        return why_not_live(status, now)
    age = now - status.beat_at
    if not -ROUNDED <= age <= STALE_AFTER:
        return f"it last wrote its status {age:.0f} s ago, so nobody knows"
    return why_not_live(status, now) if question == "live" else why_not_ready(status)
