"""The channel that sends alerts by mail, through an SMTP server or this host's sendmail."""

import smtplib
import subprocess
from collections.abc import Callable, Iterable, Sequence
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from functools import partial

from beanwatch.checks.channels.alert import Alert, Channel, ChannelOptions, DeliveryError
from beanwatch.quoting import header_text

SENDMAIL = "/usr/sbin/sendmail"


def plan(
    alert: Alert, addresses: Sequence[str], options: ChannelOptions
) -> Iterable[Callable[[], None]]:
    """Return a single function. Calling it sends one mail to all addresses."""
    yield partial(send, alert, addresses, options)


def send(alert: Alert, addresses: Sequence[str], options: ChannelOptions) -> None:
    """Make one mail for all addresses and send it. Raises DeliveryError."""
    try:
        mail = make_mail(alert, options.sender, addresses)
    except (ValueError, IndexError) as error:  # an address contains a line end
        text = f"cannot make a mail to {' '.join(addresses)!r}: {error}"
        raise DeliveryError(text) from None
    send_mail(mail, options.smtp, options.timeout)


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


def send_mail(mail: EmailMessage, smtp: str, timeout: float) -> None:
    """Send a mail through the SMTP server `smtp` (HOST[:PORT]), or through sendmail if it is "".

    `timeout` is in seconds. Raises DeliveryError.
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
        host, _, port = smtp.rpartition(":") if ":" in smtp else (smtp, "", "25")
        with smtplib.SMTP(host, int(port), timeout=timeout) as server:
            server.send_message(mail)
    except FileNotFoundError:
        raise DeliveryError(
            f"cannot send mail: no {SENDMAIL} here; install a mail server, or use --smtp HOST:PORT"
        ) from None
    except (OSError, smtplib.SMTPException, subprocess.TimeoutExpired, ValueError) as error:
        raise DeliveryError(f"cannot send mail through {smtp or SENDMAIL}: {error}") from None


CHANNEL = Channel("--mail", "ADDRESS", "send a mail to ADDRESS", plan)
