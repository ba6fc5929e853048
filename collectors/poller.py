"""Poll one server: read, derive, hand the points over; whatever happens, say how it went."""

import time
from collections.abc import Callable, Iterator, Sequence

from beanwatch.collectors import paths
from beanwatch.collectors.derive import (
    ABSENT,
    Jobs,
    derive_life,
    derive_server,
    derive_tube,
    enter_life,
    merge,
)
from beanwatch.collectors.heads import Peek
from beanwatch.collectors.log import Changes
from beanwatch.collectors.outbox import Outbox
from beanwatch.collectors.points import Values, make_batches
from beanwatch.collectors.protocol import Link, ServerError
from beanwatch.collectors.samples import ServerSamples, TubeSample
from beanwatch.collectors.selection import OTHER, Chosen, Selection, group
from beanwatch.collectors.servers import Server
from beanwatch.collectors.stats import Stats
from beanwatch.collectors.sweep import Reading, read

Series = Iterator[tuple[str, Values]]


class Poller:
    """One server, its connection and what is remembered of it; used by one thread."""

    def __init__(
        self,
        server: Server,
        samples: ServerSamples,
        selection: Selection,
        outbox: Outbox,
        changes: Changes,
        *,
        prefix: str = paths.PREFIX,
        timeout: float = 5.0,
        sweep_timeout: float = 10.0,
        head_ages: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.server = server
        self.samples = samples
        self._selection = selection
        self._outbox = outbox
        self._changes = changes
        self._prefix = prefix
        self._timeout = timeout
        self._sweep_timeout = sweep_timeout
        self._head_ages = head_ages
        self._clock = clock
        self._link: Link | None = None
        self._first_peeks: set[Peek] = set()
        self._counts: dict[str, int] = {"tubes": 0, "tubes_skipped": 0, "collisions": 0}

    def __str__(self) -> str:
        return str(self.server.address)

    def poll(self, stamp: int, *, tubes: bool = True, missed_ticks: int = 0) -> str:
        """Read the server, and its `tubes` if it is their turn; put the points in the outbox.

        Returns what was wrong, or an empty text.
        """
        node = self.server.node
        started = self._clock()
        points = 0
        try:
            reading = self._read(started, tubes=tubes)
        except ServerError as error:
            trouble = str(error)
            series: Series = iter([(f"{self._prefix}.server.{node}", {"up": 0})])
        else:
            trouble = reading.trouble
            series = self._series(reading, started)
        if trouble:
            self._changes.wrong(node, trouble, server=node)
        else:
            self._changes.right(node, f"{self.server.address}: all is read again", server=node)
        for batch in make_batches(node, stamp, series):
            points += batch.points
            self._outbox.put(batch)
        health: Values = {
            "success": int(not trouble),
            "poll_seconds": round(self._clock() - started, 6),
            "points": points,
            "dropped": self._outbox.dropped(node),
            "backlog": self._outbox.backlog(node),
            "missed_ticks": missed_ticks,
            **self._counts,
        }
        for batch in make_batches(node, stamp, [(f"{self._prefix}.collector.{node}", health)]):
            self._outbox.put(batch)
        return trouble

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._link:
            self._link.close()
            self._link = None

    def _read(self, started: float, *, tubes: bool) -> Reading:
        link, self._link = self._link, None  # kept again only if all went well
        if link is None:
            return self._read_from(Link(self.server.address, self._timeout), tubes=tubes)
        try:
            return self._read_from(link, tubes=tubes)
        except ServerError:
            # Most likely the server was restarted since the last poll, and is well.
            left = self._timeout - (self._clock() - started)
            if left <= 0:
                raise
            return self._read_from(Link(self.server.address, left), tubes=tubes)

    def _read_from(self, link: Link, *, tubes: bool) -> Reading:
        try:
            # Many tubes may take their time, as long as they do not take the next sweep's.
            link.extend(max(self._timeout, self._sweep_timeout) if tubes else self._timeout)
            order = self._order if self._head_ages else None
            reading = read(link, self._choose if tubes else None, order)
        except BaseException:
            link.close()
            raise
        if not reading.trouble:
            self._link = link
        return reading

    def _choose(self, names: Sequence[str]) -> Chosen:
        return self._selection.choose(names, self.samples.tubes.keys() - self.samples.rest)

    def _order(self, peeks: list[Peek]) -> list[Peek]:
        # Those for which there was no room last time come first.
        first = self._first_peeks
        return sorted(peeks, key=lambda peek: peek not in first) if first else peeks

    def _series(self, reading: Reading, now: float) -> Series:
        node = self.server.node
        enter_life(self.samples, derive_life(reading.server))
        drift: int | None = None
        if reading.tubes is not None:
            measured = self._measure(reading, reading.tubes, now)
            drift = sum(int(values["drift"]) for values in measured.values())
            nodes = group(reading.chosen)
            self._count(reading.chosen, nodes)
            for name, members in nodes.items():
                found = [measured[member] for member in members if member in measured]
                if found:
                    values = found[0] if len(found) == 1 else merge(found)
                    yield f"{self._prefix}.tube.{node}.{name}", values
            for name in self._selection.expected:
                if paths.node(name) not in nodes:
                    yield f"{self._prefix}.tube.{node}.{paths.node(name)}", ABSENT
        restarts = self.samples.restarts
        yield f"{self._prefix}.server.{node}", derive_server(reading.server, restarts, drift)

    def _measure(
        self, reading: Reading, tubes: dict[str, Stats], now: float
    ) -> dict[str, dict[str, int | float]]:
        before, jobs = self.samples.tubes, reading.heads.jobs
        draining = bool(reading.server.get("draining"))
        measured: dict[str, dict[str, int | float]] = {}
        samples: dict[str, TubeSample] = {}
        for name, stats in tubes.items():
            heads = Jobs(jobs.get(Peek(name, "ready")), jobs.get(Peek(name, "buried")))
            measured[name], samples[name] = derive_tube(
                stats, heads, before.get(name), now, draining=draining
            )
        self.samples.tubes = samples
        self.samples.rest = frozenset(reading.chosen.rest)
        self._first_peeks = set(reading.heads.left)
        return measured

    def _count(self, chosen: Chosen, nodes: dict[str, list[str]]) -> None:
        collisions = 0
        for name, members in nodes.items():
            if name != OTHER and len(members) > 1:
                collisions += 1
                self._changes.wrong(
                    f"{self.server.node} {name}",
                    f"tubes share the series {name!r}: {', '.join(members[:5])}",
                    server=self.server.node,
                )
        self._counts = {
            "tubes": len(chosen.own) + len(chosen.rest),
            "tubes_skipped": len(chosen.rest),
            "collisions": collisions,
        }
