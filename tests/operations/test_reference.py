"""docs/reference.md says what the code says."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from beanwatch.net.address import parse_address
from beanwatch.queues.beanstalkd.connection import Link
from beanwatch.queues.beanstalkd.stats import numbers, read_tubes
from beanwatch.telemetry import series as paths
from beanwatch.worker.core import state as life
from beanwatch.worker.core.record import Run
from beanwatch.worker.telemetry import logs
from tests.operations import meanings, reference
from tests.real import ROOT, Beanstalkd


def test_the_page_is_what_the_code_says_now() -> None:
    page = reference.PAGE.read_text()
    assert reference.fill(page) == page, "run: make docs"


def test_every_flag_says_what_it_is_for() -> None:
    rows = re.findall(r"^\| (`-[^|]*\|.*)\|$", reference.PAGE.read_text(), re.M)
    assert rows
    assert [row for row in rows if not row.replace(r"\|", "").partition("|")[2].strip()] == []


def test_the_exit_codes_of_a_worker_are_those_that_it_has() -> None:
    told = set(meanings.EXIT_CODES["worker"])
    assert told == {2, life.STOPPED, life.FATAL, life.RECYCLED, life.HARD_DEADLINE, life.DUPLICATE}


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
    logs.LogSink(log, logs.configure("json", str(log_file))).on_finished(run)
    line = json.loads(log_file.read_text())
    assert set(line["context"]) == set(meanings.LOG)
    page = reference.PAGE.read_text()
    for field in line:
        assert f"`{field}`" in page


def test_the_stats_of_timers_are_on_the_page() -> None:
    page = reference.PAGE.read_text()
    assert ", ".join(f"`{stat}`" for stat in paths.TIMER_STATS) in page.replace("\n", " ")


def test_the_series_that_scaling_counts_are_as_many_as_there_are(beanstalkd: Beanstalkd) -> None:
    page = (ROOT / "docs" / "scaling.md").read_text()
    with Link(parse_address(beanstalkd.address)) as link:
        ((_, stats),) = read_tubes(link, ["default"])
    queue = len(paths.QUEUE_DERIVED) + len(numbers(stats))
    worker = len(paths.WORKER_OWN) + len(paths.WORKER_SEEN)
    job = 2 * len(paths.OUTCOMES) + len(paths.TIMERS) * len(paths.TIMER_STATS)
    assert f"| series | {queue},000 | {queue}0,000 | derived: {queue} each |" in page
    assert f"| {worker}00 | {worker},000 | derived: {worker} each |" in page
    assert f"| {job} | {job} | derived:" in page
