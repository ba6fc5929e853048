"""What nagiosplugin gets wrong, put right in one place: arguments, order, numbers, time.

A check is built from nagiosplugin's parts: resources acquire, contexts evaluate and
present, a summary says that all is well. What is different here, and why:

- bad arguments, `--help` and every error exit 3, since argparse's 2 means CRITICAL;
- CRITICAL outranks UNKNOWN: a server that cannot be asked hides no alert of another;
- all problems are on line 1, worst first, and performance data always ends that line;
- `-t` is kept by a thread: a signal handler does not run while a name lookup hangs.
"""

import argparse
import os
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, NoReturn

import nagiosplugin
from nagiosplugin import Critical, Metric, Ok, Unknown, Warn

from beanwatch import __version__
from beanwatch.config import (
    Config,
    ConfigError,
    LinksConfig,
    Threshold,
    load,
)
from beanwatch.values import duration, threshold

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
    """One item of performance data; its label is always quoted, as tube names hold `;` and `(`."""

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
    """`1 job`, `2 jobs`, `2 tubes`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


class Check(nagiosplugin.Check):  # type: ignore[misc]
    """A check whose results are in our order. `runbook` is its heading there."""

    def __init__(self, name: str, *parts: Any, source: Any = None) -> None:
        super().__init__(*parts, Results(), name=name)
        self.source = source

    @property
    def runbook(self) -> str:
        """The heading in the runbook: `tube_depth` is under `#tube-depth`."""
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
            lines.append(f"performance data: {dropped} more did not fit; choose tubes with -T")
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


# -- the command line and the clock


class Parser(argparse.ArgumentParser):
    """argparse with the exit code of the plugin guidelines, and the error on line 1."""

    def __init__(
        self, check: str, question: str, example: str, timeout_state: str = "unknown"
    ) -> None:
        self.check = check
        super().__init__(
            prog=f"check_{check}",
            description=question,
            epilog=f"Example:\n  check_{check} {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self.add_argument("-V", "--version", action="version", version=f"%(prog)s {__version__}")
        self.add_argument("-v", "--verbose", action="count", default=0, help="what is well, too")
        self.add_argument("--json", action="store_true", help="one JSON object instead of text")
        self.add_argument("--config", metavar="FILE", help="configuration file (TOML)")
        self.add_argument(
            "-t",
            "--timeout",
            type=_timeout,
            default=None,
            metavar="SEC[:STATE]",
            help=f"wall-clock limit, and the state when it is over (default: 10:{timeout_state})",
        )

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """Help and version are UNKNOWN by the guidelines: nothing was checked."""
        sys.stdout.flush()  # the process ends without the interpreter's own flush
        super().exit(3, message)

    def error(self, message: str) -> NoReturn:
        """One line on stdout, where Nagios reads."""
        raise UsageError(f"{message} (see check_{self.check} --help)")

    def add_limits(self) -> None:
        """`-w` and `-c`, ranges."""
        for flag, name in (("-w", "--warning"), ("-c", "--critical")):
            self.add_argument(flag, name, type=_limit, metavar="RANGE", help=f"{name[2:]} range")

    def add_restarted(self, default: float) -> None:
        """`--restarted`, a duration; by default that in seconds."""
        self.add_argument(
            "--restarted",
            type=duration_argument,
            default=default,
            metavar="DURATION",
            help="for how long a restart is worth a warning (default: 10m)",
        )


class UsageError(Exception):
    """Arguments that cannot be used together or at all."""


def _limit(text: str) -> str:
    try:
        return threshold(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def duration_argument(text: str) -> float:
    try:
        return duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _timeout(text: str) -> tuple[float, State | None]:
    seconds, colon, word = text.partition(":")
    states = {**STATES, **{str(state.code): state for state in STATES.values()}}
    state = states.get(word.lower()) if colon else None
    if not re.fullmatch(r"\d+(\.\d+)?", seconds, re.ASCII) or not 0 < float(seconds) <= 3600:
        raise argparse.ArgumentTypeError(f"expected seconds, more than 0, not {seconds!r}")
    if colon and state is None:
        raise argparse.ArgumentTypeError(f"expected one of {', '.join(STATES)}, not {word!r}")
    return float(seconds), state


class Voice:
    """The one output of the process: whoever speaks first, the check or the watchdog, ends it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.as_json = False
        self.doing = "starting"  # what the watchdog says was not done in time
        self.runbook = ""  # the heading for that, if not the check's
        self._turn = threading.Lock()

    def say(self, text: str, code: int) -> NoReturn:
        """Print and exit at once: tearing the interpreter down takes longer than most checks."""
        self._turn.acquire()  # for good: whoever comes second waits for the end
        data = text.encode("utf-8", "replace")
        try:
            while data:
                data = data[os.write(1, data) :]
        finally:
            os._exit(code)

    def end(self, outcome: Outcome) -> NoReturn:
        """Say what was found, and exit with its state."""
        text = outcome.json() + "\n" if self.as_json else outcome.render()
        self.say(text, outcome.state.code)

    def unknown(self, reason: str) -> NoReturn:
        """UNKNOWN, for this reason."""
        self.end(Outcome(self.name, Unknown, reason))

    def watch(self, seconds: float, state: State) -> None:
        """Exit in `state` when the time is over, whatever the main thread hangs in."""

        def give_up() -> None:
            reason = f"no answer within {seconds:g} s while {self.doing}"
            own = self.name.replace("_", "-")
            details = tuple(read_on(LinksConfig(), own, [self.runbook or own]))
            self.end(Outcome(self.name, state, reason, details=details))

        timer = threading.Timer(seconds, give_up)
        timer.daemon = True
        timer.start()


Build = Callable[[argparse.Namespace, Config, Voice], Check]


def run(
    parser: Parser, build: Build, timeout_state: State = Unknown, argv: Sequence[str] | None = None
) -> NoReturn:
    """Parse, build, run, print, exit: the whole life of a check process."""
    argv = sys.argv[1:] if argv is None else argv
    voice = Voice(parser.check)
    voice.as_json = "--json" in argv  # before they are parsed: who reads JSON reads errors, too
    try:
        options = parser.parse_args(argv)
        seconds, state = options.timeout or (10.0, None)
        options.timeout, options.timeout_state = seconds, state or timeout_state
        voice.watch(seconds, options.timeout_state)
        voice.doing = "reading the configuration"
        config = load(options.config)
        check = build(options, config, voice)
        outcome = conclude(check, config.links, verbose=options.verbose > 0)
    except (UsageError, ConfigError) as error:
        voice.unknown(str(error))
    except SystemExit:  # --help and --version have printed
        voice.say("", 3)
    except Exception as error:
        voice.unknown(f"internal error, please report it: {type(error).__name__}: {error}")
    voice.end(outcome)
