"""`check`: runs a plugin as Nagios does, and holds its output to the guidelines each time."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.checks.site import Site
from tests.real.check_server import CheckServer

STATES = {0: "OK", 1: "WARNING", 2: "CRITICAL", 3: "UNKNOWN"}
# 'label'=value[UOM];[warn];[crit];[min];[max], by the plugin guidelines.
NUMBER = r"-?\d+(?:\.\d+)?"
RANGE = rf"@?(?:(?:~|{NUMBER})?:)?(?:{NUMBER})?"
PERF = re.compile(
    rf"'([^'=|\n]+)'=(U|{NUMBER}(?:s|ms|%|B|KB|MB|c)?)"
    rf"(?:;({RANGE}))?(?:;({RANGE}))?(?:;({NUMBER})?)?(?:;({NUMBER})?)?(?: |$)"
)


class Answer(NamedTuple):
    """What a plugin said."""

    code: int
    text: str  # line 1 without its performance data
    perfdata: dict[str, str]
    long: list[str]


TIME = re.compile(r"(?:\d+h )?(?:\d+m )?\d+s\b")  # such as `1m 30s`
LATE = 60  # seconds that may pass until a check has read what a test has written


def says(text: str, words: str) -> bool:
    """Whether a text has these words. Times in it may be up to LATE seconds longer than there."""
    found = re.search(f"({TIME.pattern})".join(map(re.escape, TIME.split(words))), text)
    return found is not None and all(
        0 <= parse_time(seen) - parse_time(wanted) <= LATE
        for seen, wanted in zip(found.groups(), TIME.findall(words), strict=True)
    )


def parse_time(text: str) -> int:
    """The seconds of a time such as `2h 1m 5s`."""
    units = {"h": 3600, "m": 60, "s": 1}
    return sum(int(part[:-1]) * units[part[-1]] for part in text.split())


def parse_perfdata(text: str) -> dict[str, str]:
    """The values by label; fails on what the guidelines do not allow."""
    found, at = {}, 0
    while at < len(text):
        match = PERF.match(text, at)
        assert match, f"no performance data: {text[at : at + 80]!r}"
        found[match[1]] = match[2]
        at = match.end()
    return found


def parse_output(code: int, stdout: str, stderr: str) -> Answer:
    """Split the output, and fail on what no output may ever have."""
    assert stderr == ""
    assert "Traceback" not in stdout
    assert "internal error" not in stdout
    assert len(stdout.encode()) <= 4096
    assert stdout.endswith("\n")
    first, *long = stdout[:-1].split("\n")
    text, _, perfdata = first.partition(" | ")
    assert "|" not in text
    assert not any("|" in line for line in long)
    assert re.match(rf"[A-Z_]+ {STATES[code]} - \S", text), text
    return Answer(code, text, parse_perfdata(perfdata), long)


@pytest.fixture
def check(run: Callable[..., tuple[int, str, str]], tmp_path: Path) -> Callable[..., Answer]:
    """`check("queue_depth", "-H", ...)`, with a memory of this test's own.

    A check of queues reads no heartbeats unless the test names a Redis: this host may have one.
    """

    def run_check(name: str, *argv: object, timeout: float = 60.0, **env: str) -> Answer:
        environ = {"BEANWATCH_STATE_DIR": str(tmp_path / "state"), **env}
        if name.startswith("queue_") and not {"--redis", "--config"} & set(argv):
            environ.setdefault("BEANWATCH_REDIS_URL", "")
        return parse_output(*run(f"check_{name}", *argv, timeout=timeout, env=environ))

    return run_check


Check = Callable[..., Answer]


@pytest.fixture
def forked_checks(site: Site) -> Iterator[None]:
    """A monitor of this site runs each check every second: this leaves something of the machine."""
    with CheckServer(site.directory / "checks") as server:
        site.checks = server
        yield
