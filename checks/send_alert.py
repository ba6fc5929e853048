"""beanwatch_notify: send one alert of Nagios or Icinga by mail, to a webhook or to a file."""

import argparse
import socket
import sys

from beanwatch.checks.channels import file, mail, webhook
from beanwatch.checks.channels.alert import (
    Alert,
    ChannelOptions,
    DeliveryError,
    replace_invalid_utf8,
)
from beanwatch.quoting import terminal_text

# To add a channel, add a module to checks/channels and an entry here.
CHANNELS = (mail.CHANNEL, webhook.CHANNEL, file.CHANNEL)
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
        help=f"SMTP server that sends the mails (default: {mail.SENDMAIL} sends them; port: 25)",
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
        type=float,
        default=20.0,
        metavar="SECONDS",
        help="time limit for each target (default: 20)",
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


def deliver(options: argparse.Namespace) -> list[str]:
    """Send the alert to every target, even if one fails. Return one error text for each failure."""
    alert = make_alert(options)
    sender = options.sender or f"beanwatch@{socket.getfqdn()}"
    settings = ChannelOptions(options.timeout, sender, options.smtp)
    failed = []
    for channel in CHANNELS:
        if targets := targets_of(options, channel.flag):
            for send in channel.plan(alert, targets, settings):
                try:
                    send()
                except DeliveryError as error:
                    failed.append(str(error))
    return failed


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
