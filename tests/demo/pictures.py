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


def queues(stat: str) -> str:
    """Return the target for a number of each queue but `default`, named by the queue (node 3)."""
    name = QUEUE.find(stat).name
    return f"aliasByNode(exclude(beanwatch.queue.*.*.{name}, '\\.default\\.'), 3)"


# File name without .png -> title, label of the vertical axis, Graphite targets.
GRAPHS: dict[str, tuple[str, str, list[str]]] = {
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
# Vertical lines in every graph, at the times at which a fault was caused and fixed.
MARKS = [
    "color(alias(drawAsInfinite(demo.fault), 'fault'), '#d6272880')",
    "color(alias(drawAsInfinite(demo.fixed), 'fixed'), '#2ca02c80')",
]


def draw(graphite: Graphite, directory: Path, started: float) -> list[Path]:
    """Draw every graph from `started` (seconds since 1970) until now. Return the PNG files."""
    directory.mkdir(parents=True, exist_ok=True)
    pictures = []
    for name, (title, axis, targets) in GRAPHS.items():
        path = directory / f"{name}.png"
        look = {**_STYLE, "title": title, "vtitle": axis}
        pictures.append(graphite.png([*targets, *MARKS], path, f"{started:.0f}", **look))
    return pictures
