"""The demo's own parts; the demo as a whole is `make demo`."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from beanwatch.telemetry.series import QUEUE
from tests.demo import pictures
from tests.demo.mailbox import Alert, Expected, Mailbox
from tests.real import ROOT, wait_until

LINE = "PROBLEM\tqueue1\tburied\tWARNING\t3 jobs buried\thttps://example.org/runbook#buried\n"
ALERT = Alert(*LINE.rstrip().split("\t"))


def test_the_mailbox_gives_each_whole_line_once(tmp_path: Path):
    mailbox = Mailbox(tmp_path / "mailbox")
    assert mailbox.fetch() == []
    mailbox.path.write_text(LINE + LINE[:20])
    assert [alert._replace(received=0.0) for alert in mailbox.fetch()] == [ALERT]
    assert mailbox.fetch() == []
    with mailbox.path.open("a") as stream:
        stream.write(LINE[20:])
    assert [alert._replace(received=0.0) for alert in mailbox.fetch()] == [ALERT]


def test_its_graphs_show_series_that_exist():
    targets = " ".join(target for _, _, targets in pictures.GRAPHS.values() for target in targets)
    shown = re.findall(r"beanwatch\.queue\.\*\.\*\.(\w+)", targets)
    assert len(shown) == 4
    assert set(shown) <= set(QUEUE.names)


def test_an_expectation_is_of_a_service_a_state_and_words():
    assert Expected("buried", "WARNING", "3 jobs").matches(ALERT)
    assert not Expected("depth", "WARNING").matches(ALERT)
    assert not Expected("buried", "OK").matches(ALERT)
    assert not Expected("buried", "WARNING", "4 jobs").matches(ALERT)


@pytest.mark.parametrize("arguments", [[], ["--keep"]])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_nothing_behind(
    tmp_path: Path, number: signal.Signals, arguments: list[str]
):
    output = tmp_path / "output"
    with output.open("w") as stream:
        demo = subprocess.Popen(
            [sys.executable, "-m", "tests.demo", *arguments],
            cwd=ROOT,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env={"TMPDIR": str(tmp_path), "PATH": "/usr/bin:/bin"},
        )
    try:
        wait_until(lambda: "Nagios" in output.read_text(), 60, "the demo starts everything")
        demo.send_signal(number)
        assert demo.wait(60) == 130
    finally:
        if demo.poll() is None:  # else it plays on, beside all other tests
            demo.terminate()
            demo.wait(60)
    assert "The demo was interrupted." in output.read_text()
    assert list(tmp_path.iterdir()) == [output]
    wait_until(lambda: processes_in(tmp_path) == [], message="nothing runs on")


def processes_in(directory: Path) -> list[str]:
    """The command lines of the processes that work in or were given this directory."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            inside = str((process / "cwd").readlink()).startswith(str(directory))
        except OSError:  # it ended while we looked
            continue
        if inside or str(directory) in command:
            found.append(command)
    return found
