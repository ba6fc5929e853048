"""What is remembered between two runs."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beanwatch.collectors.files import LockedError, locked, read_private, write_private
from beanwatch.collectors.samples import (
    Head,
    Rejected,
    ServerSamples,
    StateError,
    StateFile,
    TubeSample,
    dump_state,
    parse_state,
)

COUNTS = st.integers(-(2**53), 2**53)
TIMES = st.integers(-(10**6), 10**6).map(float)
HEADS = st.none() | st.builds(Head, COUNTS, TIMES)
SAMPLES = st.builds(TubeSample, TIMES, *[COUNTS] * 6, HEADS, HEADS)
SERVERS = st.builds(
    ServerSamples,
    st.text(),
    COUNTS,
    st.dictionaries(st.text(), SAMPLES, max_size=4),
    st.frozensets(st.text(), max_size=3),
    st.none() | st.builds(Rejected, COUNTS, COUNTS),
)


@settings(max_examples=50)
@given(st.dictionaries(st.text(), SERVERS, max_size=3))
def test_a_state_comes_back_as_it_was(state: dict[str, ServerSamples]):
    assert parse_state(dump_state(state, 1.7e9), 1.7e9) == state


@given(st.binary(max_size=200) | st.text().map(str.encode))
def test_any_other_content_is_a_value_error(content: bytes):
    with pytest.raises(ValueError):
        parse_state(content, 0.0)


def test_times_are_moved_to_the_clock_of_this_boot(tmp_path: Path):
    path = str(tmp_path / "state")
    sample = TubeSample(5000.0, 1, 1, 0, 0, 0, 0, Head(7, 4000.0))
    before = StateFile(path, clock=lambda: 5010.0, wall=lambda: 1_000_000.0)
    before.save({"q1": ServerSamples("a", 0, {"t": sample})})
    after = StateFile(path, clock=lambda: 20.0, wall=lambda: 1_000_060.0)  # booted since
    found = after.load()["q1"].tubes["t"]
    assert 20.0 - found.at == pytest.approx(70.0)
    assert found.ready_head == Head(7, 20.0 - 1070.0)


def test_a_state_that_cannot_be_read_is_an_error_that_names_it(tmp_path: Path):
    path = tmp_path / "state"
    path.mkdir()
    with pytest.raises(StateError, match=str(path)):
        StateFile(str(path)).load()
    with pytest.raises(StateError, match=str(path)):
        StateFile(str(path)).save({})
    assert list(tmp_path.iterdir()) == [path], "nothing is left lying about"


def test_a_file_is_replaced_as_a_whole_and_privately(tmp_path: Path):
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(0o644)
    write_private(str(path), b"new")
    assert read_private(str(path)) == b"new"
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_a_killed_writer_left_does_not_stop_the_next(tmp_path: Path):
    import os

    (tmp_path / f"file.{os.getpid()}.new").write_text("half")
    write_private(str(tmp_path / "file"), b"whole")
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_a_symlink_is_neither_read_nor_locked_nor_written_through(tmp_path: Path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"precious")
    link.symlink_to(target)
    with pytest.raises(OSError, match="symbolic"):
        read_private(str(link))
    with pytest.raises(OSError, match="symbolic"), locked(str(link)):
        pass
    write_private(str(link), b"new")  # replaces the link itself
    assert target.read_bytes() == b"precious"


def test_a_lock_is_for_one(tmp_path: Path):
    path = str(tmp_path / "lock")
    with locked(path), pytest.raises(LockedError, match=path), locked(path):
        pass
    with locked(path):
        pass
