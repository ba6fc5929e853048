"""What nagiosplugin gets wrong, put right in one place: order, numbers, what fits on a line.

A check is built from nagiosplugin's parts: resources acquire, contexts evaluate and
present, a summary says that all is well. What is different here, and why:

- CRITICAL outranks UNKNOWN: a server that cannot be asked hides no alert of another;
- all problems are on line 1, worst first, and performance data always ends that line.
"""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import nagiosplugin
from nagiosplugin import Critical, Metric, Ok, Unknown, Warn

from beanwatch.config import LinksConfig, Threshold

__all__ = ["Critical", "Metric", "Ok", "Unknown", "Warn"]

State = Any  # nagiosplugin has no types

STATES: dict[str, State] = {"ok": Ok, "warning": Warn, "critical": Critical, "unknown": Unknown}
RANK = {Ok: 0, Warn: 1, Unknown: 2, Critical: 3}
# What reading may use of `-t`, so that a silent server is named by the check, with all else it
# has found out, and not by the watchdog.
MARGIN = 0.9
LINE = 1000  # characters of text on line 1; send_nsca and old NRPE cut what is longer
BETWEEN = " / "  # problems on line 1: of `;` Nagios makes `:`
MOST = 20  # problems on line 1; there is room for hardly as many
OUTPUT = 4000  # bytes in all: send_nsca sends nothing at all of more than 4,095
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f|\s]+")  # `|` would start the performance data
NO_LABEL = re.compile(r"[\x00-\x1f\x7f|'=]")


# -- evaluate


@lru_cache
def _range(text: str) -> Any:
    return nagiosplugin.Range(text)


def is_outside(value: float, text: str) -> bool:
    """True if the value alerts by this range; no text, no alert."""
    return bool(text) and value not in _range(text)


def judge(value: float, limits: Threshold) -> tuple[State, str]:
    """The state of a value, and the limit that it broke in words for the person who is paged."""
    if value != value:  # nan is outside no range, and so would be OK for ever
        return Unknown, "not a number"
    for state, text in ((Critical, limits.critical), (Warn, limits.warning)):
        if is_outside(value, text):
            plain = text[:1].isdigit() and ":" not in text
            return state, f"limit {text}" if plain else f"allowed {text}"
    return Ok, ""


class Finding(nagiosplugin.Result):  # type: ignore[misc]
    """A state and the words for it."""

    def __str__(self) -> str:
        return self.hint or ""


class Results(nagiosplugin.Results):  # type: ignore[misc]
    """Worst first, and CRITICAL is worse than UNKNOWN."""

    def __iter__(self) -> Iterator[Finding]:
        for state in sorted(self.by_state, key=RANK.__getitem__, reverse=True):
            yield from self.by_state[state]

    @property
    def most_significant_state(self) -> State:
        """The worst state, UNKNOWN when nothing was found out."""
        return max(self.by_state, key=RANK.__getitem__, default=Unknown)


class Failure(NamedTuple):
    """What could not be read, as the value of a metric."""

    reason: str
    timed_out: bool = False
    runbook: str = ""  # its heading, if not the check's


class FailureContext(nagiosplugin.Context):  # type: ignore[misc]
    """UNKNOWN, unless the check or `-t SEC:STATE` say otherwise."""

    def __init__(self, state: State = Unknown, timeout_state: State = Unknown) -> None:
        super().__init__("failure")
        self.state, self.timeout_state = state, timeout_state

    def evaluate(self, metric: Metric, resource: Any) -> Finding:
        """The state for what happened."""
        failure: Failure = metric.value
        state = self.timeout_state if failure.timed_out else self.state
        return Finding(state, failure.reason, metric)


# -- present


def number(value: float) -> str:
    """A number as performance data has it: no exponent, `U` for what is no number."""
    if isinstance(value, int):
        return str(int(value))  # int, because True is one too
    if value - value != 0:
        return "U"
    return f"{value:.3f}".rstrip("0").rstrip(".")


class Perf(NamedTuple):
    """One item of performance data; its label is always quoted, as queue names hold `;` and `(`."""

    label: str
    value: float
    uom: str = ""
    warning: str = ""
    critical: str = ""
    minimum: str = "0"

    def __str__(self) -> str:
        label = NO_LABEL.sub("_", self.label)
        value = f"{number(self.value)}{self.uom}"
        return f"'{label}'={value};{self.warning};{self.critical};{self.minimum}"


class Perfs(tuple[Perf, ...]):
    """Several items, in this order."""

    __slots__ = ()

    def __str__(self) -> str:
        return " ".join(map(str, self))


def ago(seconds: float) -> str:
    """A duration in its two largest units: `45s`, `3m 20s`, `2h 5m`, `4d 1h`."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    for size, unit, smaller, small_unit in ((86400, "d", 3600, "h"), (3600, "h", 60, "m")):
        if whole >= size:
            return f"{whole // size}{unit} {whole % size // smaller}{small_unit}"
    return f"{whole // 60}m {whole % 60}s"


def count(number: int, noun: str) -> str:
    """`1 job`, `2 jobs`, `2 queues`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


class Check(nagiosplugin.Check):  # type: ignore[misc]
    """A check whose results are in our order. `runbook` is its heading there."""

    def __init__(self, name: str, *parts: Any, source: Any = None) -> None:
        super().__init__(*parts, Results(), name=name)
        self.source = source

    @property
    def runbook(self) -> str:
        """The heading in the runbook: `queue_depth` is under `#queue-depth`."""
        return str(self.name).replace("_", "-")


class Outcome(NamedTuple):
    """What a check found: its state, what is wrong (or that nothing is), numbers, details."""

    name: str
    state: State
    text: str
    perfdata: tuple[str, ...] = ()
    details: tuple[str, ...] = ()

    def render(self) -> str:
        """The output for Nagios, screened and at most OUTPUT bytes long."""
        line = clean(f"{self.name.upper()} {self.state.text.upper()} - {self.text}")
        text = line if len(line) <= LINE else f"{line[: LINE - 4]} ..."
        room = OUTPUT - len(text.encode("utf-8", "replace")) - 200
        kept = []
        for item in self.perfdata:
            room -= len(item.encode("utf-8", "replace")) + 1
            if room < 0:
                break
            kept.append(item)
        dropped = len(self.perfdata) - len(kept)
        lines = [f"{text} | {' '.join(kept)}" if kept else text]
        if dropped:
            lines.append(f"performance data: {dropped} more did not fit; choose queues with -Q")
        lines += map(clean, self.details)
        return fit(lines)

    def json(self) -> str:
        """The same as one JSON object."""
        import json  # nagiosplugin has loaded it

        return json.dumps(
            {
                "check": self.name,
                "state": self.state.text,
                "exit_code": self.state.code,
                "text": self.text,
                "perfdata": list(self.perfdata),
                "details": list(self.details),
            }
        )


def clean(text: str) -> str:
    """Text without what would end a line or start the performance data."""
    return UNPRINTABLE.sub(" ", text).strip()


def fit(lines: Iterable[str]) -> str:
    """As many of the lines as fit into OUTPUT bytes, and how many did not."""
    lines = list(lines)
    room = OUTPUT - 40
    for index, line in enumerate(lines):
        room -= len(line.encode("utf-8", "replace")) + 1
        if room < 0 and index:
            return "\n".join([*lines[:index], f"... {len(lines) - index} more lines"]) + "\n"
    return "\n".join(lines) + "\n"


def conclude(check: Check, links: LinksConfig, *, verbose: bool = False) -> Outcome:
    """Run the check and put what it found into words."""
    check()
    results: list[Finding] = list(check.results)
    bad = [result for result in results if result.state is not Ok]
    state = check.results.most_significant_state
    text = BETWEEN.join(map(str, bad[:MOST])) if bad else check.summary_str
    if len(bad) > 3:
        text = f"{len(bad)} problems: {text}"
    details = [] if state is Ok else read_on(links, check.runbook, headings(bad, check.runbook))
    if check.source is not None:
        check.source.memory.save()
        if trouble := check.source.memory.trouble:
            details.append(f"Nothing is remembered, the moment was judged: {trouble}")
        details += check.source.notes
    if len(bad) > 1:
        details += [f"{result.state.text.upper()}: {result}" for result in bad]
    if verbose:
        details += [f"OK: {result}" for result in results if result.state is Ok and str(result)]
    perfdata = tuple(
        str(item)
        for result in results
        if result.metric is not None and (item := result.metric.performance())
    )
    return Outcome(check.name, state, text, perfdata, tuple(details))


def headings(bad: Iterable[Finding], own: str) -> list[str]:
    """The runbook's headings for these findings: what cannot be asked has one of its own."""
    values = (finding.metric.value if finding.metric else None for finding in bad)
    found = (value.runbook if isinstance(value, Failure) else "" for value in values)
    return list(dict.fromkeys(heading or own for heading in found))


def read_on(links: LinksConfig, check: str, headings: Iterable[str]) -> list[str]:
    """Where the person who is paged reads on: the command first, it needs no network."""
    lines = []
    for heading in headings:
        lines.append(f"What to do: beanwatch runbook {heading}")
        lines.append(f"Runbook: {link(links.runbook, heading)}")
    return [*lines, f"Graphs: {link(links.graphs, check)}"] if links.graphs else lines


def link(url: str, name: str) -> str:
    """A link for one check: `{name}` in it filled in, else the name as its fragment."""
    return url.replace("{name}", name) if "{name}" in url else f"{url}#{name}"
