"""The life of a check's process: its arguments, its time, its one output and its exit code.

- Bad arguments, `--help` and every error exit 3, since argparse's 2 means CRITICAL;
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
from beanwatch.checks.lib.plugin import STATES, Check, Outcome, State, Unknown, conclude, read_on
from beanwatch.config import Config, ConfigError, LinksConfig, load
from beanwatch.values import duration, threshold


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
