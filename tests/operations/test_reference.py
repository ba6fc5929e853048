"""The generated pages are up to date with the code."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from beanwatch.telemetry.logging import setup as logs
from beanwatch.worker.core import state as life
from beanwatch.worker.monitor.runs import Run
from beanwatch.worker.monitor.sinks.log_sink import LogSink
from tests.operations import meanings, reference
from tests.operations.markdown import fill


@pytest.mark.parametrize("page", reference.PAGES, ids=lambda page: page.name)
def test_the_page_is_up_to_date(page: Path) -> None:
    text = page.read_text()
    assert fill(text, reference.PAGES[page]) == text, "run: make docs"


def test_every_flag_says_what_it_is_for() -> None:
    rows = re.findall(r"^\| (`-[^|]*\|.*)\|$", reference.PAGE.read_text(), re.M)
    assert rows
    assert [row for row in rows if not row.replace(r"\|", "").partition("|")[2].strip()] == []


def test_the_exit_codes_of_a_worker_are_those_that_it_has() -> None:
    told = set(meanings.EXIT_CODES["worker"])
    assert told == {
        *(life.STOPPED, life.FATAL, life.USAGE, life.RECYCLED),
        *(life.HARD_DEADLINE, life.DUPLICATE, life.NO_APP),
    }


@pytest.fixture
def log_file(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "worker.log"
    structlog.reset_defaults()


def test_a_line_of_a_job_has_the_fields_of_the_page(log_file: Path) -> None:
    log = logs.get_logger(worker="h.w", instance="abc")
    run = Run(
        server="s", queue="t", job="j", job_id=1, uuid="u", attempt=1, outcome="retry",
        reason="r", traceback="t", started_at=1, wait=1, duration=1, delay=1, parent="p",
        follow_ups=("f",),
    )  # fmt: skip
    LogSink(log, logs.configure("json", str(log_file))).on_finished(run)
    line = json.loads(log_file.read_text())
    assert set(line["context"]) == set(meanings.LOG)
    page = reference.PAGE.read_text()
    for field in line:
        assert f"`{field}`" in page
