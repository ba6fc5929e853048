"""What is remembered between two runs."""

import json
import math
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beanwatch.collectors.poll.derive import Jobs, derive_queue, derive_rejected
from beanwatch.collectors.poll.samples import (
    Head,
    Moment,
    QueueSample,
    Rejected,
    ServerSamples,
    StateError,
    StateFile,
    dump_state,
    parse_state,
)
from beanwatch.net.files import LockedError, locked, read_private, write_private
from beanwatch.queues.beanstalkd.stats import Stats

COUNTS = st.integers(-(2**53), 2**53)
NAMES = st.text(st.characters(codec="utf-8"), max_size=50).filter(str.isprintable)
TIMES = st.integers(-(10**6), 10**6).map(float)
HEADS = st.none() | st.builds(Head, COUNTS, TIMES)
SAMPLES = st.builds(QueueSample, TIMES, *[COUNTS] * 6, HEADS, HEADS)
SERVERS = st.builds(
    ServerSamples,
    st.text(),
    COUNTS,
    st.dictionaries(NAMES, SAMPLES, max_size=4),
    st.frozensets(st.text(), max_size=3),
    st.none() | st.builds(Rejected, COUNTS, COUNTS),
)


@settings(max_examples=50)
@given(st.dictionaries(st.text(), SERVERS, max_size=3))
def test_a_state_comes_back_as_it_was(state: dict[str, ServerSamples]):
    moment = Moment(1e6, 1.7e9)
    assert parse_state(dump_state(state, moment), moment) == state


@given(st.binary(max_size=200) | st.text().map(str.encode))
def test_any_other_content_is_a_value_error(content: bytes):
    with pytest.raises(ValueError):
        parse_state(content, Moment(0.0, 0.0))


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=9)
    | st.sampled_from([10**400, math.inf, -1e308, "1", 1]),
    lambda values: st.lists(values, max_size=9) | st.dictionaries(st.text(max_size=3), values),
    max_leaves=20,
)
ODD_SAMPLES = VALUES | st.tuples(VALUES, *[VALUES] * 6, VALUES, VALUES)
ODD_SERVERS = VALUES | st.fixed_dictionaries(
    {
        "life": VALUES,
        "restarts": VALUES,
        "queues": VALUES | st.dictionaries(st.text(max_size=300), ODD_SAMPLES, max_size=3),
        "rest": VALUES,
        "rejected": VALUES,
    }
)
ODD_STATES = st.fixed_dictionaries(
    {
        "format": st.just(1),
        "boot": VALUES,
        "offset": VALUES | st.floats(),
        "servers": VALUES | st.dictionaries(st.text(max_size=3), ODD_SERVERS, max_size=2),
    }
)


@settings(max_examples=300)
@given(ODD_STATES)
def test_odd_values_are_a_value_error_or_can_be_used(record: dict[str, object]):
    try:
        state = parse_state(json.dumps(record).encode(), Moment(10.0, 1e9, "b"))
    except ValueError:
        return
    stats: Stats = {"current-jobs-ready": 1, "total-jobs": 5, "cmd-delete": 9}
    job: Stats = {"id": "7", "reserves": 1}
    for known in state.values():
        derive_rejected(stats, known.rejected)
        for name, sample in known.queues.items():
            name.encode()
            values, _ = derive_queue(stats, Jobs(job, job), sample, 11.0, {})
            assert all(map(math.isfinite, values.values()))
            assert values["head_ready_age"] >= 0


def write(path: Path, **changes: object) -> None:
    """A state as it was written by an earlier release, but for the changes to its server."""
    server = {"life": "a", "restarts": 0, "queues": {}, "rest": [], "rejected": None, **changes}
    path.write_text(json.dumps({"format": 1, "offset": 1e9, "servers": {"q1": server}}))


@pytest.mark.parametrize(
    "changes",
    [
        {"restarts": math.inf},
        {"restarts": 10**400},
        {"queues": {"a\r\nb": [0] * 7 + [None] * 2}},
        {"queues": {"\ud800": [0] * 7 + [None] * 2}},
        {"queues": {"a" * 201: [0] * 7 + [None] * 2}},
        {"queues": {"a": [math.nan] + [0] * 6 + [None] * 2}},
        {"queues": {"a": [0, 10**400] + [0] * 5 + [None] * 2}},
        {"queues": {"a": [0] * 7 + [[7, -math.inf], None]}},
    ],
)
def test_a_state_that_would_upset_a_poll_is_refused(tmp_path: Path, changes: dict[str, object]):
    write(tmp_path / "state", **changes)
    with pytest.raises(StateError, match="cannot be understood"):
        StateFile(str(tmp_path / "state")).load()


def test_a_state_of_brackets_is_refused(tmp_path: Path):
    (tmp_path / "state").write_text("[" * 200_000)
    with pytest.raises(StateError, match="cannot be understood"):
        StateFile(str(tmp_path / "state")).load()


def test_a_fifo_in_the_place_of_the_state_is_not_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "state")
    with pytest.raises(StateError, match="not a regular file"):
        StateFile(str(tmp_path / "state")).load()


@pytest.mark.parametrize("step", [-3600.0, 1.9])
def test_a_wall_clock_that_is_set_moves_nothing_within_a_boot(tmp_path: Path, step: float):
    path = str(tmp_path / "state")
    state = {"q1": ServerSamples("a", 0, {"t": QueueSample(5000.0, *[0] * 6, Head(7, 4000.0))})}
    StateFile(path, clock=lambda: 5010.0, wall=lambda: 1e6).save(state)
    after = StateFile(path, clock=lambda: 5015.0, wall=lambda: 1e6 + step)
    assert after.load() == state


def test_a_wall_clock_that_was_set_while_it_ran_is_taken_as_it_is_when_saved(tmp_path: Path):
    path = str(tmp_path / "state")
    wall = 0.0  # the host was booted without a clock of its own
    before = StateFile(path, clock=lambda: 60.0, wall=lambda: wall, boot=lambda: "a")
    wall = 1_000_000.0
    before.save({"q1": ServerSamples("a", 0, {"t": QueueSample(50.0, *[0] * 6)})})
    after = StateFile(path, clock=lambda: 20.0, wall=lambda: wall + 30, boot=lambda: "b")
    assert after.load()["q1"].queues["t"].at == pytest.approx(20 - 40)


@pytest.mark.parametrize("boot", ["b", ""])
def test_what_lies_in_the_future_is_forgotten(tmp_path: Path, boot: str):
    path = str(tmp_path / "state")
    before = StateFile(path, clock=lambda: 5010.0, wall=lambda: 1e6, boot=lambda: boot and "a")
    early, late = Head(7, 1000.0), Head(8, 4999.0)
    queues = {
        "early": QueueSample(1000.0, *[0] * 6, early),
        "late": QueueSample(5000.0, *[0] * 6),
        "mixed": QueueSample(1000.0, *[0] * 6, early, late),
    }
    before.save({"q1": ServerSamples("a", 0, queues)})
    after = StateFile(path, clock=lambda: 20.0, wall=lambda: 1e6 - 3600, boot=lambda: boot)
    found = after.load()["q1"].queues
    assert found.keys() == {"early", "mixed"}
    assert found["mixed"].ready_head == found["early"].ready_head == Head(7, 20 - 4010 + 3600)
    assert found["mixed"].buried_head is None


def test_a_state_of_an_earlier_release_is_understood(tmp_path: Path):
    write(tmp_path / "state", queues={"t": [5000.0, *[0] * 6, None, [7, 4000.0]]})
    after = StateFile(str(tmp_path / "state"), clock=lambda: 20.0, wall=lambda: 1e9 + 5010)
    sample = after.load()["q1"].queues["t"]
    assert (20 - sample.at, sample.buried_head) == (10, Head(7, 20 - 1010))


def test_times_are_moved_to_the_clock_of_this_boot(tmp_path: Path):
    path = str(tmp_path / "state")
    sample = QueueSample(5000.0, 1, 1, 0, 0, 0, 0, Head(7, 4000.0))
    before = StateFile(path, clock=lambda: 5010.0, wall=lambda: 1_000_000.0, boot=lambda: "a")
    before.save({"q1": ServerSamples("a", 0, {"t": sample})})
    after = StateFile(path, clock=lambda: 20.0, wall=lambda: 1_000_060.0, boot=lambda: "b")
    found = after.load()["q1"].queues["t"]
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
