"""Compute the values of a beanstalkd that need two readings."""

from collections.abc import Callable, Iterable, Sequence

from beanwatch.light_typing import TYPE_CHECKING, Any
from beanwatch.queues.base import Memory
from beanwatch.queues.beanstalkd.stats import (
    MAX_NUMBER,
    Rejected,
    Stats,
    balance_of,
    count_rejected,
    known_count,
)
from beanwatch.queues.model import QueueState, ServerState

if TYPE_CHECKING:
    from beanwatch.queues.beanstalkd.heads import Heads, Peek

RECENT = 600.0  # seconds for which refused puts and passed TTRs are reported as a problem


class EarlierReadings:
    """Remembers what a new reading of one server is compared with.

    `refused` counts the puts that the server refused in the last RECENT seconds, `timeouts` the
    jobs that it took back in that time, because their TTR had passed.
    """

    def __init__(self, memory: Memory, node: str) -> None:
        self._memory, self._node = memory, node
        self._skipped_heads: Sequence[Peek] = ()  # in the last reading, because of a limit
        self.refused = self.timeouts = 0

    def count_rejected(self, stats: Stats, server: ServerState) -> int | None:
        """Return how many puts the server has refused since its start; None if unknown.

        The first reading returns None, unless the number is 0: a put whose body is still being sent
        looks refused, and a counter must never fall. Also set `refused` to the number of recent
        ones.
        """
        key = f"rejected {self._node}"
        known = _recalled(self._memory.recall(key), server.instance, 5)
        attempts = known_count(stats, "cmd-put")
        if attempts is None or server.puts is None:
            if known:
                self._memory.remember(key, [server.instance, *known])
                self._memory.keep(f"{key} at")
            return None
        before = None
        past: Sequence[int] = (0, 0)
        if known:
            seen, sure, is_first, *past = known
            before = Rejected(seen, sure, bool(is_first))
        now = count_rejected(attempts - server.puts, before)
        if before is None or before.is_first:
            # These were refused before the first reading, maybe long ago.
            past = (now.confirmed, now.confirmed)
        past, self.refused = self._count_recent(key, now.confirmed, past)
        record = [server.instance, now.seen, now.confirmed, int(now.is_first), *past]
        self._memory.remember(key, record)
        return None if now.is_first and now.confirmed else now.confirmed

    def count_timeouts(self, stats: Stats, server: ServerState) -> None:
        """Set `timeouts`: how many jobs the server has taken back lately.

        beanstalkd counts them for the whole server only. Those before the first reading of this
        process of the server are not counted, because they may be old.
        """
        key = f"timeouts {self._node}"
        known = _recalled(self._memory.recall(key), server.instance, 2)
        total = known_count(stats, "job-timeouts")
        if total is None:
            if known:
                self._memory.remember(key, [server.instance, *known])
                self._memory.keep(f"{key} at")
            return
        past, self.timeouts = self._count_recent(key, total, known or (total, total))
        self._memory.remember(key, [server.instance, *past])

    def _count_recent(self, key: str, total: int, past: Sequence[int]) -> tuple[Sequence[int], int]:
        """Return the past values of a counter for the next reading, and by how much it has risen.

        There are two past values, the older one first. The newer one is that of the first reading
        that found a rise. After RECENT seconds it becomes the older one. So a rise counts for
        RECENT seconds at least, and while the counter goes on rising, the result is never 0.
        """
        older, newer = past
        if total <= older:
            return (total, total), 0
        if newer == older:
            newer = total
        if self._memory.lasting(f"{key} at", str(newer)) > RECENT:
            older, newer = newer, total
            self._memory.lasting(f"{key} at", str(newer))  # its time begins now
        return (older, newer), max(0, total - older)

    def with_missing(self, queue: QueueState, instance: str | None) -> QueueState:
        """Return the queue with `missing_jobs` set, the number of jobs that the server lost.

        It is computed from `balance_of`, which is 0 if no job was lost. When the server reads its
        binlog, the balance can become negative. So the lowest balance since the server's start is
        remembered while it is below 0, and subtracted. A queue that was deleted and created again
        starts at 0. `instance` identifies the server's process.
        """
        key = f"missing {self._node} {queue.name}"
        known = _recalled(self._memory.recall(key), instance, 3)
        balance = balance_of(queue)
        if balance is None:
            if known:
                self._memory.remember(key, [instance, *known])
            return queue
        lowest = 0
        if known:
            puts, deletes, lowest = known
            if (queue.puts or 0) < puts or (queue.deletes or 0) < deletes:
                lowest = 0  # the tube was deleted and created again
        lowest = min(lowest, balance)
        if lowest < 0:
            self._memory.remember(key, [instance, queue.puts, queue.deletes, lowest])
        return queue._replace(missing_jobs=balance - lowest)

    def sort_skipped_first(self, peeks: "list[Peek]") -> "list[Peek]":
        """Put the queries that the last reading skipped first, so that all are sent in turn."""
        if not self._skipped_heads:
            return peeks
        turn = {peek: number for number, peek in enumerate(self._skipped_heads)}
        return sorted(peeks, key=lambda peek: turn.get(peek, len(turn)))

    def head_age(self, peek: "Peek", job: Stats | None, instance: str) -> float | None:
        """Return for how many seconds the first job has been in its state; None if unknown.

        `job` has the fields of `stats-job`. It is None if the head was not read, and {} if the tube
        had no such job any more. Unless `stats-job` tells the time, it is counted from the first
        reading that found this job at the head.
        """
        from beanwatch.queues.beanstalkd.heads import ready_seconds

        key = f"head {self._node} {peek.state} {peek.tube}"
        if not job:
            self._memory.keep(key)
            return None
        if peek.state == "ready" and (age := ready_seconds(job)) is not None:
            return age
        return round(self._memory.lasting(key, f"{instance} {job['id']}"), 3)

    def add_overtaken(
        self,
        tubes: dict[str, QueueState],
        heads: "Heads",
        instance: str,
        read: Callable[[Sequence[bytes]], Iterable[Stats]],
    ) -> None:
        """Set `overtaken_age` of the tubes with a ready job that is no longer the first one.

        Only the first job of a tube can be asked for. So the first job is remembered until it is no
        longer ready, and `read` asks for it by its id. Raises ServerError.
        """
        from beanwatch.queues.beanstalkd.heads import ready_seconds

        remembered: dict[str, int] = {}
        firsts = {
            peek.tube: int(job["id"]) if job else None
            for peek, job in heads.jobs.items()
            if peek.state == "ready"
        }
        for tube, first in firsts.items():
            known = _recalled(self._memory.recall(f"waiting {self._node} {tube}"), instance, 1)
            if known and known[0] != first:
                remembered[tube] = known[0]
            else:
                self._remember_waiting(tube, instance, first)
        ids = [str(number).encode() for number in remembered.values()]
        for (tube, number), job in zip(remembered.items(), read(ids), strict=True):
            if job.get("state") == "ready" and job.get("tube") == tube:
                since = self._remember_waiting(tube, instance, number)
                age = ready_seconds(job)
                tubes[tube] = tubes[tube]._replace(overtaken_age=since if age is None else age)
            else:
                self._remember_waiting(tube, instance, firsts[tube])

    def _remember_waiting(self, tube: str, instance: str, job_id: int | None) -> float:
        """Remember a ready job (None: none); return for how long it is known, in seconds."""
        if job_id is None:
            return 0.0
        key = f"waiting {self._node} {tube}"
        self._memory.remember(key, [instance, job_id])
        return self._memory.lasting(f"{key} since", f"{instance} {job_id}")

    def add_heads(
        self, tubes: dict[str, QueueState], peeks: "Sequence[Peek]", heads: "Heads", instance: str
    ) -> None:
        """Set the ages of the first jobs (heads) in `tubes`. Remember which heads were skipped."""
        self._skipped_heads = heads.left
        for peek in peeks:
            age = self.head_age(peek, heads.jobs.get(peek), instance)
            tube = tubes[peek.tube]
            tubes[peek.tube] = (
                tube._replace(head_ready_age=age)
                if peek.state == "ready"
                else tube._replace(head_buried_age=age)
            )


def _recalled(value: Any, instance: str | None, count: int) -> list[int] | None:
    """Return the numbers of a remembered value `[instance, number, ...]` with `count` numbers.

    Return None if they are from another process of the server, or if the value has another shape.
    """
    if not (isinstance(value, list) and len(value) == count + 1 and value[0] == instance):
        return None
    numbers = value[1:]
    is_valid = all(isinstance(number, int) and abs(number) < MAX_NUMBER for number in numbers)
    return numbers if is_valid else None
