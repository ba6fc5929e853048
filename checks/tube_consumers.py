"""check_tube_consumers: do the workers of a tube take its jobs?"""

import argparse
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from nagiosplugin import Resource

from beanwatch.checks import source, tubes
from beanwatch.checks.plugin import (
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
from beanwatch.checks.process import Parser, run
from beanwatch.checks.roll import Roll, call_roll, cross, some
from beanwatch.checks.source import Source, Tube
from beanwatch.checks.tubes import Tubes
from beanwatch.collectors.consumers import Consumers, count_held, decide_consumers
from beanwatch.collectors.protocol import ServerError
from beanwatch.collectors.stats import Stats, count_of
from beanwatch.config import Config, Threshold

if TYPE_CHECKING:
    from beanwatch.collectors.heartbeats import Beat, Worker

DEFAULT = Threshold()  # how many workers there should be only the operator knows


def parser() -> Parser:
    """The command line."""
    parser = Parser("tube_consumers", __doc__, "-H queue1 -T 'email.*' -c 1:")
    source.add_servers(parser)
    tubes.add_tubes(parser)
    tubes.add_limits(parser)
    for word, what in (("paused", "a paused tube"), ("draining", "a draining server")):
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
    """The chosen tubes of all servers: the moment between two looks is the same for all."""

    name = "servers"  # in nagiosplugin's own messages

    def __init__(self, source: Source, each: Iterable["Diagnoses"]) -> None:
        self._source, self._each = source, list(each)

    def probe(self) -> Iterator[Metric]:
        """Read the tubes, and those that look stalled once more if there is time."""
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


class Diagnoses(Tubes):
    """The chosen tubes, each with what is the matter with its consumers, and their heartbeats."""

    def look(self) -> None:
        """Read the tubes."""
        self._metrics = list(super().probe())
        self._later: dict[str, Consumers] = {}
        tubes = [metric.value for metric in self._metrics if isinstance(metric.value, Tube)]
        try:
            stats = self.source.stats(self.server) if tubes else {}
        except ServerError as error:
            self._give_up(error)
            return
        self._first = {tube.name: consumers(tube.stats or {}, stats) for tube in tubes}
        instant = {name: decide_consumers(first) for name, first in self._first.items()}
        self.doubtful = [name for name, verdict in instant.items() if verdict == "stalled"]

    def look_again(self) -> None:
        """Read those that looked stalled."""
        try:
            stats, tubes = self.source.again(self.server, self.doubtful)
        except ServerError as error:
            self._give_up(error)
            return
        self._later = {name: consumers(tubes.get(name, {}), stats) for name in self.doubtful}

    def _give_up(self, error: ServerError) -> None:
        self._metrics = [source.failure(self.server, self.config, error)]
        self.doubtful = []

    def probe(self) -> Iterator[Metric]:
        """What was seen."""
        for metric in self._metrics:
            tube = metric.value
            if isinstance(tube, Tube):
                workers = self._workers(tube)
                verdict = self._diagnose(tube, workers)
                metric = metric.replace(value=tube._replace(consumers=verdict, workers=workers))
            yield metric

    def _diagnose(self, tube: Tube, workers: "Sequence[Worker] | None") -> str:
        """By both looks; a queue is saturated by what the run before saw, too."""
        first, later = self._first[tube.name], self._later.get(tube.name)
        verdict = decide_consumers(later, first) if later else decide_consumers(first)
        now = later or first
        before = self._compare(tube, now)
        is_ours = workers is not None and tube.name != "default"  # which all watch at first
        if is_ours and decide_frozen(call_roll(workers or ()), now, before):
            return "frozen"
        if verdict != "saturated":
            return verdict
        return decide_consumers(now, before) if before else "ok"

    def _compare(self, tube: Tube, now: Consumers) -> Consumers | None:
        """What the run before saw of this tube, if jobs waited for consumers that were busy."""
        memory, key = self.source.memory, f"busy {tube.key}"
        before = memory.recall(key)
        if decide_consumers(now) in ("saturated", "stalled"):
            memory.remember(key, list(now))
        if not isinstance(before, list) or len(before) != len(now):
            return None
        seen = Consumers(*before)
        return seen if seen.deletes <= now.deletes else None  # else the tube was made anew

    def _workers(self, tube: Tube) -> "tuple[Worker, ...] | None":
        workers = self.source.workers()
        if workers is None:
            return None
        here = [worker for worker in workers if worker.beat and self._is_here(worker.beat)]
        return tuple(worker for worker in here if worker.beat and tube.name in worker.beat.tubes)

    def _is_here(self, beat: "Beat") -> bool:
        """A worker names its server as it was told, which may be an alias: of one, all are here."""
        return self.is_only_server or beat.server == str(self.server.address)


def consumers(tube: Stats, server: Stats) -> Consumers:
    """What `decide_consumers` wants to know."""
    return Consumers(
        ready=count_of(tube, "current-jobs-ready"),
        held=count_held(tube, server),
        waiting=count_of(tube, "current-waiting"),
        watching=count_of(tube, "current-watching"),
        pause_left=count_of(tube, "pause-time-left"),
        draining=bool(server.get("draining")),
        deletes=count_of(tube, "cmd-delete"),
    )


# -- evaluate


def diagnose(tube: Tube) -> str:
    """What is the matter, in words.

    Every connection watches `default` until it says otherwise, that of a producer too: who
    watches it says nothing of workers.
    """
    ready = count(tube.get("current-jobs-ready"), "job")
    watching = count(tube.get("current-watching"), "worker")
    match tube.consumers:
        case "no_watcher" | "stalled" if tube.name == "default":
            return f"{ready} ready that nobody takes: a producer does not name its tube"
        case "no_watcher":
            return f"{ready} ready and no worker watches it"
        case "stalled":
            return f"{ready} ready, and of {watching} nobody takes one"
        case "frozen":
            silent = tube.get("current-watching")
            verb = "is connected but does" if silent == 1 else "are connected but do"
            names = some(silent, call_roll(tube.workers or ()).dead)
            return f"{ready} ready, nobody works: {names} {verb} not beat (frozen?)"
        case "saturated":
            is_one = tube.get("current-watching") == 1
            who = "its one worker" if is_one else f"all of {watching}"
            be = "is" if is_one else "are"
            busy = f"{be} busy" if tube.get("current-jobs-reserved") else "may be busy elsewhere"
            return f"{ready} ready and not getting fewer, though {who} {busy}"
        case "paused":
            return f"paused for {tube.get('pause-time-left')} s more, {ready} ready"
        case "draining":
            nobody = "" if tube.get("current-watching") else ", no worker watches it"
            return f"the server is draining, {ready} ready{nobody}"
    waiting = tube.get("current-waiting")
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

    def __call__(self, tube: Tube, limits: Threshold) -> tuple[State, str]:
        """The worse of the diagnosis and of the limits on the number of workers."""
        state = self._states.get(tube.consumers, Ok)
        watching = tube.get("current-watching")
        by_count, limit = judge(watching, limits)
        text = f"{tube.label}: {diagnose(tube)}"
        if limit:
            state = max(state, by_count, key=int)
            text += f", {count(watching, 'worker')} ({limit})"
        if tube.workers is not None and tube.name != "default":
            text = ", ".join([text, *cross(call_roll(tube.workers), watching, tube.consumers)])
        return state, text


# -- present


def perfdata(tube: Tube, limits: Threshold) -> Perfs:
    """The consumers by what they do."""
    watching, waiting = tube.get("current-watching"), tube.get("current-waiting")
    return Perfs(
        [
            Perf(f"{tube.label} watching", watching, "", limits.warning, limits.critical),
            Perf(f"{tube.label} waiting", waiting),
            Perf(f"{tube.label} reserved", tube.get("current-jobs-reserved")),
        ]
    )


class ConsumersSummary(tubes.TubeSummary):
    """All jobs are being taken, or are not meant to be."""

    def ok(self, results: Any) -> str:
        """`3 tubes: all drained`, and those that are paused or on a draining server."""
        found = tubes.tubes_of(results)
        if len(found) < 2:
            return super().ok(results)
        held = [f"{t.label}: {diagnose(t)}" for t in found if t.consumers in ("paused", "draining")]
        return BETWEEN.join([f"{len(found)} tubes: workers take what is ready", *held])


def build(options: argparse.Namespace, config: Config, source_: Source) -> Check:
    """Put the three acts together."""
    context = tubes.TubeContext(
        options, config, "consumers", DEFAULT, source_.memory, Judge(options), perfdata
    )
    summary = ConsumersSummary(lambda tube: tube.get("current-jobs-ready"), "")
    looks = Looks(source_, tubes.of_all(Diagnoses, options, config, source_))
    return tubes.tube_check("tube_consumers", options, config, source_, context, summary, [looks])


def main() -> None:
    """Run as a plugin."""
    run(parser(), source.live(build))
