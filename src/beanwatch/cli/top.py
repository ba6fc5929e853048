"""`beanwatch top`: show servers, queues and workers on one screen, problems first."""

import math
import time
from collections.abc import Callable, Sequence
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
from beanwatch.collectors.poll.fleet_totals import FleetTotals
from beanwatch.collectors.poll.observer import Observer
from beanwatch.durations import format_duration
from beanwatch.fleet.overview import FleetObserver, Overview
from beanwatch.globs import GLOB, MAX_NAME, matches
from beanwatch.net.address import BackgroundCall
from beanwatch.net.redis_url import RedisError, RedisUrl, open_redis
from beanwatch.queues.selection import Selection
from beanwatch.quoting import terminal_text
from beanwatch.store.health import decide_health, rank_health
from beanwatch.store.heartbeats import Worker, read_workers
from beanwatch.words import count

HEADING_LINES = 8  # lines of the screen for headings, blank lines and the list of keys
MAX_WORKERS = 8  # rows of workers on a screen; the rest of it is for queues
MIN_INTERVAL, MAX_INTERVAL = 0.2, 3600.0  # seconds between two polls
REDRAW_INTERVAL = 1.0  # seconds between two drawings, if no poll ends and no key is pressed
POLL_CHECK = 0.05  # seconds between two looks whether a poll has ended
OVERDUE = 1.0  # seconds after which the age of a result is shown, besides the interval
SCROLLING = {"down": 1, "j": 1, "up": -1, "k": -1, "page down": 10, "page up": -10}  # rows
KEYS = (
    ("q", "quit"),
    ("s  S", "sort the queues by the next or the previous order"),
    ("w", "show only queues and workers with problems, or all"),
    ("/", "show only queues whose names match a glob, or contain a text"),
    ("up  down", "scroll the queues (also: k, j, page up, page down)"),
    ("p", "pause: poll no more, or go on (also: space)"),
    ("+  -", "double or halve the time between two polls"),
    ("?", "this help (also: h)"),
)
ANY_KEY = Text("press any key to go back", style="dim")
RATE_INTERVAL = 1.0  # seconds between the two polls from which --once computes rates


class Snapshot(NamedTuple):
    """The result of one poll of all servers and of Redis."""

    overview: Overview
    workers: Sequence[Worker]
    redis_error: str  # why the workers could not be read, or ""


class Screen:
    """Polls the servers and Redis, and draws the tables. Keys change what it shows (see KEYS).

    `interval` is the time between two polls in seconds, `is_paused` true if there are to be none.
    `totals` gets the workers' records, for the number of workers that each queue needs. One thread
    may poll while another one draws.
    """

    def __init__(
        self,
        fleet: FleetObserver,
        redis: RedisUrl | None,
        totals: FleetTotals,
        *,
        order: str,
        pattern: str,
        only_wrong: bool,
        timeout: float,
        interval: float = MIN_INTERVAL,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.interval = interval
        self.is_paused = False
        self._fleet = fleet
        self._redis, self._totals = redis, totals
        self._order = order
        self._pattern = pattern
        self._only_wrong = only_wrong
        self._timeout = timeout
        self._seen = Snapshot(Overview([], []), [], "")
        self._seen_at: float | None = None  # by the clock; None: no poll has ended yet
        self._clock = clock
        self._first_row = 0  # of the queues that are shown
        self._typed: str | None = None  # the filter while it is typed
        self._shows_help = False

    @property
    def hint(self) -> str:
        """The line with the age of an old result, the keys and the present settings."""
        if self._typed is not None:
            return f"queues whose names match: {self._typed}_   (Enter: apply, Esc: cancel)"
        age = None if self._seen_at is None else self._clock() - self._seen_at
        old = "waits for the first answers  " if age is None else ""
        if age is not None and age >= self.interval + OVERDUE:
            old = f"seen {format_duration(age)} ago  "
        shown = "only problems" if self._only_wrong else "all"
        settings = f"{old}q quit  ? help  s sort: {self._order}  w show: {shown}"
        if self._pattern != "*":
            settings += f"  / filter: {terminal_text(self._pattern)}"
        return f"{settings}  PAUSED" if self.is_paused else f"{settings}  every {self.interval:g}s"

    def press(self, key: str) -> bool:
        """Change the setting that the key is for (see KEYS). Return False to quit."""
        if self._typed is not None:
            self._type(key)
        elif self._shows_help:
            self._shows_help = False
        elif key in ("s", "S"):
            names = list(SORTS)
            step = 1 if key == "s" else -1
            self._order = names[(names.index(self._order) + step) % len(names)]
        elif key == "w":
            self._only_wrong = not self._only_wrong
        elif key == "/":
            self._typed = ""
        elif key in ("p", " "):
            self.is_paused = not self.is_paused
        elif key in ("+", "-"):
            factor = 2.0 if key == "+" else 0.5
            self.interval = min(max(MIN_INTERVAL, self.interval * factor), MAX_INTERVAL)
        elif key in SCROLLING:
            self._first_row = max(0, self._first_row + SCROLLING[key])
        elif key in ("?", "h"):
            self._shows_help = True
        return key != "q" or self._typed is not None

    def _type(self, key: str) -> None:
        """Change the filter that is typed. Text that is no glob matches any part of a name."""
        typed = self._typed or ""
        if key in ("\r", "\n"):
            self._pattern = typed if GLOB.search(typed) else f"*{typed}*" if typed else "*"
            self._typed, self._first_row = None, 0
        elif key == "escape":
            self._typed = None
        elif key in ("\x7f", "\b"):
            self._typed = typed[:-1]
        elif len(key) == 1 and key.isprintable() and len(typed) < MAX_NAME:
            self._typed = typed + key

    def poll(self) -> None:
        """Poll all servers and Redis."""
        workers: list[Worker] = []
        redis_error = ""
        if self._redis:
            try:
                with open_redis(self._redis, self._timeout) as redis:
                    workers = read_workers(redis.execute)
                redis_error = next((worker.doubt for worker in workers if worker.doubt), "")
            except RedisError as error:
                redis_error = f"cannot read the workers: {error}"
        self._totals.update(workers)
        overview = self._fleet.observe()
        self._seen, self._seen_at = Snapshot(overview, workers, redis_error), self._clock()

    def select(self) -> Snapshot:
        """Return the result of the last poll: the rows that match the filters, in order."""
        overview, workers, redis_error = self._seen
        rows = [
            row
            for row in sort_queues(overview.queues, self._order)
            if matches(row.queue, self._pattern) and (row.wrong or not self._only_wrong)
        ]
        shown = [worker for worker in workers if worker_style(worker) or not self._only_wrong]
        shown.sort(
            key=lambda one: (not worker_style(one), -rank_health(decide_health(one)), one.id)
        )
        return Snapshot(Overview(overview.servers, rows), shown, redis_error)

    def draw(self, snapshot: Snapshot, height: int | None = None) -> Group:
        """Return the tables of a snapshot, cut to `height` lines (None: not cut)."""
        (servers, queues), workers, redis_error = snapshot
        if self._shows_help:
            return Group(*(Text(f"{key:>9}  {meaning}") for key, meaning in KEYS), Text(), ANY_KEY)
        parts: list[Columns | Text] = [server_table(servers), Text()]
        room = len(queues)
        if height is not None:
            taken = min(len(workers), MAX_WORKERS) + 2 if workers else 0
            room = max(3, height - HEADING_LINES - len(servers) - taken)
        self._first_row = first = min(self._first_row, max(0, len(queues) - room))
        parts.append(queue_table(queues[first : first + room], several=len(servers) > 1))
        if len(queues) > room:
            more = f"... and {count(len(queues) - room, 'more queue')}"
            above = f", {first} of them above" if first else ""
            parts.append(Text(more + above, style="dim"))
        if redis_error:
            parts += [Text(), Text(redis_error, style=STYLES["critical"])]
        if workers:
            shown = workers if height is None else workers[:MAX_WORKERS]
            parts += [Text(), worker_table(shown)]
            if len(shown) < len(workers):
                more = count(len(workers) - len(shown), "more worker")
                parts.append(Text(f"... and {more}", style="dim"))
        if height is not None:
            parts += [Text(), Text(self.hint, style="dim", no_wrap=True, overflow="ellipsis")]
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

    The key ? lists the keys: they sort, filter, scroll, pause, and change the interval.

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
    totals = FleetTotals(chosen)
    observers = [
        Observer(one, selection=selection, timeout=timeout, find_runs=totals.queue_runs)
        for one in chosen
    ]
    fleet = FleetObserver(observers, timeout * 2)
    screen = Screen(
        fleet,
        pick_redis(config, redis),
        totals,
        order=order,
        pattern=queue_glob,
        only_wrong=only_wrong,
        timeout=timeout,
        interval=max(MIN_INTERVAL, interval),
    )
    console = Console()
    try:
        if as_json or once or not console.is_terminal:
            return show_once(screen, fleet, console, as_json=as_json)
        show_live(screen, console)
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
    screen.poll()
    snapshot = screen.select()
    if as_json:
        print_json(as_tree(snapshot))
    else:
        if not console.is_terminal:
            console.width = max(console.width, 120)
        console.print(screen.draw(snapshot))
    is_complete = all(row.up and not row.trouble for row in snapshot.overview.servers)
    return 0 if is_complete and all(row.up for row in first.servers) else 1


def show_live(
    screen: Screen, console: Console, *, clock: Callable[[], float] = time.monotonic
) -> None:
    """Poll at the screen's interval, and draw the last result, until `q` or Ctrl-C.

    A thread polls, so keys work at once, also if a server does not answer. While it hangs, no other
    poll is started, and at the end nobody waits for it.
    """
    polled_at = -math.inf
    poll: BackgroundCall[None] | None = None
    with Live(console=console, screen=True, auto_refresh=False) as live, Keys() as keys:
        while True:
            if poll is not None and not poll.is_running:
                poll.wait(0)  # raises its exception
                poll = None
            if poll is None and not screen.is_paused and clock() >= polled_at + screen.interval:
                polled_at = clock()
                poll = BackgroundCall(screen.poll, "beanwatch-poll")
            live.update(screen.draw(screen.select(), console.height), refresh=True)
            end = clock() + REDRAW_INTERVAL
            if poll is None and not screen.is_paused:
                end = min(end, polled_at + screen.interval)
            key = ""
            while not key and (left := end - clock()) > 0:
                key = keys.wait(left if poll is None else min(left, POLL_CHECK))
                if poll is not None and not poll.is_running:
                    break
            if not screen.press(key):
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
