"""Actions on plain lists: look at jobs, put failed ones back, delete."""

from collections.abc import Iterator

from beanwatch.queues.base import Job
from beanwatch.queues.redis.actions import STEP, RedisActions, make_job
from beanwatch.queues.redis.list import failed_key

# Moves up to ARGV[1] jobs from the list of failed jobs to the queue, the longest failed first.
# Producers and failing workers push left, and workers pop right: LPUSH and BRPOP.
MOVE = """
local moved = 0
while moved < tonumber(ARGV[1]) do
    if not redis.call('RPOPLPUSH', KEYS[1], KEYS[2]) then break end
    moved = moved + 1
end
return moved
"""


class ListActions(RedisActions):
    """Actions on lists that are pushed to at the left end and popped at the right one."""

    def peek(self, queue: str, state: str) -> Job | None:
        """Return the next job of a queue, or the one that failed first; None if there is none."""
        return next(iter(self.list_jobs(queue, state, 1)), None)

    def list_jobs(self, queue: str, state: str, count: int) -> list[Job]:
        """Return up to `count` jobs, the one that workers take next first."""
        if state == "delayed":
            return []
        bodies = self.list_part(self._key(queue, state), count, from_end=True)
        return [make_job(queue, state, body) for body in bodies]

    def kick(self, queue: str, count: int) -> Iterator[int]:
        """Move up to `count` failed jobs back to their queue; yield the number of each step."""
        source, target = self._key(queue, "buried"), self._key(queue, "ready")
        while count > 0:
            step = min(count, STEP)
            moved = self.run_script(MOVE, [source, target], [step])[0]
            if moved:
                yield moved
            if moved < step:
                return
            count -= moved

    def empty(self, queue: str, state: str, count: int) -> Iterator[int]:
        """Delete up to `count` jobs of a queue, those that workers would take next first."""
        yield from self.take_from_list(self._key(queue, state), count, from_end=True)

    def _key(self, queue: str, state: str) -> str:
        if state == "ready":
            return self.prefix + queue
        key = failed_key(self.server.config.failed, self.prefix, queue)
        if state != "buried" or not key:
            raise self.no_state(state)
        return key
