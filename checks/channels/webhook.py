"""Alerts as webhooks, in the format of Slack, which Mattermost and others read."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from beanwatch.checks.channels.alert import Alert, Channel, DeliveryError, Options

COLORS = {"CRITICAL": "#d32f2f", "DOWN": "#d32f2f", "WARNING": "#f9a825", "UNKNOWN": "#7b1fa2"}
GOOD = "#388e3c"


def plan(alert: Alert, files: Sequence[str], options: Options) -> Iterable[Callable[[], None]]:
    """One request for each file that holds a URL."""
    body = make_slack(alert)
    for file in files:
        yield partial(send_webhook, body, file, options.timeout)


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


def send_webhook(body: bytes, url_file: str, timeout: float) -> None:
    """POST to the URL in the file. The URL is a secret and never printed. Raises DeliveryError."""
    try:
        with open(url_file, encoding="utf-8") as stream:
            url = stream.readline().strip()
        if not url.startswith(("http://", "https://")):
            raise DeliveryError(f"{url_file}: its first line is no http(s) URL")
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(url, body, headers)  # noqa: S310 - http or https, see above
        urllib.request.urlopen(request, timeout=timeout).close()  # noqa: S310
    except urllib.error.HTTPError as error:
        raise DeliveryError(f"webhook of {url_file}: HTTP {error.code}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None)
        raise DeliveryError(f"webhook of {url_file}: {reason or type(error).__name__}") from None


CHANNEL = Channel("--webhook-file", "FILE", "POST to its URL", plan)
