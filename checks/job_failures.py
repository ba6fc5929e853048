"""check_job_failures: did too many of the jobs that ran fail?"""

import argparse
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import partial

from nagiosplugin import Context, Resource, Summary

from beanwatch.checks.lib.output import perf
from beanwatch.checks.lib.own_services import add_services
from beanwatch.checks.lib.plugin import (
    STATES,
    Check,
    FailureContext,
    Finding,
    Metric,
    Ok,
    State,
    Unknown,
    Warn,
    judge,
    worst_state,
)
from beanwatch.checks.lib.plugin_process import Parser, PluginOutput, pick_limits, run
from beanwatch.checks.lib.redis_source import add_redis, open_redis, read_from, redis_failure
from beanwatch.config import Config, Threshold
from beanwatch.globs import GLOB
from beanwatch.light_typing import Any, NamedTuple
from beanwatch.net.redis_url import RedisError
from beanwatch.outcomes import OUTCOMES
from beanwatch.store.outcome_counts import KEPT_MINUTES, JobKind, read_outcomes
from beanwatch.words import count

DEFAULT_LIMITS = Threshold(warning="5", critical="25")  # percent
MIN_RUNS = 20  # with fewer runs, a single failure would be a large share
WINDOW_MINUTES = 10
FAILED_OUTCOMES = tuple(outcome.name for outcome in OUTCOMES if outcome.is_failure)
OUTCOME_WARNINGS = {outcome.name: outcome.warning for outcome in OUTCOMES if outcome.warning}

# Returns the number of runs by outcome, for each kind of job. Raises RedisError.
ReadOutcomes = Callable[[], Mapping[JobKind, Counter[str]]]


class RunCounts(NamedTuple):
    """The number of runs with each outcome, for one kind of job; or for all, if `kind` is None."""

    kind: JobKind | None
    outcomes: Counter[str]
    # If `kind` is None: the RunCounts of the kind that failed most often; None for a single kind.
    # The type is Any: Python would compile a type given as a string, which takes 2 ms.
    worst: Any = None
    what: str = "all jobs"  # if `kind` is None: which jobs these are

    @property
    def label(self) -> str:
        """The name of the kind in texts and performance data: `images resize`, or `all`."""
        return f"{self.kind.queue} {self.kind.job or '(no job)'}" if self.kind else "all"

    @property
    def total(self) -> int:
        """The number of runs with any outcome."""
        return sum(self.outcomes.values())

    @property
    def failed(self) -> int:
        """The number of runs whose outcome is a failure."""
        return sum(self.outcomes[outcome] for outcome in FAILED_OUTCOMES)

    @property
    def percent(self) -> float:
        """The share of the runs that failed, in percent, as it is shown; 0 if there was no run.

        It is rounded before it is judged, so that no alert says `5 % (limit 5 %)`.
        """
        return round(100 * self.failed / self.total, 1) if self.total else 0.0


def parser() -> Parser:
    """Make the command-line parser of check_job_failures."""
    parser = Parser("job_failures", __doc__, "--redis redis://queue1/0 -Q 'email.*' -w 5 -c 25")
    add_redis(parser)
    for flags, what in (
        (("-Q", "--queue", "-T", "--tube"), "only jobs of the queues that match"),
        (("--job",), "only jobs whose names match"),
        (("--exclude",), "ignore the jobs whose names match"),
    ):
        parser.add_argument(
            *flags,
            action="append",
            default=[],
            metavar="GLOB",
            help=f"{what}; repeatable",
        )
    add_services(parser, "kinds of jobs")
    parser.add_argument(
        "--minutes",
        type=_minutes,
        default=WINDOW_MINUTES,
        metavar="N",
        help=f"judge the runs of the last N minutes, at most {KEPT_MINUTES} "
        f"(default: {WINDOW_MINUTES})",
    )
    parser.add_argument(
        "--least",
        type=_positive_integer,
        default=MIN_RUNS,
        metavar="N",
        help="do not judge the share of failed runs if there are fewer than N runs "
        f"(default: {MIN_RUNS})",
    )
    parser.add_argument(
        "--missing",
        choices=STATES,
        default="ok",
        help="state to report if no job ran (default: ok)",
    )
    parser.add_limits()
    meaning = "-w and -c are limits on the share of failed runs, in percent."
    parser.epilog = f"{meaning}\n\n{parser.epilog}"
    return parser


def _positive_integer(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= 1_000_000:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 to 1000000, not {text!r}")
    return int(text)


def _minutes(text: str) -> int:
    minutes = _positive_integer(text)
    if minutes > KEPT_MINUTES:
        text = f"runs are kept for {KEPT_MINUTES} minutes only, not {minutes}"
        raise argparse.ArgumentTypeError(text)
    return minutes


# -- acquire


class Outcomes(Resource):  # type: ignore[misc]
    """Reads how the runs of the chosen kinds of jobs ended."""

    def __init__(self, options: argparse.Namespace, read: ReadOutcomes) -> None:
        self._options, self._read = options, read
        own = options.services.jobs if options.services else ()
        self._own = {JobKind(*kind) for kind in own}
        names = [*options.queue, *options.job]
        self._is_one_kind = len(options.queue) == len(options.job) == 1 and not any(
            map(GLOB.search, names)
        )

    def probe(self) -> Iterator[Metric]:
        """Yield the runs of all jobs and of each kind; or a Failure if Redis cannot be read."""
        try:
            found = self._read()
        except RedisError as error:
            yield Metric("redis", redis_failure(error), context="failure")
            return
        chosen = [RunCounts(kind, found[kind]) for kind in sorted(found) if self._is_chosen(kind)]
        own = [runs for runs in chosen if runs.kind not in self._own]
        # A kind that has a service of its own counts in the sum only if that service has too few
        # runs to judge: many kinds that run rarely can still fail together.
        rare = [r for r in chosen if r.kind in self._own and r.total < self._options.least]
        if not self._is_one_kind or not own:
            yield Metric("all", self._add_up([*own, *rare]), context="runs")
        for runs in own:
            yield Metric(runs.label, runs, context="runs")

    def _add_up(self, kinds: Sequence[RunCounts]) -> RunCounts:
        together: Counter[str] = Counter()
        for runs in kinds:
            together.update(runs.outcomes)
        worst = max(kinds, key=lambda runs: runs.failed) if len(kinds) > 1 else None
        return RunCounts(None, together, worst, "all other jobs" if self._own else "all jobs")

    def _is_chosen(self, kind: JobKind) -> bool:
        queues, jobs, exclude = self._options.queue, self._options.job, self._options.exclude
        return (
            (not queues or any(fnmatchcase(kind.queue, glob) for glob in queues))
            and (not jobs or any(fnmatchcase(kind.job, glob) for glob in jobs))
            and not any(fnmatchcase(kind.job, glob) for glob in exclude)
        )


# -- evaluate


def decide(runs: RunCounts, limits: Threshold, least: int, minutes: int) -> tuple[State, str]:
    """Judge the share of failed runs, if there are at least `least` runs in `minutes`.

    For one kind of job, a single run that timed out, was lost or was poison is a WARNING, too.
    """
    state, limit = judge(runs.percent, limits) if runs.total >= least else (Ok, "")
    parts = []
    if limit:
        parts.append(f"{runs.failed} of {runs.total} runs failed, {runs.percent:g} % ({limit} %)")
        if (worst := runs.worst) and worst.failed:
            most = "most of them" if 2 * worst.failed > runs.failed else "above all"
            parts.append(f"{most} {worst.label}: {worst.failed} of {worst.total}")
    if runs.kind:
        warnings = [
            f"{runs.outcomes[outcome]} {text}"
            for outcome, text in OUTCOME_WARNINGS.items()
            if runs.outcomes[outcome]
        ]
        state = worst_state([state, Warn]) if warnings else state
        parts += warnings
    what = runs.label if runs.kind else runs.what
    if not parts:
        few = f" (too few to judge: under {least})" if runs.failed and runs.total < least else ""
        return state, f"{what}: {runs.failed} of {count(runs.total, 'run')} failed{few}"
    return state, f"{what}: {', '.join(parts)}, in {count(minutes, 'minute')}"


class RunsContext(Context):  # type: ignore[misc]
    """Judges the runs of one kind of job, or of all kinds together."""

    def __init__(self, limits: Threshold, options: argparse.Namespace) -> None:
        super().__init__("runs")
        self._limits, self._options = limits, options

    def evaluate(self, metric: Metric, resource: Any) -> Finding:
        """Return the state by the outcomes; the state that `--missing` names if no job ran."""
        runs: RunCounts = metric.value
        if not runs.total:
            which = "other job" if self._options.services else "job"
            text = f"no {which} ran in {count(self._options.minutes, 'minute')}"
            return Finding(STATES[self._options.missing], text, metric)
        least, minutes = self._options.least, self._options.minutes
        causes = [o for o in OUTCOME_WARNINGS if runs.kind and runs.outcomes[o]]
        if runs.total >= least and judge(runs.percent, self._limits)[1]:
            causes.append("share")
        return Finding(*decide(runs, self._limits, least, minutes), metric, causes)

    # -- present

    def performance(self, metric: Metric, resource: Any) -> str:
        """Format the share of failed runs (percent); for the sum of all kinds also the counts."""
        runs: RunCounts = metric.value
        share = perf(f"{runs.label} failed", runs.percent, "%", self._limits)
        if runs.kind:
            return share
        numbers = [perf(outcome, runs.outcomes[outcome]) for outcome in OUTCOME_WARNINGS]
        return " ".join([share, perf("runs", runs.total), *numbers])


class RunsSummary(Summary):  # type: ignore[misc]
    """Presents runs without a problem."""

    def ok(self, results: Any) -> str:
        """Return the text for all kinds together: `all jobs: 4 of 1200 runs failed`.

        For a single kind that was named, return its own text.
        """
        return str(next((r for r in results if r.metric.value.kind is None), results[0]))


def build(options: argparse.Namespace, config: Config, read: ReadOutcomes) -> Check:
    """Make the check from its resource, its contexts and its summary."""
    limits = pick_limits(options, config, "job_failures", DEFAULT_LIMITS)
    return Check(
        "job_failures",
        Outcomes(options, read),
        RunsContext(limits, options),
        FailureContext(Unknown, options.timeout_state),
        RunsSummary(),
    )


def with_live_redis(options: argparse.Namespace, config: Config, output: PluginOutput) -> Check:
    """Make the check that reads the Redis of the options or of the configuration."""

    def read() -> Mapping[JobKind, Counter[str]]:
        with open_redis(options, config, output) as link:
            return read_from(link, partial(read_outcomes, minutes=options.minutes))

    return build(options, config, read)


def main() -> None:
    """Parse `sys.argv`, run the check, print its result and exit with its state (0 to 3)."""
    run(parser(), with_live_redis)
