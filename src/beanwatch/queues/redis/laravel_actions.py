"""Actions on the queues of Laravel in Redis: look at jobs, and delete them."""

from collections.abc import Iterator

from beanwatch.queues.base import Job
from beanwatch.queues.redis.actions import MAX_LISTED, STEP, RedisActions, make_job
from beanwatch.queues.redis.laravel import created_at, key_of
from beanwatch.queues.redis.replies import age_of, json_of, list_of

# A job in the list has a partner in a second list, on which workers wait.
TAKE = """
local gone = 0
while gone < tonumber(ARGV[1]) do
    if not redis.call('LPOP', KEYS[1]) then break end
    redis.call('LPOP', KEYS[2])
    gone = gone + 1
end
return gone
"""
FACTS = ("displayName", "attempts", "uuid", "maxTries")


class LaravelActions(RedisActions):
    """Actions on the queues of Laravel. A body is the payload as Laravel wrote it."""

    def peek(self, queue: str, state: str) -> Job | None:
        """Return the first job of a queue in a state; None if there is none."""
        return next(iter(self.list_jobs(queue, state, 1)), None)

    def list_jobs(self, queue: str, state: str, count: int) -> list[Job]:
        """Return up to `count` jobs of a queue in a state, the first one first."""
        key = self._key(queue, state)
        if state == "ready":
            bodies = self.list_part(key, count, from_end=False)
        else:
            count = max(0, min(count, MAX_LISTED))
            reply = self.ask([("ZRANGE", key, 0, count - 1)])[0] if key and count else []
            bodies = [one for one in list_of(reply) if isinstance(one, bytes)]
        now = self.now() if bodies else 0.0
        return [to_job(queue, state, body, now) for body in bodies]

    def empty(self, queue: str, state: str, count: int) -> Iterator[int]:
        """Delete up to `count` jobs of a queue in a state, the first ones first."""
        key = self._key(queue, state)
        if state == "reserved":
            raise self.no_state(state)
        while key and count > 0:
            step = min(count, STEP)
            if state == "ready":
                gone = self.run_script(TAKE, [key, f"{key}:notify"], [step])[0]
            else:
                gone = int(self.ask([("ZREMRANGEBYRANK", key, 0, step - 1)])[0])
            if gone:
                yield gone
            if gone < step:
                return
            count -= gone

    def _key(self, queue: str, state: str) -> str:
        if state == "buried":
            return ""  # failed jobs are in the application's database
        if state not in ("ready", "reserved", "delayed"):
            raise self.no_state(state)
        return key_of(self.prefix, queue, "" if state == "ready" else f":{state}")


def to_job(queue: str, state: str, body: bytes, now: float) -> Job:
    """Make a Job from a payload, with the name of its class, if Laravel wrote it."""
    payload = json_of(body) or {}
    facts = {
        name: value if isinstance(value, int | float) else str(value)[:200]
        for name in FACTS
        if (value := payload.get(name)) is not None
    }
    age = age_of(now, created_at(body))
    return make_job(queue, state, body, id=str(payload.get("id", ""))[:200], age=age, **facts)
