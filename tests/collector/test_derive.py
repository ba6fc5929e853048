"""What follows from beanstalkd's numbers, on literal readings and on real servers."""

import socket
from pathlib import Path
from typing import Any

import greenstalk
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beanwatch.collectors.poll.derive import (
    ABSENT,
    Jobs,
    derive_drain,
    derive_queue,
    derive_rejected,
    derive_server,
    enter_life,
    merge,
)
from beanwatch.collectors.poll.samples import Head, QueueSample, Rejected, ServerSamples
from beanwatch.queues.beanstalkd.stats import Stats, numbers, parse_stats
from beanwatch.queues.consumers import CODES
from beanwatch.telemetry.series import QUEUE_DERIVED, SERVER_DERIVED
from tests.queues.formats import SERVERS, TUBES
from tests.real import Beanstalkd, wait_until

QUEUE = parse_stats(TUBES["1.13+"])
NOBODY = Jobs()


def queue(**fields: int) -> Stats:
    zeros: Stats = dict.fromkeys(QUEUE, 0)
    return zeros | {key.replace("_", "-"): value for key, value in fields.items()}


def derive(
    stats: Stats, before: QueueSample | None = None, now: float = 110.0, jobs: Jobs = NOBODY
) -> tuple[dict[str, Any], QueueSample]:
    return derive_queue(stats, jobs, before, now, {})


def test_the_first_reading_has_no_rates():
    values, _ = derive(queue(total_jobs=10, cmd_delete=4, current_jobs_ready=6))
    assert "put_rate" not in values
    assert "delete_rate" not in values
    assert values["total_jobs"] == 10


def test_two_readings_give_rates_and_an_estimate_of_the_end():
    _, before = derive(queue(total_jobs=10, cmd_delete=4, current_jobs_ready=6), now=100.0)
    values, _ = derive(queue(total_jobs=20, cmd_delete=16, current_jobs_ready=4), before, 104.0)
    assert (values["put_rate"], values["delete_rate"]) == (2.5, 3.0)
    assert values["drain_seconds"] == 8.0


@pytest.mark.parametrize(
    ("ready", "puts", "deletes", "seconds"),
    [(0, None, None, 0), (5, None, 1.0, None), (5, 1.0, 1.0, None), (5, 2.0, 1.0, None)],
)
def test_a_queue_that_does_not_shrink_has_no_end(ready, puts, deletes, seconds):
    assert derive_drain(ready, puts, deletes) == seconds


def test_a_queue_that_came_back_starts_anew():
    _, before = derive(queue(total_jobs=100, cmd_delete=100), now=100.0)
    values, after = derive(queue(total_jobs=3, cmd_delete=1, current_jobs_ready=2), before)
    assert "put_rate" not in values
    assert (values["drift"], after.drift) == (0, 0)


def test_one_counter_that_fell_tells_that_the_other_is_another_too():
    _, before = derive(queue(total_jobs=3, cmd_delete=3), now=100.0)
    values, _ = derive(queue(total_jobs=9, cmd_delete=1, current_jobs_ready=8), before)
    assert "put_rate" not in values
    assert "delete_rate" not in values


def test_a_job_in_limbo_shows_as_drift():
    _, before = derive(queue(total_jobs=5, cmd_delete=2, current_jobs_ready=3))
    values, after = derive(queue(total_jobs=5, cmd_delete=2, current_jobs_ready=2), before)
    assert values["drift"] == 1
    values, after = derive(queue(total_jobs=6, cmd_delete=2, current_jobs_ready=3), after)
    assert values["drift"] == 1, "it stays, also when others come"
    values, after = derive(queue(total_jobs=6, cmd_delete=3, current_jobs_ready=3), after)
    assert values["drift"] == 0, "it was deleted by its id"


def test_jobs_of_a_binlog_are_no_drift():
    replayed = queue(total_jobs=0, cmd_delete=0, current_jobs_ready=5)
    values, before = derive(replayed)
    assert values["drift"] == 0
    values, before = derive(queue(cmd_delete=2, current_jobs_ready=3), before)
    assert values["drift"] == 0
    values, before = derive(queue(total_jobs=9, cmd_delete=2), before)
    assert values["drift"] > 0, "nine were put, and none is there"


def test_a_replayed_queue_that_was_born_anew_unseen_is_no_drift():
    _, before = derive(queue(current_jobs_ready=1))
    values, _ = derive(queue(total_jobs=7, cmd_delete=7), before)
    assert values["drift"] == 0


def test_a_job_that_was_never_reserved_has_waited_since_its_put_without_its_delay():
    job: Stats = {"id": "9", "age": 100, "delay": 40, "reserves": 0, "kicks": 0}
    values, _ = derive(queue(current_jobs_ready=1), jobs=Jobs(ready=job))
    assert values["head_ready_age"] == 60


@pytest.mark.parametrize("counter", ["reserves", "kicks"])
def test_any_other_job_has_waited_since_it_was_first_seen_as_head(counter: str):
    job: Stats = {"id": "9", "age": 90_000, "delay": 0, "reserves": 0, "kicks": 0, counter: 1}
    jobs = Jobs(ready=job)
    values, before = derive(queue(current_jobs_ready=1), now=100.0, jobs=jobs)
    assert values["head_ready_age"] == 0
    values, before = derive(queue(current_jobs_ready=1), before, 130.0, jobs)
    assert values["head_ready_age"] == 30
    values, before = derive(queue(current_jobs_ready=1), before, 140.0, Jobs())
    assert "head_ready_age" not in values, "nobody looked"
    other: Stats = job | {"id": "10"}
    values, before = derive(queue(current_jobs_ready=1), before, 150.0, Jobs(ready=other))
    assert values["head_ready_age"] == 0
    assert before.ready_head == Head(10, 150.0)


def test_a_buried_job_ages_from_when_it_was_first_seen_buried():
    jobs = Jobs(buried={"id": "9", "age": 90_000})
    values, before = derive(queue(current_jobs_buried=1), now=100.0, jobs=jobs)
    assert values["head_buried_age"] == 0
    values, _ = derive(queue(current_jobs_buried=1), before, 160.0, jobs)
    assert values["head_buried_age"] == 60


def test_an_age_is_never_less_than_nothing():
    jobs = Jobs(buried={"id": "9"})
    _, before = derive(queue(current_jobs_buried=1), now=160.0, jobs=jobs)
    values, _ = derive(queue(current_jobs_buried=1), before, 100.0, jobs)
    assert values["head_buried_age"] == 0


def test_an_empty_queue_is_no_seconds_old():
    values, _ = derive(queue())
    assert (values["head_ready_age"], values["head_buried_age"], values["drain_seconds"]) == (
        0,
    ) * 3


def test_every_derived_series_of_a_queue_and_no_other_is_there():
    job: Stats = {"id": "9", "age": 1}
    jobs = Jobs(job, job)
    _, before = derive(QUEUE, now=100.0, jobs=jobs)
    moved = QUEUE | {"cmd-delete": 42, "total-jobs": 53, "current-jobs-ready": 6}
    values, _ = derive(moved, before, 110.0, jobs)
    assert set(values) - set(numbers(QUEUE)) == set(QUEUE_DERIVED)
    assert set(ABSENT) == set(values), "an absent queue has the same series, as zeros"


@pytest.mark.parametrize("version", SERVERS)
def test_every_derived_series_of_a_server_is_there_in_every_version(version: str):
    stats = parse_stats(SERVERS[version])
    values = derive_server(stats, 2, derive_rejected(stats, None).sure, 1)
    assert set(SERVER_DERIVED) <= set(values)
    assert values["rejected_puts"] == 9
    assert values["binlog_bytes"] == 3 * 10485760
    assert (values["up"], values["restarts"], values["drift"]) == (1, 2, 1)
    assert values["draining"] == (1 if "draining" in stats else 0)


def test_a_server_without_a_binlog_has_no_binlog_bytes():
    stats = parse_stats(SERVERS["1.12"]) | {"binlog-oldest-index": 0, "binlog-current-index": 0}
    assert derive_server(stats, 0, 0, 0)["binlog_bytes"] == 0


def test_a_restart_forgets_what_cannot_be_compared_and_is_counted():
    samples = ServerSamples()
    enter_life(samples, "a")
    assert samples.restarts == 0, "the first sight is no restart"
    samples.queues["t"] = derive(queue())[1]
    enter_life(samples, "a")
    assert "t" in samples.queues
    enter_life(samples, "b")
    assert (samples.restarts, samples.queues) == (1, {})


def test_queues_in_one_series_are_summed_but_for_ages_and_states():
    one = {"ready": 1, "put_rate": 0.5, "head_ready_age": 10, "consumer_state": CODES["stalled"]}
    two = {"ready": 2, "put_rate": 1.5, "head_ready_age": 99, "consumer_state": CODES["ok"]}
    assert merge([one, two]) == {
        "ready": 3,
        "put_rate": 2.0,
        "head_ready_age": 99,
        "consumer_state": CODES["stalled"],
    }


def test_where_an_age_is_not_known_of_one_of_them_the_others_are_the_least_it_can_be():
    empty, _ = derive(queue())
    unknown, _ = derive(queue(current_jobs_ready=5, current_jobs_buried=1))
    job: Stats = {"id": "9", "age": 100}
    known, _ = derive(queue(current_jobs_ready=1, current_jobs_buried=1), jobs=Jobs(job, job))
    ages = {"head_ready_age", "head_buried_age", "drain_seconds"}
    assert not ages & merge([empty, unknown]).keys()
    some = merge([known, unknown, empty])
    assert some["head_ready_age"] == 100
    assert not {"head_buried_age", "drain_seconds"} & some.keys()
    both = merge([empty, known])
    assert (both["head_ready_age"], both["head_buried_age"]) == (100, 0)
    assert merge([empty, empty])["drain_seconds"] == 0


def test_refused_puts_are_counted_on_a_real_server(beanstalkd: Beanstalkd):
    with beanstalkd.client() as client:
        client.put("fine")
        with pytest.raises(greenstalk.JobTooBigError):
            client.put("x" * 100_000)
    assert derive_rejected(dict(beanstalkd.stats()), None).sure == 1


def test_a_put_under_way_is_not_taken_for_a_refused_one(beanstalkd: Beanstalkd):
    first = derive_rejected(dict(beanstalkd.stats()), None)
    with socket.create_connection(("127.0.0.1", beanstalkd.port), timeout=5) as producer:
        producer.sendall(b"put 0 0 60 3\r\na")
        wait_until(lambda: beanstalkd.stats()["cmd-put"] == 1)
        under_way = derive_rejected(dict(beanstalkd.stats()), first)
        producer.sendall(b"bc\r\n")
        assert producer.recv(100).startswith(b"INSERTED")
    done = derive_rejected(dict(beanstalkd.stats()), under_way)
    assert (first.sure, under_way, done.sure) == (0, Rejected(1, 0), 0)


def test_a_put_under_way_at_the_first_look_is_not_believed_for_ever(beanstalkd: Beanstalkd):
    with beanstalkd.client() as client, pytest.raises(greenstalk.JobTooBigError):
        client.put("x" * 100_000)
    with socket.create_connection(("127.0.0.1", beanstalkd.port), timeout=5) as producer:
        producer.sendall(b"put 0 0 60 3\r\na")
        wait_until(lambda: beanstalkd.stats()["cmd-put"] == 2)
        first = derive_rejected(dict(beanstalkd.stats()), None)
        producer.sendall(b"bc\r\n")
        assert producer.recv(100).startswith(b"INSERTED")
    done = derive_rejected(dict(beanstalkd.stats()), first)
    assert (first, done) == (Rejected(2, 2, is_first=True), Rejected(1, 1))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2))
def test_a_refused_put_is_told_by_the_second_look_and_never_too_many(
    looks: list[tuple[int, int]],
):
    known: Rejected | None = None
    refused, most, told = 0, 0, []
    for more, under_way in looks:
        refused += more
        most = max(most, refused + under_way)
        known = derive_rejected({"cmd-put": refused + under_way}, known)
        told.append(known.sure)
        assert known.sure <= most
        assert known.sure >= refused - more, "those of the look before are sure by now"
    assert told[1:] == sorted(told[1:]), "what falls and rises again looks like a new one"


def test_the_bytes_of_a_real_binlog_are_those_on_disk(tmp_path: Path):
    with Beanstalkd(tmp_path, binlog=True) as server:
        with server.client() as client:
            client.put("x")
        values = derive_server(dict(server.stats()), 0, 0, 0)
        assert server.binlog is not None
        on_disk = sum(file.stat().st_size for file in server.binlog.glob("binlog.*"))
        assert on_disk - 10485760 <= values["binlog_bytes"] <= on_disk
