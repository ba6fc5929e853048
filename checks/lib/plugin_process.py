"""The life of a check's process: its arguments, its time, its one output and its exit code.

- Bad arguments, `--help` and every error exit 3, since argparse's 2 would mean CRITICAL;
- `-t` is kept by a thread: a signal handler does not run while a name lookup hangs.
"""

import argparse
import os
import re
import sys
import threading
from collections.abc import Callable, Sequence
from typing import NoReturn

from beanwatch import __version__
from beanwatch.checks.lib.output import PluginResult, runbook_lines
from beanwatch.checks.lib.plugin import STATES, Check, State, Unknown, conclude
from beanwatch.config import Config, ConfigError, LinksConfig, Threshold, load
from beanwatch.values import duration, threshold

DEFAULT_TIMEOUT = 10.0  # seconds
MAX_TIMEOUT = 3600.0
RESTARTED_WITHIN = 600.0  # seconds; by default a restart is a warning for so long


class UsageError(Exception):
    """Arguments that cannot be used together or at all."""


class Parser(argparse.ArgumentParser):
    """argparse with the exit code of the plugin guidelines, and the error on line 1.

    `timeout_state` is the check's state when `-t` is over.
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
            "-v", "--verbose", action="count", default=0, help="show what is well, too"
        )
        self.add_argument("--json", action="store_true", help="one JSON object instead of text")
        self.add_argument("--config", metavar="FILE", help="configuration file (TOML)")
        self.add_argument(
            "-t",
            "--timeout",
            type=_timeout,
            default=None,
            metavar="SEC[:STATE]",
            help="wall-clock limit, and the state when it is over "
            f"(default: {DEFAULT_TIMEOUT:g}:{timeout_state.text})",
        )

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """Exit 3: by the guidelines help and version are UNKNOWN, since nothing was checked."""
        sys.stdout.flush()  # the process ends without the interpreter's own flush
        super().exit(3, message)

    def error(self, message: str) -> NoReturn:
        """Raise a UsageError, which becomes one line on stdout, where Nagios reads."""
        raise UsageError(f"{message} (see check_{self.check} --help)")

    def add_limits(self) -> None:
        """`-w` and `-c`, ranges."""
        for flag, name in (("-w", "--warning"), ("-c", "--critical")):
            self.add_argument(flag, name, type=_limit, metavar="RANGE", help=f"{name[2:]} range")

    def add_restarted(self) -> None:
        """`--restarted`, a duration."""
        self.add_argument(
            "--restarted",
            type=duration_argument,
            default=RESTARTED_WITHIN,
            metavar="DURATION",
            help="how long a restart is a warning (default: 10m)",
        )


def pick_limits(
    options: argparse.Namespace, config: Config, key: str, default: Threshold
) -> Threshold:
    """The limits of a check: the arguments, else those under `[checks.<key>]`, else `default`."""
    if options.warning is not None or options.critical is not None:
        return Threshold(options.warning or "", options.critical or "")
    return config.checks.get(key, default)


def _limit(text: str) -> str:
    try:
        return threshold(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def duration_argument(text: str) -> float:
    """Seconds, for argparse: it shows the words of an ArgumentTypeError."""
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
        raise argparse.ArgumentTypeError(f"expected seconds, more than 0, not {seconds!r}")
    if colon and state is None:
        raise argparse.ArgumentTypeError(f"expected one of {', '.join(STATES)}, not {word!r}")
    return float(seconds), state


class PluginOutput:
    """The one output of the process. The first thread to write, check or watchdog, ends it."""

    def __init__(self, check: str, *, as_json: bool = False) -> None:
        self.check = check
        self.as_json = as_json
        self.current_step = "starting"  # the watchdog says that this was not done in time
        self.heading = ""  # of the runbook, for that step, if not the check's own
        self._turn = threading.Lock()

    def write_and_exit(self, text: str, code: int) -> NoReturn:
        """Write and exit at once: tearing the interpreter down takes longer than most checks."""
        self._turn.acquire()  # never released: a second thread waits here for the end
        data = text.encode("utf-8", "replace")
        try:
            while data:
                data = data[os.write(1, data) :]
        finally:
            os._exit(code)

    def finish(self, result: PluginResult) -> NoReturn:
        """Write what was found, and exit with its state."""
        text = result.json() + "\n" if self.as_json else result.render()
        self.write_and_exit(text, result.exit_code)

    def fail(self, reason: str) -> NoReturn:
        """UNKNOWN, for this reason."""
        self.finish(PluginResult(self.check, Unknown.text, Unknown.code, reason))

    def start_watchdog(self, seconds: float, state: State) -> None:
        """Exit in `state` when the time is over, whatever call the main thread hangs in."""

        def give_up() -> None:
            reason = f"no answer within {seconds:g} s while {self.current_step}"
            own = self.check.replace("_", "-")
            lines = runbook_lines(LinksConfig(), own, [self.heading or own])
            result = PluginResult(self.check, state.text, state.code, reason, details=tuple(lines))
            self.finish(result)

        timer = threading.Timer(seconds, give_up)
        timer.daemon = True
        timer.start()


Build = Callable[[argparse.Namespace, Config, PluginOutput], Check]


def run(parser: Parser, build: Build, argv: Sequence[str] | None = None) -> NoReturn:
    """Parse, build, run, print, exit: the whole life of a check process."""
    argv = sys.argv[1:] if argv is None else argv
    # Before the arguments are parsed: a program that reads JSON reads the errors as JSON, too.
    output = PluginOutput(parser.check, as_json="--json" in argv)
    try:
        options = parser.parse_args(argv)
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
