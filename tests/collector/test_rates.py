"""Rates through restarts, replays and queues that come and go: never negative, never a spike."""

from hypothesis import given
from hypothesis import strategies as st

from beanwatch.collectors.poll.rates import Count, rate


def test_a_rate_is_the_rise_over_the_time():
    assert rate(Count(10, 100.0), Count(30, 110.0)) == 2.0
    assert rate(Count(10, 100.0), Count(10, 110.0)) == 0.0


def test_a_rate_is_unknown_at_first_and_after_a_reset():
    assert rate(None, Count(30, 110.0)) is None
    assert rate(Count(30, 100.0), Count(29, 110.0)) is None
    assert rate(Count(30, 100.0, "a"), Count(40, 110.0, "b")) is None
    assert rate(Count(30, 100.0), Count(40, 100.0)) is None


# What may happen to a server between two polls. A binlog replay gives counters that have
# nothing to do with what happened in that time.
EVENTS = st.one_of(
    st.tuples(st.just("jobs"), st.integers(0, 1000)),
    st.tuples(st.just("vanish"), st.just(0)),
    st.tuples(st.just("restart"), st.integers(0, 1_000_000)),
)
POLLS = st.lists(
    st.tuples(st.lists(EVENTS, max_size=6), st.floats(0.001, 1000), st.booleans()), max_size=30
)


@given(POLLS)
def test_no_history_gives_a_negative_rate_or_more_than_happened(polls):
    """A poll may find no queue at all; then the last sample is forgotten, as the collector does."""
    counter, life, now = 0, 0, 0.0
    happened, before = 0, None
    for events, pause, is_there in polls:
        now += pause
        for event, number in events:
            if event == "jobs":
                counter += number
                happened += number
            elif event == "vanish":
                counter = 0
            else:
                counter, life = number, life + 1
        if not is_there:
            before, happened = None, 0
            continue
        seen = Count(counter, now, str(life))
        found = rate(before, seen)
        if found is not None and before is not None:
            assert 0 <= found <= happened / (seen.at - before.at) * (1 + 1e-9)
        before, happened = seen, 0
