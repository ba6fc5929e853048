"""Runs a check with nagiosplugin: resources read values, contexts judge and format them.

Two things differ from plain nagiosplugin:

- CRITICAL outranks UNKNOWN, so that an unreachable server does not hide a CRITICAL of another one;
- line 1 has all problems, worst first, and the performance data is at its end.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache

import nagiosplugin
from nagiosplugin import Critical, Metric, Ok, Unknown, Warn

from beanwatch.checks.lib.output import BETWEEN_PROBLEMS, PluginResult, runbook_lines
from beanwatch.config import LinksConfig, Threshold
from beanwatch.light_typing import Any

__all__ = ["Critical", "Metric", "Ok", "Unknown", "Warn"]

State = Any  # nagiosplugin has no types

STATES: dict[str, State] = {"ok": Ok, "warning": Warn, "critical": Critical, "unknown": Unknown}
# By severity: the worst state has the highest number.
SEVERITY = {Ok: 0, Warn: 1, Unknown: 2, Critical: 3}
# The share of `-t` that reading may use. The rest is for printing the results, and which server did
# not answer. The watchdog, which ends the check after `-t`, can print neither.
READING_SHARE = 0.9
MAX_NOTES_ON_LINE_1 = 3
MAX_PROBLEMS_ON_LINE_1 = 20  # more rarely fit into MAX_LINE characters


# -- evaluate


@lru_cache
def _range(text: str) -> Any:
    return nagiosplugin.Range(text)


def is_outside(value: float, text: str) -> bool:
    """Return True if the value must alert by this range (plugin guidelines). `""` never alerts."""
    return bool(text) and value not in _range(text)


def judge(value: float, limits: Threshold) -> tuple[State, str]:
    """Return the state of a value, and the broken limit as text: `limit 10`, `allowed 2:` or "".

    NaN is UNKNOWN.
    """
    if value != value:  # NaN; for nagiosplugin it is inside every range
        return Unknown, "not a number"
    for state, text in ((Critical, limits.critical), (Warn, limits.warning)):
        if is_outside(value, text):
            is_plain = text[:1].isdigit() and ":" not in text
            return state, f"limit {text}" if is_plain else f"allowed {text}"
    return Ok, ""


def worst_state(states: Iterable[State]) -> State:
    """Return the worst of these states; OK if there are none."""
    return max(states, key=SEVERITY.__getitem__, default=Ok)


class Finding(nagiosplugin.Result):  # type: ignore[misc]
    """A state, and the text that explains it to the person who is paged.

    `causes` are words that tell several causes of one finding apart. They have no numbers, so that
    they stay the same as long as the causes do.
    """

    def __new__(
        cls, state: State, hint: str, metric: Metric | None = None, causes: Iterable[str] = ()
    ) -> "Finding":
        """Make a finding; nagiosplugin's Result is a tuple, which gets its values here."""
        self: Finding = super().__new__(cls, state, hint, metric)
        self.causes = tuple(causes) or ("",)
        return self

    def __str__(self) -> str:
        return self.hint or ""


class Note(Finding):
    """A finding that is no problem, but that the text of the check always has."""


class Results(nagiosplugin.Results):  # type: ignore[misc]
    """The findings of a check, worst first."""

    def __iter__(self) -> Iterator[Finding]:
        for state in sorted(self.by_state, key=SEVERITY.__getitem__, reverse=True):
            yield from self.by_state[state]

    @property
    def most_significant_state(self) -> State:
        """The worst state; UNKNOWN if there are no findings."""
        return max(self.by_state, key=SEVERITY.__getitem__, default=Unknown)


class Failure:
    """The value of a metric that stands for a failed reading.

    `reason` says what failed. `headings` are the headings of the runbook that explain it; without
    any, it is the heading of the check.
    """

    def __init__(
        self, reason: str, *, timed_out: bool = False, headings: tuple[str, ...] = ()
    ) -> None:
        self.reason, self.timed_out, self.headings = reason, timed_out, headings


class FailureContext(nagiosplugin.Context):  # type: ignore[misc]
    """Judges a Failure: `timeout_state` if it timed out, else `state`."""

    def __init__(self, state: State = Unknown, timeout_state: State = Unknown) -> None:
        super().__init__("failure")
        self.state, self.timeout_state = state, timeout_state

    def evaluate(self, metric: Metric, resource: Any) -> Finding:
        """Return the state for a timeout or for another failure."""
        failure: Failure = metric.value
        state = self.timeout_state if failure.timed_out else self.state
        return Finding(state, failure.reason, metric)


class Check(nagiosplugin.Check):  # type: ignore[misc]
    """A check whose findings are ordered worst first.

    `source` is the `Source` that it reads; None if it does not read queue servers.
    """

    def __init__(self, name: str, *parts: Any, source: Any = None) -> None:
        super().__init__(*parts, Results(), name=name)
        self.source = source

    @property
    def heading(self) -> str:
        """The heading of the runbook for this check: `queue-depth` for `queue_depth`."""
        return str(self.name).replace("_", "-")


# -- present


def conclude(check: Check, links: LinksConfig, *, verbose: bool = False) -> PluginResult:
    """Run the check and return its result. `verbose` adds a line for each finding that is OK."""
    check()
    results: list[Finding] = list(check.results)
    problems = [result for result in results if result.state is not Ok]
    state = check.results.most_significant_state
    text = check.summary_str
    if problems:
        text = BETWEEN_PROBLEMS.join(map(str, problems[:MAX_PROBLEMS_ON_LINE_1]))
    if len(problems) > 3:
        text = f"{len(problems)} problems: {text}"
    notes = [str(result) for result in results if isinstance(result, Note)]
    text = BETWEEN_PROBLEMS.join([text, *notes[:MAX_NOTES_ON_LINE_1]])
    details = [f"NOTE: {note}" for note in notes[MAX_NOTES_ON_LINE_1:]]
    if state is not Ok:
        details += runbook_lines(links, check.heading, find_headings(problems, check.heading))
    if check.source is not None:
        check.source.memory.save()
        if trouble := check.source.memory.trouble:
            details.append(f"State file unusable, judged on the current value only: {trouble}")
        details += check.source.notes
    if len(problems) > 1:
        details += [f"{problem.state.text.upper()}: {problem}" for problem in problems]
    if verbose:
        details += [f"OK: {result}" for result in results if result.state is Ok and str(result)]
    perfdata = tuple(
        str(item)
        for result in results
        if result.metric is not None and (item := result.metric.performance())
    )
    return PluginResult(check.name, state.text, state.code, text, perfdata, tuple(details))


def list_problems(check: Check) -> dict[str, int]:
    """Return a name for each problem that a check has found, with its rank (see SEVERITY)."""
    return {
        f"{finding.metric.name if finding.metric else ''} {cause}".strip(): SEVERITY[finding.state]
        for finding in check.results
        if finding.state is not Ok
        for cause in finding.causes
    }


def find_headings(problems: Iterable[Finding], own: str) -> list[str]:
    """Return the headings of the runbook for these problems: those of their values, else `own`."""
    found: dict[str, None] = {}
    for problem in problems:
        value = problem.metric.value if problem.metric else None
        found |= dict.fromkeys(getattr(value, "headings", ()) or (own,))
    return list(found)
