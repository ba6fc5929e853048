"""The decisions about jobs, from numbers alone."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from beanwatch.worker.api.errors import Bury, Discard, JobStopped, JobTimeout, Retry
from beanwatch.worker.core.connection_protocol import JobStats
from beanwatch.worker.core.decide import (
    MAX_DELAY,
    check_delay,
    count_unacknowledged,
    decide_delay,
    decide_end,
    decide_poison,
    decide_reconnect,
    jitter_limit,
)
from beanwatch.worker.monitor.exceptions import MAX_REASON, format_exception_line


def stats(**numbers: int) -> JobStats:
    usual = JobStats(
        1, "t", reserves=1, releases=0, buries=0, kicks=0, priority=9, ttr=60, age=0, delay=0
    )
    return replace(usual, **numbers)


@pytest.mark.parametrize(
    ("numbers", "is_poison"),
    [
        ({"reserves": 1}, False),
        ({"reserves": 5}, False),
        ({"reserves": 6}, True),  # five runs before this one, none acknowledged
        ({"reserves": 6, "releases": 1}, False),
        ({"reserves": 7, "releases": 1}, True),
        ({"reserves": 7, "buries": 1, "kicks": 1}, False),
        ({"reserves": 12, "buries": 1, "kicks": 1}, True),
    ],
)
def test_poison_is_what_ran_and_nobody_acknowledged(
    numbers: dict[str, int], is_poison: bool
) -> None:
    now = stats(**numbers)
    poison = decide_poison(now, max_attempts=5, started=count_unacknowledged(now))
    assert bool(poison) is is_poison
    assert ("runs that started" in poison) is is_poison
    assert decide_poison(now, max_attempts=5, started=0) == ""


@pytest.mark.parametrize(
    ("numbers", "is_poison"),
    [
        ({"reserves": 15}, False),
        ({"reserves": 16}, True),  # fifteen deliveries before this one, none acknowledged
        ({"reserves": 16, "releases": 1}, False),
        ({"reserves": 31, "buries": 1, "kicks": 1}, False),
        ({"reserves": 32, "buries": 1, "kicks": 1}, True),
    ],
)
def test_where_runs_are_unknown_three_times_as_many_deliveries_are_poison(
    numbers: dict[str, int], is_poison: bool
) -> None:
    poison = decide_poison(stats(**numbers), max_attempts=5, started=None)
    assert bool(poison) is is_poison
    assert ("deliveries" in poison) is is_poison


@given(st.integers(1, 20), st.integers(0, 5))
def test_a_crashing_job_runs_max_attempts_times_and_as_often_after_each_kick(
    max_attempts: int, kicks: int
) -> None:
    runs, buries = 0, 0
    for kicked in range(kicks + 1):
        while True:
            now = stats(reserves=runs + buries + 1, buries=buries, kicks=kicked)
            if decide_poison(now, max_attempts, started=runs):
                buries += 1
                break
            runs += 1
    assert runs == max_attempts * (kicks + 1)


@given(st.integers(1, 20), st.integers(0, 5))
def test_a_failing_job_runs_max_attempts_times_and_as_often_after_each_kick(
    max_attempts: int, kicks: int
) -> None:
    runs = 0
    for kicked in range(kicks + 1):
        while True:
            runs += 1
            verdict = decide_end(ValueError(), stats(reserves=runs, kicks=kicked), max_attempts)
            if verdict.action == "bury":
                break
    assert runs == max_attempts * (kicks + 1)


@given(st.integers(1, 20), st.integers(0, 5), st.integers(1, 200))
def test_deliveries_of_which_nobody_knows_whether_they_ran_are_no_attempts(
    max_attempts: int, kicks: int, lost: int
) -> None:
    runs = buries = 0
    for kicked in range(kicks + 1):
        while True:
            now = stats(
                reserves=lost + runs + 1, releases=runs - buries, buries=buries, kicks=kicked
            )
            runs += 1
            verdict = decide_end(ValueError(), now, max_attempts, unstarted=None)
            if verdict.action == "bury":
                buries += 1
                break
    assert runs == max_attempts * (kicks + 1)
    assert f"(attempt {runs}, the last; not counted: {lost} deliver" in verdict.reason
    known = decide_end(ValueError(), now, max_attempts, unstarted=lost)
    assert known.reason == f"ValueError (attempt {runs}, the last)"


def test_a_backoff_gets_the_number_of_the_attempt_without_deliveries_that_may_not_have_run() -> (
    None
):
    now = stats(reserves=8, releases=1)
    for unstarted, attempt in ((None, 2), (6, 2), (2, 6), (0, 8)):
        verdict = decide_end(ValueError(), now, 20, backoff=float, unstarted=unstarted)
        assert verdict.delay == attempt


@pytest.mark.parametrize(
    ("error", "options", "outcome", "action"),
    [
        (None, {}, "ok", "delete"),
        (ValueError("x"), {}, "retry", "release"),
        (SystemExit(1), {}, "retry", "release"),
        (Retry(3), {}, "retry", "release"),
        (Bury("x"), {}, "buried", "bury"),
        (Discard("x"), {}, "discarded", "delete"),
        (JobTimeout(), {}, "timeout", "release"),
        (JobTimeout(), {"on_timeout": "bury"}, "timeout", "bury"),
        (JobStopped(), {}, "retry", "release"),
    ],
)
def test_each_way_to_end_has_its_outcome(
    error: BaseException | None, options: dict[str, str], outcome: str, action: str
) -> None:
    verdict = decide_end(error, stats(), 5, **options)  # type: ignore[arg-type]
    assert (verdict.outcome, verdict.action) == (outcome, action)


def test_a_stopped_job_is_given_back_at_once_even_at_its_last_attempt() -> None:
    verdict = decide_end(JobStopped(), stats(reserves=50), 5)
    assert (verdict.action, verdict.delay) == ("release", 0.0)


def test_without_a_limit_nothing_is_ever_buried_for_its_attempts() -> None:
    assert decide_poison(stats(reserves=10_000), 0, 10_000) == ""
    assert decide_poison(stats(reserves=10_000), 0, None) == ""
    assert decide_end(ValueError(), stats(reserves=10_000), 0).action == "release"


@given(st.integers(1, 10**6), st.floats(0, 1e6), st.floats(0, 1, exclude_max=True))
def test_a_backoff_grows_and_never_leaves_its_bounds(
    attempt: int, first: float, draw: float
) -> None:
    delay = decide_delay(attempt, first, draw=lambda: draw)
    assert 0 <= delay <= 3600
    assert delay <= decide_delay(attempt + 1, first, draw=lambda: draw)


@given(st.floats(allow_nan=False))
def test_a_delay_is_always_one_that_beanstalkd_takes(delay: float) -> None:
    assert 0 <= check_delay(delay) <= MAX_DELAY


@pytest.mark.parametrize("delay", [math.nan, "soon", None])
def test_a_delay_that_is_no_number_is_an_error(delay: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        check_delay(delay)  # type: ignore[arg-type]


@given(st.integers(0, 10**6), st.floats(0, 1))
def test_reconnecting_never_waits_longer_than_30_s(failures: int, draw: float) -> None:
    assert 0 <= decide_reconnect(failures, draw=lambda: draw) <= 30


@given(st.floats(0, 1e9), st.floats(0, 1))
def test_a_limit_gets_at_most_a_quarter_more(limit: float, draw: float) -> None:
    assert limit <= jitter_limit(limit, draw=lambda: draw) <= limit * 1.25


def test_the_reason_of_a_group_names_the_exceptions_in_it() -> None:
    inner = ExceptionGroup("two", [KeyError("to"), TimeoutError("no answer\nfrom mx1")])
    group = ExceptionGroup("unhandled errors in a TaskGroup", [ValueError("bad"), inner])
    assert format_exception_line(group) == (
        "ExceptionGroup: unhandled errors in a TaskGroup (2 sub-exceptions): "
        "ValueError: bad; KeyError: 'to'; TimeoutError: no answer from mx1"
    )


@given(st.recursive(st.text().map(ValueError), lambda inner: st.lists(inner, min_size=1)))
def test_the_reason_of_any_group_is_one_line_and_bounded(tree: Any) -> None:
    def build(part: Any) -> Exception:
        return part if isinstance(part, Exception) else ExceptionGroup("g", list(map(build, part)))

    line = format_exception_line(build([tree]))
    assert line == " ".join(line.split())
    assert "ValueError" in line
    assert len(line) <= MAX_REASON


def test_the_reason_of_a_group_of_thousands_or_in_thousands_of_groups_is_bounded() -> None:
    deep: Exception = ValueError("x" * 10_000)
    for _ in range(5000):
        deep = ExceptionGroup("g", [deep])
    for group in (deep, ExceptionGroup("g", [ValueError("x" * 10_000)] * 10_000)):
        assert len(format_exception_line(group)) <= MAX_REASON


@pytest.mark.parametrize(
    ("error", "outcome", "action"),
    [
        (Bury("x"), "buried", "bury"),
        (Discard("x"), "discarded", "delete"),
        (JobTimeout(), "timeout", "release"),
    ],
)
def test_what_the_only_failed_task_of_a_group_decides_holds(
    error: Exception, outcome: str, action: str
) -> None:
    group = BaseExceptionGroup("g", [BaseExceptionGroup("g", [error])])
    verdict = decide_end(group, stats(), 5)
    assert (verdict.outcome, verdict.action) == (outcome, action)
    both = BaseExceptionGroup("g", [error, ValueError()])
    assert decide_end(both, stats(), 5).outcome == "retry"
