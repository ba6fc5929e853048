"""`check`: runs a plugin as Nagios does, and holds its output to the guidelines each time."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

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
    """`check("queue_depth", "-H", ...)`, with a memory of this test's own."""

    def run_check(name: str, *argv: object, timeout: float = 30.0, **env: str) -> Answer:
        environ = {"BEANWATCH_STATE_DIR": str(tmp_path / "state"), **env}
        return parse_output(*run(f"check_{name}", *argv, timeout=timeout, env=environ))

    return run_check


Check = Callable[..., Answer]
