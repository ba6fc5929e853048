"""Test the targets of alerts: those that the contacts of Nagios and Icinga on this host name.

Nothing is sent. Mails need a mail server, a webhook needs a file that its user can read.
"""

import argparse
import os
import re
import shlex
import smtplib
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from beanwatch.checks import send_alert
from beanwatch.checks.channels.mail import SENDMAIL
from beanwatch.cli.lib.probes.checks import find_ids
from beanwatch.cli.lib.probes.finding import PROBE_TIMEOUT, Finding
from beanwatch.net.address import Address, connect
from beanwatch.net.errors import socket_reason

PART = "notifications"
CURE = "correct the contact; to try it: beanwatch_notify with it, and what its --help shows"
HTTP_PORTS = {"http": 80, "https": 443}
# The line of a contact that names its targets, by the kind of file.
NAGIOS = re.compile(r"^\s*_NOTIFY\s+([^;\n]+)", re.M)
ICINGA = re.compile(r'^\s*vars\.beanwatch_(mail|webhook_file)\s*=\s*"([^"\n]*)"', re.M)
TEMPLATES = "beanwatch-templates.cfg"  # it has the default, which contacts may not use
MAX_SIZE = 1024 * 1024  # bytes of a file with contacts


def probe_notifications(directories: Iterable[str], user: str) -> Iterator[Finding]:
    """Test each target of the contacts in our files below these directories.

    `user` is the one as which the monitoring system sends; empty for the current user.
    """
    targets: dict[str, Path] = {}
    for directory in directories:
        for path in sorted(Path(directory).glob("*.c*")):
            is_ours = path.name.startswith("beanwatch") or Path(directory).name == "beanwatch"
            if is_ours and path.suffix in (".cfg", ".conf") and path.name != TEMPLATES:
                try:
                    with path.open("rb") as file:
                        text = file.read(MAX_SIZE).decode(errors="replace")
                except OSError as error:
                    yield Finding(PART, "unused", f"cannot read {path}: {error.strerror}")
                    continue
                targets |= {one: path for one in find_targets(text) if one not in targets}
    for target, path in targets.items():
        try:
            yield Finding(PART, "ok", f"{target} ({path.name}): {reach_target(target, user)}")
        except smtplib.SMTPResponseException as error:
            words = error.smtp_error
            said = words.decode(errors="replace") if isinstance(words, bytes) else words
            reason = f"the mail server answered {error.smtp_code} {said}"
            yield Finding(PART, "failed", f"{target} ({path}): {reason}", CURE)
        except (ValueError, smtplib.SMTPException) as error:
            yield Finding(PART, "failed", f"{target} ({path}): {error}", CURE)
        except OSError as error:
            reason = socket_reason(error, PROBE_TIMEOUT)
            yield Finding(PART, "failed", f"{target} ({path}): {reason}", CURE)


def find_targets(text: str) -> Iterator[str]:
    """Yield the arguments of `beanwatch_notify` in a file of Nagios or Icinga."""
    for match in NAGIOS.finditer(text):
        yield match[1].strip()
    for match in ICINGA.finditer(text):
        yield f"--{match[1].replace('_', '-')} {shlex.quote(match[2])}"


def reach_target(target: str, user: str) -> str:
    """Return how alerts reach this target. Raises OSError, ValueError or SMTPException."""
    options = parse(target)
    found = []
    if options.mail:
        found.append(reach_mail_server(options.smtp))
    found += [reach_webhook(file, user) for file in options.webhook_file]
    for file in options.file:
        where = file if os.path.exists(file) else os.path.dirname(file) or "/"
        check_access("-w", where, user)
        found.append("the file can be written")
    if not found:
        raise ValueError("it names no target, such as --mail ADDRESS")
    return "; ".join(found)


def parse(target: str) -> argparse.Namespace:
    """Parse the arguments as `beanwatch_notify` does. Raises ValueError."""
    parser = send_alert.parser()
    parser.error = _refuse  # type: ignore[method-assign]
    alert = [word for name in send_alert.REQUIRED_TEXTS for word in (f"--{name}", "test")]
    try:
        return parser.parse_args([*shlex.split(target), *alert])
    except SystemExit:
        raise ValueError("it asks for help, and names no target") from None


def _refuse(message: str) -> NoReturn:
    raise ValueError(message)


def reach_mail_server(smtp: str) -> str:
    """Test that a mail server is there; greet it, and send no mail."""
    if not smtp:
        if not os.access(SENDMAIL, os.X_OK):
            raise ValueError(
                f"there is no {SENDMAIL}: apt-get install exim4-daemon-light, or --smtp HOST:PORT"
            )
        return f"{SENDMAIL} is there"
    host, _, port = smtp.rpartition(":") if ":" in smtp else (smtp, "", "25")
    with smtplib.SMTP(host, int(port), timeout=PROBE_TIMEOUT) as server:
        server.noop()
    return f"the mail server {smtp} answers"


def reach_webhook(file: str, user: str) -> str:
    """Test that `user` can read the file, and that the host of its URL, a secret, is reached."""
    check_access("-r", file, user)
    if not os.path.isfile(file):  # opening a FIFO would wait for a writer
        raise ValueError(f"{file} is not a plain file")
    with open(file, encoding="utf-8") as stream:
        line = stream.readline(4096).strip()
    try:
        url = urlsplit(line)
        address = Address(url.hostname or "", url.port or HTTP_PORTS[url.scheme])
    except (ValueError, KeyError):  # their texts quote the URL
        address = Address("", 0)
    if not address.host:
        raise ValueError(f"the first line of {file} is not an http(s) URL")
    connect(address, PROBE_TIMEOUT).close()
    return f"{address.host} is reached"


def check_access(flag: str, path: str, user: str) -> None:
    """Raise ValueError if `user` cannot read (`-r`) or write (`-w`) this file or directory."""
    uid, gid, groups = find_ids(user)
    test = ["/usr/bin/test", flag, path]
    try:
        done = subprocess.run(
            test, user=uid, group=gid, extra_groups=groups, timeout=PROBE_TIMEOUT, cwd="/"
        )
    except subprocess.TimeoutExpired:
        raise ValueError(f"its file system does not answer: {path}") from None
    if done.returncode:
        verb = "read" if flag == "-r" else "write to"
        raise ValueError(f"{user or 'this user'} cannot {verb} {path}")
