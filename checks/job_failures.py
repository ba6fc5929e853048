"""check_job_failures: do the jobs that run also succeed?"""

import argparse
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, NamedTuple

from nagiosplugin import Context, Resource, Summary

from beanwatch.checks.lib.output import count, perf
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
from beanwatch.net.redis_url import RedisError
from beanwatch.outcomes import OUTCOMES
from beanwatch.store.outcome_counts import KEPT_MINUTES, JobKind, read_outcomes

DEFAULT_LIMITS = Threshold(warning="5", critical="25")  # percent
MIN_RUNS = 20  # with fewer, a single failure would already be a large share
WINDOW_MINUTES = 10
FAILED_OUTCOMES = tuple(outcome.name for outcome in OUTCOMES if outcome.is_failure)
OUTCOME_WARNINGS = {outcome.name: outcome.warning for outcome in OUTCOMES if outcome.warning}

Read = Callable[[], Mapping[JobKind, Counter[str]]]


class Runs(NamedTuple):
    """The runs of one kind of job, by outcome; `kind` is None for all kinds together."""

    kind: JobKind | None
    outcomes: Counter[str]
    # Of all together, the `Runs` that failed most, if there are several kinds. As a string the type
    # would take 2 ms.
    worst: Any = None

    @property
    def label(self) -> str:
        """`queue job`, or `all`."""
        return f"{self.kind.queue} {self.kind.job or '(no job)'}" if self.kind else "all"

    @property
    def total(self) -> int:
        """The number of all runs."""
        return sum(self.outcomes.values())

    @property
    def failed(self) -> int:
        """The number of runs that did not do the job."""
        return sum(self.outcomes[outcome] for outcome in FAILED_OUTCOMES)

    @property
    def percent(self) -> float:
        """The share of all runs that failed, in percent."""
        return 100 * self.failed / self.total if self.total else 0.0


def parser() -> Parser:
    """The command line."""
    parser = Parser("job_failures", __doc__, "--redis redis://queue1/0 -Q 'email.*' -w 5 -c 25")
    add_redis(parser)
    for flags, what in (
        (("-Q", "--queue", "-T", "--tube"), "queues"),
        (("--job",), "jobs"),
        (("--exclude",), None),
    ):
        parser.add_argument(
            *flags,
            action="append",
            default=[],
            metavar="GLOB",
            help=f"only these {what}; repeatable" if what else "but not these jobs; repeatable",
        )
    parser.add_argument(
        "--minutes",
        type=_minutes,
        default=WINDOW_MINUTES,
        help=f"length of the window, at most {KEPT_MINUTES} (default: {WINDOW_MINUTES})",
    )
    parser.add_argument(
        "--least",
        type=_whole,
        default=MIN_RUNS,
        help=f"with fewer runs, do not judge the share that failed (default: {MIN_RUNS})",
    )
    parser.add_argument(
        "--missing", choices=STATES, default="ok", help="state when nothing ran (default: ok)"
    )
    parser.add_limits()
    parser.epilog = f"-w and -c are percent of the runs.\n\n{parser.epilog}"
    return parser


def _whole(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= 1_000_000:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, not {text!r}")
    return int(text)


def _minutes(text: str) -> int:
    minutes = _whole(text)
    if minutes > KEPT_MINUTES:
        raise argparse.ArgumentTypeError(f"only {KEPT_MINUTES} minutes are kept, not {minutes}")
    return minutes


# -- acquire


class Outcomes(Resource):  # type: ignore[misc]
    """The chosen kinds of jobs, and all of them together."""

    def __init__(self, options: argparse.Namespace, read: Read) -> None:
        self._options, self._read = options, read

    def probe(self) -> Iterator[Metric]:
        """Read Redis, or say why that is not possible."""
        try:
            found = self._read()
        except RedisError as error:
            yield Metric("redis", redis_failure(error), context="failure")
            return
        kinds = [Runs(kind, found[kind]) for kind in sorted(found) if self._is_chosen(kind)]
        together: Counter[str] = Counter()
        for runs in kinds:
            together.update(runs.outcomes)
        worst = max(kinds, key=lambda runs: runs.failed) if len(kinds) > 1 else None
        yield Metric("all", Runs(None, together, worst), context="runs")
        for runs in kinds:
            yield Metric(runs.label, runs, context="runs")

    def _is_chosen(self, kind: JobKind) -> bool:
        queues, jobs, exclude = self._options.queue, self._options.job, self._options.exclude
        return (
            (not queues or any(fnmatchcase(kind.queue, glob) for glob in queues))
            and (not jobs or any(fnmatchcase(kind.job, glob) for glob in jobs))
            and not any(fnmatchcase(kind.job, glob) for glob in exclude)
        )


# -- evaluate


def decide(runs: Runs, limits: Threshold, least: int, minutes: int) -> tuple[State, str]:
    """The state of one kind of job, or of all together, for which only the share counts."""
    state, limit = judge(runs.percent, limits) if runs.total >= least else (Ok, "")
    parts = []
    if limit:
        parts.append(f"{runs.failed} of {runs.total} runs failed, {runs.percent:.0f} % ({limit} %)")
        if (worst := runs.worst) and worst.failed:
            most = "most of them" if 2 * worst.failed > runs.failed else "above all"
            parts.append(f"{most} {worst.label}: {worst.failed} of {worst.total}")
    if runs.kind:
        warnings = [
            f"{runs.outcomes[outcome]} {words}"
            for outcome, words in OUTCOME_WARNINGS.items()
            if runs.outcomes[outcome]
        ]
        state = worst_state([state, Warn]) if warnings else state
        parts += warnings
    what = runs.label if runs.kind else "all jobs"
    if not parts:
        few = f" (under {least}, too few to judge)" if runs.failed and runs.total < least else ""
        return state, f"{what}: {runs.failed} of {count(runs.total, 'run')} failed{few}"
    return state, f"{what}: {', '.join(parts)}, in {count(minutes, 'minute')}"


class RunsContext(Context):  # type: ignore[misc]
    """Judges the runs of a kind of job."""

    def __init__(self, limits: Threshold, options: argparse.Namespace) -> None:
        super().__init__("runs")
        self._limits, self._options = limits, options

    def evaluate(self, metric: Metric, resource: Any) -> Finding:
        """The state by their outcomes; that of `--missing` if nothing ran."""
        runs: Runs = metric.value
        if not runs.total:
            ran = f"no job ran in {count(self._options.minutes, 'minute')}"
            return Finding(STATES[self._options.missing], ran, metric)
        least, minutes = self._options.least, self._options.minutes
        return Finding(*decide(runs, self._limits, least, minutes), metric)

    # -- present

    def performance(self, metric: Metric, resource: Any) -> str:
        """The share that failed; of all kinds together also the numbers that it is made of."""
        runs: Runs = metric.value
        share = perf(f"{runs.label} failed", runs.percent, "%", self._limits)
        if runs.kind:
            return share
        numbers = [perf(outcome, runs.outcomes[outcome]) for outcome in OUTCOME_WARNINGS]
        return " ".join([share, perf("runs", runs.total), *numbers])


class RunsSummary(Summary):  # type: ignore[misc]
    """Nothing failed too often."""

    def ok(self, results: Any) -> str:
        """The share of all kinds together."""
        return str(next(result for result in results if result.metric.value.kind is None))


def build(options: argparse.Namespace, config: Config, read: Read) -> Check:
    """Put the three acts together."""
    limits = pick_limits(options, config, "job_failures", DEFAULT_LIMITS)
    return Check(
        "job_failures",
        Outcomes(options, read),
        RunsContext(limits, options),
        FailureContext(Unknown, options.timeout_state),
        RunsSummary(),
    )


def with_live_redis(options: argparse.Namespace, config: Config, output: PluginOutput) -> Check:
    """The check with the real Redis."""

    def read() -> Mapping[JobKind, Counter[str]]:
        with open_redis(options, config, output) as link:
            return read_from(link, partial(read_outcomes, minutes=options.minutes))

    return build(options, config, read)


def main() -> None:
    """Run as a plugin."""
    run(parser(), with_live_redis)
