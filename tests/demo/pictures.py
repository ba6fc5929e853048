"""The graphs that graphite-web draws at the end."""

from pathlib import Path

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
    """A stat of every queue that has jobs, by the queue's name: node 3 of the path."""
    return f"aliasByNode(exclude(beanwatch.queue.*.*.{stat}, '\\.default\\.'), 3)"


# File name: title, axis, targets.
GRAPHS: dict[str, tuple[str, str, list[str]]] = {
    "ready": (
        "Jobs ready, by queue",
        "jobs",
        [queues("current_jobs_ready")],
    ),
    "buried": (
        "Jobs buried, by queue",
        "jobs",
        [queues("current_jobs_buried")],
    ),
    "flow": (
        "Jobs in and out",
        "jobs a second",
        [
            "alias(sumSeries(beanwatch.queue.*.*.put_rate), 'put')",
            "alias(sumSeries(beanwatch.queue.*.*.delete_rate), 'deleted')",
        ],
    ),
    "outcomes": (
        "What became of the jobs",
        "runs in 10 s",
        ["groupByNode(beanwatch.job.*.*.*.*.{ok,retry,buried,timeout}.count, 6, 'sum')"],
    ),
    "duration": (
        "How long a job runs: the slowest of twenty",
        "milliseconds",
        ["groupByNode(beanwatch.job.*.*.*.*.duration.upper_95, 4, 'max')"],
    ),
}
# When trouble was made and mended, as vertical lines in every graph.
MARKS = [
    "color(alias(drawAsInfinite(demo.trouble), 'trouble'), '#d6272880')",
    "color(alias(drawAsInfinite(demo.mended), 'mended'), '#2ca02c80')",
]


def draw(graphite: Graphite, directory: Path, started: float) -> list[Path]:
    """Draw every graph from `started` (seconds since the epoch) until now."""
    directory.mkdir(parents=True, exist_ok=True)
    pictures = []
    for name, (title, axis, targets) in GRAPHS.items():
        path = directory / f"{name}.png"
        look = {**_STYLE, "title": title, "vtitle": axis}
        pictures.append(graphite.png([*targets, *MARKS], path, f"{started:.0f}", **look))
    return pictures
