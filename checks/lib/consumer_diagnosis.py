"""Reads queues for check_queue_consumers, and decides from several samples how consumers work."""

import time
from collections.abc import Iterator, Sequence

from nagiosplugin import Resource

from beanwatch.checks.lib.all_servers import server_failure
from beanwatch.checks.lib.heartbeat_evidence import group_by_health
from beanwatch.checks.lib.plugin import Metric
from beanwatch.checks.lib.queues import CheckedQueue, QueueResource
from beanwatch.checks.lib.source import Source
from beanwatch.checks.lib.staffing import workers_of
from beanwatch.light_typing import TYPE_CHECKING
from beanwatch.queues.base import Problem, Reading, ServerError, Wanted
from beanwatch.queues.consumers import Consumers, decide_consumers
from beanwatch.queues.registry import DEFAULT_SCHEME

if TYPE_CHECKING:
    from beanwatch.queues.model import QueueState
    from beanwatch.store.heartbeats import Worker

# If all consumers are busy, or none takes a job, one sample cannot tell whether the queue is being
# drained. The sample of the previous run tells it.
NEED_PREVIOUS_RUN = ("saturated", "stalled")
MIN_SECONDS_APART = 10.0  # of two runs, to say that no job was acknowledged in between


ONE_SAMPLE = (
    "Only one sample, because -t left no time for a second: perhaps the consumers only were "
    "between two jobs"
)


class TwoSamples(Resource):  # type: ignore[misc]
    """Reads the queues of all servers at the same time, and those that look stalled twice."""

    name = "servers"  # nagiosplugin puts it into its error messages

    def __init__(self, source: Source, diagnoses: "Sequence[ConsumerDiagnosis]") -> None:
        self._source, self._diagnoses = source, diagnoses

    def probe(self) -> Iterator[Metric]:
        """Yield a metric for each queue, or the Failure of a server that did not answer."""
        calls = [(one.server, one.take_samples) for one in self._diagnoses]
        found = self._source.call_together(calls)
        if True in found:
            self._source.notes.append(ONE_SAMPLE)
        for diagnosis, result in zip(self._diagnoses, found, strict=True):
            if isinstance(result, ServerError):
                yield server_failure(self._source, diagnosis.server, diagnosis.config, result)
            else:
                yield from diagnosis.probe()


class ConsumerDiagnosis(QueueResource):
    """Reads the chosen queues of one server, and decides a verdict on the consumers of each."""

    wanted = Wanted(server=True)  # tells if it is draining, and how many jobs other queues hold

    def take_samples(self) -> bool:
        """Read the queues, and those that look stalled once more.

        Return True if there was no time for a second sample that was needed.
        """
        self._take_first_sample()
        if not self._look_stalled:
            return False
        if not self.source.wait([self.server]):
            return True
        self._take_second_sample()
        return False

    def _take_first_sample(self) -> None:
        # Where nothing counts deleted jobs, the age of the first job tells that others were taken.
        needs_age = not self.server.can_tell("deletes") and self.server.can_tell("head_ready_age")
        heads = ("ready",) if needs_age else ()
        self.wanted = Wanted(heads=heads, problems=self.server.system.has_queue_problems)
        self._metrics: list[Metric] = []
        self._first: dict[str, Consumers] = {}
        self._second: dict[str, Consumers] = {}
        self._problems: list[Problem] = []
        self._look_stalled: list[str] = []
        reading = self.read()
        if not isinstance(reading, Reading):
            self._metrics = [reading]
            return
        self._metrics = list(self.to_metrics(reading))
        if self.wanted.problems:
            self._problems = list(self.source.problems(self.server, reading))
        queues = [m.value.state for m in self._metrics if isinstance(m.value, CheckedQueue)]
        self._first = {queue.name: Consumers.of(queue, reading.server) for queue in queues}
        self._look_stalled = [
            name for name, first in self._first.items() if decide_consumers(first) == "stalled"
        ]

    def _take_second_sample(self) -> None:
        try:
            reading = self.source.read_again(self.server, self._look_stalled)
        except ServerError as error:
            self._metrics = [server_failure(self.source, self.server, self.config, error)]
            return
        found = reading.queues or {}
        self._second = {
            name: Consumers.of(found[name], reading.server)
            if name in found
            else Consumers(ready=0, held=0, idle=0, consumers=0)
            for name in self._look_stalled
        }

    def probe(self) -> Iterator[Metric]:
        """Yield the queues with their verdicts, or the Failure of a server that cannot be read."""
        for metric in self._metrics:
            queue = metric.value
            if isinstance(queue, CheckedQueue):
                workers = self._workers(queue)
                verdict = self._diagnose(queue, workers)
                problems = tuple(one for one in self._problems if one.queue == queue.name)
                value = queue._replace(verdict=verdict, workers=workers, problems=problems)
                metric = metric.replace(value=value)
            yield metric

    def _diagnose(self, queue: CheckedQueue, workers: "Sequence[Worker] | None") -> str | None:
        """Decide from both samples; for `saturated` and `frozen`, from the previous run's too."""
        first, second = self._first[queue.name], self._second.get(queue.name)
        verdict = decide_consumers(second, first) if second else decide_consumers(first)
        now = second or first
        before, before_age = self._previous_sample(queue, now)
        # Every new connection is a consumer of the default queue: their number says nothing there.
        has_workers = workers is not None and not queue.state.is_default
        if has_workers and (silent := decide_silent(workers or (), now, before, before_age)):
            return silent
        if verdict != "saturated":
            return verdict
        if before is None:
            return "ok"
        if now.deletes is None and is_younger(queue.state, before_age):
            return "ok"  # the job that was next then has been taken
        verdict = decide_consumers(now, before)
        # A server's statistics may be some seconds old, so close runs may have seen the same ones.
        is_still = now.deletes is not None and now.deletes == before.deletes
        are_full = queue.state.has_room is False and before_age >= MIN_SECONDS_APART
        return "unacknowledged" if verdict == "saturated" and is_still and are_full else verdict

    def _previous_sample(
        self, queue: CheckedQueue, now: Consumers
    ) -> tuple[Consumers | None, float]:
        """Store `now` for the next run. Return what the previous run stored, or None, and its age.

        The age is in seconds.
        """
        if decide_consumers(now) not in NEED_PREVIOUS_RUN:
            return None, 0.0
        memory, key = self.source.memory, queue.key("busy")
        stored = memory.recall(key)
        clock = time.time()
        memory.remember(key, [clock, *now])
        match stored:
            case [int() | float() as at, *before] if len(before) == len(now):
                previous = Consumers(*before)
            case _:
                return None, 0.0
        if previous.deletes is not None and now.deletes is not None:
            was_recreated = previous.deletes > now.deletes
            if was_recreated:
                return None, 0.0
        return previous, clock - at

    def _workers(self, queue: CheckedQueue) -> "tuple[Worker, ...] | None":
        workers = self.source.workers()
        if workers is None:
            return None
        found = workers_of(queue.name, self.server, workers, is_only_server=self.is_only_server)
        # Only the workers of some systems are known to send heartbeats.
        return found if found or self.server.url.scheme == DEFAULT_SCHEME else None


def is_younger(queue: "QueueState", age: float) -> bool:
    """Return True if the first ready job of a queue became ready within the last `age` seconds."""
    return queue.head_ready_age is not None and queue.head_ready_age < age


def decide_silent(
    workers: "Sequence[Worker]", now: Consumers, before: Consumers | None, before_age: float
) -> str:
    """Return a verdict if jobs are ready, and no connected consumer sends heartbeats; "" otherwise.

    frozen: no job was deleted since `before`, the sample of the previous run `before_age` s ago.
    silent: it is not known whether jobs get done: there is no such sample, or jobs were deleted
    since then, but perhaps before the last heartbeat.
    "": jobs were deleted after the last heartbeat, so the workers have only lost Redis.
    """
    groups = group_by_health(workers)
    is_stuck = decide_consumers(now) in NEED_PREVIOUS_RUN
    if not is_stuck or groups.running or len(groups.dead) < (now.consumers or 0):
        return ""
    if before is None or now.deletes is None or before.deletes is None:
        return "silent"
    if now.deletes == before.deletes:
        return "frozen"
    silent_for = min(worker.age for worker in workers if worker.id in groups.dead)
    return "" if 0 <= before_age < silent_for else "silent"
