"""Make Graphite's points of the polls of servers, and of the workers' heartbeats."""

from collections.abc import Container, Iterator, Sequence

from beanwatch.collectors.deliver.outbox import Outbox
from beanwatch.collectors.poll.derive import absent_queue, merge, server_values
from beanwatch.collectors.poll.poller import Poll
from beanwatch.collectors.poll.worker_series import SOURCE, derive_workers
from beanwatch.queues.selection import OTHER, name_nodes
from beanwatch.store.heartbeats import Worker
from beanwatch.telemetry.graphite import Values, make_batches
from beanwatch.telemetry.nodes import node
from beanwatch.telemetry.series import ESSENTIAL, PREFIX, SERVER


class GraphitePoints:
    """Puts the points of each poll in the outbox: the server, its queues and the poll itself.

    With `only_essential`, of queues only those in series.ESSENTIAL, of servers no native numbers.
    """

    def __init__(
        self, outbox: Outbox, prefix: str = PREFIX, *, only_essential: bool = False
    ) -> None:
        self._outbox = outbox
        self._only_essential = only_essential
        self._prefix = prefix
        # By server: the counts of queues at its last poll that read them.
        self._counts: dict[str, dict[str, int]] = {}

    def publish(self, poll: Poll) -> None:
        """Put the points of a poll (series.SERVER, QUEUE and COLLECTOR) in the outbox."""
        source = poll.server.node
        for batch in make_batches(source, poll.stamp, self._with_health(poll)):
            self._outbox.put(batch)

    def publish_workers(self, workers: Sequence[Worker], deploys: int, stamp: int) -> None:
        """Put the points of all workers (series.WORKER_SEEN and WORKERS) in the outbox."""
        for batch in make_batches(SOURCE, stamp, derive_workers(self._prefix, workers, deploys)):
            self._outbox.put(batch)

    def _with_health(self, poll: Poll) -> Iterator[tuple[str, Values]]:
        source, points = poll.server.node, 0
        for stem, values in self._series(poll):
            points += len(values)
            yield stem, values
        yield (
            f"{self._prefix}.collector.{source}",
            {
                "success": int(poll.seen.is_complete),
                "poll_seconds": round(poll.seconds, 6),
                "points": points,
                "dropped": self._outbox.dropped(source),
                "backlog": self._outbox.backlog(source),
                "missed_ticks": poll.missed,
                "queues": 0,
                "queues_skipped": 0,
                "collisions": 0,
                **self._counts.get(source, {}),
            },
        )

    def _series(self, poll: Poll) -> Iterator[tuple[str, Values]]:
        seen, source = poll.seen, poll.server.node
        stem = f"{self._prefix}.server.{source}"
        if seen.state is None:
            yield stem, {"up": 0}
            return
        values = server_values(seen.state, poll.restarts, seen.missing_jobs)
        yield stem, self._pick(values, SERVER.names)
        if seen.queues is None:
            return
        stem = f"{self._prefix}.queue.{source}"
        with_series, rest = seen.chosen
        nodes = name_nodes(dict.fromkeys((*with_series, *poll.expected)))
        self._counts[source] = {
            "queues": len(with_series) + len(rest),
            "queues_skipped": len(rest),
            "collisions": sum(used != node(name) for name, used in nodes.items()),
        }
        for name in with_series:
            if name in seen.queues:
                yield f"{stem}.{nodes[name]}", self._pick(seen.queues[name].values(), ESSENTIAL)
        if others := [seen.queues[name] for name in rest if name in seen.queues]:
            yield f"{stem}.{OTHER}", self._pick(merge(others), ESSENTIAL)
        absent = self._pick(absent_queue(poll.server), ESSENTIAL)
        for name in poll.expected:
            if absent and name not in seen.queues:
                yield f"{stem}.{nodes[name]}", absent

    def _pick(self, values: Values, essential: Container[str]) -> Values:
        if not self._only_essential:
            return values
        return {name: value for name, value in values.items() if name in essential}
