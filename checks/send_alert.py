"""beanwatch_notify: sends one alert of Nagios or Icinga by mail, to a webhook, or to a file."""

import argparse
import socket
import sys

from beanwatch.checks.channels import file, mail, webhook
from beanwatch.checks.channels.alert import Alert, DeliveryError, Options, readable

# To add a channel, add a module to checks/channels and an entry here.
CHANNELS = (mail.CHANNEL, webhook.CHANNEL, file.CHANNEL)
REQUIRED_TEXTS = {
    "kind": "PROBLEM, RECOVERY ...",
    "host": "its name in the monitoring",
    "state": "of the service or host",
    "output": "what the check said",
}
OPTIONAL_TEXTS = {
    "service": "without it, the alert is about the host",
    "long": "the lines after the first",
    "runbook": "link",
    "graphs": "link",
    "comment": "from the person who acknowledged it",
}


def parser() -> argparse.ArgumentParser:
    """Make the command-line parser. Nagios passes the arguments of checks/nagios/commands.cfg."""
    parser = argparse.ArgumentParser(
        prog="beanwatch_notify",
        description=__doc__,
        epilog="Example:\n  beanwatch_notify --mail me@example.org --kind PROBLEM --host queue1 "
        "--state CRITICAL --output 'a test'",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    where = parser.add_argument_group("where to (at least one, each repeatable)")
    for channel in CHANNELS:
        where.add_argument(
            channel.flag, action="append", default=[], metavar=channel.metavar, help=channel.help
        )
    parser.add_argument("--smtp", default="", metavar="HOST[:PORT]", help=f"else {mail.SENDMAIL}")
    parser.add_argument(
        "--from", dest="sender", default="", metavar="ADDRESS", help="else beanwatch@this host"
    )
    parser.add_argument("--timeout", type=float, default=20.0, metavar="SECONDS", help="for each")
    for name, words in REQUIRED_TEXTS.items():
        parser.add_argument(f"--{name}", required=True, metavar="TEXT", help=words)
    for name, words in OPTIONAL_TEXTS.items():
        parser.add_argument(f"--{name}", default="", metavar="TEXT", help=words)
    parser.add_argument(
        "--since", default="0", metavar="SECONDS", help="of the state, since the epoch"
    )
    return parser


def targets_of(options: argparse.Namespace, flag: str) -> list[str]:
    """Return the values of a channel's flag."""
    found: list[str] = getattr(options, flag.removeprefix("--").replace("-", "_"))
    return found


def make_alert(options: argparse.Namespace) -> Alert:
    """Make the alert from the arguments."""
    texts = {name: readable(getattr(options, name)) for name in (*REQUIRED_TEXTS, *OPTIONAL_TEXTS)}
    # Icinga 2 passes all lines as the output.
    texts["output"], _, more = texts["output"].partition("\n")
    texts["long"] = "\n".join(filter(None, [more, texts["long"]]))
    texts["comment"] = texts["comment"].strip()
    since = options.since
    is_time = since.isascii() and since.isdigit() and len(since) < 12
    return Alert(**texts, since=float(since) if is_time else 0.0)


def deliver(options: argparse.Namespace) -> list[str]:
    """Send the alert to all targets, also after a failure. Return one line for each failure."""
    alert = make_alert(options)
    sender = options.sender or f"beanwatch@{socket.getfqdn()}"
    settings = Options(options.timeout, sender, options.smtp)
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
    """Exit with 0 if all targets got the alert, 1 if one did not, 2 for wrong arguments."""
    options = parser().parse_args()
    if not any(targets_of(options, channel.flag) for channel in CHANNELS):
        print("beanwatch_notify: name --mail, --webhook-file or --file", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    failed = deliver(options)
    for line in failed:
        print(f"beanwatch_notify: {line}", file=sys.stderr)  # noqa: T201
    sys.exit(1 if failed else 0)
