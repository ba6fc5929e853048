"""The channel that sends alerts by mail, through an SMTP server or this host's sendmail."""

import smtplib
import socket
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from email.message import EmailMessage
from email.utils import formatdate, getaddresses, make_msgid
from functools import partial

from beanwatch.checks.channels.alert import Alert, Channel, ChannelOptions, DeliveryError, Target
from beanwatch.checks.channels.retry import Attempts, NotAcceptedError
from beanwatch.light_typing import Any
from beanwatch.net.address import BackgroundCall
from beanwatch.quoting import header_text

SENDMAIL = "/usr/sbin/sendmail"
HOST_NAME_SHARE = 0.25  # of the timeout, to look up this host's name
TEMPORARY = range(400, 500)  # the code of an SMTP reply: not accepted now, but maybe later

Reply = tuple[int, bytes]  # its code and its text
SESSION_OVER = (421, b"the server ended the session")


def plan(alert: Alert, addresses: Sequence[str], options: ChannelOptions) -> Iterable[Target]:
    """Return a single target. Its function sends one mail to all addresses."""
    name = f"by mail through {options.smtp or SENDMAIL}"
    yield name, partial(send, alert, addresses, options, Attempts(options.timeout))


def send(
    alert: Alert, addresses: Sequence[str], options: ChannelOptions, attempts: Attempts
) -> None:
    """Make one mail for all addresses and send it. Raises DeliveryError."""
    host = find_host_name(options.timeout * HOST_NAME_SHARE)
    try:
        mail = make_mail(alert, options.sender or f"beanwatch@{host}", addresses)
    except (ValueError, IndexError) as error:  # an address contains a line end
        text = f"cannot make a mail to {' '.join(addresses)!r}: {error}"
        raise DeliveryError(text) from None
    if options.smtp:
        attempts.run(SmtpDelivery(mail, options.smtp, host).attempt)
    else:
        run_sendmail(mail, attempts.left)


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


def run_sendmail(mail: EmailMessage, timeout: float) -> None:
    """Send a mail through this host's sendmail, within `timeout` seconds. Raises DeliveryError.

    There is only one attempt: sendmail has a queue, and tries again itself.
    """
    failed = f"cannot send mail through {SENDMAIL}"
    try:
        result = subprocess.run(
            [SENDMAIL, "-t", "-i"], input=mail.as_bytes(), capture_output=True, timeout=timeout
        )
    except FileNotFoundError:
        raise DeliveryError(
            f"cannot send mail: no {SENDMAIL} here; install a mail server, or use --smtp HOST:PORT"
        ) from None
    except subprocess.TimeoutExpired:
        raise DeliveryError(f"{failed}: it did not end") from None
    except (OSError, ValueError) as error:
        raise DeliveryError(f"{failed}: {error}") from None
    if result.returncode:
        reason = result.stderr.decode(errors="replace").strip()
        raise DeliveryError(f"{failed}: {reason}")


class SmtpDelivery:
    """Sends a mail through the SMTP server `smtp` (HOST[:PORT]).

    `host` is this host's name, for the server. An attempt is for the recipients that the earlier
    ones left: those whom the server accepted or finally refused get no second mail.
    """

    def __init__(self, mail: EmailMessage, smtp: str, host: str) -> None:
        """Raises DeliveryError if the mail has no recipient."""
        self._mail = mail
        self._smtp = smtp
        self._host = host
        self._pending = [address for _, address in getaddresses([mail["To"]])]
        self._rejected: dict[str, Reply] = {}  # by address
        if not self._pending:
            raise DeliveryError(f"cannot send mail through {smtp}: it has no recipient")

    def attempt(self, timeout: float) -> None:
        """Send the mail once. `timeout` (seconds) limits each step; the caller limits the sum.

        Raises NotAcceptedError if another attempt may succeed and is no duplicate for anybody,
        else DeliveryError.
        """
        smtp = self._smtp
        server = None
        try:
            name, _, port = smtp.rpartition(":") if ":" in smtp else (smtp, "", "25")
            server = _Server(name, int(port), self._host, timeout=timeout)
            refused = server.send_message(self._mail, to_addrs=self._pending)
        except smtplib.SMTPRecipientsRefused as error:  # nobody got the mail
            # After a reply 421 the session is over, and the server knows only some recipients.
            refused = dict.fromkeys(self._pending, SESSION_OVER) | error.recipients
        except (OSError, ValueError) as error:
            if isinstance(error, smtplib.SMTPResponseException):
                is_temporary = error.smtp_code in TEMPORARY
            else:
                is_temporary = isinstance(error, OSError) and not (server and server.is_sending)
            kind = NotAcceptedError if is_temporary else DeliveryError
            raise kind(f"cannot send mail through {smtp}: {error}") from None
        finally:
            if server:
                with suppress(OSError):  # the reply to QUIT changes nothing for the mail
                    server.quit()
        self._judge(refused)

    def _judge(self, refused: Mapping[str, Reply]) -> None:
        """Note who is left. Raises DeliveryError if anybody was refused, now or finally before."""
        self._pending = [address for address, (code, _) in refused.items() if code in TEMPORARY]
        for address in refused.keys() - self._pending:
            self._rejected[address] = refused[address]
        replies = ", ".join(
            f"{address}: {code} {text.decode(errors='replace')}"
            for address, (code, text) in {**self._rejected, **refused}.items()
        )
        if replies:
            kind = NotAcceptedError if self._pending else DeliveryError
            raise kind(f"{self._smtp} refused the mail to {replies}")


class _Server(smtplib.SMTP):
    """An SMTP connection. It notes that it sends the mail: until then, no server accepts it."""

    is_sending = False

    def data(self, msg: Any) -> Reply:
        """Send the mail, as smtplib does after the recipients."""
        self.is_sending = True
        return super().data(msg)


CHANNEL = Channel("--mail", "ADDRESS", "send a mail to ADDRESS", plan)
