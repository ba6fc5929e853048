"""Records of workers: what is read, and that nothing in Redis ends a reader."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
        (b'{"note": null}', "field 'note': expected a text, not null"),
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
