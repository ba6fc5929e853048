"""Acquire for check_queue_consumers: two samples of each queue, the run before, the heartbeats."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from nagiosplugin import Resource

from beanwatch.checks.lib.heartbeat_evidence import WorkersByHealth, group_by_health
from beanwatch.checks.lib.plugin import Metric
from beanwatch.checks.lib.queues import CheckedQueue, QueueResource
from beanwatch.checks.lib.source import Source, server_failure
from beanwatch.queues.base import Reading, ServerError, Wanted
from beanwatch.queues.consumers import Consumers, decide_consumers

if TYPE_CHECKING:
    from beanwatch.store.heartbeats import Heartbeat, Worker

# With all consumers busy or silent, only time tells whether the queue is being drained.
NEED_TIME = ("saturated", "stalled")


class TwoSamples(Resource):  # type: ignore[misc]
    """The chosen queues of all servers, so that one pause serves the second samples of all."""

    name = "servers"  # in nagiosplugin's own messages

    def __init__(self, source: Source, diagnoses: "Sequence[ConsumerDiagnosis]") -> None:
        self._source, self._diagnoses = source, diagnoses

    def probe(self) -> Iterator[Metric]:
        """Read the queues, and those that look stalled once more if there is time."""
        for diagnosis in self._diagnoses:
            diagnosis.take_first_sample()
        doubtful = [diagnosis for diagnosis in self._diagnoses if diagnosis.doubtful]
        if doubtful and self._source.wait([diagnosis.server for diagnosis in doubtful]):
            for diagnosis in doubtful:
                diagnosis.take_second_sample()
        elif doubtful:
            self._source.notes.append(
                "Only one sample, as -t left no time for a second: a worker between two jobs looks "
                "stalled, too"
            )
        for diagnosis in self._diagnoses:
            yield from diagnosis.probe()


class ConsumerDiagnosis(QueueResource):
    """The chosen queues of one server, each with a verdict on its consumers, and its heartbeats."""

    wanted = Wanted(server=True)  # it may be draining, and a worker may hold another queue's job

    def take_first_sample(self) -> None:
        """Read the queues. Set `doubtful` to those that must be read once more to be judged."""
        self._metrics: list[Metric] = []
        self._first: dict[str, Consumers] = {}
        self._second: dict[str, Consumers] = {}
        self.doubtful: list[str] = []
        reading = self.read()
        if not isinstance(reading, Reading):
            self._metrics = [reading]
            return
        self._metrics = list(self.to_metrics(reading))
        queues = [m.value.state for m in self._metrics if isinstance(m.value, CheckedQueue)]
        self._first = {queue.name: Consumers.of(queue, reading.server) for queue in queues}
        self.doubtful = [
            name for name, first in self._first.items() if decide_consumers(first) == "stalled"
        ]

    def take_second_sample(self) -> None:
        """Read the doubtful queues again."""
        try:
            reading = self.source.read_again(self.server, self.doubtful)
        except ServerError as error:
            self._metrics = [server_failure(self.server, self.config, error)]
            return
        found = reading.queues or {}
        self._second = {
            name: Consumers.of(found[name], reading.server)
            if name in found
            else Consumers(ready=0, held=0, idle=0, consumers=0)
            for name in self.doubtful
        }

    def probe(self) -> Iterator[Metric]:
        """The queues with their verdicts."""
        for metric in self._metrics:
            queue = metric.value
            if isinstance(queue, CheckedQueue):
                workers = self._workers(queue)
                verdict = self._diagnose(queue, workers)
                metric = metric.replace(value=queue._replace(verdict=verdict, workers=workers))
            yield metric

    def _diagnose(self, queue: CheckedQueue, workers: "Sequence[Worker] | None") -> str | None:
        """By both samples; a queue is saturated by what the run before saw, too."""
        first, second = self._first[queue.name], self._second.get(queue.name)
        verdict = decide_consumers(second, first) if second else decide_consumers(first)
        now = second or first
        before = self._compare(queue, now)
        # Every connection is a consumer of the default queue at first, so it says nothing there.
        has_workers = workers is not None and not queue.state.is_default
        if has_workers and decide_frozen(group_by_health(workers or ()), now, before):
            return "frozen"
        if verdict != "saturated":
            return verdict
        return decide_consumers(now, before) if before else "ok"

    def _compare(self, queue: CheckedQueue, now: Consumers) -> Consumers | None:
        """The sample of the run before, if jobs waited then for consumers that were busy."""
        if decide_consumers(now) not in NEED_TIME:
            return None
        memory, key = self.source.memory, f"busy {queue.key}"
        before = memory.recall(key)
        memory.remember(key, list(now))
        if not isinstance(before, list) or len(before) != len(now):
            return None
        seen = Consumers(*before)
        if seen.deletes is None or now.deletes is None:
            return seen
        was_made_anew = seen.deletes > now.deletes
        return None if was_made_anew else seen

    def _workers(self, queue: CheckedQueue) -> "tuple[Worker, ...] | None":
        workers = self.source.workers()
        if workers is None:
            return None
        return tuple(
            worker
            for worker in workers
            if worker.heartbeat
            and queue.name in worker.heartbeat.queues
            and self._is_here(worker.heartbeat)
        )

    def _is_here(self, beat: "Heartbeat") -> bool:
        """True for a worker of this server.

        A worker names its server as it was told, which may be an alias: with one server, all
        workers belong to it.
        """
        return self.is_only_server or beat.server == str(self.server)


def decide_frozen(groups: WorkersByHealth, now: Consumers, before: Consumers | None) -> bool:
    """True if jobs are ready, and all consumers are connected but send no heartbeat.

    Only if the run before saw the same, and no job was deleted since. Otherwise the workers may
    have lost nothing but Redis.
    """
    is_stuck = decide_consumers(now) in NEED_TIME
    are_dead = not groups.others and len(groups.dead) >= (now.consumers or 0)
    if not is_stuck or not are_dead or before is None:
        return False
    return now.deletes is not None and now.deletes == before.deletes
