"""Turns off the parts that nobody has configured and that do not answer at a default address."""

import json
from collections.abc import Iterable

from beanwatch.config import Config
from beanwatch.net.http import HttpError, get
from beanwatch.net.redis_reader import RedisReader
from beanwatch.net.redis_url import RedisError, parse_redis_url

PRESENCE_TIMEOUT = 2.0  # seconds for each server


class PresentParts:
    """Finds out whether Redis and Graphite exist, if only their default addresses are known.

    Services are generated only for parts that exist: those of others would alert forever. A part
    that is configured, or has answered once, exists from then on. `answered` has the keys of the
    parts that answered in an earlier run, such as `redis.url`.
    """

    def __init__(self, answered: Iterable[str] = ()) -> None:
        self.answered = set(answered)

    def turn_off_absent(self, config: Config) -> Config:
        """Return the configuration, with an empty URL for each part that does not exist."""
        if not self._exists("redis.url", config):
            config = config._replace(redis=config.redis._replace(url=""))
        if not self._exists("graphite.url", config):
            config = config._replace(graphite=config.graphite._replace(url=""))
        return config

    def _exists(self, key: str, config: Config) -> bool:
        if config.is_wanted(key) or key in self.answered:
            return True
        answers = redis_answers if key == "redis.url" else graphite_answers
        url = config.redis.url if key == "redis.url" else config.graphite.url
        if url and answers(url):
            self.answered.add(key)
            return True
        return False


def has_redis(config: Config) -> bool:
    """Return False if Redis is off, or if nobody has configured it and none answers."""
    return bool(config.redis.url) and (
        config.is_wanted("redis.url") or redis_answers(config.redis.url)
    )


def redis_answers(url: str) -> bool:
    """Return True if a Redis answers at this URL, also with an error such as NOAUTH."""
    try:
        with RedisReader(parse_redis_url(url), PRESENCE_TIMEOUT) as redis:
            redis.execute([("PING",)])
    except RedisError as error:
        return bool(error.code)
    return True


def graphite_answers(url: str) -> bool:
    """Return True if Graphite's render API answers at this URL."""
    try:
        found = json.loads(
            get(f"{url}/render?target=beanwatch&format=json&from=-1min", PRESENCE_TIMEOUT)
        )
    except (HttpError, ValueError, RecursionError):
        return False
    return isinstance(found, list)
