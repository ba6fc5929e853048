"""The collector's log: one line an event, news only, and nothing that goes wrong stops it."""

import io
import json
from pathlib import Path

from beanwatch.telemetry.logging.collector_log import Changes, Log
from tests.collector.parts import Memory


def test_a_line_is_shaped_as_the_workers_are():
    stream = io.StringIO()
    Log("json", stream, wall=lambda: 1_700_000_000.5).warning("it's\nwrong", server="q1")
    assert stream.getvalue().count("\n") == 1
    assert json.loads(stream.getvalue()) == {
        "datetime": "2023-11-14T22:13:20.500+00:00",
        "level": 300,
        "level_name": "WARNING",
        "channel": "collector",
        "message": "it's\nwrong",
        "context": {"server": "q1"},
        "extra": {},
    }


def test_a_person_reads_words():
    stream = io.StringIO()
    Log("console", stream).error("it is wrong", dropped=3)
    assert stream.getvalue() == "beanwatch: error: it is wrong dropped=3\n"


def test_a_condition_is_told_when_it_begins_changes_and_ends():
    memory = Memory()
    for reason in ("refused", "refused", "timed out", "timed out"):
        memory.changes.wrong("q1", reason)
    memory.changes.right("q1", "well")
    memory.changes.right("q1", "well")
    memory.changes.right("q2", "never was wrong")
    assert memory.messages == ["refused", "timed out", "well"]


def test_a_file_is_opened_anew_when_it_was_moved(tmp_path: Path):
    path = tmp_path / "log"
    log = Log(path=str(path))
    log.info("one")
    path.rename(tmp_path / "log.1")
    log.info("two")
    log.reopen()
    log.info("three")
    assert "two" in (tmp_path / "log.1").read_text()
    assert json.loads(path.read_text())["message"] == "three"
    log._stream.close()


def test_a_file_that_cannot_be_opened_anew_is_tried_again_at_the_next_line(tmp_path: Path):
    path = tmp_path / "there" / "log"
    path.parent.mkdir()
    log = Log(path=str(path))
    path.parent.rename(tmp_path / "away")
    log.reopen()
    log.info("one")
    assert "one" in (tmp_path / "away" / "log").read_text(), "the old file is better than none"
    path.parent.mkdir()
    log.info("two")
    assert json.loads(path.read_text())["message"] == "two"
    log._stream.close()


def test_a_full_disk_stops_nothing():
    with open("/dev/full", "w") as full:
        log = Log("json", full)
        log.info("lost")
        Changes(log).wrong("a", "lost too")
        try:
            full.close()
        except OSError:
            return
