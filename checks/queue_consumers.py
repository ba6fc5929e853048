"""check_queue_consumers: do the workers of a queue take its jobs?"""

import argparse
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from nagiosplugin import Resource

from beanwatch.checks.lib import queue_check as queues
from beanwatch.checks.lib import source
from beanwatch.checks.lib.heartbeat_evidence import Roll, call_roll, cross, some
from beanwatch.checks.lib.plugin import (
    BETWEEN,
    STATES,
    Check,
    Critical,
    Metric,
    Ok,
    Perf,
    Perfs,
    State,
    Warn,
    count,
    judge,
)
from beanwatch.checks.lib.plugin_process import Parser, run
from beanwatch.checks.lib.queue_check import Queues
from beanwatch.checks.lib.source import Queue, Source
from beanwatch.config import Config, Threshold
from beanwatch.queues.beanstalkd.connection import ServerError
from beanwatch.queues.beanstalkd.stats import Stats, count_of
from beanwatch.queues.consumers import Consumers, count_held, decide_consumers

if TYPE_CHECKING:
    from beanwatch.store.heartbeats import Heartbeat, Worker

DEFAULT = Threshold()  # how many workers there should be only the operator knows


def parser() -> Parser:
    """The command line."""
    parser = Parser("queue_consumers", __doc__, "-H queue1 -Q 'email.*' -c 1:")
    source.add_servers(parser)
    queues.add_queues(parser)
    queues.add_limits(parser)
    for word, what in (("paused", "a paused queue"), ("draining", "a draining server")):
        parser.add_argument(
            f"--{word}",
            choices=STATES,
            default="ok",
            help=f"state of {what} (default: ok)",
        )
    parser.add_argument("--redis", metavar="URL", help="compare with the heartbeats there")
    parser.epilog = f"-w and -c judge the number of workers that watch.\n\n{parser.epilog}"
    return parser


# -- acquire


class Looks(Resource):  # type: ignore[misc]
    """The chosen queues of all servers: the moment between two looks is the same for all."""

    name = "servers"  # in nagiosplugin's own messages

    def __init__(self, source: Source, each: Iterable["Diagnoses"]) -> None:
        self._source, self._each = source, list(each)

    def probe(self) -> Iterator[Metric]:
        """Read the queues, and those that look stalled once more if there is time."""
        for one in self._each:
            one.look()
        doubtful = [one for one in self._each if one.doubtful]
        if doubtful and self._source.wait([one.server for one in doubtful]):
            for one in doubtful:
                one.look_again()
        elif doubtful:
            self._source.notes.append(
                "Looked at once, as -t left no time: a worker between two jobs looks stalled, too"
            )
        for one in self._each:
            yield from one.probe()


class Diagnoses(Queues):
    """The chosen queues, each with what is the matter with its consumers, and their heartbeats."""

    def look(self) -> None:
        """Read the queues."""
        self._metrics = list(super().probe())
        self._later: dict[str, Consumers] = {}
        queues = [metric.value for metric in self._metrics if isinstance(metric.value, Queue)]
        try:
            stats = self.source.stats(self.server) if queues else {}
        except ServerError as error:
            self._give_up(error)
            return
        self._first = {queue.name: consumers(queue.stats or {}, stats) for queue in queues}
        instant = {name: decide_consumers(first) for name, first in self._first.items()}
        self.doubtful = [name for name, verdict in instant.items() if verdict == "stalled"]

    def look_again(self) -> None:
        """Read those that looked stalled."""
        try:
            stats, queues = self.source.again(self.server, self.doubtful)
        except ServerError as error:
            self._give_up(error)
            return
        self._later = {name: consumers(queues.get(name, {}), stats) for name in self.doubtful}

    def _give_up(self, error: ServerError) -> None:
        self._metrics = [source.failure(self.server, self.config, error)]
        self.doubtful = []

    def probe(self) -> Iterator[Metric]:
        """What was seen."""
        for metric in self._metrics:
            queue = metric.value
            if isinstance(queue, Queue):
                workers = self._workers(queue)
                verdict = self._diagnose(queue, workers)
                metric = metric.replace(value=queue._replace(consumers=verdict, workers=workers))
            yield metric

    def _diagnose(self, queue: Queue, workers: "Sequence[Worker] | None") -> str:
        """By both looks; a queue is saturated by what the run before saw, too."""
        first, later = self._first[queue.name], self._later.get(queue.name)
        verdict = decide_consumers(later, first) if later else decide_consumers(first)
        now = later or first
        before = self._compare(queue, now)
        is_ours = workers is not None and queue.name != "default"  # which all watch at first
        if is_ours and decide_frozen(call_roll(workers or ()), now, before):
            return "frozen"
        if verdict != "saturated":
            return verdict
        return decide_consumers(now, before) if before else "ok"

    def _compare(self, queue: Queue, now: Consumers) -> Consumers | None:
        """What the run before saw of this queue, if jobs waited for consumers that were busy."""
        memory, key = self.source.memory, f"busy {queue.key}"
        before = memory.recall(key)
        if decide_consumers(now) in ("saturated", "stalled"):
            memory.remember(key, list(now))
        if not isinstance(before, list) or len(before) != len(now):
            return None
        seen = Consumers(*before)
        return seen if seen.deletes <= now.deletes else None  # else the queue was made anew

    def _workers(self, queue: Queue) -> "tuple[Worker, ...] | None":
        workers = self.source.workers()
        if workers is None:
            return None
        here = [w for w in workers if w.heartbeat and self._is_here(w.heartbeat)]
        return tuple(w for w in here if w.heartbeat and queue.name in w.heartbeat.queues)

    def _is_here(self, beat: "Heartbeat") -> bool:
        """A worker names its server as it was told, which may be an alias: of one, all are here."""
        return self.is_only_server or beat.server == str(self.server.address)


def consumers(queue: Stats, server: Stats) -> Consumers:
    """What `decide_consumers` wants to know."""
    return Consumers(
        ready=count_of(queue, "current-jobs-ready"),
        held=count_held(queue, server),
        waiting=count_of(queue, "current-waiting"),
        watching=count_of(queue, "current-watching"),
        pause_left=count_of(queue, "pause-time-left"),
        draining=bool(server.get("draining")),
        deletes=count_of(queue, "cmd-delete"),
    )


# -- evaluate


def diagnose(queue: Queue) -> str:
    """What is the matter, in words.

    Every connection watches `default` until it says otherwise, that of a producer too: who
    watches it says nothing of workers.
    """
    ready = count(queue.get("current-jobs-ready"), "job")
    watching = count(queue.get("current-watching"), "worker")
    match queue.consumers:
        case "no_watcher" | "stalled" if queue.name == "default":
            return f"{ready} ready that nobody takes: a producer does not name its queue"
        case "no_watcher":
            return f"{ready} ready and no worker watches it"
        case "stalled":
            return f"{ready} ready, and of {watching} nobody takes one"
        case "frozen":
            silent = queue.get("current-watching")
            verb = "is connected but does" if silent == 1 else "are connected but do"
            names = some(silent, call_roll(queue.workers or ()).dead)
            return f"{ready} ready, nobody works: {names} {verb} not beat (frozen?)"
        case "saturated":
            is_one = queue.get("current-watching") == 1
            who = "its one worker" if is_one else f"all of {watching}"
            be = "is" if is_one else "are"
            busy = f"{be} busy" if queue.get("current-jobs-reserved") else "may be busy elsewhere"
            return f"{ready} ready and not getting fewer, though {who} {busy}"
        case "paused":
            return f"paused for {queue.get('pause-time-left')} s more, {ready} ready"
        case "draining":
            nobody = "" if queue.get("current-watching") else ", no worker watches it"
            return f"the server is draining, {ready} ready{nobody}"
    waiting = queue.get("current-waiting")
    return f"{ready} ready, {watching}, {waiting} of them waiting for one"


def decide_frozen(roll: Roll, now: Consumers, before: Consumers | None) -> bool:
    """True if jobs are ready, and all who watch are connected but do not beat: nobody works.

    Only where the run before saw busy workers too, and no job was deleted since: else they may
    have lost nothing but Redis.
    """
    is_stuck = decide_consumers(now) in ("saturated", "stalled")
    are_dead = not roll.others and len(roll.dead) >= now.watching
    return is_stuck and are_dead and before is not None and now.deletes == before.deletes


class Judge:
    """The verdicts' states: what nobody but a worker can mend pages, what somebody wanted not."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._states = {
            "no_watcher": Critical,
            "stalled": Critical,
            "frozen": Critical,
            "saturated": Warn,
            "paused": STATES[options.paused],
            "draining": STATES[options.draining],
        }

    def __call__(self, queue: Queue, limits: Threshold) -> tuple[State, str]:
        """The worse of the diagnosis and of the limits on the number of workers."""
        state = self._states.get(queue.consumers, Ok)
        watching = queue.get("current-watching")
        by_count, limit = judge(watching, limits)
        text = f"{queue.label}: {diagnose(queue)}"
        if limit:
            state = max(state, by_count, key=int)
            text += f", {count(watching, 'worker')} ({limit})"
        if queue.workers is not None and queue.name != "default":
            text = ", ".join([text, *cross(call_roll(queue.workers), watching, queue.consumers)])
        return state, text


# -- present


def perfdata(queue: Queue, limits: Threshold) -> Perfs:
    """The consumers by what they do."""
    watching, waiting = queue.get("current-watching"), queue.get("current-waiting")
    return Perfs(
        [
            Perf(f"{queue.label} watching", watching, "", limits.warning, limits.critical),
            Perf(f"{queue.label} waiting", waiting),
            Perf(f"{queue.label} reserved", queue.get("current-jobs-reserved")),
        ]
    )


class ConsumersSummary(queues.QueueSummary):
    """All jobs are being taken, or are not meant to be."""

    def ok(self, results: Any) -> str:
        """`3 queues: all drained`, and those that are paused or on a draining server."""
        found = queues.queues_of(results)
        if len(found) < 2:
            return super().ok(results)
        held = [f"{t.label}: {diagnose(t)}" for t in found if t.consumers in ("paused", "draining")]
        return BETWEEN.join([f"{len(found)} queues: workers take what is ready", *held])


def build(options: argparse.Namespace, config: Config, source_: Source) -> Check:
    """Put the three acts together."""
    context = queues.QueueContext(
        options, config, "consumers", DEFAULT, source_.memory, Judge(options), perfdata
    )
    summary = ConsumersSummary(lambda queue: queue.get("current-jobs-ready"), "")
    looks = Looks(source_, queues.of_all(Diagnoses, options, config, source_))
    return queues.queue_check(
        "queue_consumers", options, config, source_, context, summary, [looks]
    )


def main() -> None:
    """Run as a plugin."""
    run(parser(), source.live(build))
