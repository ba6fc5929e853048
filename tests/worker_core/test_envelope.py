"""The envelope: whatever is written can be read, and anything else is rejected."""

import datetime
import decimal
import enum
import json
import uuid
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beanwatch.worker.api.envelope import (
    EnvelopeError,
    FollowUp,
    check_target,
    decode,
    derive_id,
    describe_fault,
    encode,
    encode_follow_up,
    raw_data,
)

QUEUE = st.from_regex(r"[A-Za-z0-9+/;.$_()][A-Za-z0-9+/;.$_()-]{0,199}", fullmatch=True)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.text(min_size=1, max_size=50), JSON, QUEUE, st.integers(0, 2**32 - 1))
def test_what_is_encoded_is_decoded_to_the_same(job: str, data: Any, queue: str, n: int) -> None:
    follow_up = FollowUp(queue, job, raw_data(data), n, n, max(1, n))
    envelope = decode(encode(job, data, success=follow_up, failure=follow_up, enqueued_at=1.5))
    assert (envelope.job, envelope.enqueued_at) == (job, 1.5)
    assert bytes(envelope.data) == bytes(raw_data(data))
    assert envelope.success == envelope.failure == follow_up


@given(st.binary())
def test_any_bytes_are_an_envelope_or_an_error_of_one_kind(body: bytes) -> None:
    try:
        decode(body)
    except EnvelopeError as error:
        assert str(error)


@given(st.text(max_size=250), st.integers(-5, 2**33), st.integers(-5, 2**33))
def test_no_queue_or_number_gets_through_that_could_be_another_command(
    queue: str, number: int, ttr: int
) -> None:
    try:
        check_target(queue, number, 0, ttr)
    except EnvelopeError:
        return
    assert queue.isascii()
    assert not set(queue) & set("\r\n \t\0")
    assert 1 <= len(queue) <= 200
    assert 0 <= number < 2**32
    assert 1 <= ttr < 2**32


@pytest.mark.parametrize("data", [object(), float("nan"), {1j: 2}, b"\xff"])
def test_data_that_json_does_not_have_is_refused_or_written_as_null(data: Any) -> None:
    try:
        decode(encode("job", data))
    except EnvelopeError as error:
        assert "data" in str(error)


def test_what_a_php_producer_writes_is_read() -> None:
    body = (
        b'{"job":"email.send","data":{"to":"a@b.c"},"success":null,"failure":null,'
        b'"id":"0e2b6a3c-6f0e-4f53-9f6b-0c8b0c8f9f11","enqueued_at":1700000000,"v":1,"more":[]}'
    )
    envelope = decode(body)
    assert envelope.id == "0e2b6a3c-6f0e-4f53-9f6b-0c8b0c8f9f11"
    assert envelope.enqueued_at == 1_700_000_000


def test_follow_ups_of_one_job_have_ids_of_their_own_that_never_change() -> None:
    follow_up = FollowUp("t", "j")
    first, body = encode_follow_up(follow_up, "success", identity="p", parent="p", now=1.0)
    again, _ = encode_follow_up(follow_up, "success", identity="p", parent="p", now=2.0)
    other, _ = encode_follow_up(follow_up, "failure", identity="p", parent="p", now=1.0)
    assert first == again == derive_id("p", "success") != other
    assert (decode(body).id, decode(body).parent) == (first, "p")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            b'{"job":"a","id":"a b"}',
            "Expected `str` with only letters, digits and `_.:-` (1 to 64) - at `$.id`",
        ),
        (
            b'{"job":"a","success":{"job":"x","queue":"a b"}}',
            "Expected `str` with only letters, digits and `+/;.$_()-` (1 to 200, no `-` first)"
            " - at `$.success.queue`",
        ),
    ],
)
def test_a_wrong_name_is_told_in_words_not_as_a_regular_expression(body: bytes, words: str) -> None:
    with pytest.raises(EnvelopeError) as error:
        decode(body)
    assert str(error.value) == f"not a valid job envelope: {words}"


@pytest.mark.parametrize(
    ("target", "field", "words"),
    [
        (("q", 2**32, 0, 1), "priority", "expected a whole number <= 4294967295"),
        (("q", 0, -1, 1), "delay", "expected a whole number >= 0"),
        (("q", 0, 0, 1.5), "ttr", "expected a whole number, got `float`"),
        (("a b", 0, 0, 1), "queue", "expected text with only letters, digits and"),
    ],
)
def test_the_error_of_a_put_names_the_field(target: Any, field: str, words: str) -> None:
    with pytest.raises(EnvelopeError) as error:
        check_target(*target)
    assert str(error.value).startswith(f"invalid {field}: {words}")
    assert error.value.field == field
    with pytest.raises(EnvelopeError) as error:
        encode("j", success=FollowUp("q", "j", ttr=0))
    assert error.value.field == "success.ttr"


@pytest.mark.parametrize(
    ("fields", "expected", "ignored"),
    [
        ('"id": 4711', "4711", []),
        ('"id": 0', "0", []),
        ('"id": -1', None, ["id"]),
        ('"id": 1.5', None, ["id"]),
        ('"id": 1e400', None, ["id"]),
        ('"id": 12345678901234567890', None, ["id"]),
        ('"id": "a", "parent": 1e3', "a", ["parent"]),
        ('"id": "a", "enqueued_at": "2026-11-29"', "a", ["enqueued_at"]),
        ('"id": "a", "enqueued_at": 1e999', "a", ["enqueued_at"]),
        ('"id": "a", "enqueued_at": true', "a", ["enqueued_at"]),
        ('"id": 7, "enqueued_at": []', "7", ["enqueued_at"]),
        ('"id": "a", "enqueued_at": null', "a", []),
    ],
)
def test_a_number_as_id_is_a_text_and_a_wrong_number_refuses_no_job(
    fields: str, expected: str | None, ignored: list[str]
) -> None:
    problems: list[str] = []
    body = f'{{"job": "a", "data": {{"x": [1e3]}}, "newer": 1, {fields}}}'
    envelope = decode(body.encode(), problems.append)
    assert (envelope.id, bytes(envelope.data)) == (expected, b'{"x": [1e3]}')
    assert [problem.split("`")[1] for problem in problems] == ignored


@given(
    st.fixed_dictionaries(
        {"job": st.just("a")},
        optional={name: st.integers() | st.floats() for name in ("id", "parent", "enqueued_at")},
    )
)
def test_no_number_in_a_describing_field_refuses_a_job(envelope: dict[str, Any]) -> None:
    body = json.dumps(envelope).replace("NaN", "1e999").replace("Infinity", "1e999")
    read = decode(body.encode())
    assert read.job == "a"
    assert read.id is None or read.id.isdigit()


class Color(enum.Enum):
    RED = "red"


class Left(msgspec.Struct, tag="left"):
    color: Color = Color.RED
    counts: dict[str, int] = {}


class Right(msgspec.Struct, tag="right"):
    pass


TYPES = [
    *(Color, Literal["a"], Literal[1], Left, Left | Right, dict[Color, int], dict[int, int]),
    *(datetime.datetime, uuid.UUID, decimal.Decimal, bytes, int, bool, list[int], list[Color]),
    Annotated[str, msgspec.Meta(pattern="^x$")],
    Annotated[int, msgspec.Meta(le=3)],
]
SECRETS = [
    b'"5ecret"',
    b"5555",
    b'["5ecret"]',
    b'{"5ecret": 1}',
    b'{"type": "5ecret"}',
    b'{"type": "left", "color": "5ecret"}',
    b'{"type": "left", "color": "x\\n5ecret - at `$.x` y"}',
    b'{"type": "left", "counts": {"5ecret": "5ecret"}}',
    b'"\\ud5ecret',
]


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("data", SECRETS)
def test_what_is_wrong_with_data_is_told_without_a_value(kind: Any, data: bytes) -> None:
    try:
        msgspec.json.decode(data, type=kind)
    except msgspec.MsgspecError as error:
        fault = describe_fault(error)
        assert fault
        assert "5ecret" not in fault
        assert "5555" not in fault


def test_what_is_wrong_with_data_names_the_field() -> None:
    with pytest.raises(msgspec.MsgspecError) as error:
        msgspec.json.decode(SECRETS[5], type=Left)
    assert describe_fault(error.value) == "Invalid enum value (not shown) - at `$.color`"
