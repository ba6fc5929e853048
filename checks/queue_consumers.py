"""check_queue_consumers: does a queue have consumers, and do they take its jobs?"""

import argparse

from beanwatch.checks.lib import queue_check, queues, source
from beanwatch.checks.lib.consumer_diagnosis import ConsumerDiagnosis, TwoSamples
from beanwatch.checks.lib.heartbeat_evidence import (
    explain_with_heartbeats,
    group_by_health,
    name_some,
)
from beanwatch.checks.lib.output import BETWEEN_PROBLEMS, perf
from beanwatch.checks.lib.plugin import (
    STATES,
    Check,
    Critical,
    Ok,
    State,
    Unknown,
    Warn,
    judge,
    worst_state,
)
from beanwatch.checks.lib.plugin_process import Parser, run
from beanwatch.checks.lib.queue_words import describe_dead_letters, describe_no_consumer
from beanwatch.checks.lib.queues import CheckedQueue
from beanwatch.checks.lib.source import Source
from beanwatch.checks.lib.staffing import with_staffing
from beanwatch.config import Config, Threshold
from beanwatch.light_typing import Any
from beanwatch.words import count

MAX_NAMED = 5  # queues named in the text when nothing is wrong
DEFAULT_LIMITS = Threshold()  # none: only the operator knows how many consumers there should be


def parser() -> Parser:
    """Make the command-line parser of check_queue_consumers."""
    parser = Parser("queue_consumers", __doc__, "-H queue1 -Q 'email.*' -c 1:")
    source.add_servers(parser)
    queues.add_queues(parser)
    queue_check.add_limits(parser)
    for word, what in (("paused", "a paused queue"), ("draining", "a draining server")):
        parser.add_argument(
            f"--{word}",
            choices=STATES,
            default="ok",
            help=f"state to report for {what} (default: ok)",
        )
    parser.add_argument(
        "--redis",
        metavar="URL",
        help="compare the consumers with the workers' heartbeats in this Redis "
        "(default: redis.url of the configuration, or that on this host)",
    )
    parser.epilog = f"-w and -c are limits on the number of consumers.\n\n{parser.epilog}"
    return parser


# -- evaluate


class ConsumersJudge:
    """Decides the state of a queue by its verdict and by the limits on its number of consumers.

    Missing or stuck consumers are CRITICAL. A paused queue and a draining server are OK by default,
    because somebody wanted them.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self._states = {
            "no_consumer": Critical,
            "stalled": Critical,
            "frozen": Critical,
            "saturated": Warn,
            "unacknowledged": Warn,
            "silent": Warn,
            "paused": STATES[options.paused],
            "draining": STATES[options.draining],
        }

    def __call__(self, queue: CheckedQueue, limits: Threshold) -> tuple[State, str]:
        """Return the worst of the states by verdict, limits and problems, and the alert's text."""
        consumers = count_consumers(queue) or 0
        by_number, limit = judge(consumers, limits) if is_used(queue) else (Ok, "")
        text = f"{queue.label}: {describe(queue)}"
        if limit:
            text += f", {count(consumers, 'consumer')} ({limit})"
        if queue.workers is not None and not queue.state.is_default:
            groups = group_by_health(queue.workers)
            text = ", ".join([text, *explain_with_heartbeats(groups, consumers, queue.verdict)])
        text = ", ".join([text, *(problem.text for problem in queue.problems)])
        by_problems = [STATES[problem.severity] for problem in queue.problems]
        return worst_state([self._by_verdict(queue), by_number, *by_problems]), text

    def _by_verdict(self, queue: CheckedQueue) -> State:
        if queue.verdict is None and queue.server.can_tell("idle_consumers"):
            return Unknown
        return self._states.get(queue.verdict or "", Ok)


def count_consumers(queue: CheckedQueue) -> int | None:
    """Return the number of consumers.

    Every connection watches the default queue, also those of producers and of monitoring. So there,
    only those that wait for a job or hold one count.
    """
    state = queue.state
    if not state.is_default or state.idle_consumers is None or state.reserved is None:
        return state.consumers
    return state.idle_consumers + state.reserved


def is_used(queue: CheckedQueue) -> bool:
    """Return False for a queue that needs no consumer.

    It is one of failed jobs, or a default queue without a job so far, which nobody wanted.
    """
    if queue.state.is_dead_letter:
        return False
    return not queue.state.is_default or queue.state.puts != 0 or bool(count_consumers(queue))


def describe(queue: CheckedQueue) -> str:
    """Explain `queue.verdict` to the person who is paged: `2 jobs ready and no consumer ...`."""
    state = queue.state
    ready, number = count(state.ready or 0, "job"), count_consumers(queue) or 0
    consumers = count(number, "consumer")
    match queue.verdict:
        case "no_consumer" | "stalled" if state.is_default:
            return f"{ready} ready that no consumer takes: a producer does not name its queue"
        case "no_consumer":
            return f"{ready} ready and {describe_no_consumer(queue.server.system)}"
        case "stalled":
            who = "its one consumer takes none" if number == 1 else f"none of {consumers} takes one"
            return f"{ready} ready, but {who}"
        case "frozen":
            verb = "is connected but sends" if number == 1 else "are connected but send"
            names = name_some(number, group_by_health(queue.workers or ()).dead)
            return f"{ready} ready and none gets done: {names} {verb} no heartbeat (frozen?)"
        case "silent":
            verb = "is connected but sends" if number == 1 else "are connected but send"
            names = name_some(number, group_by_health(queue.workers or ()).dead)
            return f"{ready} ready, and {names} {verb} no heartbeat (frozen?)"
        case "saturated":
            who, verb = ("its one consumer", "is") if number == 1 else (f"all {consumers}", "are")
            busy = f"{verb} busy" if state.reserved else "may be busy with other queues"
            return f"{ready} ready and not getting fewer, though {who} {busy}"
        case "unacknowledged":
            who = "its one consumer holds" if number == 1 else f"its {consumers} hold"
            held = count(state.reserved or 0, "job")
            return (
                f"{ready} ready, and none was acknowledged since the last check: {who} {held}, "
                "as many as the prefetch allows"
            )
        case "paused":
            left = "" if state.pause_left is None else f" for {state.pause_left:.0f} s more"
            return f"paused{left}, {ready} ready"
        case "draining":
            no_consumer = describe_no_consumer(queue.server.system)
            none = "" if number else f", {no_consumer}"
            return f"the server is draining, {ready} ready{none}"
    if state.is_dead_letter:
        return describe_dead_letters(state.ready or 0)
    if not is_used(queue):
        return "not used"
    if state.is_default and state.idle_consumers is not None:
        return f"{ready} ready, {count(state.idle_consumers, 'consumer')} waiting for a job"
    if state.idle_consumers is not None:
        return f"{ready} ready, {consumers}, {state.idle_consumers} of them waiting for a job"
    if queue.server.can_tell("idle_consumers"):
        return f"{ready} ready, {consumers}, the number of idle ones is not known"
    return f"{ready} ready, {consumers}"


def are_all_busy(queue: CheckedQueue) -> bool:
    """Return True if jobs are ready, and no consumer waits for one."""
    return bool(queue.state.ready) and queue.state.idle_consumers == 0


# -- present


def perfdata(queue: CheckedQueue, limits: Threshold) -> str:
    """Format the numbers of consumers, idle consumers and reserved jobs as performance data."""
    label, state, server = queue.label, queue.state, queue.server
    judged = perf(f"{label} consumers", count_consumers(queue), limits=limits)
    others = [
        perf(f"{label} {field}", getattr(state, field))
        for field in ("idle_consumers", "reserved")
        if server.can_tell(field)
    ]
    return " ".join([judged, *others])


class ConsumersSummary(queue_check.QueueSummary):
    """Presents queues without a problem, and names those that are paused or draining."""

    def ok(self, results: Any) -> str:
        """Return a text such as `3 queues: consumers take what is ready / images: paused, ...`.

        Whether jobs get done is not known at the first run if all consumers of a queue are busy.
        """
        found = queue_check.queues_of(results)
        if len(found) < 2:
            return super().ok(results)
        stopped = [q for q in found if q.verdict in ("paused", "draining")]
        texts = [f"{queue.label}: {describe(queue)}" for queue in stopped]
        busy = [q.label for q in found if q.verdict == "ok" and are_all_busy(q)]
        more = f", or are all busy ({', '.join(busy[:MAX_NAMED])})" if busy else ""
        text = f"{len(found)} queues: consumers take what is ready{more}"
        return BETWEEN_PROBLEMS.join([text, *texts])


def build(options: argparse.Namespace, config: Config, source_: Source) -> Check:
    """Make the check from its resources, its context and its summary."""
    name = "queue_consumers"
    context = queue_check.QueueContext(
        name,
        options,
        config,
        source_.memory,
        DEFAULT_LIMITS,
        with_staffing(ConsumersJudge(options), config, source_),
        perfdata,
    )
    summary = ConsumersSummary(lambda queue: queue.state.ready or 0, "")
    diagnoses = queues.on_all_servers(ConsumerDiagnosis, name, options, config, source_)
    return queue_check.queue_check(context, summary, source_, [TwoSamples(source_, diagnoses)])


def main() -> None:
    """Parse `sys.argv`, run the check, print its result and exit with its state (0 to 3)."""
    run(parser(), source.with_live_servers(build))
