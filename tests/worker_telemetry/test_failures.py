"""The list of failed runs: written by real workers, bounded, listed, retried and deleted."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beanwatch.cli import main
from beanwatch.fleet.failure_actions import FailedJob, JobResult, act_on_failures, group_by_job
from beanwatch.fleet.failure_list import FailureChoice, generalize, group_failures
from beanwatch.fleet.job_story import find_job_servers
from beanwatch.globs import fits
from beanwatch.net.redis_url import open_redis, parse_redis_url
from beanwatch.queues.servers import resolve_servers
from beanwatch.store import failures as store
from beanwatch.store.audit import read_audit
from beanwatch.store.failures import Failure, FailureDetail, FailureReader, add_command
from tests.collector.parts import Terminal
from tests.conftest import Result
from tests.real import Beanstalkd, Redis, wait_until
from tests.worker_core.conftest import Broker, StartWorker, broker, start_worker

__all__ = ["broker", "start_worker"]  # fixtures

Failures = Callable[..., Result]


@pytest.fixture
def failures(run: Callable[..., Result], redis_server: Redis, beanstalkd: Beanstalkd) -> Failures:
    def call(action: str, *argv: object) -> Result:
        servers = () if action in ("list", "show") else ("--server", beanstalkd.address)
        return run("beanwatch", "failures", action, "--redis", redis_server.url, *argv, *servers)

    return call


def test_a_failed_job_is_listed_shown_and_retried(
    failures: Failures, start_worker: StartWorker, broker: Broker, beanstalkd: Beanstalkd
):
    worker = start_worker()
    broker.put("fail", {"to": "ann"}, envelope={"id": "order-7"})
    wait_until(lambda: broker.counts(buried=1))
    wait_until(lambda: failures("list").stdout.count("it does not work"))
    worker.stop()
    groups = json.loads(failures("list", "--json").stdout)
    assert sum(group["failed"] for group in groups) == 3
    (group,) = (group for group in groups if "buried" in group["outcomes"])
    assert (group["queue"], group["job"]) == ("work", "fail")
    code, out, _ = failures("show", group["last"])
    assert code == 0
    assert "RuntimeError: it does not work" in out
    assert '{"to": "ann"}' in out
    code, out, _ = failures("retry", "--job", "fail", "--yes")
    assert (code, out) == (0, "work fail order-7: kicked\n")
    assert beanstalkd.stats_tube("work")["current-jobs-ready"] == 1
    assert failures("list").stdout == "no failed run is recorded that fits\n"


def test_a_job_whose_server_was_restarted_is_put_again_with_its_body(
    failures: Failures, start_worker: StartWorker, broker: Broker, beanstalkd: Beanstalkd
):
    worker = start_worker()
    broker.put("fail", {"to": "ann"}, envelope={"id": "order-7"}, ttr=77)
    wait_until(lambda: broker.counts(buried=1))
    wait_until(lambda: failures("list").stdout.count("it does not work"))
    worker.stop()
    beanstalkd.restart()  # without a binlog: the job is gone
    code, out, _ = failures("retry", "--queue", "work", "--dry-run")
    assert (code, out) == (0, "work fail order-7: would retry\n")
    code, out, _ = failures("retry", "--queue", "work", "--yes")
    assert (code, "put again as job" in out) == (0, True)
    with beanstalkd.client(watch=["work"]) as client:
        job = client.reserve(timeout=5)
        assert json.loads(job.body)["id"] == "order-7"
        assert client.stats_job(job)["ttr"] == 77


@pytest.mark.parametrize("envelope", [{"id": "order-7"}, {}])
def test_a_job_that_a_later_run_has_done_is_not_put_again(
    failures: Failures,
    start_worker: StartWorker,
    broker: Broker,
    beanstalkd: Beanstalkd,
    envelope: dict[str, str],
):
    worker = start_worker()
    broker.put("fail-once", envelope=envelope)
    wait_until(lambda: beanstalkd.stats_tube("work")["cmd-delete"] == 1)
    wait_until(lambda: failures("list").stdout.count("at first"))
    worker.stop()
    code, out, _ = failures("retry", "--reason", "*at first*", "--yes")
    assert (code, "not put again: done at attempt 2" in out) == (0, True)
    assert beanstalkd.stats()["total-jobs"] == 1
    assert failures("list").stdout == "no failed run is recorded that fits\n"


def test_a_retry_of_one_run_removes_the_records_of_all_runs_of_the_job(
    failures: Failures, start_worker: StartWorker, broker: Broker, beanstalkd: Beanstalkd
):
    """Each of them would put the job again, once it is done."""
    worker = start_worker()
    broker.put("fail", envelope={"id": "order-7"})
    broker.put("fail", envelope={"id": "order-8"})
    wait_until(lambda: broker.counts(buried=2))
    groups = wait_until(lambda: json.loads(failures("list", "--json").stdout))
    worker.stop()
    last = next(group["last"] for group in groups if "retry" in group["outcomes"])
    code, out, _ = failures("retry", last, "--yes")
    assert (code, out.endswith(": kicked\n")) == (0, True)
    groups = json.loads(failures("list", "--json").stdout)
    assert sum(group["failed"] for group in groups) == 3, "those of the other job"


def test_a_job_of_another_server_is_not_put_on_this_one(
    run: Callable[..., Result],
    start_worker: StartWorker,
    broker: Broker,
    redis_server: Redis,
    tmp_path: Path,
):
    worker = start_worker()
    broker.put("fail")
    wait_until(lambda: broker.counts(buried=1))
    command = ("beanwatch", "failures", "retry", "--redis", redis_server.url, "--queue", "work")
    with Beanstalkd(tmp_path / "other") as other:
        wait_until(lambda: run("beanwatch", "failures", "list", "--redis", redis_server.url).stdout)
        worker.stop()
        code, out, _ = run(*command, "--yes", "--server", other.address)
        assert (code, "does not have it, and it was on" in out) == (1, True)
        assert other.stats()["total-jobs"] == 0


def test_whoever_says_no_changes_nothing(redis_server: Redis, beanstalkd: Beanstalkd):
    at = float(redis_server.client().time()[0])
    add(redis_server, "a", at, b"body", job="a", job_id="7", address=beanstalkd.address)
    where = ("--redis", redis_server.url, "--server", beanstalkd.address)
    with Terminal("beanwatch", "failures", "delete", "--job", "a", *where) as terminal:
        wait_until(lambda: "Delete 1 failed job? [y/N]" in terminal.shown)
        terminal.type("n\n")
        assert terminal.process.wait(30) == 1
        wait_until(lambda: "not confirmed: nothing was changed" in terminal.shown)
    assert [one.job for one in read(redis_server)] == ["a"]


def test_with_a_named_server_the_runs_of_others_are_neither_listed_nor_deleted(
    failures: Failures, redis_server: Redis, beanstalkd: Beanstalkd
):
    at = float(redis_server.client().time()[0])
    instance = beanstalkd.stats()["id"]
    for job, place in {
        "here": {"server": "before", "address": beanstalkd.address},
        "alias": {"server": instance, "address": "queue1:11300"},
        "there": {"server": "another", "address": "q2:11300"},
        "nowhere": {},
    }.items():
        add(redis_server, job, at, b"body", job=job, job_id="7", **place)
    listed = json.loads(failures("list", "--json", "--server", beanstalkd.address).stdout)
    assert {group["job"] for group in listed} == {"here", "alias"}
    code, out, _ = failures("delete", "--job", "*", "--yes")
    assert code == 1
    assert sorted(line.removeprefix("email ") for line in out.splitlines()) == [
        "alias 7: deleted from the list",
        "here 7: deleted from the list",
        "nowhere 7: its record does not say on which server it was: leave out --server",
        "there 7: it was on q2:11300: name that server with --server",
    ]
    assert {one.job for one in read(redis_server)} == {"there", "nowhere"}


def test_without_a_named_server_the_records_of_removed_ones_are_deleted(
    run: Callable[..., Result], redis_server: Redis, beanstalkd: Beanstalkd
):
    add(redis_server, "a", 1e9, job_id="7", server="another", address="q2:11300")
    configured = {"BEANWATCH_SERVERS": beanstalkd.address}
    command = ("beanwatch", "failures", "delete", "a", "--yes", "--redis", redis_server.url)
    assert run(*command, env=configured).code == 0
    assert read(redis_server) == []


def test_an_interrupted_command_tells_what_it_has_done(
    redis_server: Redis,
    beanstalkd: Beanstalkd,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    for ident in ("a", "b"):
        add(redis_server, ident, 1e9, job=ident, job_id=ident)

    def stop_after_one(*arguments: Any, **options: Any) -> Iterator[JobResult]:
        yield next(act_on_failures(*arguments, **options))
        raise KeyboardInterrupt

    monkeypatch.setattr("beanwatch.cli.failures.act_on_failures", stop_after_one)
    monkeypatch.setenv("BEANWATCH_CONFIG", "")
    monkeypatch.setenv("BEANWATCH_SERVERS", beanstalkd.address)
    with pytest.raises(SystemExit) as end:
        main(["failures", "delete", "--job", "*", "--yes", "--redis", redis_server.url])
    assert end.value.code == 130
    assert capsys.readouterr().out == "email b b: deleted from the list\n"
    with open_redis(parse_redis_url(redis_server.url), 5) as client:
        last, first = read_audit(client.execute, 10)
    assert (last.state, last.jobs, last.id) == ("stopped", 1, first.id)


def test_a_server_that_answers_no_more_is_asked_for_few_jobs(beanstalkd: Beanstalkd):
    servers = resolve_servers({"q1": beanstalkd.address})
    places = find_job_servers(servers, 5)
    run = Failure("a", server=places[0].instance, queue="email")
    jobs = [FailedJob([run._replace(job_id=str(number))]) for number in range(1, 6)]
    beanstalkd.freeze()
    results = list(act_on_failures(lambda _: [], places, "delete", jobs, 0.2))
    assert not any(one.has_changed for one in results)
    assert ["no answer within" in one.text for one in results] == [True] * 3 + [False] * 2
    assert "gave no answer for 3 jobs in a row" in results[-1].text


def test_delete_removes_the_record_and_the_buried_job(
    failures: Failures, start_worker: StartWorker, broker: Broker, beanstalkd: Beanstalkd
):
    worker = start_worker()
    broker.put("fail")
    wait_until(lambda: broker.counts(buried=1))
    wait_until(lambda: failures("list").stdout.count("it does not work"))
    worker.stop()
    code, out, _ = failures("delete", "--reason", "not work", "--yes")
    assert (code, out.endswith(": deleted\n")) == (0, True)
    assert beanstalkd.stats_tube("work").get("current-jobs-buried", 0) == 0


def test_a_run_whose_server_is_not_recorded_is_not_retried(failures: Failures, redis_server: Redis):
    at = float(redis_server.client().time()[0])
    add(redis_server, "1", at, job_id="8-4-2", uuid="8-4-2", job="shop.send", outcome="failed")
    code, out, _ = failures("retry", "--queue", "email", "--yes")
    assert (code, "does not say on which server it is" in out) == (1, True)
    assert failures("list").stdout != "no failed run is recorded that fits\n"


def test_nothing_is_changed_without_a_choice_or_a_confirmation(failures: Failures):
    code, _, err = failures("retry", "--yes")
    assert (code, "choose what to retry" in err) == (2, True)
    code, _, err = failures("show", "unknown")
    assert (code, "no failed run 'unknown' is recorded" in err) == (1, True)


def test_an_empty_id_is_wrong_usage(failures: Failures, redis_server: Redis):
    for ident in ("a", "b"):
        add(redis_server, ident, 1e9)
    code, _, err = failures("show", "")
    assert (code, err.count("\n"), "ID is empty" in err) == (2, 1, True)


def add(redis: Redis, ident: str, at: float, body: bytes = b"", **fields: Any) -> None:
    entry = json.dumps({"queue": "email", **fields}).encode()
    with open_redis(parse_redis_url(redis.url), 5) as client:
        client.execute([add_command(ident, at, entry, FailureDetail(body, ""))])


def read(redis: Redis, reader: FailureReader | None = None) -> list[Failure]:
    with open_redis(parse_redis_url(redis.url), 5) as client:
        return (reader or FailureReader()).read(client.execute)


def test_the_list_is_bounded_by_number_size_and_age(
    redis_server: Redis, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(store, "MAX_FAILURES", 3)
    monkeypatch.setattr(store, "MAX_BYTES", 2_000)
    for number in range(5):
        add(redis_server, f"n{number}", 1e9 + number)
    assert [one.id for one in read(redis_server)] == ["n4", "n3", "n2"]
    add(redis_server, "big", 1e9 + 10, b"x" * 1_980)
    assert [one.id for one in read(redis_server)] == ["big"]
    client = redis_server.client()
    assert int(client.get(store.BYTES_KEY)) == int(
        client.hget(store.FAILURE_PREFIX + "big", "size")
    )
    add(redis_server, "late", 1e9 + 11 + store.KEPT)
    assert [one.id for one in read(redis_server)] == ["late"]
    assert len(client.keys(store.FAILURE_PREFIX + "*")) == 1


def test_a_sum_that_redis_has_made_wrong_is_put_right(redis_server: Redis):
    """It has evicted some of the records, and their sizes with them."""
    client = redis_server.client()
    client.set(store.BYTES_KEY, 10 * store.MAX_BYTES)
    for n in range(3):
        add(redis_server, f"n{n}", 1e9 + n)
    assert client.zcard(store.FAILURES_KEY) == 3
    assert int(client.get(store.BYTES_KEY)) < store.MAX_BYTES


def test_a_failure_that_is_recorded_twice_counts_once(redis_server: Redis):
    add(redis_server, "a", 1e9, b"xy")
    before = redis_server.client().get(store.BYTES_KEY)
    add(redis_server, "a", 1e9, b"xy")
    assert redis_server.client().get(store.BYTES_KEY) == before
    with open_redis(parse_redis_url(redis_server.url), 5) as client:
        assert store.remove_failures(client.execute, ["a", "unknown"]) == 1
    assert redis_server.client().keys("*") == []


def test_a_record_of_another_program_that_is_wrong_is_left_out(redis_server: Redis):
    rejected: list[Any] = []
    reader = FailureReader(rejected.append)
    add(redis_server, "wrong", 1e9, attempt="x")
    add(redis_server, "right", 1e9 + 1)
    assert [one.id for one in read(redis_server, reader)] == ["right"]
    assert [one.id for one in read(redis_server, reader)] == ["right"]
    assert len(rejected) == 1, "it is read only once"


@given(st.text(max_size=300))
def test_a_reason_fits_its_own_glob(reason: str):
    assert fits(reason, generalize(reason)) or reason.strip().lower() != reason.lower()


def test_runs_of_one_job_are_one_job_and_alike_reasons_one_group():
    runs = [
        Failure("a", 3.0, queue="q", job="j", job_id="1", reason="after 3 s", outcome="buried"),
        Failure("b", 2.0, queue="q", job="j", job_id="1", reason="after 2 s", outcome="retry"),
        Failure("c", 1.0, queue="q", job="j", job_id="2", reason="other", outcome="retry"),
    ]
    assert [job.ids for job in group_by_job(runs)] == [["a", "b"], ["c"]]
    assert [(one.failed, one.reason_glob) for one in group_failures(runs)] == [
        (2, "after * s"),
        (1, "other"),
    ]
    assert FailureChoice(reason="after*", within=1.5).choose(runs, 4.0) == runs[:1]
    assert FailureChoice(like="b").choose(runs, 4.0) == runs[:2]
    assert FailureChoice(like="b", outcome="buried").choose(runs, 4.0) == []
    assert FailureChoice(like="gone").choose(runs, 4.0) == []
