"""Records of workers: what is read, and that nothing in Redis ends a reader."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beanwatch.collectors.poll.worker_series import derive_workers
from beanwatch.store.health import HEALTH, UNKNOWN, decide_health
from beanwatch.store.heartbeats import Heartbeat, decode_heartbeat, encode_heartbeat, make_worker
from beanwatch.store.records import RecordError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def test_what_is_written_is_read():
    record = Heartbeat(host="web1", queues=("a", "b"), beat_at=1.5, progress=(1, 2), is_over=True)
    assert decode_heartbeat(encode_heartbeat(record)) == record


@given(st.dictionaries(st.sampled_from(Heartbeat._fields), VALUES))
def test_any_record_is_a_heartbeat_of_which_all_follows_or_is_rejected(record: dict[str, object]):
    worker = make_worker("w", 0.0, json.dumps(record).encode())
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
        (b'{"beat_at": 1e999}', "field 'beat_at': the number is not finite, or too large"),
        (b'{"beat_at": NaN}', "field 'beat_at': the number is not finite, or too large"),
        (b'{"beat_at": "now"}', "field 'beat_at': expected a number, not a text"),
        (b'{"pid": 1.5}', "field 'pid': expected a whole number, not a number with a fraction"),
        (b'{"pid": true}', "field 'pid': expected a whole number, not true or false"),
        (b'{"is_over": 1}', "field 'is_over': expected true or false, not a whole number"),
        (b'{"queues": "email"}', "field 'queues': expected a list of texts, not a text"),
        (b'{"queues": [1]}', "field 'queues': expected a list of texts, but one has another type"),
        (
            b'{"progress": [1, null]}',
            "field 'progress': expected a list of whole numbers, but one has another type",
        ),
        (
            b'{"disk_free": 0.5}',
            "field 'disk_free': expected a whole number, not a number with a fraction",
        ),
        (b'{"note": {}}', "field 'note': expected a text, not an object"),
    ],
)
def test_a_record_is_rejected_with_the_field_and_the_reason(body: bytes, reason: str):
    with pytest.raises(RecordError) as caught:
        decode_heartbeat(body)
    assert str(caught.value) == reason
    assert make_worker("w", 1.0, body).problem == reason


def test_fields_of_a_newer_worker_are_left_out_and_missing_ones_have_defaults():
    assert decode_heartbeat(b'{"name": "w1", "colour": "red"}') == Heartbeat(name="w1")


def test_without_a_record_there_is_no_problem_to_name():
    worker = make_worker("w", 1.0, None)
    assert (worker.heartbeat, worker.problem) == (None, "")


def test_a_record_of_another_program_may_have_floats_and_null_and_lack_times():
    record = {
        "host": "web1", "pid": 815.0, "queues": ["email"], "state": "idle", "note": None,
        "progress": [3.0, 7], "beat_at": 1_800_000_000, "disk_free": 1.5e9, "interval": 1,
        "job": None, "language": "php",
    }  # fmt: skip
    worker = make_worker("web1.a", 0.5, json.dumps(record).encode())
    assert worker.problem == ""
    assert worker.heartbeat == Heartbeat(
        host="web1",
        pid=815,
        queues=("email",),
        state="idle",
        progress=(3, 7),
        beat_at=1_800_000_000.0,
        disk_free=1_500_000_000,
    )
    assert decide_health(worker) == "idle"
    assert decode_heartbeat(b'{"progress": null}') == Heartbeat()


def test_a_missing_time_is_not_taken_for_a_long_one():
    base = {"state": "busy", "queues": ["email"], "job": "send", "beat_at": 1_800_000_000.0}
    for missing in ({}, {"reserve_timeout": 5}, {"deadline": 0}, {"loop_at": None}):
        worker = make_worker("w", 0.1, json.dumps(base | missing).encode())
        assert decide_health(worker) == "busy"
    late = make_worker("w", 0.1, json.dumps(base | {"deadline": 1_700_000_000}).encode())
    assert decide_health(late) == "hung"


def test_a_free_disk_that_is_not_in_the_record_has_no_series():
    worker = make_worker("web1.a", 0.1, b'{"state": "idle"}')
    (_, values), _ = derive_workers("beanwatch", [worker])
    assert "disk_free" not in values


@given(st.dictionaries(st.sampled_from(Heartbeat._fields), st.none() | st.integers(0, 10**9)))
def test_null_is_as_good_as_nothing(record: dict[str, int | None]):
    given_ones = {name: value for name, value in record.items() if value is not None}
    one, other = (
        make_worker("w", 1.0, json.dumps(found).encode()) for found in (record, given_ones)
    )
    assert one == other
