"""check_queue_consumers: do the workers of a queue take its jobs?"""

import argparse
from typing import Any

from beanwatch.checks.lib import queue_check, queues, source
from beanwatch.checks.lib.consumer_diagnosis import ConsumerDiagnosis, TwoSamples
from beanwatch.checks.lib.heartbeat_evidence import (
    explain_with_heartbeats,
    group_by_health,
    name_some,
)
from beanwatch.checks.lib.output import BETWEEN_PROBLEMS, count, perf
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
from beanwatch.checks.lib.queues import CheckedQueue
from beanwatch.checks.lib.source import Source
from beanwatch.config import Config, Threshold

DEFAULT_LIMITS = Threshold()  # only the operator knows how many workers there should be


def parser() -> Parser:
    """The command line."""
    parser = Parser("queue_consumers", __doc__, "-H queue1 -Q 'email.*' -c 1:")
    source.add_servers(parser)
    queues.add_queues(parser)
    queue_check.add_limits(parser)
    for word, what in (("paused", "a paused queue"), ("draining", "a draining server")):
        parser.add_argument(
            f"--{word}", choices=STATES, default="ok", help=f"state of {what} (default: ok)"
        )
    parser.add_argument("--redis", metavar="URL", help="compare with the heartbeats there")
    parser.epilog = f"-w and -c judge the number of workers that watch.\n\n{parser.epilog}"
    return parser


# -- evaluate


class Judge:
    """Missing or stuck workers are CRITICAL. Pauses and drains are deliberate, so OK by default."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._states = {
            "no_consumer": Critical,
            "stalled": Critical,
            "frozen": Critical,
            "saturated": Warn,
            "paused": STATES[options.paused],
            "draining": STATES[options.draining],
        }

    def __call__(self, queue: CheckedQueue, limits: Threshold) -> tuple[State, str]:
        """The worse of the verdict and of the limits on the number of workers."""
        consumers = queue.state.consumers or 0
        by_number, limit = judge(consumers, limits)
        text = f"{queue.label}: {describe(queue)}"
        if limit:
            text += f", {count(consumers, 'worker')} ({limit})"
        if queue.workers is not None and not queue.state.is_default:
            groups = group_by_health(queue.workers)
            text = ", ".join([text, *explain_with_heartbeats(groups, consumers, queue.verdict)])
        return worst_state([self._by_verdict(queue), by_number]), text

    def _by_verdict(self, queue: CheckedQueue) -> State:
        if queue.verdict is None and queue.server.system.can_tell("idle_consumers"):
            return Unknown
        return self._states.get(queue.verdict or "", Ok)


def describe(queue: CheckedQueue) -> str:
    """The verdict in words."""
    state = queue.state
    ready, consumers = count(state.ready or 0, "job"), state.consumers or 0
    workers = count(consumers, "worker")
    match queue.verdict:
        case "no_consumer" | "stalled" if state.is_default:
            return f"{ready} ready that nobody takes: a producer does not name its queue"
        case "no_consumer":
            return f"{ready} ready and no worker watches it"
        case "stalled":
            return f"{ready} ready, and of {workers} nobody takes one"
        case "frozen":
            verb = "is connected but does" if consumers == 1 else "are connected but do"
            names = name_some(consumers, group_by_health(queue.workers or ()).dead)
            return f"{ready} ready, nobody works: {names} {verb} not beat (frozen?)"
        case "saturated":
            who, verb = ("its one worker", "is") if consumers == 1 else (f"all of {workers}", "are")
            busy = f"{verb} busy" if state.reserved else "may be busy elsewhere"
            return f"{ready} ready and not getting fewer, though {who} {busy}"
        case "paused":
            left = "" if state.pause_left is None else f" for {state.pause_left:.0f} s more"
            return f"paused{left}, {ready} ready"
        case "draining":
            nobody = "" if consumers else ", no worker watches it"
            return f"the server is draining, {ready} ready{nobody}"
    if state.idle_consumers is not None:
        return f"{ready} ready, {workers}, {state.idle_consumers} of them waiting for one"
    if queue.server.system.can_tell("idle_consumers"):
        return f"{ready} ready, {workers}, the number of those waiting is not known"
    return f"{ready} ready, {workers}"


# -- present


def perfdata(queue: CheckedQueue, limits: Threshold) -> str:
    """The consumers by what they do."""
    label, state, system = queue.label, queue.state, queue.server.system
    judged = perf(f"{label} consumers", state.consumers, limits=limits)
    others = [
        perf(f"{label} {field}", getattr(state, field))
        for field in ("idle_consumers", "reserved")
        if system.can_tell(field)
    ]
    return " ".join([judged, *others])


class ConsumersSummary(queue_check.QueueSummary):
    """All jobs are being taken, or are not meant to be."""

    def ok(self, results: Any) -> str:
        """`3 queues: workers take what is ready`, and those that are paused or draining."""
        found = queue_check.queues_of(results)
        if len(found) < 2:
            return super().ok(results)
        held = [q for q in found if q.verdict in ("paused", "draining")]
        texts = [f"{queue.label}: {describe(queue)}" for queue in held]
        return BETWEEN_PROBLEMS.join([f"{len(found)} queues: workers take what is ready", *texts])


def build(options: argparse.Namespace, config: Config, source_: Source) -> Check:
    """Acquire by TwoSamples, evaluate and present as above."""
    name = "queue_consumers"
    context = queue_check.QueueContext(
        name, options, config, source_.memory, DEFAULT_LIMITS, Judge(options), perfdata
    )
    summary = ConsumersSummary(lambda queue: queue.state.ready or 0, "")
    diagnoses = queues.on_all_servers(ConsumerDiagnosis, name, options, config, source_)
    return queue_check.queue_check(context, summary, source_, [TwoSamples(source_, diagnoses)])


def main() -> None:
    """Run as a plugin."""
    run(parser(), source.with_live_servers(build))
