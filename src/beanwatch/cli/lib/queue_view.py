"""Make the tables of queues and servers for `beanwatch queues` and `beanwatch top`."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rich.table import Column

from beanwatch.cli.lib.tables import (
    NAME_WIDTH,
    STYLES,
    UNKNOWN,
    Columns,
    count_cell,
    number_column,
    rate_cell,
    text_column,
    time_cell,
)
from beanwatch.fleet.overview import QueueRow, ServerRow

WORST_FIRST = {"critical": 0, "warning": 1, "": 2}
STATE_WORDS = {"no_consumer": "no consumer", None: UNKNOWN}

# The sort orders by name. Unknown numbers sort last, like zeros.
SORTS: dict[str, Callable[[QueueRow], Any]] = {
    "worst": lambda row: (WORST_FIRST[row.wrong], -(row.ready or 0), row.queue),
    "name": lambda row: (row.queue, row.server),
    "ready": lambda row: -(row.ready or 0),
    "reserved": lambda row: -(row.reserved or 0),
    "delayed": lambda row: -(row.delayed or 0),
    "buried": lambda row: -(row.buried or 0),
    "age": lambda row: -(row.age or 0),
    "put-rate": lambda row: -(row.put_rate or 0),
    "delete-rate": lambda row: -(row.delete_rate or 0),
}


def sort_queues(rows: Iterable[QueueRow], order: str) -> list[QueueRow]:
    """Return the rows in one of the orders of SORTS; equal rows by server and name."""
    return sorted(sorted(rows, key=lambda row: (row.server, row.queue)), key=SORTS[order])


def server_table(rows: Sequence[ServerRow]) -> Columns:
    """Return a table with a row for each server. Its last column describes problems."""
    is_mixed = len({row.system for row in rows}) > 1
    table = Columns(
        text_column("SERVER"),
        *([text_column("SYSTEM")] if is_mixed else []),
        *map(text_column, ("VERSION", "UP")),
        *map(number_column, ("JOBS", "QUEUES", "CONN")),
        Column("", min_width=NAME_WIDTH),
        spare=("VERSION", "QUEUES", "CONN", "SYSTEM", "JOBS"),
    )
    for row in rows:
        counts = (row.jobs, row.queues, row.connections)
        table.add_row(
            row.server,
            *([row.system] if is_mixed else []),
            row.version or (UNKNOWN if row.up else ""),
            time_cell(row.uptime) if row.up else "down",
            *(count_cell(count, zero="0") if row.up else "" for count in counts),
            row.trouble or "; ".join(problem.line for problem in row.problems),
            style=STYLES[row.wrong],
        )
    return table


def queue_table(rows: Sequence[QueueRow], *, several: bool) -> Columns:
    """Return a table with a row for each queue. If `several`, a column names the server.

    Rates are known only after a second poll, and how many workers are needed only if workers tell
    how long a run takes. If no row has one, their columns are left out.
    """
    has_needs = any(row.workers_needed is not None for row in rows)
    has_rates = any(row.put_rate is not None or row.delete_rate is not None for row in rows)
    table = Columns(
        *([text_column("SERVER")] if several else []),
        text_column("QUEUE", NAME_WIDTH),
        *map(number_column, ("READY", "RESRVD", "DELAYED", "BURIED", "CONSUMERS", "IDLE")),
        *([number_column("NEED")] if has_needs else []),
        *(map(number_column, ("PUT/S", "DEL/S")) if has_rates else ()),
        number_column("AGE"),
        *([number_column("DRAIN")] if has_rates else []),
        text_column("STATE", NAME_WIDTH),
        spare=(
            *("DRAIN", "DELAYED", "PUT/S", "DEL/S", "IDLE", "RESRVD", "NEED", "CONSUMERS", "AGE"),
            *("SERVER", "BURIED"),
        ),
    )
    for row in rows:
        jobs = (row.ready, row.reserved, row.delayed, row.buried)
        table.add_row(
            *([row.server] if several else []),
            row.queue,
            *map(count_cell, (*jobs, row.consumers, row.idle_consumers)),
            *([need_cell(row.workers_needed)] if has_needs else []),
            *(map(rate_cell, (row.put_rate, row.delete_rate)) if has_rates else ()),
            "" if row.ready == 0 else time_cell(row.age),
            *(["" if row.ready == 0 else time_cell(row.drain)] if has_rates else []),
            state_words(row),
            style=STYLES[row.wrong],
        )
    return table


def need_cell(needed: float | None) -> str:
    """Return a number of workers, rounded up."""
    return count_cell(None if needed is None else math.ceil(needed), zero="0")


def state_words(row: QueueRow) -> str:
    """Return the text of the column STATE: the state of the consumers, buried and missing jobs.

    `ok` alone means that none of these is a problem.
    """
    state = STATE_WORDS.get(row.state, row.state or UNKNOWN)
    if state == "paused" and row.pause_left is not None:
        state = f"paused {time_cell(row.pause_left)}"
    troubles = [
        f"{count_cell(number)} {word}"
        for number, word in ((row.missing_jobs, "missing"), (row.buried, "buried"))
        if number
    ]
    return ", ".join(troubles if troubles and state == "ok" else [state, *troubles])
