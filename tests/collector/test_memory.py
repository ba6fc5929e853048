"""What a reader remembers between two polls: no longer than needed, and never without bound."""

import json
from typing import Any

import pytest

from beanwatch.collectors.poll import memory as module
from beanwatch.collectors.poll.memory import PollMemory


@pytest.fixture
def memory() -> PollMemory:
    one = PollMemory()
    one.now = 100.0
    return one


def reload(memory: PollMemory, shift: float = 0.0, now: float = 1e9) -> PollMemory:
    """What another process makes of it."""
    other = PollMemory()
    other.load(json.loads(json.dumps(memory.dump())), shift, now)
    other.now = memory.now + shift
    return other


def test_a_value_is_there_at_once_and_until_a_sweep_does_not_remember_it(memory: PollMemory):
    assert memory.recall("key") is None
    memory.remember("key", [1])
    assert memory.recall("key") == [1]
    memory.forget_old()
    assert memory.recall("key") == [1]
    memory.remember("key", [2])
    assert memory.recall("key") == [2], "the newest"
    memory.forget_old()
    assert memory.recall("key") == [2]
    memory.forget_old()
    assert memory.recall("key") is None


def test_a_token_lasts_as_long_as_each_look_finds_it(memory: PollMemory):
    told = []
    for now, token in ((100, "a"), (110, "a"), (125, "a"), (130, "b"), (131, "b"), (140, "a")):
        memory.now = now
        told.append(memory.lasting("key", token))
        memory.forget_old()
    assert told == [0, 10, 25, 0, 1, 0]


def test_tokens_of_two_keys_are_two(memory: PollMemory):
    memory.lasting("one", "a")
    memory.now = 150
    assert memory.lasting("two", "a") == 0
    assert memory.lasting("one", "a") == 50


def test_two_looks_of_one_sweep_agree(memory: PollMemory):
    memory.lasting("key", "a")
    memory.now = 110
    assert (memory.lasting("key", "a"), memory.lasting("key", "a")) == (10, 10)
    assert (memory.lasting("key", "b"), memory.lasting("key", "a")) == (0, 0)


def test_a_token_that_nobody_looked_for_is_kept_only_if_told_to(memory: PollMemory):
    memory.lasting("kept", "a")
    memory.lasting("lost", "a")
    memory.forget_old()
    for _ in range(3):
        memory.keep("kept")
        memory.keep("unknown")
        memory.forget_old()
    memory.now = 160
    assert memory.lasting("kept", "a") == 60
    assert memory.lasting("lost", "a") == 0
    assert memory.lasting("unknown", "a") == 0


def test_keeping_does_not_undo_a_look(memory: PollMemory):
    memory.lasting("key", "a")
    memory.forget_old()
    memory.now = 110
    memory.lasting("key", "b")
    memory.keep("key")
    memory.now = 120
    assert memory.lasting("key", "b") == 10


def test_polls_of_the_server_alone_forget_nothing(memory: PollMemory):
    """Only a sweep says which queues there are."""
    memory.remember("queue", [1])
    memory.lasting("queue", "a")
    memory.forget_old()
    for _ in range(5):
        memory.remember("server", [2])
    memory.now = 160
    assert memory.recall("queue") == [1]
    assert memory.lasting("queue", "a") == 60


def test_a_clock_that_went_back_makes_no_negative_time(memory: PollMemory):
    memory.lasting("key", "a")
    memory.forget_old()
    memory.now = 90
    assert memory.lasting("key", "a") == 0


def test_it_never_grows_beyond_its_bound(memory: PollMemory, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MAX_ENTRIES", 10)
    for sweep in range(3):
        for number in range(100):
            memory.remember(f"{sweep} {number}", number)
            memory.lasting(f"{sweep} {number}", "a")
        memory.remember(f"{sweep} 5", "changed")
        memory.forget_old()
        dumped = memory.dump()
        assert {name: len(entries) for name, entries in dumped.items()} == {
            "values": 10,
            "since": 10,
        }
        assert memory.recall(f"{sweep} 9") == 9
        assert memory.recall(f"{sweep} 10") is None
        assert memory.recall(f"{sweep} 5") == "changed", "what is known is not a new entry"


def test_sweeps_that_never_come_to_an_end_do_not_let_it_grow(
    memory: PollMemory, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "MAX_ENTRIES", 10)
    for number in range(100):
        memory.remember(str(number), number)
        memory.lasting(str(number), "a")
    assert {len(entries) for entries in memory.dump().values()} == {10}


def test_what_is_over_the_bound_is_new_at_each_look(
    memory: PollMemory, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "MAX_ENTRIES", 1)
    told = []
    for now in (100, 110, 120):
        memory.now = now
        told.append((memory.lasting("one", "a"), memory.lasting("two", "a")))
        memory.forget_old()
    assert told == [(0, 0), (10, 0), (20, 0)]


def test_another_process_goes_on_with_what_was_saved(memory: PollMemory):
    memory.remember("old", [1])
    memory.lasting("old", "a")
    memory.forget_old()
    memory.now = 110
    memory.remember("new", [2])
    memory.lasting("new", "b")
    memory.keep("old")
    other = reload(memory)
    other.now = 120
    assert (other.recall("old"), other.recall("new")) == ([1], [2])
    assert (other.lasting("old", "a"), other.lasting("new", "b")) == (20, 10)


def test_what_is_saved_is_the_newest(memory: PollMemory):
    memory.remember("key", [1])
    memory.lasting("key", "a")
    memory.forget_old()
    memory.now = 110
    memory.remember("key", [2])
    memory.lasting("key", "b")
    other = reload(memory)
    other.now = 120
    assert (other.recall("key"), other.lasting("key", "b")) == ([2], 10)


def test_its_times_are_moved_to_another_clock(memory: PollMemory):
    memory.lasting("key", "a")
    memory.now = 130
    other = reload(memory, shift=-1000)
    assert other.lasting("key", "a") == 30
    other.now += 5
    assert other.lasting("key", "a") == 35


def test_what_would_be_in_the_future_is_left_out(memory: PollMemory):
    memory.lasting("early", "a")
    memory.now = 150
    memory.lasting("late", "a")
    other = reload(memory, now=120)
    other.now = 200
    assert other.lasting("early", "a") == 100
    assert other.lasting("late", "a") == 0


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"values": {}},
        {"values": 7, "since": {}},
        {"values": {}, "since": [1]},
        {"values": {}, "since": {"a": 1}},
        {"values": {}, "since": {"a": ["b"]}},
        {"values": {}, "since": {"a": ["b", "c"]}},
        {"values": {}, "since": {"a": ["b", None]}},
        {"values": {}, "since": {"a": ["b", float("nan")]}},
        {"values": {}, "since": {"a": ["b", float("-inf")]}},
        {"values": {}, "since": {"a": ["b", 10**400]}},
    ],
)
def test_a_record_of_another_shape_is_refused(record: dict[str, Any]):
    """By what Python raises: whoever reads the file makes one error of them."""
    errors = (KeyError, TypeError, ValueError, AttributeError, OverflowError)
    with pytest.raises(errors):
        PollMemory().load(record, 0.0, 1e9)
