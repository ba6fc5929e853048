"""`beanwatch top`: servers, queues and workers at a glance, what is wrong first."""

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
from beanwatch.store.health import HEALTH_CODES, decide_health
from beanwatch.store.heartbeats import Worker, read_workers

HEADING_LINES = 8  # of the screen: headings, blank lines and the hint
MAX_WORKERS = 8  # shown on a screen, so that the queues have room
BETWEEN_LOOKS = 1.0  # seconds; --once takes its rates over that time


class Seen(NamedTuple):
    """One look: servers and queues, the workers, and what was wrong with Redis."""

    overview: Overview
    workers: Sequence[Worker]
    trouble: str


class View:
    """One screen, and its settings; each look gives a new picture."""

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
        """The keys, and what they are set to."""
        shown = "only what is wrong" if self._only_wrong else "all"
        return f"q quit   s sort: {self._order}   w show: {shown}"

    def press(self, key: str) -> bool:
        """Obey a key; false if it means the end."""
        if key == "s":
            names = list(SORTS)
            self._order = names[(names.index(self._order) + 1) % len(names)]
        elif key == "w":
            self._only_wrong = not self._only_wrong
        return key != "q"

    def look(self) -> Seen:
        """Ask the servers and Redis."""
        overview = self._fleet.observe()
        rows = [
            row
            for row in sort_queues(overview.queues, self._order)
            if fnmatchcase(row.queue, self._pattern) and (row.wrong or not self._only_wrong)
        ]
        workers: list[Worker] = []
        trouble = ""
        if self._redis:
            try:
                with open_redis(self._redis, self._timeout) as redis:
                    workers = read_workers(redis.execute)
            except RedisError as error:
                trouble = str(error)
        if self._only_wrong:
            workers = [worker for worker in workers if worker_style(worker)]
        workers.sort(key=lambda worker: (-HEALTH_CODES[decide_health(worker)], worker.id))
        return Seen(Overview(overview.servers, rows), workers, trouble)

    def picture(self, height: int | None = None) -> Group:
        """The tables, cut to `height` lines."""
        (servers, queues), workers, trouble = self.look()
        parts: list[Columns | Text] = [server_table(servers), Text()]
        room = len(queues)
        if height is not None:
            taken = min(len(workers), MAX_WORKERS) + 2 if workers else 0
            room = max(3, height - HEADING_LINES - len(servers) - taken)
        parts.append(queue_table(queues[:room], several=len(servers) > 1))
        if (hidden := len(queues) - room) > 0:
            parts.append(Text(f"... and {hidden} queues more", style="dim"))
        if trouble:
            parts += [Text(), Text(trouble, style=STYLES["critical"])]
        if workers:
            shown = workers if height is None else workers[:MAX_WORKERS]
            parts += [Text(), worker_table(shown)]
            if len(shown) < len(workers):
                parts.append(Text(f"... and {len(workers) - len(shown)} workers more", style="dim"))
        if height is not None:
            parts += [Text(), Text(self.hint, style="dim")]
        return Group(*parts)


@click.command("top")
@config_option
@server_option
@click.argument("queue_glob", default="*")
@redis_option("the workers' heartbeats")
@click.option("--interval", type=DURATION, default=2.0, help="between two looks (2s)")
@click.option("--sort", "order", type=click.Choice(list(SORTS)), default="worst", help="of queues")
@click.option("--wrong", "only_wrong", is_flag=True, help="only what somebody should look at")
@click.option("--once", is_flag=True, help="print one picture and exit")
@click.option("--json", "as_json", is_flag=True, help="print one picture as JSON and exit")
@click.option("--timeout", type=DURATION, default=QUERY_TIMEOUT, help="for a server's answer (5s)")
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
    """Show servers, queues and workers, what is wrong first; q ends it.

    In a pipe it prints one picture and exits. Rates need two looks: --once takes them
    a second apart.

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
    view = View(
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
            return show_once(view, fleet, console, as_json=as_json)
        show_live(view, console, max(0.2, interval))
    except KeyboardInterrupt:
        return 0
    finally:
        fleet.close()
    return 0


def show_once(view: View, fleet: FleetObserver, console: Console, *, as_json: bool) -> int:
    """One picture; exit 1 if a server did not answer."""
    first = fleet.observe()
    time.sleep(BETWEEN_LOOKS)
    if as_json:
        print_json(as_tree(view.look()))
    else:
        if not console.is_terminal:
            console.width = max(console.width, 120)
        console.print(view.picture())
    return 0 if all(row.up for row in first.servers) else 1


def show_live(view: View, console: Console, interval: float) -> None:
    """A new picture every `interval` seconds or at a key, until q or Ctrl-C."""
    with Live(console=console, screen=True, auto_refresh=False) as live, Keys() as keys:
        while True:
            started = time.monotonic()
            live.update(view.picture(console.height), refresh=True)
            if not view.press(keys.wait(interval - (time.monotonic() - started))):
                return


def as_tree(seen: Seen) -> dict[str, Any]:
    """Everything for JSON, with what is wrong in a field of its own."""
    tree: dict[str, Any] = {
        "servers": [row.tree() for row in seen.overview.servers],
        "queues": [row.tree() for row in seen.overview.queues],
        "workers": [worker_tree(worker) for worker in seen.workers],
    }
    if seen.trouble:
        tree["trouble"] = [{"redis": seen.trouble}]
    return tree
