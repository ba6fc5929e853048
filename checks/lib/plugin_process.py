"""Runs a check as a process: parses its arguments, limits its time, prints once and exits.

- Wrong arguments, `--help` and internal errors exit with 3: argparse's 2 would mean CRITICAL.
- A thread enforces `-t`: a signal handler does not run while a name lookup hangs.
"""

import argparse
import os
import re
import sys
import threading
from collections.abc import Callable, Sequence

from beanwatch import __version__
from beanwatch.checks.lib.output import PluginResult, runbook_lines
from beanwatch.checks.lib.plugin import STATES, Check, State, Unknown, conclude
from beanwatch.config import Config, ConfigError, LinksConfig, Threshold
from beanwatch.config.reader import HIDDEN_WARNING, load
from beanwatch.light_typing import NoReturn
from beanwatch.values import duration, hides_warning, threshold

DEFAULT_TIMEOUT = 10.0  # seconds
MAX_TIMEOUT = 3600.0
RESTARTED_WITHIN = 600.0  # default of --restarted, in seconds


class UsageError(Exception):
    """The arguments are wrong; the text says which one, and what is expected."""


LIMIT_FLAGS = ("-w", "--warning", "-c", "--critical")


class Parser(argparse.ArgumentParser):
    """An argument parser with the options of all checks. It exits with 3, as the guidelines want.

    `question` is the description in `--help`. `timeout_state` is the default state after `-t`.
    """

    def __init__(
        self, check: str, question: str, example: str, timeout_state: State = Unknown
    ) -> None:
        self.check, self.timeout_state = check, timeout_state
        super().__init__(
            prog=f"check_{check}",
            description=question,
            epilog=f"Example:\n  check_{check} {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self.add_argument("-V", "--version", action="version", version=f"%(prog)s {__version__}")
        self.add_argument(
            "-v", "--verbose", action="count", default=0, help="also print what is OK"
        )
        self.add_argument(
            "--json", action="store_true", help="print one JSON object instead of text"
        )
        self.add_argument(
            "--config",
            metavar="FILE",
            help="configuration file (default: $BEANWATCH_CONFIG, or "
            "/etc/beanwatch/beanwatch.toml)",
        )
        self.add_argument(
            "-t",
            "--timeout",
            type=_timeout,
            default=None,
            metavar="SEC[:STATE]",
            help="time limit in seconds, and the state to report when it is reached "
            f"(default: {DEFAULT_TIMEOUT:g}:{timeout_state.text})",
        )

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """Exit with 3, UNKNOWN: `--help` and `--version` check nothing (plugin guidelines)."""
        sys.stdout.flush()  # `run` ends the process by os._exit, which does not flush
        super().exit(3, message)

    def error(self, message: str) -> NoReturn:
        """Raise UsageError. `run` prints it on stdout, because Nagios does not read stderr."""
        raise UsageError(f"{message} (see check_{self.check} --help)")

    def add_limits(self) -> None:
        """Add `-w` and `-c`."""
        for flag, name in zip(LIMIT_FLAGS[::2], LIMIT_FLAGS[1::2], strict=True):
            state = name[2:].upper()
            self.add_argument(
                flag,
                name,
                type=_limit,
                metavar="RANGE",
                help=f"{state} outside this range: 10 means 0 to 10, 5: means 5 or more",
            )

    def add_restarted(self) -> None:
        """Add `--restarted`."""
        self.add_argument(
            "--restarted",
            type=duration_argument,
            default=RESTARTED_WITHIN,
            metavar="DURATION",
            help="report a restart as WARNING for this time (default: 10m)",
        )


def pick_limits(
    options: argparse.Namespace, config: Config, key: str, default: Threshold
) -> Threshold:
    """Return the limits of the arguments, else those of `[checks.<key>]`, else `default`."""
    if options.warning is not None or options.critical is not None:
        return Threshold(options.warning or "", options.critical or "")
    return config.checks.get(key, default)


def join_ranges(argv: Sequence[str]) -> list[str]:
    """Join `-w` or `-c` and a range that starts with a minus, as in `-w -7:23`, to one argument.

    argparse would take such a range for another option.
    """
    joined: list[str] = []
    for argument in argv:
        flag = joined[-1] if joined else ""
        if flag in LIMIT_FLAGS and re.match(r"-[\d.]", argument):
            joined[-1] = f"{flag}={argument}" if flag.startswith("--") else f"{flag}{argument}"
        else:
            joined.append(argument)
    return joined


def refuse_hidden_warning(parser: Parser, options: argparse.Namespace) -> None:
    """Raise UsageError if `-w` and `-c` are such that the check never reports a WARNING."""
    warning, critical = getattr(options, "warning", None), getattr(options, "critical", None)
    if hides_warning(warning or "", critical or ""):
        parser.error(f"-w {warning} -c {critical}: {HIDDEN_WARNING.format(warning, critical)}")


def _limit(text: str) -> str:
    try:
        return threshold(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def duration_argument(text: str) -> float:
    """Parse a duration such as `5m` into seconds. Raises ArgumentTypeError, as argparse wants."""
    try:
        return duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _timeout(text: str) -> tuple[float, State | None]:
    seconds, colon, word = text.partition(":")
    states = {**STATES, **{str(state.code): state for state in STATES.values()}}
    state = states.get(word.lower()) if colon else None
    is_number = re.fullmatch(r"\d+(\.\d+)?", seconds, re.ASCII)
    if not is_number or not 0 < float(seconds) <= MAX_TIMEOUT:
        text = f"expected seconds, above 0 and up to {MAX_TIMEOUT:g}, not {seconds!r}"
        raise argparse.ArgumentTypeError(text)
    if colon and state is None:
        raise argparse.ArgumentTypeError(f"expected one of {', '.join(STATES)}, not {word!r}")
    return float(seconds), state


class PluginOutput:
    """Prints the only output of the process and exits. The main thread or the watchdog uses it."""

    def __init__(self, check: str, *, as_json: bool = False) -> None:
        self.check = check
        self.as_json = as_json
        self.current_step = "starting"  # the watchdog prints what was not done in time
        self.heading = ""  # the heading of the runbook for this step; empty: that of the check
        self._lock = threading.Lock()

    def write_and_exit(self, text: str, code: int) -> NoReturn:
        """Print and exit at once: a normal end of the interpreter takes longer than most checks."""
        self._lock.acquire()  # never released, so that a second thread prints nothing
        data = text.encode("utf-8", "replace")
        try:
            while data:
                data = data[os.write(1, data) :]
        finally:
            os._exit(code)

    def finish(self, result: PluginResult) -> NoReturn:
        """Print the result, and exit with its state."""
        text = result.json() + "\n" if self.as_json else result.render()
        self.write_and_exit(text, result.exit_code)

    def fail(self, reason: str) -> NoReturn:
        """Print UNKNOWN with this reason, and exit with 3."""
        lines = runbook_lines(LinksConfig(), "unknown", ["unknown"])
        details = tuple(lines)
        self.finish(PluginResult(self.check, Unknown.text, Unknown.code, reason, details=details))

    def start_watchdog(self, seconds: float, state: State) -> None:
        """Start a thread that exits with `state` after `seconds`, even if the main thread hangs."""

        def give_up() -> None:
            reason = f"no answer within {seconds:g} s while {self.current_step}"
            if not self.current_step.startswith("asking"):
                step = f"it was still {self.current_step}"
                reason = f"the check did not end within {seconds:g} s: {step} (is this host busy?)"
            own = self.check.replace("_", "-")
            lines = runbook_lines(LinksConfig(), own, [self.heading or own])
            result = PluginResult(self.check, state.text, state.code, reason, details=tuple(lines))
            self.finish(result)

        timer = threading.Timer(seconds, give_up)
        timer.daemon = True
        timer.start()


Build = Callable[[argparse.Namespace, Config, PluginOutput], Check]


def run(parser: Parser, build: Build, argv: Sequence[str] | None = None) -> NoReturn:
    """Parse the arguments, build and run the check, print its result and exit with its state.

    `argv` is None for the arguments of the process.
    """
    argv = sys.argv[1:] if argv is None else argv
    # Looked up before parsing, so that errors in the arguments are JSON, too.
    output = PluginOutput(parser.check, as_json="--json" in argv)
    try:
        options = parser.parse_args(join_ranges(argv))
        refuse_hidden_warning(parser, options)
        seconds, state = options.timeout or (DEFAULT_TIMEOUT, None)
        options.timeout, options.timeout_state = seconds, state or parser.timeout_state
        output.start_watchdog(seconds, options.timeout_state)
        output.current_step = "reading the configuration"
        config = load(options.config)
        check = build(options, config, output)
        result = conclude(check, config.links, verbose=options.verbose > 0)
    except (UsageError, ConfigError) as error:
        output.fail(str(error))
    except SystemExit:  # --help and --version have printed
        output.write_and_exit("", 3)
    except Exception as error:
        output.fail(f"internal error, please report it: {type(error).__name__}: {error}")
    output.finish(result)
