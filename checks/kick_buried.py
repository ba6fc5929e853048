"""beanwatch_kick_buried: an event handler that gives buried jobs one more chance."""

import argparse
import sys
from collections.abc import Sequence

from beanwatch.config import GLOB, ConfigError, load
from beanwatch.net.address import AddressError
from beanwatch.queues.base import ServerError
from beanwatch.queues.servers import resolve_servers

MAX_KICKED = 1000  # at once; a job that fails again is buried again, and alerts again


def parser() -> argparse.ArgumentParser:
    """The command line; Nagios fills it in (checks/nagios/commands.cfg)."""
    parser = argparse.ArgumentParser(
        prog="beanwatch_kick_buried",
        description=__doc__,
        epilog="Example:\n  beanwatch_kick_buried --server queue1 --queue images "
        "--state CRITICAL --type HARD",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--server", required=True, metavar="NAME|ADDRESS", help="the queue server")
    parser.add_argument(
        "-Q", "--queue", "-T", "--tube", required=True, help="one queue; nothing is done for a glob"
    )
    parser.add_argument("--state", required=True, help="it kicks in WARNING and CRITICAL ...")
    parser.add_argument("--type", required=True, help="... once that is HARD")
    parser.add_argument(
        "--most", type=int, default=MAX_KICKED, metavar="JOBS", help=f"default: {MAX_KICKED}"
    )
    parser.add_argument("--config", metavar="FILE", help="configuration file (TOML)")
    parser.add_argument("-t", "--timeout", default="10", help="seconds")
    return parser


def decide(state: str, state_type: str, queue: str) -> bool:
    """True when the alert is real, and names one queue."""
    is_real = state in ("WARNING", "CRITICAL") and state_type == "HARD"
    return is_real and queue not in ("", "none") and not GLOB.search(queue)


def main(argv: Sequence[str] | None = None) -> None:
    """Exit 0 on success or if there was nothing to do, 1 on failure, 2 for wrong arguments."""
    options = parser().parse_args(argv)
    if not decide(options.state, options.type, options.queue):
        return
    try:
        timeout = float(options.timeout.partition(":")[0])
        (server,) = resolve_servers(load(options.config).servers, [options.server])
        actions = server.system.open_actions(server, timeout)
        try:
            kicked = sum(actions.kick(options.queue, options.most))
        finally:
            actions.close()
    except (AddressError, ConfigError, ServerError, ValueError) as error:
        print(f"beanwatch_kick_buried: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(1)
    print(f"kicked {kicked} job{'' if kicked == 1 else 's'} in {options.queue}")  # noqa: T201
