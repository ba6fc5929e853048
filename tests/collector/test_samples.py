"""What is remembered between two runs."""

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beanwatch.collectors.poll.derive import derive_queue
from beanwatch.collectors.poll.memory import PollMemory
from beanwatch.collectors.poll.observer import Observer
from beanwatch.collectors.poll.samples import (
    STATE_FORMAT,
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
from beanwatch.queues.servers import Server, parse_server
from tests.queues.liar import Liar

COUNTS = st.integers(-(2**53), 2**53)
NAMES = st.text(st.characters(codec="utf-8"), max_size=50).filter(str.isprintable)
TIMES = st.integers(-(10**6), 10**6).map(float)
SAMPLES = st.builds(QueueSample, TIMES, *[st.none() | COUNTS] * 5)


def memory_of(values: dict[str, Any], since: dict[str, tuple[str, float]]) -> PollMemory:
    """A memory that holds this."""
    memory = PollMemory()
    memory.load({"values": values, "since": since}, 0.0, 1e9)
    return memory


MEMORIES = st.builds(
    memory_of,
    st.dictionaries(st.text(), st.none() | st.lists(COUNTS | st.text()), max_size=4),
    st.dictionaries(st.text(), st.tuples(st.text(), TIMES), max_size=4),
)
SERVERS = st.builds(
    ServerSamples,
    st.text(),
    COUNTS,
    st.dictionaries(NAMES, SAMPLES, max_size=4),
    st.frozensets(st.text(), max_size=3),
    MEMORIES,
    st.none() | TIMES,
    st.text(),
)


def shown(state: dict[str, ServerSamples]) -> dict[str, tuple[object, ...]]:
    """A state in a form that can be compared."""
    return {
        address: (
            *(known.instance, known.restarts, known.queues, known.rest, known.memory.dump()),
            *(known.swept_at, known.selection),
        )
        for address, known in state.items()
    }


@settings(max_examples=50)
@given(st.dictionaries(st.text(), SERVERS, max_size=3))
def test_a_state_comes_back_as_it_was(state: dict[str, ServerSamples]):
    moment = Moment(1e6, 1.7e9)
    assert shown(parse_state(dump_state(state, moment), moment)) == shown(state)


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
ODD_SAMPLES = VALUES | st.tuples(VALUES, *[VALUES] * 5)
ID = "0000000000000042"  # of the server below
KEYS = st.sampled_from(
    ["rejected q1", "rejected q1 at", "missing q1 t", "head q1 ready t", "head q1 buried t"]
)
ODD_VALUES = VALUES | st.lists(VALUES, max_size=5).map(lambda values: [ID, *values])
ODD_TOKENS = VALUES | st.tuples(st.sampled_from([f"{ID} 7", f"{ID} 8", "0"]), VALUES)
ODD_MEMORIES = VALUES | st.fixed_dictionaries(
    {
        "values": VALUES | st.dictionaries(KEYS, ODD_VALUES, max_size=3),
        "since": VALUES | st.dictionaries(KEYS, ODD_TOKENS, max_size=3),
    }
)
ODD_SERVERS = VALUES | st.fixed_dictionaries(
    {
        "instance": VALUES | st.just(ID),
        "restarts": VALUES | st.just(1),
        "queues": VALUES | st.dictionaries(st.text(max_size=300), ODD_SAMPLES, max_size=3),
        "rest": VALUES | st.just([]),
        "memory": ODD_MEMORIES,
    }
)
ODD_STATES = st.fixed_dictionaries(
    {
        "format": st.just(STATE_FORMAT),
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
    queue = QueueState("t", ready=1, puts=5, deletes=9)
    for known in state.values():
        known.memory.now = 11.0
        for key in list(known.memory.dump()["since"]):
            assert math.isfinite(known.memory.lasting(key, "7"))
        for name, sample in known.queues.items():
            name.encode()
            observed, _ = derive_queue(queue, ServerState(), sample, 11.0)
            assert all(map(math.isfinite, observed.values().values()))


@settings(max_examples=100)
@given(ODD_MEMORIES)
def test_an_odd_memory_is_a_value_error_or_does_a_poll_no_harm(record: object):
    servers = {"q": {"instance": ID, "restarts": 0, "queues": {}, "rest": [], "memory": record}}
    content = {"format": STATE_FORMAT, "boot": "b", "offset": 0.0, "servers": servers}
    try:
        state = parse_state(json.dumps(content).encode(), Moment(10.0, 1e9, "b"))
    except ValueError:
        return
    with Liar() as server:
        observer = Observer(
            Server("q1", parse_server(server.address)), state["q"], clock=lambda: 11.0
        )
        for _ in range(2):
            seen = observer.observe()
            assert not seen.trouble
            assert seen.state is not None
            assert seen.queues is not None
            values = [*seen.queues["t"].values().values(), *seen.state.native.values()]
            assert all(math.isfinite(value) for value in values)
            assert seen.queues["t"].state.head_buried_age >= 0
        observer.close()


def write(path: Path, **changes: object) -> None:
    """A state as it is written, but for the changes to its server."""
    server = {
        "instance": "a",
        "restarts": 0,
        "queues": {},
        "rest": [],
        "memory": {"values": {}, "since": {}},
        **changes,
    }
    record = {"format": STATE_FORMAT, "boot": "", "offset": 1e9, "servers": {"q1": server}}
    path.write_text(json.dumps(record))


def test_a_state_that_is_as_it_should_be_is_not_refused(tmp_path: Path):
    write(tmp_path / "state")
    assert StateFile(str(tmp_path / "state")).load()["q1"].instance == "a"


@pytest.mark.parametrize(
    "changes",
    [
        {"restarts": math.inf},
        {"restarts": 10**400},
        {"queues": {"a": [math.nan] + [0] * 5}},
        {"queues": {"a": [-math.inf] + [0] * 5}},
        {"queues": {"a": [0, 10**400] + [0] * 4}},
        {"queues": {"a": [0] * 5}},
        {"queues": {"a": [0] * 7}},
        {"memory": {}},
        {"memory": {"values": {}, "since": {"head q1 ready t": ["a 7", -math.inf]}}},
        {"memory": {"values": {}, "since": {"head q1 ready t": ["a 7", math.nan]}}},
    ],
)
def test_a_state_that_would_upset_a_poll_is_refused(tmp_path: Path, changes: dict[str, object]):
    write(tmp_path / "state", **changes)
    with pytest.raises(StateError, match="cannot be understood"):
        StateFile(str(tmp_path / "state")).load()


def test_a_queue_of_any_name_keeps_its_numbers_and_takes_none_from_others(tmp_path: Path):
    names = ["a\r\nb", "a\tb", "é" * 255, "mail\u200b"]  # Gearman and databases allow them
    write(tmp_path / "state", queues={name: [0, 7, 7, 0, 0, 0] for name in (*names, "plain")})
    samples = StateFile(str(tmp_path / "state")).load()["q1"].queues
    assert samples.keys() == {*names, "plain"}


def test_a_state_of_another_format_is_refused(tmp_path: Path):
    """Format 1 is of before the queue model: the collector says so, and starts anew."""
    for number in (1, 3, "2", None):
        write(tmp_path / "state")
        record = json.loads((tmp_path / "state").read_text()) | {"format": number}
        (tmp_path / "state").write_text(json.dumps(record))
        with pytest.raises(StateError, match=f"cannot be understood: unknown format {number!r}"):
            StateFile(str(tmp_path / "state")).load()


def test_a_state_of_brackets_is_refused(tmp_path: Path):
    (tmp_path / "state").write_text("[" * 200_000)
    with pytest.raises(StateError, match="cannot be understood"):
        StateFile(str(tmp_path / "state")).load()


def test_a_fifo_in_the_place_of_the_state_is_not_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "state")
    with pytest.raises(StateError, match="not a regular file"):
        StateFile(str(tmp_path / "state")).load()


def sampled(at: float, since: float) -> dict[str, ServerSamples]:
    """A server with one queue, seen at this time, whose head is there since that one."""
    memory = memory_of({"key": [1]}, {"head": ("a 7", since)})
    return {"q1": ServerSamples("a", 0, {"t": QueueSample(at, *[0] * 5)}, memory=memory)}


def head_age(known: ServerSamples, now: float) -> float:
    """How long the head of its queue has been there."""
    known.memory.now = now
    return known.memory.lasting("head", "a 7")


@pytest.mark.parametrize("step", [-3600.0, 1.9])
def test_a_wall_clock_that_is_set_moves_nothing_within_a_boot(tmp_path: Path, step: float):
    path = str(tmp_path / "state")
    state = sampled(5000.0, 4000.0)
    StateFile(path, clock=lambda: 5010.0, wall=lambda: 1e6).save(state)
    after = StateFile(path, clock=lambda: 5015.0, wall=lambda: 1e6 + step)
    assert shown(after.load()) == shown(state)


def test_a_wall_clock_that_was_set_while_it_ran_is_taken_as_it_is_when_saved(tmp_path: Path):
    path = str(tmp_path / "state")
    wall = 0.0  # the host was booted without a clock of its own
    before = StateFile(path, clock=lambda: 60.0, wall=lambda: wall, boot=lambda: "a")
    wall = 1_000_000.0
    before.save(sampled(50.0, 40.0))
    after = StateFile(path, clock=lambda: 20.0, wall=lambda: wall + 30, boot=lambda: "b")
    known = after.load()["q1"]
    assert known.queues["t"].at == pytest.approx(20 - 40)
    assert head_age(known, 20.0) == pytest.approx(50)


@pytest.mark.parametrize("boot", ["b", ""])
def test_what_lies_in_the_future_is_forgotten(tmp_path: Path, boot: str):
    path = str(tmp_path / "state")
    before = StateFile(path, clock=lambda: 5010.0, wall=lambda: 1e6, boot=lambda: boot and "a")
    early, late = QueueSample(1000.0, *[0] * 5), QueueSample(5000.0, *[0] * 5)
    memory = memory_of({}, {"early": ("7", 1000.0), "late": ("8", 4999.0)})
    before.save({"q1": ServerSamples("a", 0, {"early": early, "late": late}, memory=memory)})
    after = StateFile(path, clock=lambda: 20.0, wall=lambda: 1e6 - 3600, boot=lambda: boot)
    known = after.load()["q1"]
    assert known.queues.keys() == {"early"}
    assert known.memory.dump()["since"] == {"early": ("7", 20 - 4010 + 3600)}


def test_times_are_moved_to_the_clock_of_this_boot(tmp_path: Path):
    path = str(tmp_path / "state")
    before = StateFile(path, clock=lambda: 5010.0, wall=lambda: 1_000_000.0, boot=lambda: "a")
    before.save(sampled(5000.0, 4000.0))
    after = StateFile(path, clock=lambda: 20.0, wall=lambda: 1_000_060.0, boot=lambda: "b")
    known = after.load()["q1"]
    assert 20.0 - known.queues["t"].at == pytest.approx(70.0)
    assert head_age(known, 20.0) == pytest.approx(1070.0)


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
