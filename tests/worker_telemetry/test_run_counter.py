"""The counts of a worker's runs: buckets, limits, and the record that carries them."""

import json
import math
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beanwatch.outcomes import OUTCOMES
from beanwatch.store.heartbeats import decode_heartbeat, encode_heartbeat, heartbeat_tree
from beanwatch.store.records import RecordError
from beanwatch.store.run_totals import BOUNDS, MAX_COUNTED, MAX_KINDS, OTHER_JOBS, RunTotals
from beanwatch.worker.monitor.runs import Run
from beanwatch.worker.monitor.sinks.run_counter import MAX_FOUND, RunCounter
from tests.records import make_beat
from tests.worker_telemetry.conftest import RecordingLog

BIGGEST = 20 * 1024  # bytes of a record with as many kinds of job as there can be

KIND = {"queue": "q", "job": "j", "outcomes": {"ok": 1}}


def run(job: str = "send", outcome: str = "ok", **fields: Any) -> Run:
    values = {"server": "s", "queue": "mail", "job_id": 1, "attempt": 1, **fields}
    return Run(job=job, outcome=outcome, **values)


@pytest.fixture
def counter(log: RecordingLog) -> RunCounter:
    return RunCounter(log.as_logger())


def test_runs_are_counted_by_outcome_and_sorted_by_duration(counter: RunCounter) -> None:
    for duration in (0.0, 0.005, 0.006, 3600.0, 3601.0):
        counter.on_finished(run(duration=duration, wait=2.5))
    counter.on_finished(run(outcome="retry", duration=0.02, attempt=2, wait=9.0))
    ((queue, job, counts),) = counter.kinds()
    assert (queue, job) == ("mail", "send")
    assert {name: n for name, n in counts.outcomes.items() if n} == {"ok": 5, "retry": 1}
    assert counts.durations[:3] == [2, 1, 1]
    assert counts.durations[-2:] == [1, 1]
    assert counts.seconds == pytest.approx(7201.031)
    assert counts.waits[BOUNDS.index(2.5)] == sum(counts.waits) == 5, "no wait of a second attempt"


@pytest.mark.parametrize("outcome", [one for one in OUTCOMES if not one.was_run])
def test_a_run_without_its_handler_has_no_duration(counter: RunCounter, outcome: Any) -> None:
    counter.on_finished(run(outcome=outcome.name, duration=0.001))
    (one,) = counter.totals()
    assert (one.outcomes, one.seconds, one.buckets) == ({outcome.name: 1}, 0.0, ())


def test_more_kinds_than_fit_share_one_name_by_queue_and_that_is_told_once(
    counter: RunCounter, log: RecordingLog
) -> None:
    for number in range(MAX_KINDS + 5):
        counter.on_finished(run(f"job{number}", duration=1.0))
    counter.on_finished(run("one more", queue="other", duration=1.0))
    found = {(one.queue, one.job): sum(one.buckets) for one in counter.totals()}
    assert len(found) == MAX_KINDS + 2
    assert found["mail", OTHER_JOBS] == 5
    assert found["other", OTHER_JOBS] == 1
    assert len([line for line in log.lines if "kinds of job" in str(line)]) == 1


def test_any_number_of_queues_makes_a_record_that_can_be_read(counter: RunCounter) -> None:
    for number in range(5000):
        counter.on_finished(run("send", queue=f"tenant{number}", duration=1.0))
    body = encode_heartbeat(make_beat(totals=counter.totals()))
    found = {(one.queue, one.job): sum(one.buckets) for one in decode_heartbeat(body).totals or ()}
    assert len(found) == MAX_COUNTED + 1
    assert sum(found.values()) == 5000
    assert found[OTHER_JOBS, OTHER_JOBS] == 5000 - MAX_COUNTED
    assert len(counter._found) <= MAX_FOUND + 1


def test_the_biggest_record_is_small_and_made_fast(counter: RunCounter) -> None:
    for number in range(MAX_KINDS):
        for bound in (*BOUNDS, 9999.0):
            for outcome in ("ok", "retry", "buried"):
                counter.on_finished(
                    run(f"application.module.job_{number}", outcome, duration=bound)
                )
    started = time.thread_time()
    body = encode_heartbeat(make_beat(totals=counter.totals()))
    assert time.thread_time() - started < 0.05
    assert len(body) < BIGGEST
    assert decode_heartbeat(body).totals == counter.totals()


def read_totals(totals: Any) -> tuple[RunTotals, ...] | None:
    """The runs in a record whose field `totals` has this value."""
    tree = heartbeat_tree(make_beat()) | {"totals": totals}
    return decode_heartbeat(json.dumps(tree).encode()).totals


def test_a_record_of_another_program_may_have_no_runs_or_write_them_as_php_does() -> None:
    assert read_totals(None) is None, "not known, and not 0"
    assert read_totals([]) == ()
    assert read_totals([{**KIND, "outcomes": [], "seconds": 2, "buckets": [1.0]}]) == (
        RunTotals("q", "j", {}, 2.0, (1,)),
    )
    assert read_totals([KIND]) == (RunTotals("q", "j", {"ok": 1}),)


@pytest.mark.parametrize(
    ("totals", "where"),
    [
        (7, "totals: "),
        ({}, "totals: "),
        ([{}] * 1001, "totals: "),
        ([KIND, 7], r"totals\[1\] "),
        ([{"queue": "q"}], r"totals\[0\].job is missing"),
        ([{**KIND, "job": "j" * 256}], r"totals\[0\].job: expected "),
        ([{**KIND, "outcomes": {"ok": -1}}], r"totals\[0\].outcomes: expected "),
        ([{**KIND, "outcomes": {"ok": 1.5}}], r"totals\[0\].outcomes: expected "),
        ([{**KIND, "outcomes": {"ok": True}}], r"totals\[0\].outcomes: expected "),
        ([{**KIND, "outcomes": [1]}], r"totals\[0\].outcomes: expected "),
        ([{**KIND, "outcomes": {str(n): 1 for n in range(21)}}], r"totals\[0\].outcomes: "),
        ([{**KIND, "seconds": -1.0}], r"totals\[0\].seconds: expected "),
        ([{**KIND, "seconds": math.nan}], r"totals\[0\].seconds: expected "),
        ([{**KIND, "buckets": [0] * 18}], r"totals\[0\].buckets: expected "),
    ],
)
def test_a_field_of_another_form_is_named(totals: Any, where: str) -> None:
    with pytest.raises(RecordError, match=f"^{where}"):
        read_totals(totals)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 1e6)), max_size=50))
def test_whatever_ran_is_in_the_record(runs: list[tuple[str, float]]) -> None:
    counter = RunCounter(RecordingLog().as_logger())
    for job, duration in runs:
        counter.on_finished(run(job, duration=duration))
    totals = decode_heartbeat(encode_heartbeat(make_beat(totals=counter.totals()))).totals or ()
    assert sum(sum(one.buckets) for one in totals) == len(runs)
    assert sum(one.seconds for one in totals) == pytest.approx(sum(d for _, d in runs), abs=1e-4)
