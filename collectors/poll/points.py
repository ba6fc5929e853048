"""Make Graphite's points of the polls of servers, and of the workers' heartbeats."""

from collections.abc import Container, Iterator

from beanwatch.collectors.deliver.outbox import Outbox
from beanwatch.collectors.poll.derive import absent_queue, merge, server_values
from beanwatch.collectors.poll.poller import Poll
from beanwatch.collectors.poll.worker_series import SOURCE, FleetPoll, derive_fleet
from beanwatch.queues.selection import OTHER, name_nodes
from beanwatch.telemetry.graphite import Values, make_batches
from beanwatch.telemetry.nodes import node
from beanwatch.telemetry.series import (
    COLLECTOR,
    ESSENTIAL,
    ESSENTIAL_NATIVE,
    PREFIX,
    SERVER,
    SPARED,
)


class GraphitePoints:
    """Puts the points of each poll in the outbox: the server, its queues and the poll itself.

    With `only_essential`, of queues only those in series.ESSENTIAL, of a server's native numbers
    those in series.ESSENTIAL_NATIVE, of the collector not those in series.SPARED.
    """

    def __init__(
        self, outbox: Outbox, prefix: str = PREFIX, *, only_essential: bool = False
    ) -> None:
        self._outbox = outbox
        self._only_essential = only_essential
        self._prefix = prefix
        # By server: what its last poll that was to read the queues tells of them.
        self._counts: dict[str, dict[str, float]] = {}

    def publish(self, poll: Poll) -> None:
        """Put the points of a poll (series.SERVER, QUEUE and COLLECTOR) in the outbox."""
        source = poll.server.node
        for batch in make_batches(source, poll.stamp, self._with_health(poll)):
            self._outbox.put(batch)

    def publish_fleet(self, fleet: FleetPoll) -> None:
        """Put the points of all workers in the outbox: WORKER_SEEN, WORKERS and WORKER_GROUP."""
        for batch in make_batches(SOURCE, fleet.stamp, derive_fleet(self._prefix, fleet)):
            self._outbox.put(batch)

    def _with_health(self, poll: Poll) -> Iterator[tuple[str, Values]]:
        source, points = poll.server.node, 0
        for stem, values in self._series(poll):
            points += len(values)
            yield stem, values
        health: Values = {
            "success": int(poll.seen.is_complete),
            "poll_seconds": round(poll.seconds, 6),
            "points": points,
            "dropped": self._outbox.dropped(source),
            "backlog": self._outbox.backlog(source),
            "missed_ticks": poll.missed,
            **self._counts.get(source, {}),
        }
        essential = set(COLLECTOR.names) - SPARED
        yield f"{self._prefix}.collector.{source}", self._pick(health, essential)

    def _series(self, poll: Poll) -> Iterator[tuple[str, Values]]:
        seen, source = poll.seen, poll.server.node
        stem = f"{self._prefix}.server.{source}"
        if seen.state is None:
            self._counts.pop(source, None)
            yield stem, {"up": 0}
            return
        problems = seen.problems if poll.has_queues else None
        values = server_values(seen.state, poll.restarts, seen.missing_jobs, problems)
        yield stem, self._pick(values, {*SERVER.names, *ESSENTIAL_NATIVE})
        if seen.queues is None:
            if poll.has_queues:
                self._counts[source] = {"queues_success": seen.queues_success}
            return
        stem = f"{self._prefix}.queue.{source}"
        with_series, rest = seen.chosen
        nodes = name_nodes(dict.fromkeys((*with_series, *poll.expected)))
        self._counts[source] = {
            "queues_success": seen.queues_success,
            "queues": len(with_series) + len(rest),
            "queues_skipped": len(rest),
            "collisions": sum(used != node(name) for name, used in nodes.items()),
        }
        for name in with_series:
            if name in seen.queues:
                yield f"{stem}.{nodes[name]}", self._pick(seen.queues[name].values(), ESSENTIAL)
        if others := [seen.queues[name] for name in rest if name in seen.queues]:
            yield f"{stem}.{OTHER}", self._pick(merge(others), ESSENTIAL)
        absent = self._pick(absent_queue(poll.server, seen.absent), ESSENTIAL)
        for name in poll.expected:
            if absent and name not in seen.queues:
                yield f"{stem}.{nodes[name]}", absent

    def _pick(self, values: Values, essential: Container[str]) -> Values:
        if not self._only_essential:
            return values
        return {name: value for name, value in values.items() if name in essential}
