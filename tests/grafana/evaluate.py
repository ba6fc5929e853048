"""An alert rule as Grafana evaluates it: render, reduce each series, compare."""

import json
import math
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence

from tests.grafana.boards import Json
from tests.real import Graphite

REDUCERS: dict[str, Callable[[Sequence[float]], float]] = {
    "last": lambda values: values[-1],
    "min": min,
    "max": max,
}


def evaluate(rule: Json, graphite: Graphite) -> dict[str, float]:
    """The alerts that would fire now: their `name` and their value.

    A series without any value is dropped; two of one name are an error in Grafana too.
    """
    query, reduction, threshold = rule["data"]
    reducer = REDUCERS[reduction["model"]["reducer"]]
    (condition,) = threshold["model"]["conditions"]
    window = query["relativeTimeRange"]["from"]
    seen: dict[str, float] = {}
    for series in _render(graphite, query["model"]["target"], window):
        values = [v for v, _ in series["datapoints"] if v is not None and math.isfinite(v)]
        if not values:
            continue
        name = series["target"]
        if name in seen:
            raise AssertionError(f"{rule['uid']}: two series are called {name!r}")
        seen[name] = reducer(values)
    evaluator = condition["evaluator"]
    return {
        name: value
        for name, value in seen.items()
        if _exceeds(evaluator["type"], evaluator["params"], value)
    }


def _exceeds(kind: str, limits: Sequence[float], value: float) -> bool:
    if kind == "within_range":
        low, high = limits
        return low < value < high
    (limit,) = limits
    return {"gt": value > limit, "lt": value < limit}[kind]


def _render(graphite: Graphite, target: str, window: int) -> list[Json]:
    now = time.time()
    query = {"target": target, "from": int(now - window), "until": int(now), "format": "json"}
    url = f"{graphite.url}/render?{urllib.parse.urlencode({**query, 'noCache': 1})}"
    with urllib.request.urlopen(url, timeout=30) as answer:
        found: list[Json] = json.loads(answer.read())
    return found
