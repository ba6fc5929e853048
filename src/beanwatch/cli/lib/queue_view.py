"""How queues and servers look in a terminal: for `beanwatch queues` and `beanwatch top`."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rich.table import Column
from rich.text import Text

from beanwatch.cli.lib.tables import Columns, number, word
from beanwatch.fleet.overview import QueueRow, ServerRow

STYLES = {"critical": "bold red", "warning": "yellow", "": ""}
WORDS = 12  # characters to which a name may be cut where there is little room
RANK = {"critical": 0, "warning": 1, "": 2}

SORTS: dict[str, Callable[[QueueRow], Any]] = {
    "worst": lambda row: (RANK[row.wrong], -row.ready, row.queue),
    "name": lambda row: (row.queue, row.server),
    "ready": lambda row: -row.ready,
    "reserved": lambda row: -row.reserved,
    "delayed": lambda row: -row.delayed,
    "buried": lambda row: -row.buried,
    "age": lambda row: -(row.age or 0),
    "put-rate": lambda row: -(row.put_rate or 0),
    "delete-rate": lambda row: -(row.delete_rate or 0),
}


def sort_queues(rows: Iterable[QueueRow], order: str) -> list[QueueRow]:
    """The rows in the order of one of SORTS; by server and name where that says nothing."""
    return sorted(sorted(rows, key=lambda row: (row.server, row.queue)), key=SORTS[order])


def server_table(rows: Sequence[ServerRow]) -> Columns:
    """One line a server, with what is wrong in colour and in words."""
    table = Columns(
        *map(word, ("SERVER", "VERSION", "UP")),
        *map(number, ("JOBS", "QUEUES", "CONN", "REJECTED")),
        Column("", min_width=WORDS),
        spare=("VERSION", "QUEUES", "CONN", "REJECTED", "JOBS"),
    )
    for row in rows:
        words = row.trouble or ("draining: it takes no new jobs" if row.draining else "")
        table.add_row(
            row.server,
            row.version,
            human_time(row.uptime) if row.up else "down",
            *(f"{count:,}" for count in (row.jobs, row.queues, row.connections, row.rejected)),
            Text(words),
            style=STYLES[row.wrong],
        )
    return table


def queue_table(rows: Sequence[QueueRow], *, several: bool) -> Columns:
    """One line a queue; `several` servers: with a column that names them."""
    table = Columns(
        *([word("SERVER")] if several else []),
        word("QUEUE", WORDS),
        *map(number, ("READY", "RESRVD", "DELAYED", "BURIED", "WATCH", "WAIT")),
        *map(number, ("PUT/S", "DEL/S", "AGE", "DRAIN")),
        word("STATE", WORDS),
        spare=(
            *("DRAIN", "DELAYED", "PUT/S", "DEL/S", "WAIT", "RESRVD", "WATCH", "AGE"),
            *("SERVER", "BURIED"),
        ),
    )
    for row in rows:
        counts = (row.ready, row.reserved, row.delayed, row.buried, row.watching, row.waiting)
        table.add_row(
            *([row.server] if several else []),
            Text(row.queue),
            *(f"{count:,}" if count else "." for count in counts),
            human_rate(row.put_rate),
            human_rate(row.delete_rate),
            human_time(row.age) if row.ready else "",
            human_time(row.drain) if row.ready else "",
            state_words(row),
            style=STYLES[row.wrong],
        )
    return table


def state_words(row: QueueRow) -> str:
    """The consumers' state, and what else is wrong."""
    words = {"no_watcher": "no watcher", "paused": f"paused {human_time(row.pause_left)}"}
    state = words.get(row.state, row.state)
    return f"{state}, {row.drift} lost" if row.drift > 0 else state


def human_time(seconds: float | None) -> str:
    """Seconds in the two largest units: 75 is 1m15s."""
    if seconds is None:
        return "?"
    whole = int(seconds)
    for name, size, small, part in (("d", 86400, "h", 3600), ("h", 3600, "m", 60)):
        if whole >= size:
            return f"{whole // size}{name}{whole % size // part}{small}"
    return f"{whole // 60}m{whole % 60}s" if whole >= 60 else f"{whole}s"


def human_rate(rate: float | None) -> str:
    """Jobs a second; a dot for none, nothing where it is not known yet."""
    if rate is None:
        return ""
    return f"{rate:,.1f}" if rate else "."
