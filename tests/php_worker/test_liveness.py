"""The states of a PHP worker, each produced for real, and what the real check says of it."""

import fcntl
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from beanwatch.checks.lib.plugin import Warn
from beanwatch.checks.lib.worker_verdict import decide
from beanwatch.net.redis_url import KEY_PREFIX
from beanwatch.store.health import decide_health
from beanwatch.store.heartbeats import WORKERS_KEY, Worker, worker_key
from tests.php_worker.conftest import HANDLERS, PHP_FILES, Check, PhpWorker, Site
from tests.real import Proxy, wait_until

MakeProxy = Callable[[str], Proxy]


def wait_for_job(worker: PhpWorker, job: str) -> None:
    wait_until(lambda: any(one.name == job for one in worker.beat().jobs), 30, f"{job} runs")


# -- workers that beat


def test_idle_it_is_idle_however_long(site: Site, check: Check) -> None:
    worker = site.start("idle")
    first = worker.wait_for("idle")
    wait_until(lambda: worker.beat().loop_at > first.loop_at + 1.5, 30)
    assert worker.beat().beat_at > first.beat_at
    code, line, _ = check("idle")
    assert (code, line.split(" | ")[0]) == (0, "WORKER_HEARTBEAT OK - here.idle: idle")


def test_a_busy_loop_beats_while_the_main_loop_stands_still(site: Site, check: Check) -> None:
    worker = site.start("busy")
    job_id = site.put("busy", "busy", {"seconds": 50}, envelope={"id": "busy-1"})
    wait_for_job(worker, "busy")
    first = worker.beat()
    wait_until(lambda: worker.beat().beat_at > first.beat_at + 1.5, 30)
    beat = worker.beat()
    (job,) = beat.jobs
    assert (beat.state, beat.kind, beat.loop_at) == (
        "busy",
        "php",
        pytest.approx(first.loop_at, abs=0.1),
    )
    assert (job.id, job.uuid, job.queue, job.attempt) == (str(job_id), "busy-1", "busy", 1)
    assert job.where.endswith(" stay_busy")
    assert "handlers.php:" in job.where
    assert (job.note, job.progress) == ("page 1", (1, 2))
    assert job.cpu is not None
    assert job.cpu > (first.jobs[0].cpu or 0.0)
    code, line, _ = check("busy")
    assert code == 0
    assert f"busy with busy (job {job_id}, queue busy)" in line


def test_a_job_past_its_deadline_is_hung_and_past_its_hard_deadline_its_worker_ends(
    site: Site,
) -> None:
    worker = site.start("deaf", "--timeout", 1, "--grace", 6)
    job_id = site.put("deaf", "deaf", {"seconds": 50})

    def read_hung() -> Worker | None:
        seen = worker.seen()
        return seen if seen is not None and decide_health(seen) == "hung" else None

    state, line = decide(wait_until(read_hung, 30))  # type: ignore[arg-type]
    assert state == Warn
    assert f"hung in deaf (job {job_id}, queue deaf) at " in line
    assert "handlers.php" in line
    assert worker.exit_code() == 11
    assert worker.runs()[0]["outcome"] == "timeout"
    assert worker.beat().last_words == f"deaf (job {job_id}) ran past its hard deadline"
    assert site.broker.job(job_id)["state"] == "delayed"


def test_a_busy_loop_is_interrupted_at_its_timeout(site: Site) -> None:
    worker = site.start("late", "--timeout", 1)
    site.put("late", "busy", {"seconds": 50})
    wait_until(worker.runs, 30)
    (run,) = worker.runs()
    assert run["outcome"] == "timeout"
    assert run["reason"] == "the job ran longer than 1 s, its timeout"
    assert "handlers.php" in run["traceback"]
    worker.wait_for("idle")


def test_waiting_for_beanstalkd_it_is_blocked_and_says_by_what(
    site: Site, check: Check, proxy: MakeProxy
) -> None:
    path = proxy(site.beanstalkd.address)
    worker = site.start("cut", server=path.address)
    worker.wait_for("idle")
    path.blackhole()
    beat = worker.wait_for("blocked", 40)
    assert beat.is_disconnected
    assert beat.reason == f"beanstalkd {path.address} does not answer within 5 s"
    code, line, _ = check("cut")
    assert code == 1
    assert f"here.cut: blocked, takes no job: {beat.reason}" in line
    path.restore()
    site.put("cut", "ok")
    wait_until(lambda: worker.outcomes() == ["ok"], 90)
    worker.wait_for("idle")


def test_a_redis_that_takes_no_writes_is_named(site: Site) -> None:
    worker = site.start("full")
    worker.wait_for("idle")
    site.redis.refuse_writes("OOM")
    try:
        wait_until(lambda: worker.logged("cannot write the heartbeat"), 30)
        site.put("full", "ok")
        wait_until(lambda: worker.outcomes() == ["ok"], 30)
    finally:
        site.redis.client().config_set("maxmemory", "0")
    line = worker.logged("cannot write the heartbeat")
    assert line is not None
    assert "OOM" in line["message"]
    wait_until(lambda: worker.logged("heartbeats are written again"), 30)


# The example worker with a shutdown timeout of a second. argv: name, server, timeout, grace
ALONE = f"""<?php
require 'Psr/Log/autoload.php'; require 'Monolog/autoload.php'; require 'Pheanstalk/autoload.php';
require '{PHP_FILES}/beanwatch.php';
[, $name, $server, $timeout, $grace] = $argv;
$log = Beanwatch\\JsonLog::open('php://stdout');
$monitor = new Beanwatch\\Monitor($name, [$name], $log, host: 'here');
$limits = [(float) $timeout, (float) $grace, 1.0];
$handlers = require '{HANDLERS}';
(new Beanwatch\\Pheanstalk\\Worker($handlers, $monitor, $log, $server, [$name], ...$limits))->run();
"""


@pytest.mark.parametrize(
    ("name", "job", "timeout", "outcome", "reason", "code"),
    [
        ("timeout", "busy", 3, "lost", "without this, the outcome would be timeout", None),
        ("grace", "deaf", 3, "retry", "beanstalkd gives the job to another worker", 11),
        ("stop", "busy", 60, "lost", "(the worker stops, and waited 1 s)", 0),
    ],
)
def test_a_job_keeps_its_deadlines_though_its_connection_is_lost(
    site: Site,
    proxy: MakeProxy,
    name: str,
    job: str,
    timeout: int,
    outcome: str,
    reason: str,
    code: int | None,
) -> None:
    script = site.directory / "alone.php"
    script.write_text(ALONE)
    path = proxy(site.beanstalkd.address)
    grace = 1 if name == "grace" else 60  # so that a busy machine ends no other job so
    worker = site.start_script(name, script, name, path.address, timeout, grace)
    site.put(name, job, {"seconds": 30}, ttr=3)
    wait_for_job(worker, job)
    path.refuse()
    wait_until(lambda: worker.logged("cannot renew the TTR"), 30)
    if name == "stop":
        worker.signal(signal.SIGTERM)
    wait_until(worker.runs, 15)
    (run,) = worker.runs()
    assert run["outcome"] == outcome
    assert reason in run["reason"]
    if code is not None:
        assert worker.exit_code() == code
        return
    path.restore()
    wait_until(lambda: len(worker.runs()) == 2, 60)  # beanstalkd gave it back at once


def test_a_logger_that_throws_ends_neither_a_worker_nor_its_job(site: Site) -> None:
    handlers = site.directory / "throwing.php"
    handlers.write_text(
        "<?php $log->pushProcessor(fn ($record) => preg_match('/^(the worker|connected)/',"
        " $record['message']) ? throw new LogicException('disk full') : $record);\n"
        f"return require '{HANDLERS}';\n"
    )
    worker = site.start("throwing", handlers=handlers)
    site.put("throwing", "ok")
    wait_until(lambda: [sum(kind.outcomes.values()) for kind in worker.beat().totals] == [1], 30)
    assert worker.beat().totals[0].outcomes == {"ok": 1}
    worker.signal(signal.SIGTERM)
    assert worker.exit_code() == 0


# -- workers that end


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_told_to_stop_it_ends_its_job_and_leaves_no_record(
    site: Site, number: signal.Signals
) -> None:
    name = number.name
    worker = site.start(name)
    site.put(name, "busy", {"seconds": 3})
    wait_for_job(worker, "busy")
    worker.signal(number)
    beat = worker.wait_for("stopping")
    assert beat.reason == f"it received {name}"
    assert [job.name for job in beat.jobs] == ["busy"]
    assert worker.exit_code() == 0
    assert worker.outcomes() == ["ok"]
    with site.redis.client() as client:
        assert client.get(worker_key(worker.id)) is None
        assert client.zscore(WORKERS_KEY, worker.id) is None


def test_told_to_stop_though_it_is_expected_it_may_start_again_before_anybody_is_alerted(
    site: Site, check: Check
) -> None:
    worker = site.start("expected", "--expected")
    worker.wait_for("idle")
    worker.signal(signal.SIGTERM)
    assert worker.exit_code() == 0
    code, line, _ = check("expected")
    assert code == 0
    assert "its process has ended and the next one has not started yet" in line
    site.start("expected", "--expected").wait_for("idle")
    code, line, _ = check("expected")
    assert (code, line.split(" | ")[0]) == (0, "WORKER_HEARTBEAT OK - here.expected: idle")


class Lock:
    """A lock of a file, for which a job waits in a system call."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("w")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def release(self) -> None:
        self._file.close()


@pytest.fixture(scope="module")
def lock(site: Site) -> Iterator[Lock]:
    held = Lock(site.directory / "lock")
    yield held
    held.release()


@pytest.fixture(scope="module")
def silent(site: Site, lock: Lock) -> Iterator[dict[str, PhpWorker]]:
    """Workers in troubles of which most take ten seconds to be told. They are in them together."""
    limit = ("-d", "memory_limit=64M")
    jobs = ("kill", "blocked", "exit", "fatal", "memory")
    workers = {
        job: site.start(job, "--timeout", 3600, php=limit if job == "memory" else ())
        for job in jobs
    }
    workers["uncaught"] = site.start("uncaught", handlers=write_broken(site.directory))
    workers["first twin"] = site.start("twin")
    for job in jobs:
        data = {"lock": str(lock.path)}
        workers[job].job_id = site.put(job, job, data, envelope={"id": f"{job}-1"}, ttr=8)
    with Proxy(f"127.0.0.1:{site.redis.port}") as path:
        workers["cut off"] = cut_off(site, path)
        workers["second twin"] = start_twin(site, workers["first twin"])
        wait_for_job(workers["blocked"], "blocked")
        ending = [workers[name] for name in (*jobs, "uncaught") if name != "blocked"]
        for worker in ending:
            worker.exit_code()
        for worker in (*ending, workers["blocked"]):
            wait_until(lambda worker=worker: worker.health() in ("dead", "hung"), 30, worker.name)
        yield workers


def cut_off(site: Site, path: Proxy) -> PhpWorker:
    """A worker whose job ends while Redis does not answer; then Redis answers again."""
    worker = site.start("noredis", redis=f"redis://{path.address}/0")
    worker.redis_url = site.redis.url
    worker.wait_for("idle")
    path.blackhole()
    wait_until(lambda: worker.logged("cannot write the heartbeat, jobs keep running: redis"), 30)
    site.put("noredis", "bury", envelope={"id": "away-1"})
    wait_until(lambda: worker.outcomes() == ["buried"], 30)
    path.restore()
    return worker


def start_twin(site: Site, first: PhpWorker) -> PhpWorker:
    """A second process with an id that is in use; then the first one stops."""
    first.wait_for("idle")
    second = site.start("twin")
    pid = f"runs on {socket.gethostname()} with pid {first.process.pid}"
    wait_until(
        lambda: second.logged(f"this process is not watched: another worker with this id {pid}"), 30
    )
    assert first.beat().pid == first.process.pid
    first.signal(signal.SIGTERM)
    return second


def write_broken(directory: Path) -> Path:
    """A worker that throws where nobody catches: in the handler of a signal.

    It throws once: a second signal must not interrupt what it does at its end.
    """
    path = directory / "broken.php"
    path.write_text(
        "<?php pcntl_signal(SIGUSR2, function () {\n"
        "    pcntl_signal(SIGUSR2, SIG_IGN);\n"
        "    throw new LogicException('boom');\n"
        "});\n"
        "$kill = 'kill -USR2 ' . getmypid();\n"
        'exec("(while sleep 1 && $kill; do :; done) > /dev/null 2>&1 &");\n'
        "return [];\n"
    )
    return path


def test_redis_away_and_back_costs_no_job_and_no_outcome(
    silent: dict[str, PhpWorker], site: Site
) -> None:
    worker = silent["cut off"]
    wait_until(lambda: worker.logged("heartbeats are written again"), 60)
    wait_until(lambda: site.redis.client().exists(f"{KEY_PREFIX}job:away-1"), 30)
    site.put("noredis", "ok")
    wait_until(lambda: worker.outcomes() == ["buried", "ok"], 30)
    messages = [line["message"] for line in worker.lines()]
    assert sum("cannot write the heartbeat" in message for message in messages) == 1


def test_a_second_process_with_an_id_works_but_is_watched_only_after_the_first_one(
    silent: dict[str, PhpWorker], site: Site
) -> None:
    second = silent["second twin"]
    assert silent["first twin"].exit_code() == 0
    site.put("twin", "ok")
    wait_until(second.outcomes, 30)
    wait_until(lambda: second.beat().pid == second.process.pid, 30)
    assert second.beat().last_exit == ""


def test_killed_it_is_dead_and_its_last_job_is_known(
    silent: dict[str, PhpWorker], site: Site, check: Check
) -> None:
    assert silent["kill"].process.returncode == -signal.SIGKILL
    code, line, _ = check("kill")
    assert code == 2
    worker = silent["kill"]
    assert "here.kill: dead, no heartbeat for " in line
    assert f" and its process {worker.process.pid} is gone, last seen running kill (job " in line


def test_in_a_call_that_does_not_return_it_is_hung_and_elsewhere_nobody_knows(
    silent: dict[str, PhpWorker], check: Check
) -> None:
    worker = silent["blocked"]
    assert worker.process.poll() is None
    code, line, _ = check("blocked")
    assert code == 2
    assert (
        f", but its process {worker.process.pid} is there and waits in a system call: hung in one "
        f"call, or cut off from Redis, last seen running blocked (job {worker.job_id}, queue "
    ) in line
    seen = worker.seen()
    assert seen is not None
    text = decide(seen)[1]  # as from another host, where no process is looked for
    assert ": stopped, or hung in one call, last seen running blocked (job " in text


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (
            "exit",
            "the script ended, or called exit(), before Monitor::stop(), while running exit (job ",
        ),
        ("fatal", "Cannot redeclare strlen()"),
        ("memory", "Allowed memory size of 67108864 bytes exhausted"),
        ("uncaught", "Uncaught LogicException: boom in "),
    ],
)
def test_that_it_ended_itself_is_told_with_the_reason(
    silent: dict[str, PhpWorker], site: Site, check: Check, name: str, why: str
) -> None:
    code, line, _ = check(name)
    assert code == 2
    assert f"here.{name}: dead for " in line
    assert f"it ended itself: {why}" in line


@pytest.mark.parametrize("name", ["exit", "fatal", "memory"])
def test_a_job_that_ends_its_worker_is_retried_later_and_counted(
    silent: dict[str, PhpWorker], site: Site, name: str
) -> None:
    (run,) = silent[name].runs()
    assert run["outcome"] == "retry"
    assert run["reason"].startswith("its worker ended while it ran: ")
    assert run["delay"] > 0
    stats = site.broker.job(run["job_id"])
    assert stats["releases"] == 1
    assert stats["state"] in ("delayed", "ready")
    with site.redis.client() as client:
        assert client.zcard(f"{KEY_PREFIX}job:{name}-1") == 1


def test_started_again_it_tells_how_the_last_process_ended(
    silent: dict[str, PhpWorker], site: Site, check: Check
) -> None:
    for name in ("kill", "memory"):
        with site.beanstalkd.client() as client:  # its job would end it again
            client.delete(silent[name].job_id)
        site.start(name).wait_for("idle")
    code, line, _ = check("kill")
    assert code == 1
    assert "the previous process ended: killed while running kill (job " in line
    code, line, _ = check("memory")
    assert code == 1
    assert "the previous process ended: Allowed memory size of" in line


def test_after_a_blocking_call_it_beats_again_and_its_run_ends(
    silent: dict[str, PhpWorker], lock: Lock
) -> None:
    worker = silent["blocked"]
    lock.release()
    wait_until(worker.outcomes, 60)
    # Its TTR has passed, but nobody else took it. beanstalkd 1.12 does not always notice that.
    assert worker.outcomes() == ["ok"]
    wait_until(lambda: worker.health() == "idle", 60)


def test_a_job_that_beanstalkd_has_taken_back_is_lost(site: Site, proxy: MakeProxy) -> None:
    path = proxy(site.beanstalkd.address)
    worker = site.start("taken", server=path.address)
    worker.wait_for("idle")
    path.edit(lambda reply: reply.replace(b"DELETED", b"NOT_FOUND"))
    site.put("taken", "ok")
    wait_until(worker.runs, 60)
    (run,) = worker.runs()
    assert run["outcome"] == "lost"
    assert run["reason"].startswith("beanstalkd took the job back, because its TTR had passed")
