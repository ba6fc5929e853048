"""`beanwatch workers`: who is there, who obeys, and who did not answer."""

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from beanwatch.store.heartbeats import WORKERS_KEY, encode_heartbeat, worker_key
from tests.conftest import Result
from tests.real import Beanstalkd, Redis, wait_until
from tests.records import make_beat
from tests.worker_core.conftest import Broker, StartWorker, broker, start_worker

__all__ = ["broker", "start_worker"]  # fixtures

APP = "tests.worker_telemetry.jobs:app"
Run = Callable[..., Result]
Workers = Callable[..., Result]


@pytest.fixture
def workers(run: Run, redis_server: Redis) -> Workers:
    """`workers("stop", "web1.w1")` runs the command against the test's Redis."""
    return lambda *argv: run("beanwatch", "workers", *argv, "--redis", redis_server.url)


def add_record(redis_server: Redis, worker: str, *, age: float = 0.0, **fields: object) -> None:
    """A record as a worker that is not on this machine would leave it."""
    with redis_server.client() as client:
        client.set(worker_key(worker), encode_heartbeat(make_beat(**fields)))  # type: ignore[arg-type]
        client.zadd(WORKERS_KEY, {worker: time.time() - age})


def test_the_list_tells_state_job_note_and_age(
    workers: Workers, start_worker: StartWorker, broker: Broker
):
    busy = start_worker(name="w1", app=APP)
    idle = start_worker(name="w2", queue="other")
    broker.put("gate", {"file": "/nowhere"})
    busy.wait_for("busy")
    idle.wait_for("idle")
    code, out, _ = workers()
    assert code == 0
    header, first, second = out.splitlines()
    assert header.split()[:2] == ["WORKER", "STATE"]
    assert first.split()[:4] == ["here.w1", "busy", "work", "gate"]
    assert second.split()[:3] == ["here.w2", "idle", "other"]
    wait_until(lambda: "at the gate 12/34" in workers("here.w1").stdout)
    (told,) = json.loads(workers("list", "*.w1", "--json").stdout)
    assert (told["id"], told["health"], told["jobs"][0]["name"]) == ("here.w1", "busy", "gate")
    assert told["pid"] == busy.process.pid
    (now,) = json.loads(workers("status", "here.w1", "--json").stdout)
    assert (now["jobs"][0]["progress"], now["state"]) == ([12, 34], "busy")


def test_a_glob_and_one_name_choose_who_is_told(workers: Workers, start_worker: StartWorker):
    one, two, three = (start_worker(name=name) for name in ("a1", "a2", "b1"))
    for worker in (one, two, three):
        worker.wait_for("idle")
    code, out, err = workers("wait", "here.a*")
    assert (code, err) == (0, "")
    assert [line.split()[:2] for line in out.splitlines()] == [
        ["here.a1:", "waits"],
        ["here.a2:", "waits"],
    ]
    one.wait_for("waiting")
    two.wait_for("waiting")
    assert three.beat().state == "idle"
    assert workers("resume", "here.a1").code == 0
    one.wait_for("idle")
    assert workers("stop", "*").code == 0
    assert [worker.exit_code() for worker in (one, two, three)] == [0, 0, 0]
    assert workers().stdout == "Redis has no record of any worker\n"


def test_a_worker_obeys_while_its_job_runs(
    workers: Workers, start_worker: StartWorker, broker: Broker, tmp_path: Path
):
    gate = tmp_path / "gate"
    worker = start_worker(app=APP)
    broker.put("gate", {"file": str(gate)})
    worker.wait_for("busy")
    code, out, _ = workers("restart", "here.w1")
    assert (code, out.startswith("here.w1: restarts after gate")) == (0, True)
    worker.wait_for("stopping")
    gate.touch()
    assert worker.exit_code() == 10
    assert worker.outcomes() == ["ok"]


def test_a_dump_shows_where_the_handler_is(
    workers: Workers, start_worker: StartWorker, broker: Broker
):
    worker = start_worker()
    broker.put("sleep", {"seconds": 30})
    worker.wait_for("busy")
    code, out, _ = workers("dump", "here.w1")
    assert code == 0
    assert "jobs.py" in out
    assert "in sleep" in out
    (told,) = json.loads(workers("dump", "here.w1", "--json").stdout)
    assert told["ok"]
    assert "in sleep" in told["dump"]


def test_who_did_not_answer_is_said(
    workers: Workers, start_worker: StartWorker, beanstalkd: Beanstalkd
):
    awake, frozen = start_worker(name="awake"), start_worker(name="frozen")
    awake.wait_for("idle")
    wait_until(
        lambda: beanstalkd.stats_tube("beanwatch.control.here.frozen").get("current-waiting")
    )
    frozen.signal(signal.SIGSTOP)
    code, out, err = workers("wait", "*", "--timeout", "3")
    assert (code, out.split()[:2]) == (1, ["here.awake:", "waits"])
    assert err == (
        "beanwatch: here.frozen: no answer within 3 s; "
        "the worker has received the command and may still carry it out within 5 s\n"
    )
    assert beanstalkd.stats()["current-jobs-ready"] == 0  # no answer lies about


def test_a_status_that_nobody_answers_is_that_and_nothing_else(
    workers: Workers, redis_server: Redis, beanstalkd: Beanstalkd
):
    add_record(redis_server, "here.gone", instance="x", server=beanstalkd.address)
    code, out, err = workers("status", "here.gone", "--timeout", "0.2")
    assert (code, out) == (1, "")
    assert err.startswith("beanwatch: here.gone: no answer within 0.2 s; no worker of this name")
    code, out, _ = workers("status", "here.gone", "--timeout", "0.2", "--json")
    assert (code, out) == (1, "[]\n")


def test_an_order_is_taken_back_while_a_worker_is_too_slow_to_take_it(
    workers: Workers, redis_server: Redis, beanstalkd: Beanstalkd
):
    add_record(redis_server, "here.slow", instance="x", server=beanstalkd.address)
    with beanstalkd.client(watch="beanwatch.control.here.slow"):
        code, _, err = workers("stop", "here.slow", "--timeout", "0.2")
    assert (code, err) == (
        1,
        "beanwatch: here.slow: no answer within 0.2 s; the command was withdrawn\n",
    )
    assert beanstalkd.stats()["current-jobs-ready"] == 0


def test_an_order_that_nobody_takes_leaves_no_job_behind(
    workers: Workers, redis_server: Redis, beanstalkd: Beanstalkd
):
    add_record(redis_server, "here.gone", instance="x", server=beanstalkd.address)
    code, _, err = workers("stop", "here.gone", "--timeout", "0.2")
    assert code == 1
    assert err == (
        "beanwatch: here.gone: no answer within 0.2 s; "
        f"no worker of this name listens at {beanstalkd.address}: it has exited, has lost its "
        "connection, or uses another beanstalkd (--server)\n"
    )
    assert beanstalkd.stats()["current-jobs-ready"] == 0


def test_an_order_for_the_instance_before_is_not_obeyed(
    workers: Workers, start_worker: StartWorker, redis_server: Redis, beanstalkd: Beanstalkd
):
    worker = start_worker("--heartbeat-interval", 5)
    worker.wait_for("idle")
    # The operator saw the record of an instance that has been replaced.
    add_record(redis_server, "here.w1", instance="before", server=beanstalkd.address)
    code, _, err = workers("stop", "here.w1", "--timeout", "1")
    assert (code, "no answer" in err) == (1, True)
    assert worker.process.poll() is None


def test_a_worker_is_told_by_name_when_redis_is_gone(
    run: Run, start_worker: StartWorker, beanstalkd: Beanstalkd
):
    worker = start_worker()
    worker.wait_for("idle")
    nowhere = ("--redis", "redis://127.0.0.1:1/0")
    code, _, err = run("beanwatch", "workers", "stop", "*", *nowhere)
    assert (code, err.count("\n")) == (1, 1)
    assert "connection refused" in err
    told = run("beanwatch", "workers", "stop", "here.w1", *nowhere, "--server", beanstalkd.address)
    assert (told.code, told.stdout) == (0, "here.w1: stops\n")
    assert worker.exit_code() == 0


def test_a_restart_of_all_raises_the_version_and_interrupts_no_job(
    workers: Workers, start_worker: StartWorker, broker: Broker, tmp_path: Path
):
    gate = tmp_path / "gate"
    busy = start_worker("--restart-spread", 0, name="w1", app=APP)
    idle = start_worker("--restart-spread", 0, name="w2", queue="other")
    broker.put("gate", {"file": str(gate)})
    busy.wait_for("busy")
    idle.wait_for("idle")
    code, out, _ = workers("restart", "--all-at-once")  # nothing here starts them again
    assert code == 0
    assert out.startswith("restart 1 was requested of 2 workers: each restarts")
    assert idle.exit_code() == 10
    busy.wait_for("stopping")
    gate.touch()
    assert busy.exit_code() == 10
    assert busy.outcomes() == ["ok"]
    assert json.loads(workers("restart", "--json").stdout) == {"version": 2, "workers": []}


def test_only_the_dead_are_forgotten(
    workers: Workers, start_worker: StartWorker, redis_server: Redis
):
    worker = start_worker()
    worker.wait_for("idle")
    add_record(redis_server, "here.dead", age=3600)
    code, out, err = workers("forget", "here.*")
    assert (code, out) == (0, "here.dead: removed from the list of workers\n")
    assert err == (
        "beanwatch: cannot remove the record of here.w1: it is still running; stop it first\n"
    )
    assert workers("forget", "here.w1").code == 1
    assert worker.beat().state == "idle"
    assert redis_server.client().zrange(WORKERS_KEY, 0, -1) == ["here.w1"]
    assert not redis_server.client().exists(worker_key("here.dead"))


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (["workers", "stop"], 2, "Missing argument"),
        (["workers", "stpo", "x"], 2, "did you mean: beanwatch workers stop"),
        (["workers", "wait", "x", "--for", "0"], 2, "beanwatch workers resume"),
        (["workers", "list", "nobody"], 1, "no worker matches 'nobody'; see beanwatch workers"),
        (["workers", "list", "here.w11"], 1, "did you mean here.w1?"),
        (["worker", "list"], 2, "did you mean: beanwatch workers list"),
        (["worker", "stop", "x"], 2, "did you mean: beanwatch workers stop"),
    ],
)
def test_mistakes_are_one_line_that_names_the_right_words(
    run: Run, redis_server: Redis, argv: list[str], code: int, said: str
):
    add_record(redis_server, "here.w1")
    options = ["--redis", redis_server.url] if argv[0] == "workers" else []
    found = run("beanwatch", *argv, *options)
    assert (found.code, found.stdout) == (code, "")
    assert said in found.stderr
    assert found.stderr.count("\n") == 1
