"""Actions on the queues of Celery: look at messages, and delete them."""

from collections.abc import Iterator

from beanwatch.queues.base import Job
from beanwatch.queues.redis.actions import RedisActions, make_job
from beanwatch.queues.redis.celery import keys_of
from beanwatch.queues.redis.replies import json_of

HEADERS = ("task", "retries", "eta", "expires", "origin")


class CeleryActions(RedisActions):
    """Actions on the messages that no worker has taken. A body is the message as kombu wrote it."""

    def peek(self, queue: str, state: str) -> Job | None:
        """Return the message that a worker takes next; None if there is none."""
        return next(iter(self.list_jobs(queue, state, 1)), None)

    def list_jobs(self, queue: str, state: str, count: int) -> list[Job]:
        """Return up to `count` messages, in the order in which workers take them."""
        jobs: list[Job] = []
        for key in self._keys(queue, state):
            bodies = self.list_part(key, count - len(jobs), from_end=True)
            jobs += [to_job(queue, state, body) for body in bodies]
        return jobs

    def empty(self, queue: str, state: str, count: int) -> Iterator[int]:
        """Delete up to `count` messages, those that workers would take next first."""
        for key in self._keys(queue, state):
            for gone in self.take_from_list(key, count, from_end=True):
                yield gone
                count -= gone

    def _keys(self, queue: str, state: str) -> list[str]:
        if state in ("delayed", "buried"):
            return []  # Celery has no such jobs
        if state != "ready":
            raise self.no_state(state)
        return keys_of(self.prefix, queue)


def to_job(queue: str, state: str, body: bytes) -> Job:
    """Make a Job from a message, with the name of its task, if it is one of Celery's."""
    message = json_of(body) or {}
    headers = message.get("headers")
    found = headers if isinstance(headers, dict) else {}
    facts = {
        name: value if isinstance(value, int | float) else str(value)[:200]
        for name in HEADERS
        if (value := found.get(name)) is not None
    }
    return make_job(queue, state, body, id=str(found.get("id", ""))[:200], **facts)
