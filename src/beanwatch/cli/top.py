"""`beanwatch top`: show servers, queues and workers on one screen, problems first."""

import time
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import click
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from beanwatch.cli.lib.keys import Keys
from beanwatch.cli.lib.options import (
    DURATION,
    QUERY_TIMEOUT,
    config_option,
    load_config,
    pick_redis,
    pick_servers,
    redis_option,
    server_option,
)
from beanwatch.cli.lib.output import print_json
from beanwatch.cli.lib.queue_view import SORTS, queue_table, server_table, sort_queues
from beanwatch.cli.lib.tables import STYLES, Columns
from beanwatch.cli.lib.worker_view import worker_style, worker_table, worker_tree
from beanwatch.collectors.poll.observer import Observer
from beanwatch.fleet.overview import FleetObserver, Overview
from beanwatch.net.redis_url import RedisError, RedisUrl, open_redis
from beanwatch.queues.selection import Selection
from beanwatch.store.health import decide_health, rank_health
from beanwatch.store.heartbeats import Worker, read_workers
from beanwatch.words import count

HEADING_LINES = 8  # lines of the screen for headings, blank lines and the list of keys
MAX_WORKERS = 8  # rows of workers on a screen; the rest of it is for queues
RATE_INTERVAL = 1.0  # seconds between the two polls from which --once computes rates


class Snapshot(NamedTuple):
    """The result of one poll of all servers and of Redis."""

    overview: Overview
    workers: Sequence[Worker]
    redis_error: str  # why the workers could not be read, or ""


class Screen:
    """Polls the servers and Redis, and draws the tables. Keys change its order and its filter."""

    def __init__(
        self,
        fleet: FleetObserver,
        redis: RedisUrl | None,
        *,
        order: str,
        pattern: str,
        only_wrong: bool,
        timeout: float,
    ) -> None:
        self._fleet = fleet
        self._redis = redis
        self._order = order
        self._pattern = pattern
        self._only_wrong = only_wrong
        self._timeout = timeout

    @property
    def hint(self) -> str:
        """The line that lists the keys and the present settings."""
        shown = "only problems" if self._only_wrong else "all"
        return f"q quit   s sort: {self._order}   w show: {shown}"

    def press(self, key: str) -> bool:
        """Change the setting that the key is for. Return False if the key is `q`, for quit."""
        if key == "s":
            names = list(SORTS)
            self._order = names[(names.index(self._order) + 1) % len(names)]
        elif key == "w":
            self._only_wrong = not self._only_wrong
        return key != "q"

    def poll(self) -> Snapshot:
        """Poll all servers and Redis. Return the rows that match the filters, in order."""
        overview = self._fleet.observe()
        rows = [
            row
            for row in sort_queues(overview.queues, self._order)
            if fnmatchcase(row.queue, self._pattern) and (row.wrong or not self._only_wrong)
        ]
        workers: list[Worker] = []
        redis_error = ""
        if self._redis:
            try:
                with open_redis(self._redis, self._timeout) as redis:
                    workers = read_workers(redis.execute)
                redis_error = next((worker.doubt for worker in workers if worker.doubt), "")
            except RedisError as error:
                redis_error = f"cannot read the workers: {error}"
        if self._only_wrong:
            workers = [worker for worker in workers if worker_style(worker)]
        workers.sort(key=lambda worker: (-rank_health(decide_health(worker)), worker.id))
        return Snapshot(Overview(overview.servers, rows), workers, redis_error)

    def draw(self, snapshot: Snapshot, height: int | None = None) -> Group:
        """Return the tables of a snapshot, cut to `height` lines (None: not cut)."""
        (servers, queues), workers, redis_error = snapshot
        parts: list[Columns | Text] = [server_table(servers), Text()]
        room = len(queues)
        if height is not None:
            taken = min(len(workers), MAX_WORKERS) + 2 if workers else 0
            room = max(3, height - HEADING_LINES - len(servers) - taken)
        parts.append(queue_table(queues[:room], several=len(servers) > 1))
        if (hidden := len(queues) - room) > 0:
            parts.append(Text(f"... and {count(hidden, 'more queue')}", style="dim"))
        if redis_error:
            parts += [Text(), Text(redis_error, style=STYLES["critical"])]
        if workers:
            shown = workers if height is None else workers[:MAX_WORKERS]
            parts += [Text(), worker_table(shown)]
            if len(shown) < len(workers):
                more = count(len(workers) - len(shown), "more worker")
                parts.append(Text(f"... and {more}", style="dim"))
        if height is not None:
            parts += [Text(), Text(self.hint, style="dim")]
        return Group(*parts)


@click.command("top")
@config_option
@server_option
@click.argument("queue_glob", default="*")
@redis_option("the workers' heartbeats")
@click.option("--interval", type=DURATION, default=2.0, help="time between two polls (2s)")
@click.option(
    "--sort",
    "order",
    type=click.Choice(list(SORTS)),
    default="worst",
    help="order of the queues (worst: problems first)",
)
@click.option(
    "--wrong", "only_wrong", is_flag=True, help="show only queues and workers with problems"
)
@click.option("--once", is_flag=True, help="print the tables once, then exit")
@click.option("--json", "as_json", is_flag=True, help="print the numbers once as JSON, then exit")
@click.option(
    "--timeout", type=DURATION, default=QUERY_TIMEOUT, help="longest wait for a server's reply (5s)"
)
def command(
    config_file: str | None,
    servers: tuple[str, ...],
    queue_glob: str,
    redis: str | None,
    interval: float,
    order: str,
    only_wrong: bool,
    once: bool,
    as_json: bool,
    timeout: float,
) -> int:
    """Show servers, queues and workers, problems first, until the key q is pressed.

    In a pipe, or with --once, print the tables once and exit. This takes a second, because
    rates are computed from two polls a second apart. Then the exit code is 1 if a server did
    not answer or its queues could not be read; the server's row says why.

    \b
    Examples:
      beanwatch top 'email.*' --sort ready
      beanwatch top --wrong --json
    """
    config = load_config(config_file)
    selection = Selection(config.collect.include, config.collect.exclude)
    chosen = pick_servers(config, servers)
    observers = [Observer(one, selection=selection, timeout=timeout) for one in chosen]
    fleet = FleetObserver(observers, timeout * 2)
    screen = Screen(
        fleet,
        pick_redis(config, redis),
        order=order,
        pattern=queue_glob,
        only_wrong=only_wrong,
        timeout=timeout,
    )
    console = Console()
    try:
        if as_json or once or not console.is_terminal:
            return show_once(screen, fleet, console, as_json=as_json)
        show_live(screen, console, max(0.2, interval))
    except KeyboardInterrupt:
        return 0
    finally:
        fleet.close()
    return 0


def show_once(screen: Screen, fleet: FleetObserver, console: Console, *, as_json: bool) -> int:
    """Print the servers, queues and workers once. Return the exit code.

    It is 1 if a server did not answer one of the two polls, or if some of its numbers are missing.
    """
    first = fleet.observe()  # rates are differences from this poll
    time.sleep(RATE_INTERVAL)
    snapshot = screen.poll()
    if as_json:
        print_json(as_tree(snapshot))
    else:
        if not console.is_terminal:
            console.width = max(console.width, 120)
        console.print(screen.draw(snapshot))
    is_complete = all(row.up and not row.trouble for row in snapshot.overview.servers)
    return 0 if is_complete and all(row.up for row in first.servers) else 1


def show_live(screen: Screen, console: Console, interval: float) -> None:
    """Redraw the screen every `interval` seconds, and after a key, until `q` or Ctrl-C."""
    with Live(console=console, screen=True, auto_refresh=False) as live, Keys() as keys:
        while True:
            started = time.monotonic()
            live.update(screen.draw(screen.poll(), console.height), refresh=True)
            if not screen.press(keys.wait(interval - (time.monotonic() - started))):
                return


def as_tree(snapshot: Snapshot) -> dict[str, Any]:
    """Return a snapshot as a tree for JSON. The field `wrong` of a row says how bad it is."""
    tree: dict[str, Any] = {
        "servers": [row.tree() for row in snapshot.overview.servers],
        "queues": [row.tree() for row in snapshot.overview.queues],
        "workers": [worker_tree(worker) for worker in snapshot.workers],
    }
    if snapshot.redis_error:
        tree["trouble"] = [{"redis": snapshot.redis_error}]
    return tree
