"""The channel that posts alerts to webhooks, in the format of Slack and Mattermost."""

import http.client
import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from beanwatch.checks.channels.alert import Alert, Channel, ChannelOptions, DeliveryError, Target
from beanwatch.checks.channels.retry import Attempts, NotAcceptedError
from beanwatch.file_access import find_writers
from beanwatch.quoting import chat_link, chat_text, terminal_text

COLORS = {"CRITICAL": "#d32f2f", "DOWN": "#d32f2f", "WARNING": "#f9a825", "UNKNOWN": "#7b1fa2"}
OTHER_COLOR = "#388e3c"  # green, for OK and UP
MOVED = range(300, 400)  # the HTTP status of a redirect
BUSY = (429, 502, 503, 504)  # the HTTP status of a server, or its proxy, that may accept it later


def plan(alert: Alert, files: Sequence[str], options: ChannelOptions) -> Iterable[Target]:
    """Return a target for each file. Its function posts the alert to the URL in the first line."""
    body = make_slack(alert)
    for file in files:
        name = f"to the webhook in {file}"
        yield name, partial(send_webhook, body, file, Attempts(options.timeout))


def make_slack(alert: Alert) -> bytes:
    """Format the alert as a JSON message for an incoming webhook of Slack."""
    links = [
        chat_link(url, name)
        for name, url in (("Runbook", alert.runbook), ("Graphs", alert.graphs))
        if url
    ]
    long = "\n".join(alert.long_lines()).strip()
    text = "\n".join(filter(None, [chat_text(alert.output), chat_text(long), " ".join(links)]))
    attachment = {
        "color": COLORS.get(alert.state, OTHER_COLOR),
        "title": chat_text(f"{alert.kind}: {alert.host} {alert.service} is {alert.state}"),
        "text": text,
        "fallback": chat_text(alert.subject),
        "footer": chat_text(alert.comment),
        "ts": int(alert.since) or int(time.time()),
    }
    return json.dumps({"text": chat_text(alert.subject), "attachments": [attachment]}).encode()


def send_webhook(body: bytes, url_file: str, attempts: Attempts) -> None:
    """POST `body` to the URL in the first line of `url_file`.

    `url_file` may be a FIFO, so it is read only once. If other users can change the file, says so
    on standard error, and sends the alert, which is worth more. Raises DeliveryError. Its text
    names the file and not the URL, which is a secret.
    """
    failed = f"cannot post the alert to the webhook in {url_file}"
    try:
        with open(url_file, encoding="utf-8") as stream:
            url = stream.readline().strip()
        for writer in find_writers(url_file):
            text = f"beanwatch_notify: others can change {url_file}: {writer}"
            print(terminal_text(text), file=sys.stderr)  # noqa: T201
    except (OSError, ValueError) as error:
        raise DeliveryError(f"{failed}: {_reason(error)}") from None
    if not url.startswith(("http://", "https://")):
        raise DeliveryError(f"{failed}: its first line is not an http(s) URL")
    attempts.run(partial(_post, body, url, failed))


def _post(body: bytes, url: str, failed: str, timeout: float) -> None:
    """POST `body` once. `timeout` (seconds) limits each step; the caller limits the sum.

    Raises NotAcceptedError if the server was not reached or is busy, else DeliveryError. The text
    begins with `failed`.
    """
    content = _Content(body)
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
    try:
        request = urllib.request.Request(url, content, headers)  # noqa: S310 - http or https
        urllib.request.build_opener(_NoRedirect).open(request, timeout=timeout).close()
    except urllib.error.HTTPError as error:
        hint = " (it has moved: write its new URL into the file)" if error.code in MOVED else ""
        text = f"{failed}: HTTP {error.code}{hint}"
        if error.code in BUSY:
            pause = parse_retry_after(error.headers.get("Retry-After", ""))
            raise NotAcceptedError(text, pause) from None
        raise DeliveryError(text) from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        text = f"{failed}: {_reason(error)}"
        # urllib gives the OSError of a connection as the reason of another error.
        if isinstance(getattr(error, "reason", None), OSError) and not content.is_sent:
            raise NotAcceptedError(text) from None
        raise DeliveryError(text) from None


def parse_retry_after(text: str) -> float:
    """Return the seconds of a header Retry-After, or 0 if it is missing or has a date."""
    return float(text) if text.isascii() and text.isdigit() else 0.0


def _reason(error: Exception) -> object:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None)
    return reason or type(error).__name__


class _Content:
    """The body of a request. It notes that it is sent: without it, no server accepts the alert."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.is_sent = False

    def __iter__(self) -> Iterator[bytes]:
        self.is_sent = True
        yield self._body


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: urllib would follow it with a GET, without the alert."""

    def redirect_request(self, *_args: object) -> None:
        """Return no new request. Then urllib raises HTTPError."""


CHANNEL = Channel(
    "--webhook-file", "FILE", "post the alert to the URL in the first line of FILE", plan
)
