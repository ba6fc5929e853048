"""Durations as a person reads them."""

import pytest

from beanwatch.durations import format_duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (59.9, "59s"),
        (60, "1m 0s"),
        (200, "3m 20s"),
        (3599, "59m 59s"),
        (7500, "2h 5m"),
        (86399, "23h 59m"),
        (86400, "1d 0h"),
        (349_300, "4d 1h"),
    ],
)
def test_a_duration_has_its_two_largest_units(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
