"""Query Graphite's render API, to find out which points arrived, and in which series."""

import json
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

from beanwatch.cli.lib.probes.finding import PROBE_TIMEOUT
from beanwatch.collectors.deliver.carbon import GraphiteError
from beanwatch.net.http import HttpError, get


class Series(NamedTuple):
    """One series in a reply of the render API. Points are (value, seconds since the epoch)."""

    name: str
    points: list[tuple[float, int]]
    step: int = 0  # seconds between two points of the archive, also without a value; 0: unknown
    end: int = 0  # the last step of the reply: the present by Graphite's clock; 0: unknown


def parse_render(body: bytes) -> list[Series]:
    """Parse a JSON reply of the render API. Points whose value is null are left out.

    Raises ValueError if it is no such reply.
    """
    try:
        answer = json.loads(body)
        if not isinstance(answer, list):
            raise TypeError
        return [
            Series(
                str(series["target"]),
                [
                    (float(value), int(at))
                    for value, at in series["datapoints"]
                    if value is not None
                ],
                int(series["datapoints"][1][1]) - int(series["datapoints"][0][1])
                if len(series["datapoints"]) > 1
                else 0,
                int(series["datapoints"][-1][1]) if series["datapoints"] else 0,
            )
            for series in answer
        ]
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"this is not a reply of a render API: {body[:60]!r}") from None


def render(url: str, targets: Sequence[str], since: str = "-10min") -> list[Series]:
    """Query the series of `targets`, from the time `since`. Raises GraphiteError if that fails."""
    query = {"target": targets, "from": since, "format": "json", "noCache": "1"}
    try:
        body = get(f"{url.rstrip('/')}/render?{urlencode(query, doseq=True)}", PROBE_TIMEOUT)
        return parse_render(body)
    except (HttpError, ValueError) as error:
        raise GraphiteError(f"cannot query the render API: {error}") from None


def hide_password(url: str) -> str:
    """Return the URL without user and password."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def wait_for_value(
    url: str,
    targets: Sequence[str],
    value: float,
    wait: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """Return the name of the series in which `value` appears; "" if none has it in `wait` seconds.

    Raises GraphiteError if the render API does not work.
    """
    end = clock() + wait
    while True:
        for series in render(url, targets):
            if any(found == value for found, _ in series.points):
                return series.name
        if clock() >= end:
            return ""
        sleep(0.5)
