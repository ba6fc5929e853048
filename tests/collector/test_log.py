"""The collector's log: one line an event, news only, and nothing that goes wrong stops it."""

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from beanwatch.cli.lib.collect_files import open_log
from beanwatch.config import Config
from beanwatch.telemetry.logging import setup
from beanwatch.telemetry.logging.problems import ProblemLog
from tests.collector.parts import Memory


@pytest.fixture(autouse=True)
def _fresh_structlog() -> Iterator[None]:
    yield
    structlog.reset_defaults()
    logging.basicConfig(handlers=[], force=True)


def test_a_line_has_the_fields_of_the_workers_lines(tmp_path: Path):
    path = tmp_path / "log"
    log = open_log(Config(log_file=str(path)), once=False)
    log.warning("it's\nwrong", server="q1")
    assert path.read_text().count("\n") == 1
    line = json.loads(path.read_text())
    assert line.pop("datetime").endswith("+00:00")
    assert line == {
        "level": 300,
        "level_name": "WARNING",
        "channel": "collector",
        "message": "it's\nwrong",
        "context": {"server": "q1"},
        "extra": {"process_id": os.getpid()},
    }


def test_lines_go_to_standard_error_unless_a_file_is_set(capfd: pytest.CaptureFixture[str]):
    open_log(Config(), once=False).info("well")
    assert json.loads(capfd.readouterr().err)["message"] == "well"


def test_a_person_whom_cron_mails_reads_words(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    log = open_log(Config(log_file=str(tmp_path / "log")), once=True)
    log.error("it is wrong", dropped=3)
    assert capfd.readouterr().err == "beanwatch: error: it is wrong dropped=3\n"


def test_a_problem_is_logged_when_it_begins_changes_and_ends():
    memory = Memory()
    for reason in ("refused", "refused", "timed out", "timed out"):
        memory.problems.report("q1", reason)
    memory.problems.clear("q1", "well")
    memory.problems.clear("q1", "well")
    memory.problems.clear("q2", "never had a problem")
    assert memory.messages == ["refused", "timed out", "well"]
    assert [record["level_name"] for record in memory.records] == ["WARNING", "WARNING", "INFO"]


def test_a_file_that_was_moved_is_left_on_reopen(tmp_path: Path):
    path = tmp_path / "log"
    log = open_log(Config(log_file=str(path)), once=False)
    log.info("one")
    path.rename(tmp_path / "log.1")
    log.info("two")
    setup.reopen()
    log.info("three")
    assert "two" in (tmp_path / "log.1").read_text()
    assert json.loads(path.read_text())["message"] == "three"


def test_a_file_that_cannot_be_reopened_is_tried_again_at_the_next_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    path = tmp_path / "there" / "log"
    path.parent.mkdir()
    log = open_log(Config(log_file=str(path)), once=False)
    path.parent.rename(tmp_path / "away")
    setup.reopen()
    log.info("one")
    log.info("two")
    assert "two" in (tmp_path / "away" / "log").read_text(), "the old file is better than none"
    path.parent.mkdir()
    log.info("three")
    assert json.loads(path.read_text())["message"] == "three"
    assert capfd.readouterr().err.count("continuing in the old file") == 1


def test_a_full_disk_stops_nothing():
    log = open_log(Config(log_file="/dev/full"), once=False)
    log.info("lost")
    ProblemLog(log).report("a", "lost too")
