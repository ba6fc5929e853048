"""beanwatch_probe: exec probe that says whether a worker of this host lives, or is connected.

A container's probe runs every few seconds: so this module imports little, and reads one file that
the worker writes. It opens no connection.
"""

import argparse
import os
import re
import sys
import time
from collections.abc import Sequence
from typing import NoReturn

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

READS = 5  # a status that is being written is read again
READ_AGAIN_AFTER = 0.005  # seconds
NAME = r"[A-Za-z0-9_-]{1,64}"


class Parser(argparse.ArgumentParser):
    """Prints one line for wrong usage."""

    def error(self, message: str) -> NoReturn:
        """Print the message, and exit with 2."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def parser() -> Parser:
    """Make the command-line parser."""
    parser = Parser(
        prog="beanwatch_probe",
        description=__doc__.partition("\n")[0],
        epilog="Exit codes: 0 yes, 1 no or not known (the reason is printed), 2 wrong usage.\n\n"
        "Example:\n  beanwatch_probe live --name mailer",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "question",
        choices=("live", "ready"),
        help="live: its main thread moves, or its job is before its hard deadline; "
        "ready: it is connected to its queue server",
    )
    parser.add_argument("--name", required=True, type=_name, help="the worker's --name")
    parser.add_argument(
        "--host", type=_name, help="the worker's --host (default: any on this machine)"
    )
    parser.add_argument(
        "--tmp-root",
        metavar="DIR",
        default="",
        help="the worker's --tmp-root (default: $BEANWATCH_WORKER_TMP_ROOT, $TMPDIR, else /tmp)",
    )
    return parser


def _name(text: str) -> str:
    if not re.fullmatch(NAME, text):
        raise argparse.ArgumentTypeError("expected 1 to 64 characters of A-Z a-z 0-9 _ -")
    return text


def main(argv: Sequence[str] | None = None) -> None:
    """Print one line, and exit with 0 (yes) or 1 (no, or not known)."""
    options = parser().parse_args(argv)
    reason = decide(options.question, *find_status(pick_root(options.tmp_root), options))
    sys.stdout.write(f"{options.name}: {reason or options.question}\n")
    sys.exit(1 if reason else 0)


def pick_root(given: str) -> str:
    """Return the directory that has the directories of the workers."""
    return (
        given or os.environ.get("BEANWATCH_WORKER_TMP_ROOT") or os.environ.get("TMPDIR") or "/tmp"  # noqa: S108
    )


def find_status(root: str, options: argparse.Namespace) -> tuple[WorkerStatus | None, str]:
    """Return the newest status of a worker with this name; or None, and why there is none."""
    host = options.host or NAME
    pattern = re.compile(rf"beanwatch-{host}\.{options.name}-[0-9a-f]{{16}}")
    newest, problem = None, f"no worker with this name has its files in {root} (see --tmp-root)"
    try:
        names = [name for name in os.listdir(root) if pattern.fullmatch(name)]
    except OSError as error:
        return None, f"cannot read {root}: {error.strerror}"
    for name in names:
        try:
            status = read_status(f"{root}/{name}/{FILE_NAME}")
        except (OSError, StatusError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            problem = f"cannot read {root}/{name}/{FILE_NAME}: {reason}"
            continue
        if newest is None or status.beat_at > newest.beat_at:
            newest = status
    return newest, problem


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
    if not 0 <= age <= STALE_AFTER:
        return f"it last wrote its status {age:.0f} s ago, so nobody knows"
    return why_not_live(status, now) if question == "live" else why_not_ready(status)
