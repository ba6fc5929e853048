"""`beanwatch job`: each run of a job, where it is now, and why nothing may be known."""

import json
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from beanwatch.cli.lib.job_view import story_lines
from beanwatch.fleet.job_story import JobLocation, Story
from beanwatch.queues.base import Job as ServerJob
from beanwatch.store.ledger import LedgerEntry, job_key
from beanwatch.worker.core.connection_protocol import JobStats, Reserved
from beanwatch.worker.core.job import RunningJob
from tests.conftest import Result
from tests.queues.liar import Liar, Lie
from tests.real import Beanstalkd, Proxy, Redis, wait_until
from tests.worker_core.conftest import Broker, StartWorker, broker, start_worker

__all__ = ["broker", "start_worker"]  # fixtures

Run = Callable[..., Result]
Job = Callable[..., Result]


@pytest.fixture
def job(run: Run, redis_server: Redis, beanstalkd: Beanstalkd) -> Job:
    """`job(7)` runs the command against the test's servers."""
    where = ("--redis", redis_server.url, "--server", beanstalkd.address)
    return lambda *argv: run("beanwatch", "job", *argv, *where)


def test_each_attempt_is_told_with_its_worker_reason_and_traceback_and_the_state_now(
    job: Job, start_worker: StartWorker, broker: Broker
):
    worker = start_worker()
    number = broker.put("fail", envelope={"id": "order-7"})
    wait_until(lambda: broker.counts(buried=1))
    # The last heartbeat may be from the moment before the job was buried.
    wait_until(lambda: "buried" in (told := job("order-7").stdout) and "now: being" not in told)
    code, out, err = job("order-7")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "fail order-7 in work"
    runs = [line.split() for line in lines if "here.w1" in line]
    assert [(run[0], run[3]) for run in runs] == [("1", "retry"), ("2", "retry"), ("3", "buried")]
    assert worker.beat().instance in out
    assert out.count("RuntimeError: it does not work (attempt 3, the last)") == 1
    assert out.count("Traceback") == 1  # of three that are alike
    assert lines[-1].startswith("  now: buried in work")
    assert f"attempt 3 (job {number} on" in lines[-1]
    assert job(number).stdout.partition("  now")[0] == out.partition("  now")[0]
    (told,) = json.loads(job(number, "--json").stdout)
    assert [run["outcome"] for run in told["runs"]] == ["retry", "retry", "buried"]
    assert (told["now"][0]["state"], told["now"][0]["queue"]) == ("buried", "work")
    assert told["now"][0]["facts"]["reserves"] == 3


def test_follow_ups_and_parents_are_named(job: Job, start_worker: StartWorker, broker: Broker):
    start_worker("--ledger", "all")
    after = {"queue": "work", "job": "fail", "data": {}}
    broker.put("ok", {}, envelope={"id": "parent", "success": after})
    wait_until(lambda: broker.counts(buried=1))
    wait_until(lambda: "put follow-up job " in job("parent").stdout)
    out = job("parent").stdout
    assert "now: no longer in beanstalkd: it was deleted" in out
    child = out.partition("\n      put follow-up job ")[2].partition("\n")[0]
    assert "  follow-up of parent\n" in job(child).stdout


def test_a_job_that_runs_is_told_with_its_worker(
    job: Job, start_worker: StartWorker, broker: Broker
):
    worker = start_worker()
    number = broker.put("sleep", {"seconds": 30}, envelope={"id": "long"})
    worker.wait_for("busy")
    code, out, _ = job(number)
    assert code == 0
    assert out.startswith(
        "sleep long in work\n  no run of this job is recorded\n  now: reserved in work"
    )
    assert "held by here.w1" in out
    assert "it is being run, held by here.w1" in job("long").stdout


def test_a_run_that_killed_its_worker_is_missing_and_said_to_be(
    job: Job, start_worker: StartWorker, broker: Broker, tmp_path: Path
):
    gate = tmp_path / "gate"
    app = "tests.worker_telemetry.jobs:app"
    first = start_worker(name="w1", app=app)
    broker.put("gate", {"file": str(gate)}, envelope={"id": "a"})
    wait_until(lambda: broker.counts(reserved=1))
    first.signal(signal.SIGKILL)
    first.exit_code()
    gate.touch()
    start_worker(name="w2", app=app)
    wait_until(lambda: broker.counts(), 30)
    wait_until(lambda: "here.w2" in job("a").stdout)
    code, out, err = job("a")
    assert (code, err) == (0, "")
    assert "   1  not recorded: the worker died during the run" in out
    assert "\n   2  " in out


def test_a_job_waiting_since_before_beanstalkd_was_restarted_is_found_by_its_number(
    run: Run, redis_server: Redis, start_worker: StartWorker, tmp_path: Path
):
    with Beanstalkd(tmp_path / "binlog", binlog=True) as server:
        start_worker(server=server.address)
        broker = Broker(server)
        number = broker.put("fail", envelope={"id": "order-7"})
        wait_until(lambda: broker.counts(buried=1))
        server.restart()
        where = ("--redis", redis_server.url, "--server", server.address)
        wait_until(lambda: "retry" in run("beanwatch", "job", number, *where).stdout)
        out = run("beanwatch", "job", number, *where).stdout
        assert out.startswith("fail order-7 in work")
        assert "now: buried in work" in out
        assert "now: buried in work" in run("beanwatch", "job", "order-7", *where).stdout


def test_buried_jobs_are_chosen_by_their_envelope_ids_after_beanstalkd_was_restarted(
    run: Run, redis_server: Redis, start_worker: StartWorker, tmp_path: Path
):
    with Beanstalkd(tmp_path / "binlog", binlog=True) as server:
        broker = Broker(server)
        worker = start_worker(server=server.address)
        for name in ("order-1", "order-2", "order-3"):
            broker.put("raise", {"kind": "bury"}, envelope={"id": name})
        broker.put("raise", {"kind": "bury"})  # without an id
        wait_until(lambda: broker.counts(buried=4))
        wait_until(lambda: worker.stop() == 0)
        server.restart()
        where = ("--redis", redis_server.url, "--server", server.address)
        reasons = run("beanwatch", "queues", "peek", "work", *where).stdout
        assert "buried because: raise: beyond repair (3 jobs, the last is 3)" in reasons
        # Another job with a number that a record names is not the recorded one.
        with server.client() as client:
            client.delete(client.reserve_job(2))
        choice = ("work", "--yes", "--job", "raise", "--reason", "*repair*", "--older-than", "0s")
        result = run("beanwatch", "queues", "kick", *choice, *where)
        assert result.code == 0, result.stderr
        assert broker.stats()["ready"] == 2
        assert broker.job(4)["state"] == "buried"


def test_an_old_beanstalkd_without_an_id_is_known_by_its_pid(
    run: Run,
    redis_server: Redis,
    beanstalkd: Beanstalkd,
    proxy: Callable[[str], Proxy],
    start_worker: StartWorker,
):
    """As 1.7 and 1.8 are."""

    def without_id(data: bytes) -> bytes:
        stats = re.compile(rb"OK (\d+)\r\n(---\n[^\r]*?\n)(id: [0-9a-f]{16}\n)")
        return stats.sub(lambda m: b"OK %d\r\n%b" % (int(m[1]) - len(m[3]), m[2]), data)

    front = proxy(beanstalkd.address)
    front.edit(without_id)
    broker = Broker(beanstalkd)
    worker = start_worker(server=front.address)
    number = broker.put("raise", {"kind": "bury"})
    wait_until(lambda: worker.outcomes() == ["buried"])
    where = ("--redis", redis_server.url, "--server", front.address)
    wait_until(lambda: "beyond repair" in run("beanwatch", "job", number, *where).stdout)
    result = run("beanwatch", "queues", "kick", "work", "--yes", "--reason", "*repair*", *where)
    assert (result.code, result.stderr) == (0, "")
    wait_until(lambda: worker.outcomes() == ["buried", "buried"])


def test_an_id_that_a_producer_forges_shows_in_no_other_jobs_history(
    job: Job, start_worker: StartWorker, broker: Broker, beanstalkd: Beanstalkd
):
    worker = start_worker()
    number = broker.put("raise", {"kind": "bury"})
    forged = f"{beanstalkd.stats()['id']}:{number}"
    broker.put("raise", {"kind": "discard"}, envelope={"id": forged})
    wait_until(lambda: worker.outcomes() == ["buried", "discarded"])
    wait_until(lambda: "discarded" in job(forged).stdout)
    assert "beyond repair" in job(number).stdout
    assert "discarded" not in job(number).stdout
    assert "beyond repair" not in job(forged).stdout


def test_a_job_is_found_by_an_id_that_is_a_number(
    job: Job, start_worker: StartWorker, broker: Broker
):
    worker = start_worker()
    broker.put("raise", {"kind": "discard"}, envelope={"id": 4711})
    wait_until(lambda: worker.outcomes() == ["discarded"])
    wait_until(lambda: "discarded" in job(4711).stdout)


@given(
    uuid=st.from_regex("[A-Za-z0-9_.:-]{1,64}", fullmatch=True),
    server=st.from_regex("[A-Za-z0-9_-]{1,64}", fullmatch=True),
    number=st.integers(1, 2**63),
)
@example(uuid="5e1f:7", server="5e1f", number=7)
@example(uuid="number:5e1f:7", server="5e1f", number=7)
def test_no_envelope_id_makes_the_key_or_the_follow_ups_of_a_job_without_one(
    uuid: str, server: str, number: int
):
    assert job_key(uuid, server, number) != job_key("", server, number)
    reserved = RunningJob(Reserved(number, b"{}"), JobStats(number, "q", 0, 0, 0, 9, 1, 0, 0, 0))
    assert reserved.identity != uuid


def test_why_nothing_is_known_depends_on_what_is_recorded(
    run: Run, job: Job, redis_server: Redis, beanstalkd: Beanstalkd, tmp_path: Path
):
    code, out, err = job("nobody")
    assert (code, out) == (1, "")
    assert err == (
        "beanwatch: nothing is known of job nobody. Workers record only jobs of which a run "
        "failed (--ledger failures), for 7 days, so the job has not run yet, or succeeded at its "
        "first run, or ran earlier.\n"
    )
    file = tmp_path / "beanwatch.toml"
    file.write_text('[worker]\nledger = "off"\n')
    assert "Workers record no runs" in job("7", "--config", file).stderr
    assert json.loads(job("nobody", "--json").stdout) == []


def test_a_server_or_a_redis_that_is_gone_is_one_line(
    run: Run, redis_server: Redis, beanstalkd: Beanstalkd
):
    nowhere = ("--redis", "redis://127.0.0.1:1/0", "--server", beanstalkd.address)
    code, out, err = run("beanwatch", "job", "7", *nowhere)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "connection refused" in err
    dead = ("--redis", redis_server.url, "--server", "127.0.0.1:1")
    code, _, err = run("beanwatch", "job", "7", *dead)
    assert code == 1
    assert err.splitlines()[0].startswith(
        "beanwatch: cannot look up the job on 127.0.0.1:1: connection refused"
    )


def test_a_server_that_could_not_be_asked_is_named_and_exit_1_though_another_has_the_job(
    run: Run, redis_server: Redis, beanstalkd: Beanstalkd, broker: Broker
):
    number = broker.put("ok")
    where = ("--redis", redis_server.url, "--server", beanstalkd.address)
    code, out, err = run("beanwatch", "job", number, *where)
    assert (code, err) == (0, "")
    code, out, err = run("beanwatch", "job", number, *where, "--server", "127.0.0.1:1")
    assert (code, "now: ready in work" in out) == (1, True)
    assert err.startswith("beanwatch: cannot look up the job on 127.0.0.1:1: connection refused")
    with Liar() as liar:  # one that fails only when it is asked for the job
        liar.lies[b"stats-job"] = Lie(b"OUT_OF_MEMORY\r\n")
        code, out, err = run("beanwatch", "job", number, *where, "--server", liar.address)
    assert (code, "now: ready in work" in out) == (1, True)
    assert err.startswith(f"beanwatch: cannot look up the job on {liar.address}: ")
    assert err.count("\n") == 1


def test_no_job_can_write_control_characters_to_the_terminal():
    nasty = "\x1b]0;owned\x07\r\n\u202e"
    entry = LedgerEntry(
        job=nasty, uuid=nasty, outcome=nasty, reason=nasty, traceback=nasty, parent=nasty,
        worker=nasty, follow_ups=(nasty,), attempt=1,
    )  # fmt: skip
    server_job = ServerJob("1", nasty, "ready", attempts=0)
    story = Story(nasty, [entry], [JobLocation(nasty, 1, nasty, server_job, nasty)], nasty)
    assert all(line.isprintable() for line in story_lines(story))


def test_a_run_whose_record_cannot_be_read_is_named(job: Job, redis_server: Redis):
    good, bad = '{"job": "send", "outcome": "ok"}', '{"job": "send", "attempt": "first"}'
    redis_server.client().zadd(job_key("u-1", "", 0), {good: 1, bad: 2})
    code, out, err = job("u-1")
    assert (code, "send u-1" in out) == (0, True)
    assert err == (
        "beanwatch: the record of one run cannot be read: "
        "attempt: expected a whole number, not a text\n"
    )
