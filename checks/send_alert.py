"""beanwatch_notify: send one alert of Nagios or Icinga by mail, to a webhook or to a file."""

import argparse
import sys
import time
from collections.abc import Callable

from beanwatch.checks.channels import file, mail, webhook
from beanwatch.checks.channels.alert import (
    Alert,
    ChannelOptions,
    DeliveryError,
    replace_invalid_utf8,
)
from beanwatch.net.address import BackgroundCall
from beanwatch.quoting import terminal_text

# To add a channel, add a module to checks/channels and an entry here.
CHANNELS = (mail.CHANNEL, webhook.CHANNEL, file.CHANNEL)
# A channel gets this share of the timeout. The rest is for its own error text, which says more.
CHANNEL_SHARE = 0.9
MAX_TIMEOUT = 3600.0  # seconds
REQUIRED_TEXTS = {
    "kind": "kind of notification: PROBLEM, RECOVERY ...",
    "host": "name of the host in Nagios or Icinga",
    "state": "state of the service or host: OK, CRITICAL, DOWN ...",
    "output": "output of the check",
}
OPTIONAL_TEXTS = {
    "service": "name of the service (default: none, the alert is about the host)",
    "long": "output of the check after its first line",
    "runbook": "URL of the runbook",
    "graphs": "URL of the graphs",
    "comment": "author and text of the acknowledgement",
}


def parser() -> argparse.ArgumentParser:
    """Make the command-line parser. checks/nagios/commands.cfg lists what Nagios passes."""
    parser = argparse.ArgumentParser(
        prog="beanwatch_notify",
        description=__doc__,
        epilog="Example:\n  beanwatch_notify --mail me@example.org --kind PROBLEM --host queue1 "
        "--state CRITICAL --output 'a test'",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    targets = parser.add_argument_group("targets (at least one; each option is repeatable)")
    for channel in CHANNELS:
        targets.add_argument(
            channel.flag, action="append", default=[], metavar=channel.metavar, help=channel.help
        )
    parser.add_argument(
        "--smtp",
        default="",
        metavar="HOST[:PORT]",
        help=f"SMTP server that sends the mails (default: {mail.SENDMAIL} sends them; "
        "default port: 25)",
    )
    parser.add_argument(
        "--from",
        dest="sender",
        default="",
        metavar="ADDRESS",
        help="sender of the mails (default: beanwatch@THIS-HOST)",
    )
    parser.add_argument(
        "--timeout",
        type=parse_timeout,
        default=20.0,
        metavar="SECONDS",
        help="time limit for all targets together (default: 20)",
    )
    for name, words in REQUIRED_TEXTS.items():
        parser.add_argument(f"--{name}", required=True, metavar="TEXT", help=words)
    for name, words in OPTIONAL_TEXTS.items():
        parser.add_argument(f"--{name}", default="", metavar="TEXT", help=words)
    parser.add_argument(
        "--since",
        default="0",
        metavar="SECONDS",
        help="when the state began, in seconds since the epoch (default: 0, not known)",
    )
    return parser


def parse_timeout(text: str) -> float:
    """Parse the value of `--timeout`, in seconds. Raises ArgumentTypeError."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= MAX_TIMEOUT:  # also false for `nan`
        raise argparse.ArgumentTypeError(
            f"expected seconds, above 0 and up to {MAX_TIMEOUT:g}, not {text!r}"
        )
    return seconds


def targets_of(options: argparse.Namespace, flag: str) -> list[str]:
    """Return the values given for a channel's flag, such as the addresses given for `--mail`."""
    found: list[str] = getattr(options, flag.removeprefix("--").replace("-", "_"))
    return found


def make_alert(options: argparse.Namespace) -> Alert:
    """Make the alert from the arguments. A `--since` that is not a number becomes 0, not known."""
    names = (*REQUIRED_TEXTS, *OPTIONAL_TEXTS)
    texts = {name: replace_invalid_utf8(getattr(options, name)) for name in names}
    # Icinga 2 passes all lines as the output.
    texts["output"], _, more = texts["output"].partition("\n")
    texts["long"] = "\n".join(filter(None, [more, texts["long"]]))
    texts["comment"] = texts["comment"].strip()
    since = options.since
    is_time = since.isascii() and since.isdigit() and len(since) < 12
    return Alert(**texts, since=float(since) if is_time else 0.0)


def deliver(
    options: argparse.Namespace, *, clock: Callable[[], float] = time.monotonic
) -> list[str]:
    """Send the alert to all targets at the same time. Return one error text for each failure.

    A target may wait at many places: a name lookup, a server that sends one byte a second, a FIFO
    that nobody reads. So each has a thread, and all of them end with the timeout.
    """
    end = clock() + options.timeout
    alert = make_alert(options)
    settings = ChannelOptions(options.timeout * CHANNEL_SHARE, options.sender, options.smtp)
    sending = []
    for channel in CHANNELS:
        if targets := targets_of(options, channel.flag):
            for target, send in channel.plan(alert, targets, settings):
                sending.append((target, start(send)))
    failed = []
    for target, wait in sending:
        try:
            wait(max(0.0, end - clock()))
        except DeliveryError as error:
            failed.append(str(error))
        except TimeoutError:
            failed.append(f"cannot send the alert {target}: not done within {options.timeout:g} s")
        except Exception as error:  # its text may contain a secret, such as the webhook's URL
            kind = type(error).__name__
            failed.append(f"cannot send the alert {target}: internal error, {kind}")
    return failed


def start(send: Callable[[], None]) -> Callable[[float], None]:
    """Start `send` in a thread. Return a function that waits for it, for a number of seconds."""
    try:
        return BackgroundCall(send, "beanwatch-alert").wait
    except RuntimeError:  # the system allows no more threads: send without the time limit
        return lambda _seconds: send()


def main() -> None:
    """Send the alert. Exit 0 if every target got it, 1 if one did not, 2 for wrong arguments."""
    options = parser().parse_args()
    if not any(targets_of(options, channel.flag) for channel in CHANNELS):
        text = "no target: use --mail, --webhook-file or --file"
        print(f"beanwatch_notify: {text}", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    failed = deliver(options)
    for line in failed:
        print(terminal_text(f"beanwatch_notify: {line}"), file=sys.stderr)  # noqa: T201
    sys.exit(1 if failed else 0)
