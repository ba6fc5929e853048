"""Reads the last hour of the queues from Graphite or Prometheus, so that a restart keeps it."""

import time
from collections.abc import Collection, Mapping
from urllib.parse import urlencode

import msgspec

from beanwatch.config import Config
from beanwatch.net.http import HttpError, get
from beanwatch.queues.base import ServerError
from beanwatch.telemetry.nodes import node
from beanwatch.telemetry.series import QUEUE, queue
from beanwatch.web.history import POINTS, STEP

DEADLINE = 15.0  # seconds for each measure
RATE_WINDOW = "2m"  # of Prometheus; it needs two samples in it
HOUR = int(POINTS * STEP)
# By measure of the history: the series in the table, and for Prometheus the counter of a rate.
SERIES = {"ready": "ready", "put_rate": "puts", "delete_rate": "deletes", "age": "head_ready_age"}

Key = tuple[str, str]  # a server's name and a queue
# The values of each measure by the number of their step, for each queue.
Past = Mapping[Key, Mapping[str, Mapping[int, float]]]


class GraphiteSeries(msgspec.Struct):
    """One series in an answer of the render API."""

    target: str
    datapoints: list[tuple[float | None, int]]


class PromSeries(msgspec.Struct):
    """One series in an answer of /api/v1/query_range."""

    metric: dict[str, str]
    values: list[tuple[float, str]]


class PromData(msgspec.Struct):
    """The data of such an answer."""

    result: list[PromSeries]


class PromAnswer(msgspec.Struct):
    """The answer of /api/v1/query_range."""

    data: PromData


class PastError(ServerError):
    """The last hour cannot be read; the text says from where and why."""


def read_past(config: Config, keys: Collection[Key]) -> Past:
    """Return the values of the last hour of these queues. Raises PastError."""
    is_graphite = config.web.history == "graphite"
    read = _read_graphite if is_graphite else _read_prometheus
    found: dict[Key, dict[str, Mapping[int, float]]] = {key: {} for key in keys}
    try:
        for measure in SERIES:
            for key, values in read(config, measure, keys).items():
                found[key][measure] = values
    except (HttpError, msgspec.DecodeError, ValueError) as error:
        name = "Graphite" if is_graphite else "Prometheus"
        raise PastError(f"the last hour cannot be read from {name}: {error}") from None
    return found


def _read_graphite(
    config: Config, measure: str, keys: Collection[Key]
) -> dict[Key, Mapping[int, float]]:
    if not config.graphite.url:
        raise ValueError("graphite.url is empty")
    stat = SERIES["age"] if measure == "age" else measure
    servers = sorted({server for server, _ in keys})
    by_target = {
        queue(config.prefix, server, node(name), stat): (server, name) for server, name in keys
    }
    path = queue(config.prefix, f"{{{','.join(servers)}}}", "*", stat)
    # aliasSub takes the path out of `summarize(path,"30s","avg")`.
    target = f'aliasSub(summarize({path},"{STEP:g}s","avg"),"^summarize\\(([^,]*),.*$","\\1")'
    query = {"target": target, "format": "json", "from": f"-{HOUR}s", "noCache": "1"}
    body = get(f"{config.graphite.url.rstrip('/')}/render?{urlencode(query)}", DEADLINE)
    found: dict[Key, Mapping[int, float]] = {}
    for one in msgspec.json.decode(body, type=list[GraphiteSeries]):
        if key := by_target.get(one.target):
            found[key] = {
                int(at // STEP): value for value, at in one.datapoints if value is not None
            }
    return found


def _read_prometheus(
    config: Config, measure: str, keys: Collection[Key]
) -> dict[Key, Mapping[int, float]]:
    series = QUEUE.find(SERIES[measure])
    name = f"beanwatch_{series.prometheus}"
    if series.label:
        label, value = series.label
        name += f'{{{label}="{value}"}}'
    if series.is_counter:
        name = f"rate({name}[{RATE_WINDOW}])"
    end = time.time() // STEP * STEP
    query = {
        "query": f"max by (server, queue) ({name})",
        "start": f"{end - HOUR:.0f}",
        "end": f"{end:.0f}",
        "step": f"{STEP:g}",
    }
    url = f"{config.web.history.rstrip('/')}/api/v1/query_range?{urlencode(query)}"
    found: dict[Key, Mapping[int, float]] = {}
    for one in msgspec.json.decode(get(url, DEADLINE), type=PromAnswer).data.result:
        key = one.metric.get("server", ""), one.metric.get("queue", "")
        if key in keys:
            found[key] = {int(at // STEP): float(value) for at, value in one.values}
    return found


def add_up(past: Past) -> dict[str, dict[int, float]]:
    """Return the sums over all queues of each measure, and the greatest age, by step."""
    totals: dict[str, dict[int, float]] = {measure: {} for measure in SERIES}
    for measures in past.values():
        for measure, values in measures.items():
            total = totals[measure]
            for slot, value in values.items():
                before = total.get(slot, 0.0)
                total[slot] = max(before, value) if measure == "age" else before + value
    return totals


def group_by_server(past: Past) -> Mapping[str, Past]:
    """Return the queues of each server, by its name."""
    found: dict[str, dict[Key, Mapping[str, Mapping[int, float]]]] = {}
    for key, measures in past.items():
        found.setdefault(key[0], {})[key] = measures
    return found
