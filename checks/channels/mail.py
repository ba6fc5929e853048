"""The channel that sends alerts by mail, with an SMTP server or the host's sendmail."""

import smtplib
import subprocess
from collections.abc import Callable, Iterable, Sequence
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from functools import partial

from beanwatch.checks.channels.alert import Alert, Channel, DeliveryError, Options, one_line

SENDMAIL = "/usr/sbin/sendmail"


def plan(alert: Alert, addresses: Sequence[str], options: Options) -> Iterable[Callable[[], None]]:
    """Send one mail to all addresses."""
    yield partial(send, alert, addresses, options)


def send(alert: Alert, addresses: Sequence[str], options: Options) -> None:
    """Make the mail and send it; `timeout` is in `options`. Raises DeliveryError."""
    try:
        mail = make_mail(alert, options.sender, addresses)
    except (ValueError, IndexError) as error:  # an address with a line end in it
        raise DeliveryError(f"mail to {' '.join(addresses)!r}: {error}") from None
    send_mail(mail, options.smtp, options.timeout)


def make_mail(alert: Alert, sender: str, recipients: Sequence[str]) -> EmailMessage:
    """Make the mail. Its headers let no program reply automatically.

    Raises ValueError or IndexError for an invalid address.
    """
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


def send_mail(mail: EmailMessage, smtp: str, timeout: float) -> None:
    """Send a mail with the SMTP server `smtp`, or with sendmail if it is "".

    `timeout` is in seconds. Raises DeliveryError.
    """
    try:
        if not smtp:
            result = subprocess.run(
                [SENDMAIL, "-t", "-i"], input=mail.as_bytes(), capture_output=True, timeout=timeout
            )
            if result.returncode:
                raise DeliveryError(f"{SENDMAIL}: {result.stderr.decode(errors='replace').strip()}")
            return
        host, _, port = smtp.rpartition(":") if ":" in smtp else (smtp, "", "25")
        with smtplib.SMTP(host, int(port), timeout=timeout) as server:
            server.send_message(mail)
    except FileNotFoundError:
        raise DeliveryError(
            f"{SENDMAIL} not found: install a mail server, or use --smtp HOST:PORT"
        ) from None
    except (OSError, smtplib.SMTPException, subprocess.TimeoutExpired, ValueError) as error:
        raise DeliveryError(f"cannot send mail through {smtp or SENDMAIL}: {error}") from None


CHANNEL = Channel("--mail", "ADDRESS", "a mail", plan)
