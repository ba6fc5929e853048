"""What is remembered between two runs."""

import json
import math
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beanwatch.collectors.poll.derive import derive_queue
from beanwatch.collectors.poll.memory import PollMemory
from beanwatch.collectors.poll.samples import (
    Moment,
    QueueSample,
    ServerSamples,
    StateError,
    StateFile,
    dump_state,
    parse_state,
)
from beanwatch.net.files import LockedError, locked, read_private, write_private
from beanwatch.queues.model import QueueState, ServerState

COUNTS = st.integers(-(2**53), 2**53)
KNOWN = st.none() | COUNTS
NAMES = st.text(st.characters(codec="utf-8"), max_size=50).filter(str.isprintable)
TIMES = st.integers(-(10**6), 10**6).map(float)
SAMPLES = st.builds(QueueSample, TIMES, *[KNOWN] * 5)
KEYS = st.text(st.characters(codec="utf-8"), max_size=20)


def make_memory(values: dict[str, list[int]], tokens: dict[str, tuple[str, float]]) -> PollMemory:
    memory = PollMemory()
    for key, value in values.items():
        memory.remember(key, value)
    for key, (token, since) in tokens.items():
        memory.now = since
        memory.lasting(key, token)
    memory.now = 0.0
    return memory


SERVERS = st.builds(
    ServerSamples,
    st.text(),
    COUNTS,
    st.dictionaries(NAMES, SAMPLES, max_size=4),
    st.frozensets(st.text(), max_size=3),
    st.builds(
        make_memory,
        st.dictionaries(KEYS, st.lists(COUNTS, max_size=3), max_size=3),
        st.dictionaries(KEYS, st.tuples(st.text(), TIMES), max_size=3),
    ),
)


def plain(state: dict[str, ServerSamples]) -> dict[str, object]:
    """What can be compared."""
    return {
        name: (one.instance, one.restarts, one.queues, one.rest, one.memory.dump())
        for name, one in state.items()
    }


@settings(max_examples=50)
@given(st.dictionaries(st.text(), SERVERS, max_size=3))
def test_a_state_comes_back_as_it_was(state: dict[str, ServerSamples]):
    moment = Moment(1e6, 1.7e9)
    found = plain(parse_state(dump_state(state, moment), moment))
    assert json.loads(json.dumps(found, default=sorted)) == json.loads(
        json.dumps(plain(state), default=sorted)
    )


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
ODD_SAMPLES = VALUES | st.tuples(*[VALUES] * 6)
ODD_MEMORY = VALUES | st.fixed_dictionaries(
    {
        "values": VALUES | st.dictionaries(st.text(max_size=3), VALUES, max_size=2),
        "since": VALUES | st.dictionaries(st.text(max_size=3), VALUES, max_size=2),
    }
)
ODD_SERVERS = VALUES | st.fixed_dictionaries(
    {
        "instance": VALUES,
        "restarts": VALUES,
        "queues": VALUES | st.dictionaries(st.text(max_size=300), ODD_SAMPLES, max_size=3),
        "rest": VALUES,
        "memory": ODD_MEMORY,
    }
)
ODD_STATES = st.fixed_dictionaries(
    {
        "format": st.just(2),
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
    queue = QueueState("t", ready=1, puts=5, deletes=9, consumers=1, idle_consumers=0)
    for known in state.values():
        known.memory.now = 11.0
        assert known.memory.lasting("head t", "7") >= 0
        for name, sample in known.queues.items():
            name.encode()
            seen, _ = derive_queue(queue, ServerState(), sample, 11.0)
            assert all(map(math.isfinite, seen.values().values()))


MEMORY = {"values": {}, "since": {}}


def write(path: Path, **changes: object) -> None:
    """A state as it is written, but for the changes to its server."""
    server = {"instance": "a", "restarts": 0, "queues": {}, "rest": [], "memory": MEMORY, **changes}
    path.write_text(json.dumps({"format": 2, "offset": 1e9, "servers": {"q1": server}}))


@pytest.mark.parametrize(
    "changes",
    [
        {"restarts": math.inf},
        {"restarts": 10**400},
        {"queues": {"a\r\nb": [0] * 6}},
        {"queues": {"\ud800": [0] * 6}},
        {"queues": {"a" * 256: [0] * 6}},
        {"queues": {"a": [math.nan] + [0] * 5}},
        {"queues": {"a": [0, 10**400] + [0] * 4}},
        {"memory": {"values": {}, "since": {"head": ["7", -math.inf]}}},
        {"memory": {"values": {}, "since": {"head": ["7"]}}},
    ],
)
def test_a_state_that_would_upset_a_poll_is_refused(tmp_path: Path, changes: dict[str, object]):
    write(tmp_path / "state", **changes)
    with pytest.raises(StateError, match="cannot be understood"):
        StateFile(str(tmp_path / "state")).load()


def test_a_state_of_an_earlier_format_is_refused_and_the_collector_starts_anew(tmp_path: Path):
    (tmp_path / "state").write_text(json.dumps({"format": 1, "offset": 1e9, "servers": {}}))
    with pytest.raises(StateError, match="cannot be understood: format 1"):
        StateFile(str(tmp_path / "state")).load()


def test_a_state_of_brackets_is_refused(tmp_path: Path):
    (tmp_path / "state").write_text("[" * 200_000)
    with pytest.raises(StateError, match="cannot be understood"):
        StateFile(str(tmp_path / "state")).load()


def test_a_fifo_in_the_place_of_the_state_is_not_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "state")
    with pytest.raises(StateError, match="not a regular file"):
        StateFile(str(tmp_path / "state")).load()


def remembering(token: str, since: float, at: float) -> ServerSamples:
    """A server with a queue as of `at`, and a head that was first seen at `since`."""
    memory = make_memory({}, {"head": (token, since)})
    return ServerSamples("a", 0, {"t": QueueSample(at, *[0] * 5)}, memory=memory)


@pytest.mark.parametrize("step", [-3600.0, 1.9])
def test_a_wall_clock_that_is_set_moves_nothing_within_a_boot(tmp_path: Path, step: float):
    path = str(tmp_path / "state")
    state = {"q1": remembering("7", 4000.0, 5000.0)}
    StateFile(path, clock=lambda: 5010.0, wall=lambda: 1e6).save(state)
    after = StateFile(path, clock=lambda: 5015.0, wall=lambda: 1e6 + step).load()
    assert after["q1"].queues == state["q1"].queues
    after["q1"].memory.now = 5015.0
    assert after["q1"].memory.lasting("head", "7") == 1015.0


def test_a_wall_clock_that_was_set_while_it_ran_is_taken_as_it_is_when_saved(tmp_path: Path):
    path = str(tmp_path / "state")
    wall = 0.0  # the host was booted without a clock of its own
    before = StateFile(path, clock=lambda: 60.0, wall=lambda: wall, boot=lambda: "a")
    wall = 1_000_000.0
    before.save({"q1": ServerSamples("a", 0, {"t": QueueSample(50.0, *[0] * 5)})})
    after = StateFile(path, clock=lambda: 20.0, wall=lambda: wall + 30, boot=lambda: "b")
    assert after.load()["q1"].queues["t"].at == pytest.approx(20 - 40)


@pytest.mark.parametrize("boot", ["b", ""])
def test_what_lies_in_the_future_is_forgotten(tmp_path: Path, boot: str):
    path = str(tmp_path / "state")
    before = StateFile(path, clock=lambda: 5010.0, wall=lambda: 1e6, boot=lambda: boot and "a")
    queues = {"early": QueueSample(1000.0, *[0] * 5), "late": QueueSample(5000.0, *[0] * 5)}
    memory = make_memory({}, {"early": ("7", 1000.0), "late": ("8", 4999.0)})
    before.save({"q1": ServerSamples("a", 0, queues, memory=memory)})
    after = StateFile(path, clock=lambda: 20.0, wall=lambda: 1e6 - 3600, boot=lambda: boot)
    found = after.load()["q1"]
    assert found.queues.keys() == {"early"}
    found.memory.now = 20.0
    assert found.memory.lasting("early", "7") == 4010 - 3600
    assert found.memory.lasting("late", "8") == 0


def test_times_are_moved_to_the_clock_of_this_boot(tmp_path: Path):
    path = str(tmp_path / "state")
    before = StateFile(path, clock=lambda: 5010.0, wall=lambda: 1_000_000.0, boot=lambda: "a")
    before.save({"q1": remembering("7", 4000.0, 5000.0)})
    after = StateFile(path, clock=lambda: 20.0, wall=lambda: 1_000_060.0, boot=lambda: "b")
    found = after.load()["q1"]
    assert 20.0 - found.queues["t"].at == pytest.approx(70.0)
    found.memory.now = 20.0
    assert found.memory.lasting("head", "7") == pytest.approx(1070.0)


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
