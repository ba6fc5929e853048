"""beanwatch_notify: carries one alert of Nagios or Icinga to mail, a webhook, or a file."""

import argparse
import json
import os
import re
import smtplib
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from functools import partial
from typing import NamedTuple

SENDMAIL = "/usr/sbin/sendmail"
COLORS = {"CRITICAL": "#d32f2f", "DOWN": "#d32f2f", "WARNING": "#f9a825", "UNKNOWN": "#7b1fa2"}
GOOD = "#388e3c"
NEEDED = {
    "kind": "PROBLEM, RECOVERY ...",
    "host": "its name in the monitoring",
    "state": "of the service or host",
    "output": "what the check said",
}
OPTIONAL = {
    "service": "none: it is the host's",
    "long": "the lines after the first",
    "runbook": "link",
    "graphs": "link",
    "comment": "of who acknowledged it",
}


class NotifyError(Exception):
    """An alert that could not be delivered; the text says where to and why."""


class Alert(NamedTuple):
    """What the monitoring server says. `since` is seconds since the epoch, 0 when not known."""

    kind: str  # PROBLEM RECOVERY ACKNOWLEDGEMENT DOWNTIMESTART ... CUSTOM
    host: str
    service: str
    state: str
    output: str
    long: str = ""
    runbook: str = ""
    graphs: str = ""
    since: float = 0.0
    comment: str = ""

    @property
    def subject(self) -> str:
        """One line that says it all on a telephone's lock screen."""
        reason = re.sub(r"^[A-Z_]+ (OK|WARNING|CRITICAL|UNKNOWN) - ", "", self.output)
        where = f"{self.host} {self.service}".strip()
        return one_line(f"{self.kind}: {where} is {self.state}: {reason}")[:200]

    def long_lines(self) -> list[str]:
        """The long output, without links that the alert has anyway."""
        links = {f"Runbook: {self.runbook}", f"Graphs: {self.graphs}"}
        lines = self.long.replace("\\n", "\n").splitlines()
        return [line for line in lines if line not in links]

    def body(self, now: Callable[[], float] = time.time) -> str:
        """The whole story, what to read, and since when."""
        lines = [self.output, *self.long_lines(), ""]
        lines += [f"Host:    {self.host}"]
        lines += [f"Service: {self.service}"] if self.service else []
        lines += [f"State:   {self.state}{f', since {when(self.since)}' if self.since else ''}"]
        lines += [f"Runbook: {self.runbook}"] if self.runbook else []
        lines += [f"Graphs:  {self.graphs}"] if self.graphs else []
        lines += [f"Comment: {self.comment}"] if self.comment else []
        return "\n".join([*lines, f"Sent:    {when(now())}", ""])


def when(seconds: float) -> str:
    """A local time with its offset, for people."""
    return time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(seconds))


def readable(text: str) -> str:
    """Text that can be written anywhere, whatever bytes an argument was made of."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def one_line(text: str) -> str:
    """Text fit for a header: no line ends, no control characters."""
    return " ".join(re.sub(r"[\x00-\x1f\x7f]", " ", text).split())


def make_mail(alert: Alert, sender: str, recipients: Sequence[str]) -> EmailMessage:
    """The alert as a mail. Mails of one service make a thread, and auto-replies stay away."""
    mail = EmailMessage()
    mail["From"] = sender
    mail["To"] = ", ".join(recipients)
    mail["Subject"] = alert.subject
    mail["Date"] = formatdate(localtime=True)
    mail["Message-ID"] = make_msgid("beanwatch", domain=sender.rpartition("@")[2] or None)
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Beanwatch-State"] = one_line(alert.state)
    mail.set_content(alert.body())
    return mail


def make_slack(alert: Alert) -> bytes:
    """The alert in the format of Slack's incoming webhooks, which Mattermost and others read."""
    links = [
        f"<{url}|{name}>"
        for name, url in (("Runbook", alert.runbook), ("Graphs", alert.graphs))
        if url
    ]
    long = "\n".join(alert.long_lines()).strip()
    text = "\n".join(filter(None, [escape(alert.output), escape(long), " ".join(links)]))
    attachment = {
        "color": COLORS.get(alert.state, GOOD),
        "title": escape(f"{alert.kind}: {alert.host} {alert.service} is {alert.state}"),
        "text": text,
        "fallback": escape(alert.subject),
        "footer": escape(alert.comment),
        "ts": int(alert.since) or int(time.time()),
    }
    return json.dumps({"text": escape(alert.subject), "attachments": [attachment]}).encode()


def escape(text: str) -> str:
    """Slack's three special characters."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def send_mail(mail: EmailMessage, smtp: str, timeout: float) -> None:
    """Through an SMTP server, or the host's sendmail. Raises NotifyError."""
    try:
        if not smtp:
            done = subprocess.run(
                [SENDMAIL, "-t", "-i"], input=mail.as_bytes(), capture_output=True, timeout=timeout
            )
            if done.returncode:
                raise NotifyError(f"{SENDMAIL}: {done.stderr.decode(errors='replace').strip()}")
            return
        host, _, port = smtp.rpartition(":") if ":" in smtp else (smtp, "", "25")
        with smtplib.SMTP(host, int(port), timeout=timeout) as server:
            server.send_message(mail)
    except FileNotFoundError:
        raise NotifyError(f"no {SENDMAIL} here: install one, or name --smtp HOST:PORT") from None
    except (OSError, smtplib.SMTPException, subprocess.TimeoutExpired, ValueError) as error:
        raise NotifyError(f"mail by {smtp or SENDMAIL}: {error}") from None


def send_webhook(body: bytes, url_file: str, timeout: float) -> None:
    """POST to the URL in the file. The URL is a secret and never printed. Raises NotifyError."""
    try:
        with open(url_file, encoding="utf-8") as stream:
            url = stream.readline().strip()
        if not url.startswith(("http://", "https://")):
            raise NotifyError(f"{url_file}: its first line is no http(s) URL")
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(url, body, headers)  # noqa: S310 - http or https, see above
        urllib.request.urlopen(request, timeout=timeout).close()  # noqa: S310
    except urllib.error.HTTPError as error:
        raise NotifyError(f"webhook of {url_file}: HTTP {error.code}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None)
        raise NotifyError(f"webhook of {url_file}: {reason or type(error).__name__}") from None


def append_file(alert: Alert, path: str) -> None:
    """One line, tabs between: kind, host, service, state, output, runbook. Raises NotifyError."""
    fields = (alert.kind, alert.host, alert.service, alert.state, alert.output, alert.runbook)
    line = "\t".join(map(one_line, fields)) + "\n"
    try:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o640)
        try:
            os.write(descriptor, line.encode("utf-8", "replace"))
        finally:
            os.close(descriptor)
    except OSError as error:
        raise NotifyError(f"{path}: {error.strerror}") from None


def parser() -> argparse.ArgumentParser:
    """The command line; Nagios fills it in (checks/nagios/commands.cfg)."""
    parser = argparse.ArgumentParser(
        prog="beanwatch_notify",
        description=__doc__,
        epilog="Example:\n  beanwatch_notify --mail me@example.org --kind PROBLEM --host queue1 "
        "--state CRITICAL --output 'a test'",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    where = parser.add_argument_group("where to (at least one, each repeatable)")
    where.add_argument("--mail", action="append", default=[], metavar="ADDRESS", help="a mail")
    where.add_argument(
        "--webhook-file", action="append", default=[], metavar="FILE", help="POST to its URL"
    )
    where.add_argument("--file", action="append", default=[], metavar="FILE", help="append a line")
    parser.add_argument("--smtp", default="", metavar="HOST[:PORT]", help=f"else {SENDMAIL}")
    parser.add_argument(
        "--from", dest="sender", default="", metavar="ADDRESS", help="else beanwatch@this host"
    )
    parser.add_argument("--timeout", type=float, default=20.0, metavar="SECONDS", help="for each")
    for name, words in NEEDED.items():
        parser.add_argument(f"--{name}", required=True, metavar="TEXT", help=words)
    for name, words in OPTIONAL.items():
        parser.add_argument(f"--{name}", default="", metavar="TEXT", help=words)
    parser.add_argument(
        "--since", default="0", metavar="SECONDS", help="of the state, since the epoch"
    )
    return parser


def deliver(options: argparse.Namespace) -> list[str]:
    """Send the alert everywhere; what failed, one line each. One failure stops no other."""
    for name in (*NEEDED, *OPTIONAL):  # a check, or a comment, may not be in UTF-8
        setattr(options, name, readable(getattr(options, name)))
    # Icinga 2 gives all lines as the output.
    options.output, _, more = options.output.partition("\n")
    options.long = "\n".join(filter(None, [more, options.long]))
    since = options.since.isascii() and options.since.isdigit() and len(options.since) < 12
    values = {key: value for key, value in vars(options).items() if key in Alert._fields}
    alert = Alert(
        **{
            **values,
            "since": float(options.since) if since else 0.0,
            "comment": options.comment.strip(),
        }
    )
    sender = options.sender or f"beanwatch@{socket.getfqdn()}"
    tasks: list[Callable[[], None]] = []
    if options.mail:
        tasks.append(partial(mail_to, alert, sender, options))
    body = make_slack(alert)
    tasks += [partial(send_webhook, body, file, options.timeout) for file in options.webhook_file]
    tasks += [partial(append_file, alert, file) for file in options.file]
    failed = []
    for task in tasks:
        try:
            task()
        except NotifyError as error:
            failed.append(str(error))
    return failed


def mail_to(alert: Alert, sender: str, options: argparse.Namespace) -> None:
    """Make the mail and send it. Raises NotifyError."""
    try:
        mail = make_mail(alert, sender, options.mail)
    except (ValueError, IndexError) as error:  # an address with a line end in it
        raise NotifyError(f"mail to {' '.join(options.mail)!r}: {error}") from None
    send_mail(mail, options.smtp, options.timeout)


def main() -> None:
    """Exit 0 when everybody was told, 1 when somebody was not, 2 for wrong arguments."""
    options = parser().parse_args()
    if not (options.mail or options.webhook_file or options.file):
        print("beanwatch_notify: name --mail, --webhook-file or --file", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    failed = deliver(options)
    for line in failed:
        print(f"beanwatch_notify: {line}", file=sys.stderr)  # noqa: T201
    sys.exit(1 if failed else 0)
