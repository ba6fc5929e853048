"""Records of workers: what is read, and that nothing in Redis ends a reader."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beanwatch.collectors.poll.worker_series import FleetPoll, derive_fleet
from beanwatch.store.health import HEALTH, UNKNOWN, decide_health
from beanwatch.store.heartbeats import (
    NO_HEARTBEAT,
    Heartbeat,
    decode_heartbeat,
    encode_heartbeat,
    make_worker,
)
from beanwatch.store.records import RecordError
from tests.records import make_beat, make_job

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


NOW = 1_800_000_000.0
SMALLEST = {
    "v": 2, "instance": "x", "host": "web1", "name": "a", "pid": 7, "state": "idle",
    "loop_at": NOW, "beat_at": NOW,
}  # fmt: skip


def health(**fields: object) -> str:
    """The health of a worker with these fields in its record."""
    worker = make_worker("web1.a", 0.1, json.dumps(SMALLEST | fields).encode())
    assert not worker.problem
    return decide_health(worker)


def test_what_is_written_is_read():
    job = make_job(progress=(1, 2), cpu=0.5)
    record = make_beat(host="web1", queues=("a", "b"), beat_at=1.5, jobs=(job,), is_over=True)
    assert decode_heartbeat(encode_heartbeat(record)) == record


@given(st.dictionaries(st.sampled_from(Heartbeat._fields), VALUES))
def test_any_record_is_a_heartbeat_of_which_all_follows_or_is_rejected(record: dict[str, object]):
    worker = make_worker("w", 0.0, json.dumps(SMALLEST | record).encode())
    assert (decide_health(worker) in HEALTH) == (not worker.problem)
    assert (decide_health(worker) == UNKNOWN) == bool(worker.problem)
    assert bool(worker.heartbeat is None) == bool(worker.problem)
    if worker.heartbeat is not None:
        found = worker.heartbeat
        assert all(math.isfinite(value) for value in found if isinstance(value, float))
        assert decode_heartbeat(encode_heartbeat(found)) == found


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "it is not JSON"),
        (b"[" * 100_000, "it is not JSON"),
        (b"\xff", "it is not JSON"),
        (b"[]", "it is not a JSON object"),
        (b"7", "it is not a JSON object"),
        (b"{}", "v is missing"),
        (b'{"v": null}', "v is missing"),
    ],
)
def test_what_is_no_record_is_rejected_with_the_reason(body: bytes, reason: str):
    with pytest.raises(RecordError) as caught:
        decode_heartbeat(body)
    assert str(caught.value) == reason
    assert make_worker("w", 1.0, body).problem == reason


@pytest.mark.parametrize(
    ("field", "reason"),
    [
        ('"v": 3', "v: the record is of version 3, this beanwatch reads 2"),
        ('"v": 1', "v: expected 2, the version of the record"),
        ('"v": true', "v: expected 2, the version of the record"),
        ('"loop_at": null', "loop_at is missing"),
        ('"beat_at": 1e999', "beat_at: the number is not finite, or too large"),
        ('"beat_at": NaN', "beat_at: the number is not finite, or too large"),
        ('"beat_at": "now"', "beat_at: expected a number, not a text"),
        ('"pid": 1.5', "pid: expected a whole number, not a number with a fraction"),
        ('"pid": true', "pid: expected a whole number, not true or false"),
        ('"is_over": 1', "is_over: expected true or false, not a whole number"),
        ('"queues": "email"', "queues: expected a list of texts, not a text"),
        ('"queues": [1]', "queues: expected a list of texts, but one has another type"),
        (
            '"recycled_at": [1, null]',
            "recycled_at: expected a list of whole numbers, but one has another type",
        ),
        ('"disk_free": 0.5', "disk_free: expected a whole number, not a number with a fraction"),
        ('"cpu": "1"', "cpu: expected a number, not a text"),
        ('"reason": {}', "reason: expected a text, not an object"),
        ('"jobs": {}', "jobs: expected a list of at most 1000 jobs"),
        ('"jobs": [7]', "jobs[0] is not a JSON object"),
        ('"jobs": [{"id": 1}, {}]', "jobs[1].id is missing"),
        ('"jobs": [{"id": 1.5}]', "jobs[0].id: expected a text or a whole number"),
        ('"jobs": [{"id": 1, "note": 2}]', "jobs[0].note: expected a text, not a whole number"),
    ],
)
def test_a_record_is_rejected_with_the_field_and_the_reason(field: str, reason: str):
    body = b"%b, %b}" % (json.dumps(SMALLEST)[:-1].encode(), field.encode())
    assert make_worker("w", 1.0, body).problem == reason


def test_fields_of_a_newer_worker_are_left_out_and_missing_ones_have_defaults():
    found = decode_heartbeat(json.dumps(SMALLEST | {"colour": "red"}).encode())
    assert found == Heartbeat(**SMALLEST)


@pytest.mark.parametrize("name", SMALLEST)
def test_a_record_without_a_required_field_says_which_one_it_lacks(name: str):
    body = json.dumps({key: value for key, value in SMALLEST.items() if key != name}).encode()
    assert make_worker("w", 1.0, body).problem == f"{name} is missing"


def test_without_a_record_there_is_no_problem_to_name():
    worker = make_worker("w", 1.0, None)
    assert (worker.heartbeat, worker.problem) == (None, "")


def test_a_record_of_another_program_may_have_floats_and_null_and_lack_times():
    record = {
        "host": "web1", "pid": 815.0, "queues": ["email"], "state": "idle", "note": None,
        "beat_at": 1_800_000_000, "loop_at": 1_800_000_000, "disk_free": 1.5e9, "interval": 1,
        "jobs": [{"id": 7.0, "uuid": None, "progress": [3.0, 7]}], "language": "php",
        "name": "a", "instance": "x", "v": 2.0,
    }  # fmt: skip
    worker = make_worker("web1.a", 0.5, json.dumps(record).encode())
    assert worker.problem == ""
    assert worker.heartbeat == NO_HEARTBEAT._replace(
        instance="x",
        host="web1",
        name="a",
        pid=815,
        queues=("email",),
        state="idle",
        jobs=(make_job(progress=(3, 7)),),
        loop_at=1_800_000_000.0,
        beat_at=1_800_000_000.0,
        disk_free=1_500_000_000,
    )
    assert decide_health(worker) == "idle"


def test_a_missing_time_is_not_taken_for_a_long_one():
    job = {"id": "7", "name": "send"}
    for more in ({}, {"deadline": 0}, {"deadline": None}, {"deadline": NOW + 1}):
        found = health(state="busy", jobs=[job | more], loop_at=NOW - 3600)
        assert found == "busy"
    assert health(state="busy", jobs=[job, job | {"deadline": NOW - 1}]) == "hung"


def test_a_loop_that_stands_still_is_hung_unless_it_runs_a_job():
    late = {"loop_at": NOW - 61}
    assert health(state="idle", **late) == "hung"
    assert health(state="idle", loop_at=NOW - 59) == "idle"
    assert health(state="idle", max_idle=62, **late) == "idle"
    assert health(state="idle", max_idle=0, **late) == "idle", "its loop is not judged"
    busy = {"state": "busy", "jobs": [{"id": "7"}], **late}
    assert health(**busy) == "busy"
    assert health(**busy, has_own_loop=True) == "hung"


def test_a_free_disk_that_is_not_in_the_record_has_no_series():
    worker = make_worker("web1.a", 0.1, json.dumps(SMALLEST).encode())
    (_, values), _ = derive_fleet("beanwatch", FleetPoll(workers=[worker]))
    assert "disk_free" not in values


@given(st.dictionaries(st.sampled_from(Heartbeat._fields), st.none() | st.integers(0, 10**9)))
def test_null_is_as_good_as_nothing(record: dict[str, int | None]):
    given_ones = {name: value for name, value in record.items() if value is not None}
    one, other = (
        make_worker("w", 1.0, json.dumps(found).encode()) for found in (record, given_ones)
    )
    assert one == other
