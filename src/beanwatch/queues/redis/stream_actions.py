"""Actions on streams: look at the entries that wait, and at those that consumers have taken."""

from beanwatch.light_typing import Any
from beanwatch.net.redis_url import Command
from beanwatch.queues.base import Job
from beanwatch.queues.redis.actions import MAX_LISTED, RedisActions, make_job
from beanwatch.queues.redis.replies import age_of, count_of, list_of, text_of
from beanwatch.queues.redis.stream import parse_groups, time_of_id

MAX_FIELDS = 100  # fields of an entry that its body shows


class StreamActions(RedisActions):
    """Actions on the entries of a stream. A body is `field=value` lines."""

    def peek(self, queue: str, state: str) -> Job | None:
        """Return the first entry of a queue in a state; None if there is none."""
        return next(iter(self.list_jobs(queue, state, 1)), None)

    def list_jobs(self, queue: str, state: str, count: int) -> list[Job]:
        """Return up to `count` entries of a queue, the oldest first."""
        if state in ("delayed", "buried"):
            return []  # streams have no such entries
        key, group = self._find(queue)
        count = max(0, min(count, MAX_LISTED))
        if not group or not count:
            return []
        if state == "ready":
            return self._ready(queue, key, group, count)
        if state == "reserved":
            return self._pending(queue, key, group, count)
        raise self.no_state(state)

    def _ready(self, queue: str, key: str, group: str, count: int) -> list[Job]:
        groups = parse_groups(self.ask([("XINFO", "GROUPS", key)])[0])
        last = next((one.last_id for one in groups if one.name == group), None)
        if last is None:
            return []
        entries = self.ask([("XRANGE", key, f"({last}", "+", "COUNT", count)])[0]
        now = self.now()
        return [to_job(queue, "ready", entry, now) for entry in list_of(entries)]

    def _pending(self, queue: str, key: str, group: str, count: int) -> list[Job]:
        found = [
            list_of(one)
            for one in list_of(self.ask([("XPENDING", key, group, "-", "+", count)])[0])
        ]
        found = [one for one in found if len(one) == 4 and isinstance(one[0], bytes)]
        commands: list[Command] = [("XRANGE", key, one[0], one[0]) for one in found]
        replies = self.ask(commands) if commands else []
        now = self.now()
        jobs = []
        for (entry_id, consumer, _, times), reply in zip(found, replies, strict=True):
            entry = list_of(reply)[0] if list_of(reply) else [entry_id, []]
            job = to_job(queue, "reserved", entry, now)
            facts = {**job.facts, "consumer": text_of(consumer, 200)}
            jobs.append(job._replace(attempts=count_of(times), facts=facts))
        return jobs

    def _find(self, queue: str) -> tuple[str, str]:
        """Return the key and the group of a queue; "" if the configuration has no such stream."""
        config = self.server.config
        if config.group:
            return self.prefix + queue, config.group if queue in config.queues else ""
        for name in sorted(config.queues, key=len, reverse=True):
            if queue.startswith(f"{name}:"):
                return self.prefix + name, queue.removeprefix(f"{name}:")
        return self.prefix + queue, ""


def to_job(queue: str, state: str, entry: Any, now: float) -> Job:
    """Make a Job from an entry `[id, [field, value, ...]]`, or from anything else."""
    entry_id, values = (*list_of(entry), None, None)[:2]
    pairs = list_of(values)[: 2 * MAX_FIELDS]
    lines = [
        name + b"=" + value
        for name, value in zip(pairs[::2], pairs[1::2], strict=False)
        if isinstance(name, bytes) and isinstance(value, bytes)
    ]
    age = age_of(now, time_of_id(entry_id))
    return make_job(queue, state, b"\n".join(lines), id=text_of(entry_id, 50), age=age)
