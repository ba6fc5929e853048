"""beanwatch_kick_buried: event handler that kicks a queue's buried jobs, so that they run again."""

import argparse
import sys
from collections.abc import Sequence
from functools import partial

from beanwatch.config import ConfigError
from beanwatch.config.reader import load
from beanwatch.globs import GLOB
from beanwatch.net.address import AddressError, BackgroundCall
from beanwatch.queues.base import ServerError
from beanwatch.queues.servers import Server, resolve_servers
from beanwatch.quoting import terminal_text
from beanwatch.words import count

MAX_KICKED = 1000  # jobs in one call; those that fail are buried, and cause the next alert


def parser() -> argparse.ArgumentParser:
    """Make the command-line parser. checks/nagios/commands.cfg lists what Nagios passes."""
    parser = argparse.ArgumentParser(
        prog="beanwatch_kick_buried",
        description=__doc__,
        epilog="Example:\n  beanwatch_kick_buried --server queue1 --queue images "
        "--state CRITICAL --type HARD",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--server", required=True, metavar="NAME|ADDRESS", help="server of the queue"
    )
    parser.add_argument(
        "-Q",
        "--queue",
        "-T",
        "--tube",
        required=True,
        help="name of one queue; for a glob, nothing is kicked",
    )
    parser.add_argument(
        "--state", required=True, help="state of the service: kick in WARNING and CRITICAL only"
    )
    parser.add_argument(
        "--type", required=True, help="type of the state, SOFT or HARD: kick in HARD only"
    )
    parser.add_argument(
        "--most",
        type=int,
        default=MAX_KICKED,
        metavar="JOBS",
        help=f"kick at most this many jobs (default: {MAX_KICKED})",
    )
    parser.add_argument("--config", metavar="FILE", help="configuration file (TOML)")
    parser.add_argument("-t", "--timeout", default="10", help="time limit in seconds (default: 10)")
    return parser


def decide(state: str, state_type: str, queue: str) -> bool:
    """Return True if the state is WARNING or CRITICAL, its type is HARD and `queue` is no glob."""
    is_confirmed = state in ("WARNING", "CRITICAL") and state_type == "HARD"
    return is_confirmed and queue not in ("", "none") and not GLOB.search(queue)


def kick(server: Server, queue: str, most: int, timeout: float) -> int:
    """Kick at most `most` buried jobs of a queue, and return their number. Raises ServerError.

    `timeout` (seconds) limits each reply of the server.
    """
    actions = server.system.open_actions(server, timeout)
    try:
        return sum(actions.kick(queue, most))
    finally:
        actions.close()


def main(argv: Sequence[str] | None = None) -> None:
    """Kick the jobs. Exit 0 on success or if none may be kicked, 1 on failure, 2 if misused."""
    options = parser().parse_args(argv)
    if not decide(options.state, options.type, options.queue):
        return
    failed = f"cannot kick the buried jobs of {options.queue}"
    try:
        timeout = float(options.timeout.partition(":")[0])
        (server,) = resolve_servers(load(options.config).servers, [options.server])
        # `kick` limits each step, the thread limits the sum.
        work = partial(kick, server, options.queue, options.most, timeout)
        kicked = BackgroundCall(work, "beanwatch-kick").wait(timeout)
    except TimeoutError:
        line = f"beanwatch_kick_buried: {failed}: not done within {timeout:g} s"
        print(terminal_text(line), file=sys.stderr)  # noqa: T201
        sys.exit(1)
    except (AddressError, ConfigError, ServerError, ValueError, RuntimeError) as error:
        line = terminal_text(f"beanwatch_kick_buried: {failed}: {error}")
        print(line, file=sys.stderr)  # noqa: T201
        sys.exit(1)
    line = f"kicked {count(kicked, 'job')} in {options.queue}"
    print(terminal_text(line))  # noqa: T201
