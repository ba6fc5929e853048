"""Records of workers: what is read, and that nothing in Redis ends a reader."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beanwatch.store.heartbeats import (
    HEALTH,
    Beat,
    Worker,
    decide_health,
    dump_beat,
    parse_beat,
)

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def test_what_is_written_is_read():
    beat = Beat(host="web1", queues=("a", "b"), beat_at=1.5, progress=(1, 2), is_over=True)
    assert parse_beat(dump_beat(beat)) == beat


@given(st.dictionaries(st.sampled_from(Beat._fields), VALUES))
def test_any_record_is_a_beat_of_which_all_follows_or_none(record: dict[str, object]):
    beat = parse_beat(json.dumps(record).encode())
    assert decide_health(Worker("w", 0.0, beat)) in HEALTH
    if beat is not None:
        assert all(math.isfinite(value) for value in beat if isinstance(value, float))
        assert parse_beat(dump_beat(beat)) == beat


@pytest.mark.parametrize(
    "body", [None, b"", b"[]", b"7", b"[" * 100_000, b'{"beat_at": 1e999}', b'{"beat_at": NaN}']
)
def test_nonsense_is_no_beat(body: bytes | None):
    assert parse_beat(body) is None
