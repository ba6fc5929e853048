"""Rows of a database become the states of queues; a number that cannot be right is left out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beanwatch.queues.model import QueueState
from beanwatch.queues.sql.laravel import LAYOUT
from beanwatch.queues.sql.reader import _queues

COUNTS = st.none() | st.integers(0, 10**9)
AGES = st.none() | st.floats(0, 1e9)
NUMBERS = st.tuples(COUNTS, COUNTS, COUNTS, COUNTS, COUNTS, AGES, AGES, AGES)


def write(number: float | None) -> str | None:
    return None if number is None else repr(number)


@given(st.dictionaries(st.text(), NUMBERS))
def test_each_number_comes_to_its_field_and_unknown_stays_unknown(
    queues: dict[str, tuple[float | None, ...]],
) -> None:
    implausible: list[str] = []
    rows = [(name, *map(write, numbers)) for name, numbers in queues.items()]
    states = _queues(rows, LAYOUT, implausible)
    assert not implausible
    assert list(states) == list(queues)
    for name, (ready, reserved, delayed, buried, consumers, *ages) in queues.items():
        assert states[name] == QueueState(
            name,
            ready,  # type: ignore[arg-type]
            reserved,  # type: ignore[arg-type]
            delayed,  # type: ignore[arg-type]
            buried,  # type: ignore[arg-type]
            consumers,  # type: ignore[arg-type]
            head_ready_age=ages[0],
            head_buried_age=ages[1],
            native={} if ages[2] is None else {"oldest_reserved_age": ages[2]},
        )


@pytest.mark.parametrize(
    ("place", "text", "said"),
    [
        (1, "-3", "mail: ready is -3"),
        (6, "-0.5", "mail: head_ready_age is -0.5"),
        (7, "Infinity", "mail: head_buried_age is inf"),
        (8, "NaN", "mail: oldest_reserved_age is nan"),
    ],
)
def test_a_number_that_cannot_be_right_is_unknown_and_told(
    place: int, text: str, said: str
) -> None:
    row: list[str | None] = ["mail", "1", "2", "3", "4", None, None, None, None]
    row[place] = text
    implausible: list[str] = []
    states = _queues([["images", *[None] * 8], row], LAYOUT, implausible)
    assert implausible == [said]
    assert states["images"] == QueueState("images", native={})
    ready = None if place == 1 else 1
    assert states["mail"] == QueueState("mail", ready, 2, 3, 4, native={})


def test_a_row_of_another_width_and_a_text_that_is_no_number_are_refused() -> None:
    good = ["mail", "1", "2", "3", "4", None, None, None, None]
    for row in (good[:-1], [*good, "1"], ["mail", "many", *good[2:]]):
        with pytest.raises(ValueError, match=r"zip|invalid literal"):
            _queues([row], LAYOUT, [])
