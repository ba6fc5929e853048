"""Graphite's render API: what arrived, and under which name."""

import json
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

from beanwatch.cli.lib.probes.finding import TIMEOUT
from beanwatch.collectors.deliver.carbon import GraphiteError
from beanwatch.net.http import HttpError, get


class Series(NamedTuple):
    """One series of the render API: its name, and its points as (value, epoch seconds)."""

    name: str
    points: list[tuple[float, int]]


def parse_render(body: bytes) -> list[Series]:
    """Read the render API's JSON, points without a value left out. Raises ValueError."""
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
            )
            for series in answer
        ]
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"no answer of a render API: {body[:60]!r}") from None


def render(url: str, targets: Sequence[str], since: str = "-10min") -> list[Series]:
    """Ask the render API. Raises GraphiteError."""
    query = {"target": targets, "from": since, "format": "json", "noCache": "1"}
    try:
        body = get(f"{url.rstrip('/')}/render?{urlencode(query, doseq=True)}", TIMEOUT)
        return parse_render(body)
    except (HttpError, ValueError) as error:
        raise GraphiteError(f"render API {error}") from None


def without_user(url: str) -> str:
    """The URL without user and password."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def await_value(
    url: str,
    targets: Sequence[str],
    value: float,
    wait: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """The name of the series in which the value turns up, empty if in none within `wait` seconds.

    Raises GraphiteError if the render API cannot be asked at all.
    """
    end = clock() + wait
    while True:
        for series in render(url, targets):
            if any(found == value for found, _ in series.points):
                return series.name
        if clock() >= end:
            return ""
        sleep(0.5)
