"""The black box holds every run as it is, and fits into its page."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from beanwatch.worker.api.envelope import Envelope
from beanwatch.worker.core.connection_protocol import JobStats, Reserved
from beanwatch.worker.core.job import RunningJob
from beanwatch.worker.guard.black_box import BlackBox, BlackBoxRecord, read_black_box


@contextmanager
def open_box(path: Path) -> Iterator[BlackBox]:
    """A black box whose files are closed at the end, as the end of its process does."""
    box = BlackBox(path)
    try:
        yield box
    finally:
        os.close(box.fatal_stacks)
        os.close(box.idle_stacks)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)


@given(name=TEXTS, uuid=TEXTS, wait=st.floats(0, 1e9))
@settings(max_examples=50, deadline=None)
def test_a_run_is_read_back_as_it_was_written(name: str, uuid: str, wait: float) -> None:
    job = RunningJob(Reserved(7, b""), JobStats(7, "work", 0, 0, 0, 60, 3, 0, 0, 0))
    job.name, job.envelope, job.wait = name, Envelope(name, id=uuid or None), wait
    with tempfile.TemporaryDirectory() as directory, open_box(Path(directory) / "job") as box:
        path = Path(directory) / "job"
        box.write_run(job, "a%b")
        found = read_black_box(path)
        assert found is not None
        run = found.run
        assert run is not None
        assert (run.server, run.queue, run.job_id) == ("a%b", "work", 7)
        assert run.attempt == job.stats.reserves
        assert (run.job, run.uuid) == (name[:200], uuid)
        assert (run.started_at, run.wait, run.outcome) == (job.started_at, wait, "")
        box.write_outcome("ok")
        ended = read_black_box(path)
        assert ended is not None
        assert ended.run == replace(run, outcome="ok")
        box.write_run(job, "a%b")
        assert read_black_box(path) == found, "the outcome of the last run is gone"
        box.clear()
        assert read_black_box(path) == BlackBoxRecord()
        box.write_exit("it ends")
        assert read_black_box(path) == BlackBoxRecord(exit_reason="it ends")


def test_an_id_too_long_for_the_page_is_left_out_and_the_rest_stays(tmp_path: Path) -> None:
    job = RunningJob(Reserved(7, b""), JobStats(7, "work", 0, 0, 0, 60, 3, 0, 0, 0))
    job.envelope = Envelope("x", id="a" * 5000)
    with open_box(tmp_path / "job") as box:
        box.write_run(job, "server")
    found = read_black_box(tmp_path / "job")
    assert found is not None
    assert found.run is not None
    assert (found.run.job_id, found.run.uuid) == (7, "")


def test_a_box_of_another_version_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "job").write_bytes(b"12 email.send\n" + bytes(498))
    assert read_black_box(tmp_path / "job") is None


def test_the_rest_of_a_longer_line_is_no_outcome(tmp_path: Path) -> None:
    """Earlier versions wrote the line of each run over the last one, which may have been longer."""
    line = b'{"server":"s","queue":"q","job":"j","job_id":7,"attempt":1,"outcome":""}\n'
    (tmp_path / "job").write_bytes(line + b'":2.5}\n' + bytes(100))
    found = read_black_box(tmp_path / "job")
    assert found is not None
    assert found.run is not None
    assert (found.run.job_id, found.run.outcome) == (7, "")
