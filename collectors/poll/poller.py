"""Poll one server: observe it, hand the points over; whatever happens, say how it went."""

import time
from collections.abc import Callable, Iterator

from beanwatch.collectors.deliver.outbox import Outbox
from beanwatch.collectors.poll.derive import ABSENT, derive_server, merge
from beanwatch.collectors.poll.observer import Observation, Observer
from beanwatch.queues.selection import OTHER, Chosen, Selection, group
from beanwatch.telemetry import series as paths
from beanwatch.telemetry.graphite import Values, make_batches
from beanwatch.telemetry.logging.problems import ProblemLog


class Poller:
    """Makes points of what one observer sees."""

    def __init__(
        self,
        observer: Observer,
        selection: Selection,
        outbox: Outbox,
        changes: ProblemLog,
        *,
        prefix: str = paths.PREFIX,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.observer = observer
        self._selection = selection
        self._outbox = outbox
        self._changes = changes
        self._prefix = prefix
        self._clock = clock
        self._node = observer.server.node
        self._counts: dict[str, int] = {"queues": 0, "queues_skipped": 0, "collisions": 0}

    def __str__(self) -> str:
        return str(self.observer.server.address)

    def poll(self, stamp: int, *, queues: bool = True, missed_ticks: int = 0) -> Observation:
        """Observe the server, and its `queues` if it is their turn; put points in the outbox."""
        started = self._clock()
        seen = self.observer.observe(queues=queues)
        if seen.trouble:
            self._changes.report(self._node, seen.trouble, server=self._node)
        else:
            self._changes.clear(self._node, f"{self}: all is read again", server=self._node)
        series = self._with_health(seen, started, missed_ticks)
        for batch in make_batches(self._node, stamp, series):
            self._outbox.put(batch)
        return seen

    def _with_health(
        self, seen: Observation, started: float, missed_ticks: int
    ) -> Iterator[tuple[str, Values]]:
        points = 0
        for stem, values in self._series(seen):
            points += len(values)
            yield stem, values
        yield (
            f"{self._prefix}.collector.{self._node}",
            {
                "success": int(not seen.trouble),
                "poll_seconds": round(self._clock() - started, 6),
                "points": points,
                "dropped": self._outbox.dropped(self._node),
                "backlog": self._outbox.backlog(self._node),
                "missed_ticks": missed_ticks,
                **self._counts,
            },
        )

    def _series(self, seen: Observation) -> Iterator[tuple[str, Values]]:
        stem = f"{self._prefix}.server.{self._node}"
        if seen.stats is None:
            yield stem, {"up": 0}
            return
        samples = self.observer.samples
        rejected = samples.rejected.sure if samples.rejected else 0
        yield stem, derive_server(seen.stats, samples.restarts, rejected, seen.drift)
        if seen.queues is None:
            return
        stem = f"{self._prefix}.queue.{self._node}"
        nodes = group(seen.chosen)
        self._count(seen.chosen, nodes)
        absent = dict.fromkeys(map(paths.node, self._selection.expected))
        for name, members in nodes.items():
            found = [seen.queues[member] for member in members if member in seen.queues]
            if found:
                absent.pop(name, None)
                yield f"{stem}.{name}", found[0] if len(found) == 1 else merge(found)
        for name in absent:
            yield f"{stem}.{name}", ABSENT

    def _count(self, chosen: Chosen, nodes: dict[str, list[str]]) -> None:
        collisions = 0
        for name, members in nodes.items():
            if name != OTHER and len(members) > 1:
                collisions += 1
                self._changes.report(
                    f"{self._node} {name}",
                    f"queues share the series {name!r}: {', '.join(members[:5])}",
                    server=self._node,
                )
        self._counts = {
            "queues": len(chosen.own) + len(chosen.rest),
            "queues_skipped": len(chosen.rest),
            "collisions": collisions,
        }
