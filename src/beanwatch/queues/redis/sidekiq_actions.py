"""Actions on Sidekiq: look at jobs, retry or delete dead ones, delete jobs of a queue."""

import json
from collections.abc import Iterator, Sequence

from beanwatch.light_typing import Any
from beanwatch.queues.base import Job, UnsupportedError
from beanwatch.queues.redis.actions import STEP, RedisActions, make_job
from beanwatch.queues.redis.replies import LATEST, age_of, json_of, list_of
from beanwatch.queues.redis.sidekiq import DEAD_SET, sidekiq_time

# Puts dead jobs back. KEYS: the dead set, the names of the queues. ARGV: the prefix of all keys;
# for each job the member of the dead set, its queue, and its payload for the queue.
RETRY = """
local done = 0
for i = 2, #ARGV, 3 do
    if redis.call('ZREM', KEYS[1], ARGV[i]) == 1 then
        redis.call('SADD', KEYS[2], ARGV[i + 1])
        redis.call('LPUSH', ARGV[1] .. 'queue:' .. ARGV[i + 1], ARGV[i + 2])
        done = done + 1
    end
end
return done
"""
MAX_DEAD = 10_000  # dead jobs that are looked through for an id; Sidekiq keeps so many
MAX_JID = 200  # characters
FACTS = ("class", "wrapped", "queue", "retry_count", "error_class")


class SidekiqActions(RedisActions):
    """Actions on the queues of Sidekiq, and on its dead set, the queue `dead-set`.

    Retried jobs go to the queues that they came from. Sidekiq's client middleware does not run.
    """

    def peek(self, queue: str, state: str) -> Job | None:
        """Return the first job of a queue in a state; None if there is none."""
        return next(iter(self.list_jobs(queue, state, 1)), None)

    def list_jobs(self, queue: str, state: str, count: int) -> list[Job]:
        """Return up to `count` jobs; `facts["error"]` says why a dead job failed."""
        if self._is_dead_set(queue):
            members = self._dead(0, count) if state == "buried" else []
        elif state == "ready":
            members = self.list_part(self._key(f"queue:{queue}"), count, from_end=True)
        elif state in ("delayed", "buried"):
            members = []  # they are in the sets for all queues together
        else:
            raise self.no_state(state)
        now = self.now() if members else 0.0
        return [to_job(queue, state, member, now) for member in members]

    def locate(self, job_id: str) -> Job | None:
        """Return the dead job with this id (jid); the other ones would need a search of all."""
        found = self._find([job_id])
        return to_job(DEAD_SET, "buried", found[0], self.now()) if found else None

    def kick(self, queue: str, count: int) -> Iterator[int]:
        """Retry up to `count` dead jobs, those first that died first; yield after each step."""
        self._need_dead_set(queue, "kick")
        skipped = 0  # members that are no jobs of Sidekiq: they stay
        while count > 0 and (members := self._dead(skipped, min(count, STEP))):
            jobs = [one for one in members if json_of(one) is not None]
            skipped += len(members) - len(jobs)
            count -= len(members)
            yield self._retry(jobs)

    def kick_jobs(self, queue: str, ids: Sequence[str]) -> Iterator[int]:
        """Retry the dead jobs with these ids (jid); yield after each step."""
        self._need_dead_set(queue, "kick_jobs")
        found = self._find(ids)
        for start in range(0, len(found), STEP):
            yield self._retry(found[start : start + STEP])

    def delete_jobs(self, queue: str, ids: Sequence[str]) -> Iterator[int]:
        """Delete the dead jobs with these ids (jid); yield after each step."""
        self._need_dead_set(queue, "delete_jobs")
        found = self._find(ids)
        for start in range(0, len(found), STEP):
            part = found[start : start + STEP]
            yield int(self.ask([("ZREM", self._key("dead"), *part)])[0])

    def empty(self, queue: str, state: str, count: int) -> Iterator[int]:
        """Delete up to `count` jobs of a queue, or of the dead set, the first ones first."""
        if not self._is_dead_set(queue):
            if state != "ready":
                raise self.no_state(state)
            yield from self.take_from_list(self._key(f"queue:{queue}"), count, from_end=True)
            return
        while state == "buried" and count > 0:
            step = min(count, STEP)
            reply = self.ask([("ZREMRANGEBYRANK", self._key("dead"), 0, step - 1)])[0]
            gone = int(reply)
            if gone:
                yield gone
            if gone < step:
                return
            count -= gone

    def _retry(self, members: Sequence[bytes]) -> int:
        now = self.now()
        arguments: list[Any] = [self.prefix]
        for member in members:
            payload = json_of(member) or {}
            queue, again = retried(payload, now)
            arguments += [member, queue, again]
        return self.run_script(RETRY, [self._key("dead"), self._key("queues")], arguments)[0]

    def _dead(self, start: int, count: int) -> list[bytes]:
        if count <= 0:
            return []
        reply = self.ask([("ZRANGE", self._key("dead"), start, start + count - 1)])[0]
        return [one for one in list_of(reply) if isinstance(one, bytes)]

    def _find(self, ids: Sequence[str]) -> list[bytes]:
        """Return the members of the dead set with these ids."""
        wanted, found = set(ids) - {""}, []
        for start in range(0, MAX_DEAD, STEP):
            members = self._dead(start, STEP)
            found += [one for one in members if jid_of(json_of(one) or {}) in wanted]
            if len(members) < STEP:
                break
        return found

    def _is_dead_set(self, queue: str) -> bool:
        if queue != DEAD_SET:
            return False
        return not self.ask([("SISMEMBER", self._key("queues"), queue)])[0]

    def _need_dead_set(self, queue: str, action: str) -> None:
        if not self._is_dead_set(queue):
            raise UnsupportedError(
                f"{self.server}: Sidekiq keeps the dead jobs of all queues in one set: "
                f"use {action} on the queue {DEAD_SET}"
            )

    def _key(self, name: str) -> str:
        return self.prefix + name


def retried(payload: dict[str, Any], now: float) -> tuple[str, str]:
    """Return the queue of a dead job, and its payload as Sidekiq writes it for another try."""
    again = dict(payload)
    count = again.get("retry_count")
    if isinstance(count, int) and not isinstance(count, bool):
        again["retry_count"] = count - 1
    times = [again.get(name) for name in ("enqueued_at", "created_at")]
    in_milliseconds = any(isinstance(time, int | float) and time > LATEST for time in times)
    again["enqueued_at"] = int(now * 1000) if in_milliseconds else now
    queue = again.get("queue")
    name = queue if isinstance(queue, str) and queue else "default"
    return name, json.dumps(again, separators=(",", ":"))


def to_job(queue: str, state: str, body: bytes, now: float) -> Job:
    """Make a Job from a payload, with the reason of its failure, if Sidekiq wrote it."""
    payload = json_of(body) or {}
    facts = {
        ("origin" if name == "queue" else name): (
            value if isinstance(value, int | float) else str(value)[:200]
        )
        for name in FACTS
        if (value := payload.get(name)) is not None
    }
    if "wrapped" in facts:  # the class is that of Active Job, the same for all jobs
        facts["wrapper"], facts["class"] = facts["class"], facts.pop("wrapped")
    message = payload.get("error_message")
    if message is not None:
        facts["error"] = f"{payload.get('error_class', '')}: {str(message)[:10_000]}"
    age = age_of(now, sidekiq_time(payload.get("created_at")))
    failed_at = sidekiq_time(payload.get("retried_at") or payload.get("failed_at"))
    return make_job(queue, state, body, id=jid_of(payload), age=age, failed_at=failed_at, **facts)


def jid_of(payload: dict[str, Any]) -> str:
    """Return the id of a job; "" if it is none, as anybody can write into the dead set."""
    jid = payload.get("jid")
    return jid if isinstance(jid, str) and len(jid) <= MAX_JID else ""
