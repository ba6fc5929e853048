"""The demo's own parts; the demo as a whole is `make demo`."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from beanwatch.telemetry.series import QUEUE
from tests.demo import pictures
from tests.demo.mailbox import Alert, Expected, Mailbox
from tests.demo.prometheus import ALERTS, FASTER, Feed
from tests.real import ROOT, HttpSink, wait_until
from tests.real.shipped_rules import read_rules
from tests.real.sinks import Request

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


def sent(name: str, status: str) -> dict[str, object]:
    labels = {"alertname": name, "severity": "warning"}
    texts = {"summary": "3 jobs", "runbook_url": "https://example.org/runbook#buried"}
    key = {"fingerprint": name, "startsAt": "2026-01-01T00:00:00Z"}
    return {**key, "status": status, "labels": labels, "annotations": texts}


def test_each_alert_of_alertmanager_is_in_the_mailbox_once(tmp_path: Path):
    mailbox = Mailbox(tmp_path / "mailbox")
    told: list[tuple[str, str, str]] = []
    with HttpSink() as sink:
        feed = Feed(sink, mailbox.path)
        for alerts in (
            [sent("A", "firing")],
            [sent("A", "firing"), sent("B", "firing")],  # a message has all alerts of its group
            [sent("A", "resolved"), sent("B", "firing")],
        ):
            body = json.dumps({"alerts": alerts}).encode()
            sink.requests.append(Request("POST", "/mail", {}, body))
            feed.copy()
            told += [(one.service, one.state, one.host) for one in mailbox.fetch()]
    receiver = "Alertmanager to mail"
    assert told == [("A", "WARNING", receiver), ("B", "WARNING", receiver), ("A", "OK", receiver)]


def test_the_alerts_of_prometheus_that_it_waits_for_exist():
    rules = read_rules(FASTER)
    names = {one.service for scene in ALERTS for part in scene for one in part}
    assert all(f"alert: {name}\n" in rules for name in names)


@pytest.mark.parametrize(
    ("number", "arguments"),
    [
        (signal.SIGINT, []),
        (signal.SIGTERM, []),
        (signal.SIGINT, ["--keep"]),
        (signal.SIGTERM, ["--keep"]),
        (signal.SIGTERM, ["--workers", "all"]),
    ],
)
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
        wait_until(lambda: "Nagios" in output.read_text(), 150, "the demo starts everything")
        demo.send_signal(number)
        assert demo.wait(120) == 130
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
