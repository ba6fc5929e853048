"""What follows from two readings of a queue, and what several queues are together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beanwatch.collectors.poll.derive import (
    ObservedQueue,
    absent_queue,
    derive_drain,
    derive_queue,
    merge,
    server_values,
)
from beanwatch.collectors.poll.samples import QueueSample, ServerSamples
from beanwatch.queues.base import System
from beanwatch.queues.consumers import CODES, STATES
from beanwatch.queues.model import QueueState, ServerState
from beanwatch.queues.registry import find_system
from beanwatch.telemetry.series import QUEUE, SERVER

SERVER_STATE = ServerState(reserved=0)
ZEROS = QueueState("t", *[0] * 8, head_ready_age=0.0, head_buried_age=0.0, missing_jobs=0, held=0)


def queue(**fields: int | float | None) -> QueueState:
    return ZEROS._replace(**fields)  # type: ignore[arg-type]


def derive(
    state: QueueState, before: QueueSample | None = None, now: float = 110.0
) -> tuple[ObservedQueue, QueueSample]:
    return derive_queue(state, SERVER_STATE, before, now)


def test_the_first_reading_has_no_rates():
    seen, _ = derive(queue(puts=10, deletes=4, ready=6))
    assert (seen.put_rate, seen.delete_rate, seen.drain_seconds) == (None, None, None)
    values = seen.values()
    assert not {"put_rate", "delete_rate", "drain_seconds"} & values.keys()
    assert (values["puts"], values["ready"]) == (10, 6)


def test_two_readings_give_rates_and_an_estimate_of_the_end():
    _, before = derive(queue(puts=10, deletes=4, ready=6), now=100.0)
    seen, _ = derive(queue(puts=20, deletes=16, ready=4), before, 104.0)
    assert (seen.put_rate, seen.delete_rate, seen.drain_seconds) == (2.5, 3.0, 8.0)


@pytest.mark.parametrize(
    ("ready", "puts", "deletes", "seconds"),
    [
        (0, None, None, 0),
        (5, None, 1.0, None),
        (5, 1.0, None, None),
        (5, 1.0, 1.0, None),
        (5, 2.0, 1.0, None),
        (None, 1.0, 2.0, None),
    ],
)
def test_a_queue_that_does_not_shrink_or_is_not_known_has_no_end(ready, puts, deletes, seconds):
    assert derive_drain(ready, puts, deletes) == seconds


def test_a_queue_that_came_back_starts_anew():
    _, before = derive(queue(puts=100, deletes=100), now=100.0)
    seen, after = derive(queue(puts=3, deletes=1, ready=2), before)
    assert (seen.put_rate, seen.delete_rate) == (None, None)
    assert (after.puts, after.deletes) == (3, 1)


def test_one_counter_that_fell_tells_that_the_other_is_another_too():
    _, before = derive(queue(puts=3, deletes=3), now=100.0)
    seen, _ = derive(queue(puts=9, deletes=1, ready=8), before)
    assert (seen.put_rate, seen.delete_rate) == (None, None)


@pytest.mark.parametrize("field", ["puts", "deletes"])
def test_a_counter_that_is_not_known_at_one_look_has_no_rate_and_spoils_no_other(field: str):
    other = "delete_rate" if field == "puts" else "put_rate"
    _, before = derive(queue(puts=10, deletes=10), now=100.0)
    seen, unknown = derive(queue(puts=20, deletes=20)._replace(**{field: None}), before)
    assert getattr(seen, other) == 1.0
    seen, _ = derive(queue(puts=30, deletes=30), unknown, 120.0)
    assert getattr(seen, other) == 1.0
    assert {seen.put_rate, seen.delete_rate} == {1.0, None}


def test_what_a_system_cannot_tell_has_no_series():
    state = QueueState("t", ready=3)
    _, before = derive(state, now=100.0)
    seen, _ = derive(state, before)
    assert seen.values() == {"ready": 3}


def test_the_native_numbers_keep_their_names():
    seen, _ = derive(queue()._replace(native={"current_using": 4}))
    assert seen.values()["current_using"] == 4


def test_consumers_are_judged_by_both_samples():
    busy = queue(ready=5, consumers=1, held=1, reserved=1)
    seen, before = derive(busy, now=100.0)
    assert seen.consumer_state == "saturated"
    assert seen.values()["consumer_state"] == CODES["saturated"]
    seen, _ = derive(busy._replace(ready=4), before)
    assert seen.consumer_state == "ok", "it shrinks"


def test_every_series_of_a_queue_and_no_other_is_there():
    state = queue(redeliveries=0)
    _, before = derive(state, now=100.0)
    seen, _ = derive(state, before)
    assert set(seen.values()) == set(QUEUE.names)


def test_an_absent_queue_has_the_series_that_its_system_declares():
    system = find_system("beanstalkd")
    derived = {"put_rate", "delete_rate", "drain_seconds", "consumer_state"}
    values = absent_queue(system)
    assert set(values) == {name for name in QUEUE.names if system.can_tell(name)} | derived
    assert set(values.values()) == {0}


def test_an_absent_queue_of_a_system_where_it_is_not_an_empty_one_has_none():
    system: System = find_system("beanstalkd")._replace(absent_is_empty=False)
    assert absent_queue(system) == {}


def test_every_series_of_a_server_is_there_that_is_known():
    counts = dict.fromkeys(("connections", "queues", "ready", "reserved", "delayed", "buried"), 1)
    state = ServerState(uptime=9, memory=5, puts=7, draining=True, native={"cmd_put": 8}, **counts)
    values = server_values(state, 2, 1)
    assert set(values) == {*SERVER.names, "cmd_put"}
    assert (values["up"], values["restarts"], values["missing_jobs"]) == (1, 2, 1)
    assert values["draining"] == 1
    assert server_values(ServerState(version="7"), 0, None) == {"up": 1, "restarts": 0}


def test_a_restart_forgets_what_cannot_be_compared_and_is_counted():
    samples = ServerSamples()
    samples.enter_instance("a")
    assert samples.restarts == 0, "the first sight is no restart"
    samples.queues["t"] = derive(queue())[1]
    samples.enter_instance("a")
    samples.enter_instance(None)
    assert "t" in samples.queues
    samples.enter_instance("b")
    assert (samples.restarts, samples.queues) == (1, {})


def observed(put_rate: float | None = 0.0, state: str | None = "ok", **fields) -> ObservedQueue:
    return ObservedQueue(queue(redeliveries=0, **fields), put_rate, 0.0, 0.0, state)


def test_queues_in_one_series_are_summed_but_for_ages_and_states():
    one = observed(0.5, "stalled", ready=1, head_ready_age=10.0)
    two = observed(1.5, "ok", ready=2, head_ready_age=99.0)
    values = merge([one, two])
    assert (values["ready"], values["put_rate"]) == (3, 2.0)
    assert (values["head_ready_age"], values["consumer_state"]) == (99.0, CODES["stalled"])


def test_a_sum_with_an_unknown_part_is_unknown():
    values = merge([observed(ready=1), observed(None, ready=None)])
    assert not {"ready", "put_rate"} & values.keys()
    assert values["buried"] == 0


def test_where_an_age_is_not_known_of_one_of_them_the_others_are_the_least_it_can_be():
    empty, known = observed(), observed(ready=1, buried=1, head_ready_age=100.0)
    unknown = observed(ready=5, buried=1, head_ready_age=None, head_buried_age=None)
    unknown = unknown._replace(drain_seconds=None)
    ages = {"head_ready_age", "head_buried_age", "drain_seconds"}
    assert not ages & merge([empty, unknown]).keys()
    some = merge([known, unknown, empty])
    assert some["head_ready_age"] == 100
    assert not {"head_buried_age", "drain_seconds"} & some.keys()
    both = merge([empty, known])
    assert (both["head_ready_age"], both["head_buried_age"]) == (100, 0)
    assert merge([empty, empty])["drain_seconds"] == 0


def test_what_several_queues_are_together_has_no_native_numbers():
    one = observed()
    one = one._replace(state=one.state._replace(native={"current_using": 4}))
    assert set(merge([one, one])) == set(QUEUE.names)


COUNTS = st.none() | st.integers(0, 2**63 - 1)
AGES = st.none() | st.floats(0, 1e9)


@given(
    st.builds(
        QueueState,
        st.just("t"),
        *[COUNTS] * 9,
        head_ready_age=AGES,
        head_buried_age=AGES,
        missing_jobs=COUNTS,
        held=COUNTS,
        native=st.just({}),
    ),
    st.none() | st.builds(QueueSample, st.floats(0, 200), *[COUNTS] * 5),
)
def test_no_reading_makes_a_negative_or_an_odd_number(
    state: QueueState, before: QueueSample | None
):
    seen, sample = derive_queue(state, SERVER_STATE, before, 110.0)
    assert all(value >= 0 for value in seen.values().values())
    assert sample.at == 110.0
    assert seen.consumer_state is None or seen.consumer_state in STATES
