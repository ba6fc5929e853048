"""Poll one server: read it, log its problems, and put its points in the outbox."""

import time
from collections.abc import Callable, Iterator

from beanwatch.collectors.deliver.outbox import Outbox
from beanwatch.collectors.poll.derive import absent_queue, merge, server_values
from beanwatch.collectors.poll.observer import Observation, Observer
from beanwatch.queues.selection import OTHER, Selection, name_nodes
from beanwatch.telemetry.graphite import Values, make_batches
from beanwatch.telemetry.logging.problems import ProblemLog
from beanwatch.telemetry.nodes import node
from beanwatch.telemetry.series import PREFIX


class Poller:
    """Polls one server, and makes points of its numbers and of the poll (series.COLLECTOR)."""

    def __init__(
        self,
        observer: Observer,
        selection: Selection,
        outbox: Outbox,
        problems: ProblemLog,
        *,
        prefix: str = PREFIX,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.observer = observer
        self._selection = selection
        self._outbox = outbox
        self._problems = problems
        self._prefix = prefix
        self._clock = clock
        self._node = observer.server.node
        self._logged_value = ""  # the line that was logged for an implausible value
        self._counts: dict[str, int] = {"queues": 0, "queues_skipped": 0, "collisions": 0}

    def __str__(self) -> str:
        return str(self.observer.server)

    def poll(self, stamp: int, *, queues: bool = True, missed_ticks: int = 0) -> Observation:
        """Read the server, and its queues if `queues` is true, and put the points in the outbox.

        `stamp` is the time of the points, in seconds since the epoch. `missed_ticks` is the number
        of polls that were skipped since the start; it becomes a series.
        """
        started = self._clock()
        seen = self.observer.observe(queues=queues)
        self._log_trouble(seen)
        series = self._with_health(seen, started, missed_ticks)
        for batch in make_batches(self._node, stamp, series):
            self._outbox.put(batch)
        return seen

    def _log_trouble(self, seen: Observation) -> None:
        if seen.trouble:
            self._problems.report(self._node, seen.trouble, server=self._node)
        else:
            self._problems.clear(
                self._node, f"{self}: all parts can be read again", server=self._node
            )
        key = f"{self._node} memory"
        if seen.forgotten:
            self._problems.report(
                key,
                f"{self}: it has too many queues to remember all of their first jobs, so some ages "
                "are unknown or too low",
                server=self._node,
                forgotten=seen.forgotten,
            )
        elif seen.queues is not None:
            self._problems.clear(
                key, f"{self}: all first jobs can be remembered again", server=self._node
            )
        key = f"{self._node} implausible"
        if seen.implausible:
            # Log the first value only: its number may differ at each poll.
            if not self._logged_value:
                more = (
                    f", and {len(seen.implausible) - 1} more" if len(seen.implausible) > 1 else ""
                )
                self._logged_value = (
                    f"{self}: left out an implausible value: {seen.implausible[0]}{more}"
                )
            self._problems.report(key, self._logged_value, server=self._node)
        elif seen.queues is not None:
            self._logged_value = ""
            self._problems.clear(key, f"{self}: all numbers are plausible again", server=self._node)

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
                "success": int(seen.is_complete),
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
        if seen.state is None:
            yield stem, {"up": 0}
            return
        restarts = self.observer.samples.restarts
        yield stem, server_values(seen.state, restarts, seen.missing_jobs)
        if seen.queues is None:
            return
        stem = f"{self._prefix}.queue.{self._node}"
        with_series, rest = seen.chosen
        expected = self._selection.expected
        nodes = name_nodes(dict.fromkeys((*with_series, *expected)))
        self._counts = {
            "queues": len(with_series) + len(rest),
            "queues_skipped": len(rest),
            "collisions": sum(used != node(name) for name, used in nodes.items()),
        }
        for name in with_series:
            if name in seen.queues:
                yield f"{stem}.{nodes[name]}", seen.queues[name].values()
        if others := [seen.queues[name] for name in rest if name in seen.queues]:
            yield f"{stem}.{OTHER}", merge(others)
        absent = absent_queue(self.observer.server.system)
        for name in expected:
            if absent and name not in seen.queues:
                yield f"{stem}.{nodes[name]}", absent
