"""Judges and presents queues for all checks about queues: limits, `--for`, texts, summary."""

import argparse
from collections.abc import Callable, Iterable

from nagiosplugin import Context, Resource, Summary

from beanwatch.checks.lib.memory import MAX_GAP, FileMemory, ScopedMemory
from beanwatch.checks.lib.plugin import (
    SEVERITY,
    STATES,
    Check,
    Critical,
    FailureContext,
    Finding,
    Metric,
    Ok,
    State,
    Unknown,
    Warn,
)
from beanwatch.checks.lib.plugin_process import Parser, duration_argument, pick_limits
from beanwatch.checks.lib.queue_words import FIELD_NAMES
from beanwatch.checks.lib.queues import NO_QUEUE, CheckedQueue
from beanwatch.checks.lib.source import Source
from beanwatch.checks.registry import find_check
from beanwatch.config import Config, Threshold
from beanwatch.durations import format_duration
from beanwatch.light_typing import Any
from beanwatch.words import count

# -- limits


def add_limits(parser: Parser) -> None:
    """Add `-w`, `-c` and `--for`."""
    parser.add_limits()
    parser.add_argument(
        "--for",
        dest="hold",
        type=duration_argument,
        metavar="SECONDS",
        help="alert only if every run that could tell has found the problem for this long "
        "(default: `for` of the limits in the configuration, else 0)",
    )


def pick_queue_limits(
    options: argparse.Namespace,
    config: Config,
    measure: str,
    queue: CheckedQueue,
    default: Threshold,
) -> Threshold:
    """Return the limits for a queue, from the first of these that has any.

    They are: the arguments, the rule `[queues."GLOB".<measure>]` that matches the queue,
    `[checks.<measure>]`, `default`. `--for` replaces the `for` of the limits.
    """
    rule = config.threshold(measure, queue.name, queue.server.node)
    found = pick_limits(options, config, measure, default)
    has_arguments = options.warning is not None or options.critical is not None
    if rule and not has_arguments:
        found = rule
    return found if options.hold is None else found._replace(hold=options.hold)


# -- evaluate


class QueueContext(Context):  # type: ignore[misc]
    """Judges queues with two functions of the check.

    `decide` returns the state and the text of a queue, `perfdata` its performance data. `memory`
    stores since when `--for` counts.
    """

    def __init__(
        self,
        name: str,
        options: argparse.Namespace,
        config: Config,
        memory: FileMemory | ScopedMemory,
        default_limits: Threshold,
        decide: Callable[[CheckedQueue, Threshold], tuple[State, str]],
        perfdata: Callable[[CheckedQueue, Threshold], str],
    ) -> None:
        super().__init__("queue")
        self.check = find_check(name)
        self.options, self._config = options, config
        self._memory = memory
        self._missing = STATES[options.missing] if options.missing else None
        self._default_limits = default_limits
        self._decide, self._perfdata = decide, perfdata

    def _limits(self, queue: CheckedQueue) -> Threshold:
        measure = self.check.config_key
        return pick_queue_limits(self.options, self._config, measure, queue, self._default_limits)

    def evaluate(self, metric: Metric, resource: Any) -> Finding:
        """Return the state of a queue; UNKNOWN if a number that the check needs is not known."""
        queue: CheckedQueue = metric.value
        if not queue.is_there:
            by_system = Ok if queue.server.system.absent_is_empty else Unknown
            state = self._missing or by_system
            if state is not Ok or queue.is_glob:
                return Finding(state, f"{queue.label}: no such queue", metric)
        for field in self.check.fields:
            if getattr(queue.state, field) is None:
                name = FIELD_NAMES.get(field, field)
                self._keep_hold(queue)
                return Finding(Unknown, f"{queue.label}: {name} is not known", metric)
        limits = self._limits(queue)
        state, text = self._decide(queue, limits)
        if limits.hold:
            state, text = self._apply_hold(queue, limits.hold, state, text)
        return Finding(state, text, metric)

    def _keep_hold(self, queue: CheckedQueue) -> None:
        """Let `--for` go on: an unknown number does not mean that the problem is over.

        After MAX_GAP seconds, nobody knows.
        """
        is_used = bool(self._limits(queue).hold)
        if is_used and self._memory.lasting(queue.key("unknown")) <= MAX_GAP:
            for step in (Critical, Warn):
                self._memory.keep(queue.key(step.text))

    def _apply_hold(
        self, queue: CheckedQueue, hold: float, state: State, text: str
    ) -> tuple[State, str]:
        """Return the worst state that has lasted for `hold` seconds, and say in the text how long.

        Without a usable state file nothing is held back: the state is returned unchanged.
        """
        if state is Unknown:
            self._keep_hold(queue)
        if state not in (Warn, Critical):
            return state, text
        lasted, since = Ok, 0.0
        for step in (Critical, Warn):
            if SEVERITY[state] >= SEVERITY[step]:
                since = self._memory.lasting(queue.key(step.text))
                if since >= hold and lasted is Ok:
                    lasted = step
        if lasted is not state:
            self._memory.try_to_write()
        if self._memory.trouble:
            return state, text
        return lasted, f"{text}, for {format_duration(since)}"

    # -- present

    def performance(self, metric: Metric, resource: Any) -> str | None:
        """Return the performance data of a queue; None for a glob that matches no queue."""
        queue: CheckedQueue = metric.value
        return None if queue.is_glob else self._perfdata(queue, self._limits(queue))


class NoneContext(Context):  # type: ignore[misc]
    """Judges a server that has none of the queues that are to be judged, as it need not."""

    def evaluate(self, metric: Metric, resource: Any) -> Finding:
        """Return OK, and the text that says so."""
        return Finding(Ok, metric.value, metric)


def queues_of(results: Iterable[Finding]) -> list[CheckedQueue]:
    """Return the queues that were judged, without the globs that match no queue."""
    values = (result.metric.value for result in results if result.metric)
    return [v for v in values if isinstance(v, CheckedQueue) and not v.is_glob]


class QueueSummary(Summary):  # type: ignore[misc]
    """Presents queues without a problem: their number, the sum of a measure, the largest queue."""

    def __init__(self, measure: Callable[[CheckedQueue], float], *unit: str) -> None:
        self._measure, self._unit = measure, unit

    def ok(self, results: Any) -> str:
        """Return a text such as `3 queues: 12 jobs ready, most in images: 9`."""
        queues = queues_of(results)
        if not queues:
            return next((str(result) for result in results if str(result)), NO_QUEUE)
        if len(queues) == 1:
            return str(results[0])
        top = max(queues, key=self._measure)
        total = sum(map(self._measure, queues))
        most = f", most in {top.label}: {self._measure(top):g}" if total else ""
        what = "queues" if all(queue.name for queue in queues) else "queues and servers"
        return f"{len(queues)} {what}: {count(total, *self._unit)}{most}"


def queue_check(
    context: QueueContext, summary: QueueSummary, source: Source, resources: Iterable[Resource]
) -> Check:
    """Make a check from these parts. A server that cannot be read makes it UNKNOWN."""
    failures = FailureContext(Unknown, context.options.timeout_state)
    name = context.check.name
    none = NoneContext("none")
    return Check(name, *resources, context, none, failures, summary, source=source)
