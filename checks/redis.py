"""check_redis: does the Redis of the heartbeats answer, take writes and keep what is written?"""

import argparse
from collections.abc import Callable, Iterator

from nagiosplugin import Context, Resource, Summary

from beanwatch.checks.lib.output import perf
from beanwatch.checks.lib.plugin import (
    STATES,
    Check,
    Critical,
    FailureContext,
    Finding,
    Metric,
    Ok,
    State,
    Unknown,
    judge,
    worst_state,
)
from beanwatch.checks.lib.plugin_process import Parser, PluginOutput, pick_limits, run
from beanwatch.checks.lib.redis_source import add_redis, open_redis, read_from, redis_failure
from beanwatch.config import Config, Threshold
from beanwatch.light_typing import Any
from beanwatch.net.redis_info import RedisState
from beanwatch.net.redis_url import RedisError
from beanwatch.store.heartbeats import read_redis
from beanwatch.store.redis_state import describe_state, find_problems

# Percent of maxmemory. There is no critical limit: while check_redis is CRITICAL, the services of
# workers and jobs notify nobody, but a Redis that is only nearly full still takes heartbeats.
DEFAULT_LIMITS = Threshold(warning="80")

# Returns the state of Redis. Raises RedisError.
ReadRedis = Callable[[], RedisState]


def parser() -> Parser:
    """Make the command-line parser of check_redis."""
    parser = Parser("redis", __doc__, "--redis redis://queue1/0 -w 80", Critical)
    add_redis(parser)
    parser.add_limits()
    meaning = "-w and -c are limits on the used memory, in percent of the maxmemory of Redis."
    parser.epilog = f"{meaning}\n\n{parser.epilog}"
    return parser


# -- acquire


class RedisResource(Resource):  # type: ignore[misc]
    """Reads the state of Redis."""

    name = "redis"  # nagiosplugin puts it into its error messages

    def __init__(self, read: ReadRedis) -> None:
        self._read = read

    def probe(self) -> Iterator[Metric]:
        """Yield one metric: the RedisState, or the Failure if Redis cannot be read."""
        try:
            yield Metric("redis", self._read(), context="redis")
        except RedisError as error:
            yield Metric("redis", redis_failure(error), context="failure")


# -- evaluate


def decide(state: RedisState, limits: Threshold) -> Iterator[tuple[State, str]]:
    """Yield a state and a text for each problem. A full Redis that evicts keys has no problem.

    The default limits judge nothing if the used memory is not known; limits that somebody set are
    UNKNOWN then.
    """
    for severity, text in find_problems(state):
        yield STATES[severity], text
    if not state.info and limits is not DEFAULT_LIMITS:
        yield Unknown, "the used memory is not known: this Redis user may not run INFO"
    percent = percent_used(state)
    if percent is not None and not state.evicts:
        by_share, limit = judge(percent, limits)
        if limit:
            used = f"{percent:.10g} % of its maxmemory is used ({limit} %)"
            yield by_share, f"{used}; a full Redis takes no heartbeats"


def percent_used(state: RedisState) -> float | None:
    """Return the used part of maxmemory in percent; None without a limit, or if not known.

    It is rounded before it is judged, so that no alert says `80 % (limit 80 %)`.
    """
    share = state.memory_share
    return None if share is None else round(100 * share, 1)


class RedisContext(Context):  # type: ignore[misc]
    """Judges one Redis: its problems, and its used memory."""

    def __init__(self, limits: Threshold) -> None:
        super().__init__("redis")
        self._limits = limits

    def evaluate(self, metric: Metric, resource: Any) -> Finding:
        """Return the worst state and the texts of all problems; without any, OK and the memory."""
        problems = list(decide(metric.value, self._limits))
        if not problems:
            return Finding(Ok, describe_state(metric.value), metric)
        text = ", ".join(text for _, text in problems)
        return Finding(worst_state(state for state, _ in problems), text, metric)

    # -- present

    def performance(self, metric: Metric, resource: Any) -> str:
        """Format the used memory (percent of maxmemory, and bytes) as performance data."""
        state: RedisState = metric.value
        percent = percent_used(state)
        parts = [perf("used_memory", state.used_memory, "B")]
        if percent is not None:
            parts.insert(0, perf("memory", percent, "%", self._limits))
        return " ".join(parts)


class RedisSummary(Summary):  # type: ignore[misc]
    """Presents a Redis without a problem."""

    def ok(self, results: Any) -> str:
        """Return its version and its used memory."""
        return str(results[0])


def build(options: argparse.Namespace, config: Config, read: ReadRedis) -> Check:
    """Make the check from its resource, its contexts and its summary."""
    return Check(
        "redis",
        RedisResource(read),
        RedisContext(pick_limits(options, config, "redis", DEFAULT_LIMITS)),
        FailureContext(Critical, options.timeout_state),
        RedisSummary(),
    )


def with_live_redis(options: argparse.Namespace, config: Config, output: PluginOutput) -> Check:
    """Make the check that reads the Redis of the options or of the configuration."""

    def read() -> RedisState:
        with open_redis(options, config, output) as link:
            return read_from(link, read_redis)

    return build(options, config, read)


def main() -> None:
    """Parse `sys.argv`, run the check, print its result and exit with its state (0 to 3)."""
    run(parser(), with_live_redis)
