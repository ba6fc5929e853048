"""The graphs that graphite-web draws at the end of the demo."""

from pathlib import Path

from beanwatch.telemetry.series import QUEUE
from tests.real import Graphite

_STYLE = {
    "width": 1000,
    "height": 320,
    "bgcolor": "white",
    "fgcolor": "#404040",
    "majorGridLineColor": "#dddddd",
    "minorGridLineColor": "#f4f4f4",
    "colorList": "#1f77b4,#ff7f0e,#2ca02c,#d62728,#9467bd,#8c564b,#17becf,#7f7f7f",
    "lineWidth": 1.6,
    "fontName": "DejaVu Sans",
    "fontSize": 11,
    "lineMode": "connected",
    "hideLegend": "false",
    "yMin": 0,
    "xFormat": "%H:%M:%S",
}


# File name without .png -> title, label of the vertical axis, Graphite targets.
Graphs = dict[str, tuple[str, str, list[str]]]


def queues(stat: str, name_nodes: str = "3") -> str:
    """Return the target for a number of each queue but `default`, named by these nodes.

    Node 2 is the server, node 3 the queue.
    """
    name = QUEUE.find(stat).name
    return f"aliasByNode(exclude(beanwatch.queue.*.*.{name}, '\\.default\\.'), {name_nodes})"


GRAPHS: Graphs = {
    "ready": (
        "Jobs ready, by queue",
        "jobs",
        [queues("ready")],
    ),
    "buried": (
        "Jobs buried, by queue",
        "jobs",
        [queues("buried")],
    ),
    "flow": (
        "Jobs put and deleted",
        "jobs per second",
        [
            "alias(sumSeries(beanwatch.queue.*.*.put_rate), 'put')",
            "alias(sumSeries(beanwatch.queue.*.*.delete_rate), 'deleted')",
        ],
    ),
    "outcomes": (
        "Runs by outcome",
        "runs in 10 s",
        ["groupByNode(beanwatch.job.*.*.*.*.{ok,retry,buried,timeout}.count, 6, 'sum')"],
    ),
    "duration": (
        "Duration of runs (95th percentile), by job",
        "milliseconds",
        ["groupByNode(beanwatch.job.*.*.*.*.duration.upper_95, 4, 'max')"],
    ),
}
MIXED_FLEET: Graphs = {
    "mixed-ready": (
        "Jobs ready, by server and queue",
        "jobs",
        [queues("ready", "2, 3")],
    ),
    "mixed-buried": (
        "Failed jobs, by server and queue",
        "jobs",
        [queues("buried", "2, 3")],
    ),
}
# Vertical lines in every graph, at the times at which a fault was caused and fixed.
MARKS = [
    "color(alias(drawAsInfinite(demo.fault), 'fault'), '#d6272880')",
    "color(alias(drawAsInfinite(demo.fixed), 'fixed'), '#2ca02c80')",
]


def draw(graphite: Graphite, graphs: Graphs, directory: Path, started: float) -> list[Path]:
    """Draw these graphs from `started` (seconds since 1970) until now. Return the PNG files."""
    directory.mkdir(parents=True, exist_ok=True)
    pictures = []
    for name, (title, axis, targets) in graphs.items():
        path = directory / f"{name}.png"
        look = {**_STYLE, "title": title, "vtitle": axis}
        pictures.append(graphite.png([*targets, *MARKS], path, f"{started:.0f}", **look))
    return pictures
