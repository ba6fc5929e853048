"""What follows from two readings of a queue, on literal states of the model."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beanwatch.collectors.poll.derive import (
    QUEUE_MEASURES,
    SERVER_MEASURES,
    ObservedQueue,
    absent_queue,
    derive_drain,
    derive_queue,
    merge,
    server_values,
)
from beanwatch.collectors.poll.observer import Observation
from beanwatch.collectors.poll.samples import QueueSample, ServerSamples
from beanwatch.queues import servers
from beanwatch.queues.beanstalkd.stats import ImplausibleValues, parse_stats, read_tube, to_server
from beanwatch.queues.consumers import CODES
from beanwatch.queues.model import EMPTY_QUEUE, NOTHING, QueueState, ServerState
from beanwatch.queues.registry import find_system
from beanwatch.queues.servers import resolve_servers
from beanwatch.telemetry.series import QUEUE, SERVER
from tests.queues.formats import SERVERS, TUBES

BEANSTALKD = find_system("beanstalkd")
ZEROS = {name: 0 for name in QUEUE_MEASURES if name in BEANSTALKD.queue_fields}
RUNNING = ServerState(reserved=0)


def queue(name: str = "t", **fields: Any) -> QueueState:
    return QueueState(name, **{**ZEROS, "held": 0, **fields})


def derive(
    state: QueueState, before: QueueSample | None = None, now: float = 110.0
) -> tuple[dict[str, Any], QueueSample]:
    observed, sample = derive_queue(state, RUNNING, before, now)
    return observed.values(), sample


def test_the_first_reading_has_no_rates():
    values, _ = derive(queue(puts=10, deletes=4, ready=6))
    assert "put_rate" not in values
    assert "delete_rate" not in values
    assert values["puts"] == 10


def test_two_readings_give_rates_and_an_estimate_of_the_end():
    _, before = derive(queue(puts=10, deletes=4, ready=6), now=100.0)
    values, _ = derive(queue(puts=20, deletes=16, ready=4), before, 104.0)
    assert (values["put_rate"], values["delete_rate"]) == (2.5, 3.0)
    assert values["drain_seconds"] == 8.0


@pytest.mark.parametrize(
    ("ready", "puts", "deletes", "seconds"),
    [
        (0, None, None, 0),
        (5, None, 1.0, None),
        (5, 1.0, None, None),
        (5, 1.0, 1.0, None),
        (5, 2.0, 1.0, None),
        (5, 1.0, 3.5, 2.0),
        (None, 1.0, 3.5, None),
    ],
)
def test_a_queue_that_does_not_shrink_has_no_end(ready, puts, deletes, seconds):
    assert derive_drain(ready, puts, deletes) == seconds


def test_a_queue_that_came_back_starts_anew():
    _, before = derive(queue(puts=100, deletes=100), now=100.0)
    values, after = derive(queue(puts=3, deletes=1, ready=2), before)
    assert (values["put_rate"], values["delete_rate"]) == (0.3, 0.1), "its counters began at 0"
    values, _ = derive(queue(puts=13, deletes=1, ready=12), after, 120.0)
    assert values["put_rate"] == 1.0


def test_one_counter_that_fell_tells_that_the_other_is_another_too():
    _, before = derive(queue(puts=3, deletes=3), now=100.0)
    for fallen in (queue(puts=9, deletes=1, ready=8), queue(puts=1, deletes=9)):
        values, _ = derive(fallen, before)
        assert values["put_rate"] == fallen.puts / 10
        assert values["delete_rate"] == fallen.deletes / 10


def test_the_counters_of_a_new_queue_began_at_0_if_it_is_known_when_it_was_not_there():
    state = queue(puts=30, deletes=10, ready=20)
    observed, _ = derive_queue(state, RUNNING, None, 110.0, 100.0)
    assert (observed.put_rate, observed.delete_rate) == (3.0, 1.0)
    observed, _ = derive_queue(state, RUNNING, None, 110.0, None)
    assert (observed.put_rate, observed.delete_rate) == (None, None)
    unknown, _ = derive_queue(state._replace(puts=None), RUNNING, None, 110.0, 100.0)
    assert (unknown.put_rate, unknown.delete_rate) == (None, 1.0)


def test_where_counters_do_not_begin_at_0_with_the_queue_the_first_and_a_fallen_one_have_no_rate():
    def rates(state: QueueState, before: QueueSample | None) -> tuple[float | None, float | None]:
        observed, _ = derive_queue(state, RUNNING, before, 110.0, 100.0, begin_at_0=False)
        return observed.put_rate, observed.delete_rate

    # A new group of an old stream: the stream has counted its entries for a long time.
    assert rates(queue(puts=10**6, deletes=0), None) == (None, None)
    # A group that was set back to an earlier entry: its stream counts on.
    _, before = derive(queue(puts=10**6, deletes=10**6), now=100.0)
    assert rates(queue(puts=10**6 + 5, deletes=10), before) == (0.5, None)
    # A node that left the cluster took its part of the counters with it.
    assert rates(queue(puts=10**5, deletes=10**5), before) == (None, None)


def test_a_queue_that_came_back_is_not_compared_with_its_consumers_before():
    stuck = queue(puts=100, deletes=90, ready=5, consumers=1)
    _, before = derive(stuck, now=100.0)
    values, _ = derive(stuck, before)
    assert values["consumer_state"] == CODES["stalled"]
    values, _ = derive(stuck._replace(puts=6, deletes=1, held=1), before)
    assert values["consumer_state"] == CODES["saturated"], "by the instant"


def test_the_next_reading_is_compared_with_what_this_one_saw():
    state = queue(puts=1, deletes=2, ready=3, held=4, idle_consumers=5)
    assert derive(state, now=7.0)[1] == QueueSample(7.0, 1, 2, 3, 4, 5)


def test_two_readings_tell_a_stall_from_a_worker_between_two_jobs():
    stuck = queue(puts=9, deletes=4, ready=5, consumers=1)
    told = []
    before = None
    for state in (stuck, stuck, stuck._replace(idle_consumers=1), stuck, stuck):
        values, before = derive(state, before)
        told.append(values["consumer_state"])
    codes = {name: CODES[name] for name in ("ok", "stalled")}
    assert told == [codes[name] for name in ("stalled", "stalled", "ok", "ok", "stalled")]


# -- what is not known


@pytest.mark.parametrize("field", [name for name in ZEROS if name != "missing_jobs"])
def test_what_is_not_known_has_no_value_and_takes_what_follows_from_it_along(field: str):
    full = queue(puts=9, deletes=4, ready=5, consumers=1)
    _, before = derive(full, now=100.0)
    values, _ = derive(full._replace(**{field: None}), before)
    follows = {
        "ready": {"drain_seconds", "consumer_state"},
        "puts": {"put_rate"},
        "deletes": {"delete_rate"},
        "consumers": {"consumer_state"},
        "idle_consumers": {"consumer_state"},
    }
    everything = set(ZEROS) | {"put_rate", "delete_rate", "consumer_state"}
    missing = {field} | follows.get(field, set()) - {"drain_seconds"}
    assert set(values) == everything - missing


def test_a_rate_needs_both_counters_and_comes_back_with_the_second():
    told = []
    before = None
    for now, puts in ((100, 10), (110, None), (120, 30), (130, 40)):
        values, before = derive(queue(puts=puts), before, float(now))
        told.append(values.get("put_rate"))
    assert told == [None, None, None, 1.0]


def test_a_field_that_a_system_cannot_tell_has_no_value():
    values, _ = derive(QueueState("t", ready=3))
    assert values == {"ready": 3}


def test_native_numbers_are_beside_the_measures():
    values, _ = derive(queue(native={"current_using": 4, "pause": 60}))
    assert (values["current_using"], values["pause"]) == (4, 60)


def test_a_native_number_hides_no_measure():
    names = (*QUEUE.names, "own")
    values, _ = derive(queue(native=dict.fromkeys(names, 999)))
    assert {values[name] for name in (*ZEROS, "drain_seconds", "consumer_state")} == {0}
    assert values["own"] == 999
    server = server_values(ServerState(native=dict.fromkeys((*SERVER.names, "own"), 999)), 2, 3)
    assert (server["up"], server["restarts"], server["missing_jobs"]) == (1, 2, 3)


# -- every series


def test_every_measure_of_a_queue_and_no_other_is_there():
    state = read_tube("t", TUBES["1.13+"], RUNNING, ImplausibleValues())
    state = state._replace(head_ready_age=1.0, head_buried_age=2.0, redeliveries=3)
    _, before = derive(state, now=100.0)
    moved = state._replace(deletes=42, puts=53, ready=6)
    values, _ = derive(moved, before, 110.0)
    assert set(values) - set(state.native) == set(QUEUE.names) - {"workers_needed"}


def test_an_absent_queue_has_the_measures_that_its_server_can_tell_as_zeros(
    monkeypatch: pytest.MonkeyPatch,
):
    (server,) = resolve_servers({"q1": "127.0.0.1"})
    absent = absent_queue(server)
    assert set(absent) == set(QUEUE.names) - {"redeliveries"}
    assert set(absent.values()) == {0}
    known = EMPTY_QUEUE._replace(buried=None, consumers=3)
    assert absent_queue(server, known) == {
        **{name: value for name, value in absent.items() if name != "buried"}, "consumers": 3
    }  # fmt: skip
    config = server.config._replace(unknown=("delayed", "paused"))
    assert absent.keys() - absent_queue(server._replace(config=config)).keys() == {"delayed"}
    few = {"ready", "drain_seconds", "consumer_state"}
    for changed, left in (
        (BEANSTALKD._replace(absent_is_empty=False), set()),
        (BEANSTALKD._replace(queue_fields=frozenset(("ready",))), few),
    ):
        monkeypatch.setattr(servers, "find_system", lambda scheme, layout, system=changed: system)
        assert set(absent_queue(server)) == left


def test_a_server_without_queues_does_not_tell_that_no_job_is_missing():
    assert Observation(ServerState(), {}).missing_jobs is None


@pytest.mark.parametrize("version", SERVERS)
def test_every_measure_of_a_server_is_there_in_every_version(version: str):
    state = to_server(parse_stats(SERVERS[version]), ImplausibleValues())
    values = server_values(state, 2, 1, [])
    assert set(SERVER.names) - set(values) == {"memory"}
    assert (values["up"], values["restarts"], values["missing_jobs"]) == (1, 2, 1)
    assert values["draining"] == (1 if version in ("1.12", "1.13+") else 0)
    assert values["cmd_put"] == 4720


def test_what_is_not_known_of_a_server_has_no_value():
    assert server_values(ServerState(), 0, None) == {"up": 1, "restarts": 0}
    values = server_values(ServerState(connections=0, draining=None, uptime=None), 0, 0)
    assert values == {"up": 1, "restarts": 0, "missing_jobs": 0, "connections": 0}


def test_the_measures_are_fields_of_the_model():
    assert set(QUEUE_MEASURES) <= set(QueueState._fields)
    assert set(SERVER_MEASURES) <= set(ServerState._fields)
    derived = {"put_rate", "delete_rate", "drain_seconds", "consumer_state", "workers_needed"}
    assert set(QUEUE.names) - set(QUEUE_MEASURES) == derived
    computed = {"up", "restarts", "missing_jobs", "problem"}
    assert set(SERVER.names) - set(SERVER_MEASURES) == computed


# -- restarts


def test_a_restart_forgets_what_cannot_be_compared_and_is_counted():
    samples = ServerSamples()
    samples.enter_instance("a")
    assert samples.restarts == 0, "the first sight is no restart"
    samples.queues["t"] = derive(queue())[1]
    samples.enter_instance("a")
    assert "t" in samples.queues
    samples.enter_instance("b")
    assert (samples.restarts, samples.queues) == (1, {})


def test_a_server_that_does_not_tell_its_instance_was_not_restarted():
    samples = ServerSamples()
    for instance in (None, "a", None, "a", None):
        samples.queues["t"] = derive(queue())[1]
        samples.enter_instance(instance)
        assert (samples.restarts, list(samples.queues)) == (0, ["t"])
    samples.enter_instance("b")
    assert samples.restarts == 1


# -- several queues in one series


def observed(name: str = "t", **fields: Any) -> ObservedQueue:
    derived = ("put_rate", "delete_rate", "drain_seconds", "consumer_state", "workers_needed")
    own = {field: fields.pop(field) for field in derived if field in fields}
    return ObservedQueue(QueueState(name, **fields), **own)


def test_queues_in_one_series_are_summed_but_for_ages_and_states():
    one = observed(
        ready=1, put_rate=0.5, workers_needed=0.5, head_ready_age=10.0, consumer_state="stalled"
    )
    two = observed(
        ready=2, put_rate=1.5, workers_needed=2, head_ready_age=99.0, consumer_state="ok"
    )
    assert merge([one, two]) == {
        "ready": 3,
        "put_rate": 2.0,
        "workers_needed": 2.5,
        "head_ready_age": 99.0,
        "consumer_state": CODES["stalled"],
    }


def test_a_sum_of_which_one_part_is_not_known_is_not_known():
    one = observed(ready=1, buried=2, put_rate=0.5)
    two = observed(ready=None, buried=3)
    assert merge([one, two]) == {"buried": 5}
    assert merge([two, one]) == {"buried": 5}


def test_native_numbers_are_not_added_up():
    one, two = (observed(ready=1, native={"pause": 60, "own": 1}) for _ in range(2))
    assert merge([one, two]) == {"ready": 2}


def test_where_an_age_is_not_known_of_one_of_them_the_others_are_the_least_it_can_be():
    empty = observed(head_ready_age=0.0, head_buried_age=0.0, drain_seconds=0)
    unknown = observed(ready=5)
    known = observed(head_ready_age=100.0, head_buried_age=0.0, drain_seconds=7)
    assert merge([empty, unknown]) == {}
    assert merge([known, unknown, empty]) == {"head_ready_age": 100.0}
    both = merge([empty, known])
    assert (both["head_ready_age"], both["head_buried_age"], both["drain_seconds"]) == (100, 0, 7)
    assert merge([empty, empty])["drain_seconds"] == 0


def test_a_state_that_is_not_known_does_not_hide_a_worse_one_nor_pass_for_a_good_one():
    bad, good = observed(consumer_state="no_consumer"), observed(consumer_state="ok")
    assert merge([bad, observed()]) == {"consumer_state": CODES["no_consumer"]}
    assert merge([good, observed()]) == {}


def test_no_queues_make_no_series():
    assert merge([]) == {}


COUNTS = st.none() | st.integers(0, 2**63 - 1)
AGES = st.none() | st.floats(0, 1e9)
STATES = st.builds(
    QueueState,
    st.just("t"),
    *[COUNTS] * 8,
    st.none(),
    AGES,
    AGES,
    st.none() | st.booleans(),
    AGES,
    COUNTS,
    COUNTS,
    st.booleans(),
    st.just(NOTHING),
)
TIMES = st.integers(-(10**6), 10**6).map(float)
SAMPLES = st.none() | st.builds(QueueSample, TIMES, *[COUNTS] * 5)


@given(st.lists(st.tuples(STATES, SAMPLES), max_size=4), TIMES)
def test_whatever_is_known_makes_finite_values_and_no_negative_rate(
    states: list[tuple[QueueState, QueueSample | None]], now: float
):
    queues = []
    for state, before in states:
        one, sample = derive_queue(state, RUNNING, before, now)
        queues.append(one)
        values = one.values()
        assert all(map(math.isfinite, values.values()))
        assert min((one.put_rate or 0, one.delete_rate or 0, one.drain_seconds or 0)) >= 0
        assert (sample.at, sample.puts, sample.ready) == (now, state.puts, state.ready)
        for field in QUEUE_MEASURES:
            is_left_out = field == "head_ready_age" and state.is_dead_letter
            assert (field in values) == (getattr(state, field) is not None and not is_left_out)
    assert all(map(math.isfinite, merge(queues).values()))
