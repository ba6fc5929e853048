"""A server that answers nonsense, at whatever question, is told of and no more than that."""

import math
import re
from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from beanwatch.collectors.poll.derive import server_values
from beanwatch.collectors.poll.observer import Observation, Observer
from beanwatch.queues.servers import Server, parse_server
from tests.queues.liar import STATS, TUBE, Liar, Lie, ok

QUESTIONS = [
    *(b"stats", b"list-tubes", b"stats-tube"),
    *(b"use", b"peek-ready", b"peek-buried", b"stats-job"),
]
FIELDS = {
    field
    for body in (STATS, TUBE)
    for field in (line.partition(b": ")[0] for line in body.splitlines())
} | {b"id", b"tube", b"state", b"age", b"delay", b"reserves", b"kicks"}
LINE = st.binary(max_size=300).filter(lambda line: b"\r" not in line and b"\n" not in line)
VALUES = LINE | st.sampled_from(
    [b"", b"-1", b"7", b"t", b"ready", b"nan", b"-inf", b"1e308", b"1e999", b"9" * 400, b"9" * 5000]
)
MAPPINGS = st.lists(st.tuples(st.sampled_from(sorted(FIELDS)), VALUES), max_size=20).map(
    lambda lines: ok(b"---\n" + b"".join(b"%b: %b\n" % line for line in lines))
)
LISTS = st.lists(VALUES, max_size=5).map(
    lambda names: ok(b"---\n" + b"".join(b"- %b\n" % name for name in names))
)
WORDS = st.sampled_from([b"NOT_FOUND", b"BAD_FORMAT", b"OUT_OF_MEMORY", b"USING t", b"BURIED 1"])
LIES = (
    (MAPPINGS | LISTS | st.binary(max_size=300).map(ok)).map(lambda answer: Lie(answer))
    | WORDS.map(lambda word: Lie(word + b"\r\n"))
    | VALUES.map(lambda job: Lie(b"FOUND %b 1\r\nx\r\n" % job))
    | st.binary(max_size=300).map(lambda answer: Lie(answer, ends=True))
)


@pytest.fixture(scope="module")
def liar() -> Iterator[Liar]:
    with Liar() as one:
        yield one


def observe(liar: Liar, lies: dict[bytes, Lie]) -> list[Observation]:
    """What is seen before it lies, twice while it does, and after."""
    observer = Observer(Server("q1", parse_server(liar.address)))
    seen = []
    for told in ({}, lies, lies, {}):
        liar.lies = told
        seen.append(observer.observe())
    observer.close()
    return seen


def are_well(seen: Observation) -> bool:
    return not seen.trouble and seen.queues is not None and seen.queues["t"].state.puts == 52


def head_age(seen: Observation) -> float | None:
    assert not seen.trouble
    assert seen.queues is not None
    return seen.queues["t"].state.head_ready_age


@settings(max_examples=300, deadline=None)
@given(lies=st.dictionaries(st.sampled_from(QUESTIONS), LIES, min_size=1, max_size=2))
@example(lies={b"peek-ready": Lie(b"FOUND   1\r\nx\r\n")})
def test_no_answer_is_more_than_trouble_and_none_outlasts_itself(
    liar: Liar, lies: dict[bytes, Lie]
):
    first, *during, last = observe(liar, lies)
    assert are_well(first)
    assert are_well(last)
    for seen in during:
        assert seen.trouble or seen.queues is not None
        for queue in (seen.queues or {}).values():
            assert all(math.isfinite(value) for value in queue.values().values())
        if seen.state:
            values = server_values(seen.state, 0, seen.missing_jobs)
            assert all(math.isfinite(value) for value in values.values())


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize(
    "answer", [b"OK " + b"1" * 5000 + b"\r\n", b"FOUND 7 " + b"1" * 5000 + b"\r\n"]
)
def test_a_size_of_thousands_of_digits_is_no_beanstalkds(
    liar: Liar, question: bytes, answer: bytes
):
    _, seen, _, last = observe(liar, {question: Lie(answer, ends=True)})
    assert "this is not beanstalkd" in seen.trouble
    assert are_well(last)


@pytest.mark.parametrize("job", [b"\xff", b"x", b"9" * 900])
def test_a_head_whose_id_is_no_number_is_not_known(liar: Liar, job: bytes):
    found = Lie(b"FOUND %b 1\r\nx\r\n" % job)
    its_stats = Lie(ok(b"---\nid: %b\ntube: t\nstate: ready\nreserves: 1\n" % job))
    _, seen, _, _ = observe(liar, {b"peek-ready": found, b"stats-job": its_stats})
    assert head_age(seen) is None


@pytest.mark.parametrize("field", [b"age", b"delay", b"reserves", b"kicks"])
def test_a_ready_head_with_an_unreadable_counter_ages_from_when_it_was_first_seen(
    liar: Liar, field: bytes
):
    job = b"---\nid: 1\ntube: t\nstate: ready\nage: 9\ndelay: 0\nreserves: 0\nkicks: 0\n"
    found = Lie(b"FOUND 1 1\r\nx\r\n")
    wrong = re.sub(rb"%b: .*" % field, rb"%b: x" % field, job)
    for body, expected in ((job, 9), (wrong, 0)):
        lies = {b"peek-ready": found, b"stats-job": Lie(ok(body))}
        _, seen, _, _ = observe(liar, lies)
        assert head_age(seen) == expected


def test_a_head_whose_stats_lack_its_id_is_not_known(liar: Liar):
    its_stats = Lie(ok(b"---\ntube: t\nstate: ready\nreserves: 1\n"))
    _, seen, _, _ = observe(liar, {b"stats-job": its_stats})
    assert head_age(seen) is None


def test_numbers_that_no_counter_reaches_are_none(liar: Liar):
    huge = TUBE.replace(b": 52", b": 1e308")
    _, seen, _, _ = observe(liar, {b"stats-tube": Lie(ok(huge))})
    assert seen.queues is not None
    assert "puts" not in seen.queues["t"].values()
    assert seen.implausible == ["t: total-jobs is '1e308', which is not a count"]


def test_an_honest_server_is_not_called_a_liar(liar: Liar):
    seen, *_ = observe(liar, {})
    assert are_well(seen)
    assert seen.implausible == []
    assert head_age(seen) == 0


def test_a_largest_job_size_that_is_no_number_costs_nothing(liar: Liar):
    odd = Lie(ok(STATS.replace(b"max-job-size: 65535", b"max-job-size: many")))
    _, seen, _, _ = observe(liar, {b"stats": odd})
    assert are_well(seen)
