"""The channel that sends alerts by mail, through an SMTP server or this host's sendmail."""

import smtplib
import socket
import subprocess
from collections.abc import Iterable, Sequence
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from functools import partial

from beanwatch.checks.channels.alert import Alert, Channel, ChannelOptions, DeliveryError, Target
from beanwatch.net.address import BackgroundCall
from beanwatch.quoting import header_text

SENDMAIL = "/usr/sbin/sendmail"
HOST_NAME_SHARE = 0.25  # of the timeout, to look up this host's name


def plan(alert: Alert, addresses: Sequence[str], options: ChannelOptions) -> Iterable[Target]:
    """Return a single target. Its function sends one mail to all addresses."""
    name = f"by mail through {options.smtp or SENDMAIL}"
    yield name, partial(send, alert, addresses, options)


def send(alert: Alert, addresses: Sequence[str], options: ChannelOptions) -> None:
    """Make one mail for all addresses and send it. Raises DeliveryError."""
    host = find_host_name(options.timeout * HOST_NAME_SHARE)
    try:
        mail = make_mail(alert, options.sender or f"beanwatch@{host}", addresses)
    except (ValueError, IndexError) as error:  # an address contains a line end
        text = f"cannot make a mail to {' '.join(addresses)!r}: {error}"
        raise DeliveryError(text) from None
    send_mail(mail, options.smtp, options.timeout, host)


def find_host_name(timeout: float) -> str:
    """Return this host's name with its domain, or its short name if the lookup takes too long.

    `timeout` is in seconds.
    """
    try:
        return BackgroundCall(socket.getfqdn, "beanwatch-lookup").wait(timeout)
    except TimeoutError:
        return socket.gethostname()


def make_mail(alert: Alert, sender: str, recipients: Sequence[str]) -> EmailMessage:
    """Make the mail. `Auto-Submitted` keeps programs from replying to it (RFC 3834).

    Raises ValueError or IndexError for an invalid address.
    """
    mail = EmailMessage()
    mail["From"] = sender
    mail["To"] = ", ".join(recipients)
    mail["Subject"] = alert.subject
    mail["Date"] = formatdate(localtime=True)
    mail["Message-ID"] = make_msgid("beanwatch", domain=sender.rpartition("@")[2] or None)
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Beanwatch-State"] = header_text(alert.state)
    mail.set_content(alert.body())
    return mail


def send_mail(mail: EmailMessage, smtp: str, timeout: float, host: str) -> None:
    """Send a mail through the SMTP server `smtp` (HOST[:PORT]), or through sendmail if it is "".

    `timeout` (seconds) limits sendmail, or each step of SMTP; the caller limits the sum. `host` is
    this host's name, for the server. Raises DeliveryError.
    """
    try:
        if not smtp:
            result = subprocess.run(
                [SENDMAIL, "-t", "-i"], input=mail.as_bytes(), capture_output=True, timeout=timeout
            )
            if result.returncode:
                reason = result.stderr.decode(errors="replace").strip()
                raise DeliveryError(f"cannot send mail through {SENDMAIL}: {reason}")
            return
        server_name, _, port = smtp.rpartition(":") if ":" in smtp else (smtp, "", "25")
        with smtplib.SMTP(server_name, int(port), host, timeout=timeout) as server:
            if refused := server.send_message(mail):
                answers = (
                    f"{address}: {code} {reason.decode(errors='replace')}"
                    for address, (code, reason) in refused.items()
                )
                raise DeliveryError(f"{smtp} refused the mail to {', '.join(answers)}")
    except FileNotFoundError:
        raise DeliveryError(
            f"cannot send mail: no {SENDMAIL} here; install a mail server, or use --smtp HOST:PORT"
        ) from None
    except subprocess.TimeoutExpired:
        raise DeliveryError(f"cannot send mail through {SENDMAIL}: it did not end") from None
    except (OSError, smtplib.SMTPException, ValueError) as error:
        raise DeliveryError(f"cannot send mail through {smtp or SENDMAIL}: {error}") from None


CHANNEL = Channel("--mail", "ADDRESS", "send a mail to ADDRESS", plan)
