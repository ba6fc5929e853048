"""Numbers with their nouns."""

from beanwatch.words import count


def test_only_one_is_singular():
    assert [count(n, "job") for n in (0, 1, 2)] == ["0 jobs", "1 job", "2 jobs"]
    assert count(1, "point was", "points were") == "1 point was"
    assert count(3.0, "point was", "points were") == "3 points were"
    assert count(12_345_678, "job") == "12345678 jobs"
