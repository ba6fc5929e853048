"""The format of server-sent events: https://html.spec.whatwg.org/#server-sent-events"""

import json
from typing import Any


def format_event(name: str, data: Any) -> bytes:
    """Return an event with data as JSON, which has no line end."""
    text = json.dumps(data, ensure_ascii=False)
    return f"event: {name}\ndata: {text}\n\n".encode("utf-8", "replace")
