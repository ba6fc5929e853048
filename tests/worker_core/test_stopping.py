"""Every way in which a worker ends, and its exit code."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from beanwatch.net.redis_reader import RedisReader
from beanwatch.net.redis_url import open_redis, parse_redis_url
from beanwatch.store.health import decide_health, decide_restarted
from beanwatch.store.heartbeats import ENDED_KEY, read_workers
from beanwatch.store.outcome_counts import read_outcomes
from tests.real import ROOT, Beanstalkd, Redis, wait_until
from tests.real.read_only import run_read_only
from tests.worker_core.conftest import Broker, RunningWorker, StartWorker
from tests.worker_core.test_deadlines import is_alive


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_an_idle_worker_stops_at_once_and_takes_its_record_away(
    start_worker: StartWorker, number: int
) -> None:
    worker = start_worker("--reserve-timeout", 600)
    worker.wait_for("idle")
    before = time.monotonic()
    worker.signal(number)
    assert worker.exit_code() == 0
    assert time.monotonic() - before < 5
    assert worker.seen() is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_a_running_job_is_finished_first_and_no_other_is_taken(
    start_worker: StartWorker, broker: Broker, tmp_path: Path, number: int
) -> None:
    started, until, file = tmp_path / "started", tmp_path / "until", tmp_path / "file"
    data = {"started": str(started), "until": str(until), "file": str(file)}
    broker.put("wait-for-file", data)
    waiting = broker.put("ok")
    worker = start_worker()
    wait_until(started.exists)
    worker.signal(number)
    worker.wait_for("stopping")
    until.touch()
    assert worker.exit_code() == 0
    assert worker.outcomes() == ["ok"]
    job = broker.job(waiting)
    assert (job["state"], job["reserves"]) == ("ready", 0)


@pytest.mark.parametrize("how", ["signal", "stop", "wait"])
def test_no_job_is_left_without_an_end_when_a_stop_comes_between_two(
    start_worker: StartWorker, broker: Broker, how: str
) -> None:
    """The next job is reserved with the end of the last one, and may have arrived already."""
    jobs = b"use work\r\n" + b'put 0 0 60 12\r\n{"job":"ok"}\r\n' * 200
    worker = start_worker("--log-file", "/dev/null")
    control = f"beanwatch.control.{worker.id}"
    # Which may be a second after its first job, when a fast one has done them all.
    wait_until(lambda: broker.server.stats_tube(control).get("current-waiting"))
    with broker.server.client(use="work") as client:
        client.pause_tube("work", 600)
        with socket.create_connection(("127.0.0.1", broker.server.port)) as producer:
            for _ in range(150):
                producer.sendall(jobs)
                producer.recv(65536)
            wait_until(lambda: broker.stats()["ready"] == 30_000)
        client.pause_tube("work", 0)
        wait_until(lambda: broker.stats()["ready"] < 29_900)
        if how == "signal":
            worker.signal(signal.SIGTERM)
        else:
            broker.put_raw(f'{{"command": "{how}"}}', queue=control, priority=0)
        worker.wait_for("waiting") if how == "wait" else worker.exit_code()
        wait_until(lambda: not broker.stats()["reserved"])
        head = client.stats_job(client.peek_ready())
    assert head["reserves"] == head["releases"]
    with open_redis(parse_redis_url(worker.redis_url), 5) as client:
        counted = lambda: {kind.job for kind in read_outcomes(client.execute, 10)}  # noqa: E731
        wait_until(lambda: counted() == {"ok"})  # after the beat, where it waits


def test_a_job_that_takes_too_long_is_given_back_with_its_priority(
    start_worker: StartWorker, broker: Broker
) -> None:
    job_id = broker.put("sleep", {"seconds": 600}, priority=42)
    worker = start_worker("--shutdown-timeout", "0.5")
    wait_until(lambda: worker.running().name == "sleep")
    worker.signal(signal.SIGTERM)
    assert worker.exit_code() == 0
    job = broker.job(job_id)
    assert (job["state"], job["pri"], job["releases"]) == ("ready", 42, 1)
    assert worker.outcomes() == ["retry"]
    assert "the worker stops and gives the job no more time" in worker.runs()[0]["reason"]


def test_a_second_signal_does_not_wait_for_the_job(
    start_worker: StartWorker, broker: Broker
) -> None:
    job_id = broker.put("sleep", {"seconds": 600})
    worker = start_worker("--shutdown-timeout", 600)
    wait_until(lambda: worker.running().name == "sleep")
    worker.signal(signal.SIGTERM)
    worker.wait_for("stopping")
    worker.signal(signal.SIGTERM)
    assert worker.exit_code() == 0
    assert broker.job(job_id)["state"] == "ready"


def test_however_many_signals_come_the_exit_code_is_its_own(start_worker: StartWorker) -> None:
    worker = start_worker()
    worker.wait_for("idle")
    while worker.process.poll() is None:
        worker.signal(signal.SIGTERM)
        time.sleep(0.001)
    assert worker.exit_code() == 0


def test_a_handler_that_does_not_let_go_is_ended_with_its_children(
    start_worker: StartWorker, broker: Broker, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    job_id = broker.put("hang", {"file": str(pids)})
    worker = start_worker("--shutdown-timeout", "0.2", "--grace", 600)
    pid = int(wait_until(pids.read_text))
    worker.signal(signal.SIGTERM)
    assert worker.exit_code() == 0
    wait_until(lambda: not is_alive(pid))
    assert broker.job(job_id)["state"] == "ready"
    assert worker.seen() is None


def test_a_worker_that_was_stopped_stays_so_if_its_job_runs_past_the_hard_deadline_first(
    start_worker: StartWorker, broker: Broker
) -> None:
    broker.put("blocked")
    worker = start_worker("--grace", 8, "--shutdown-timeout", 600)
    wait_until(lambda: worker.running().name == "blocked")
    worker.signal(signal.SIGTERM)
    assert worker.exit_code() == 0
    assert worker.outcomes() == ["timeout"]
    assert worker.seen() is None


def test_a_thread_that_a_handler_left_behind_does_not_keep_the_process(
    start_worker: StartWorker, broker: Broker
) -> None:
    broker.put("thread-stays")
    worker = start_worker()
    wait_until(lambda: worker.outcomes() == ["ok"])
    worker.signal(signal.SIGTERM)
    assert worker.exit_code() == 0


def test_it_ends_where_no_thread_can_be_started_any_more(
    start_worker: StartWorker, broker: Broker, tmp_path: Path
) -> None:
    (tmp_path / "crowded.py").write_text(
        "import threading\n"
        "from tests.worker_core.jobs import app\n"
        'def start(self): raise RuntimeError("can\'t start new thread")\n'
        "threading.Timer.start = start\n"
    )
    broker.put("thread-stays")
    worker = start_worker(app="crowded:app", env={"PYTHONPATH": str(tmp_path)})
    wait_until(lambda: worker.outcomes() == ["ok"])
    worker.signal(signal.SIGTERM)
    assert worker.exit_code() == 0
    assert worker.errors.read_text() == ""


def test_a_restart_waits_for_a_long_job_but_a_signal_then_does_not(
    start_worker: StartWorker, broker: Broker
) -> None:
    job_id = broker.put("sleep", {"seconds": 600})
    worker = start_worker("--shutdown-timeout", "0.1")
    wait_until(lambda: worker.running().name == "sleep")
    broker.put_raw('{"command": "restart"}', queue=f"beanwatch.control.{worker.id}")
    seen = worker.wait_for("stopping")
    wait_until(lambda: worker.beat().beat_at > seen.beat_at + 2, message="the job goes on")
    worker.signal(signal.SIGTERM)
    assert worker.exit_code() == 0
    assert broker.job(job_id)["state"] == "ready"


def test_it_stops_at_once_while_beanstalkd_is_away(
    start_worker: StartWorker, beanstalkd: Beanstalkd
) -> None:
    beanstalkd.stop()
    worker = start_worker()
    worker.wait_for("blocked")
    worker.signal(signal.SIGTERM)
    assert worker.exit_code() == 0


def test_a_stop_tells_what_it_could_not_send_any_more(
    start_worker: StartWorker, broker: Broker, redis_server: Redis
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        metrics = f"graphite://127.0.0.1:{deaf.getsockname()[1]}"
        worker = start_worker("--ledger", "all", "--metrics", metrics)
        worker.wait_for("idle")
        redis_server.kill()
        broker.put("ok")
        wait_until(lambda: worker.outcomes() == ["ok"])
        worker.signal(signal.SIGTERM)
        assert worker.exit_code() == 0
    told = worker.logged("lost since the start")
    assert told is not None
    assert told["context"]["metrics"] > 0
    assert told["context"]["records"] > 0


@pytest.mark.parametrize("option", [("--max-jobs", 3), ("--max-time", "1"), ("--max-memory", "1M")])
def test_it_is_recycled_by_its_limits_after_the_job_in_hand(
    start_worker: StartWorker, broker: Broker, option: tuple[str, object]
) -> None:
    for _ in range(20):
        broker.put("sleep", {"seconds": 0.3})
    worker = start_worker(*option)
    assert worker.exit_code() == 10
    assert set(worker.outcomes()) <= {"ok"}
    assert broker.stats()["reserved"] == 0
    assert broker.stats()["ready"] == 20 - len(worker.outcomes())
    assert worker.seen() is None
    ran = len(worker.outcomes())
    if option[0] == "--max-jobs":
        assert ran in (3, 4)
    heir = start_worker(queue="other").wait_for("idle")
    assert (heir.recycles, len(heir.recycled_at)) == (1, 1)
    assert heir.recycled_why.endswith(f" (jobs run: {ran})")


def test_recycles_are_counted_over_restarts_until_an_operator_stops_the_worker(
    start_worker: StartWorker, broker: Broker
) -> None:
    """As with a leak of memory: each instance runs one job."""
    for _ in range(2):
        broker.put("ok")
        assert start_worker("--max-jobs", 1).exit_code() == 10
    worker = start_worker()
    beat = worker.wait_for("idle")
    assert (beat.recycles, len(beat.recycled_at), beat.last_exit) == (2, 2, "")
    broker.put_raw('{"command": "restart"}', queue=f"beanwatch.control.{worker.id}")
    assert worker.exit_code() == 10
    worker = start_worker()
    assert worker.wait_for("idle").recycles == 2, "an operator's restart is no recycle"
    assert worker.stop() == 0
    assert start_worker().wait_for("idle").recycles == 0


def expected(tmp_path: Path) -> tuple[object, ...]:
    config = tmp_path / "expected.toml"
    config.write_text('[workers]\nexpected = ["here.w1"]\n')
    return "--config", config


def test_a_restart_of_an_expected_worker_is_no_death_and_the_next_starts_at_once(
    start_worker: StartWorker, broker: Broker, tmp_path: Path
) -> None:
    broker.put("ok")
    worker = start_worker("--max-jobs", 1, *expected(tmp_path))
    assert worker.exit_code() == 10
    seen = worker.seen()
    assert seen is not None
    record = seen.heartbeat
    assert record is not None
    assert (record.is_over, record.state, record.last_words) == (True, "stopping", "")
    assert decide_health(seen._replace(age=11.0)) == "stopping"
    assert decide_health(seen._replace(age=61.0)) == "dead"
    heir = start_worker("--heartbeat-interval", 5, *expected(tmp_path))
    beat = wait_until(lambda: not heir.beat().is_over and heir.beat())
    assert (beat.restarts, beat.last_exit) == (0, "")


def test_an_expected_worker_that_was_stopped_leaves_its_record(
    start_worker: StartWorker, tmp_path: Path
) -> None:
    worker = start_worker(*expected(tmp_path))
    worker.wait_for("idle")
    worker.signal(signal.SIGTERM)
    assert worker.exit_code() == 0
    assert worker.beat().is_over


def test_a_second_worker_of_the_same_id_does_not_start(
    start_worker: StartWorker, broker: Broker
) -> None:
    first = start_worker()
    first.wait_for("idle")
    second = start_worker()
    assert second.exit_code() == 12
    assert "runs already" in second.errors.read_text()
    assert f"pid {first.process.pid}" in second.errors.read_text()
    broker.put("ok")
    wait_until(lambda: first.outcomes() == ["ok"])
    assert first.beat().pid == first.process.pid


def on_host(name: str) -> list[str]:
    """The command that runs another one on a host with this name."""
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    command = ["unshare", *user, "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', name]
    if subprocess.run([*command, "true"], capture_output=True).returncode:
        pytest.skip("this machine does not allow namespaces (unshare failed)")
    return command


def test_workers_on_hosts_whose_names_are_ip_addresses_have_ids_of_their_own(
    start_worker: StartWorker, redis_server: Redis
) -> None:
    for host in ("10.20.30.41", "10.20.30.42"):
        start_worker("--host", "", wrapper=on_host(host))
    ids = [f"10_20_30_{last}.w1" for last in (41, 42)]

    def seen() -> list[str]:
        with RedisReader(parse_redis_url(redis_server.url), 5) as link:
            return [worker.id for worker in read_workers(link.execute)]

    wait_until(lambda: seen() == ids)


def test_two_hosts_of_one_short_name_are_both_named_in_full(start_worker: StartWorker) -> None:
    first = start_worker(wrapper=on_host("here.example.org"))
    first.wait_for("idle")
    second = start_worker("--host", "", wrapper=on_host("here.example.net"))
    assert second.exit_code() == 12
    where = f"here.example.org with pid {first.process.pid}, and this host is here.example.net"
    fix = "both are here in the workers' ids, so start one of them with another --host"
    text = f"beanwatch: worker here.w1 runs already, on {where}: {fix}\n"
    assert second.errors.read_text().endswith(text)


def test_of_two_that_start_at_the_same_moment_one_stays(
    start_worker: StartWorker, redis_server: Redis
) -> None:
    """Neither finds a record at its start; each then sees the other overwrite its own."""
    redis_server.freeze()
    pair = [start_worker(), start_worker()]
    wait_until(lambda: len(pair[0].lines()) >= 4, message="both go on without redis")
    redis_server.thaw()
    wait_until(lambda: 12 in [worker.process.poll() for worker in pair], 30)
    (stays,) = [worker for worker in pair if worker.process.poll() is None]
    stays.wait_for("idle")


def test_it_starts_at_once_after_a_killed_instance_and_tells_its_end(
    start_worker: StartWorker, broker: Broker
) -> None:
    job_id = broker.put("sleep", {"seconds": 600})
    worker = start_worker()
    wait_until(lambda: worker.running().name == "sleep")
    worker.signal(signal.SIGKILL)
    heir = start_worker()
    wait_until(lambda: heir.beat().pid == heir.process.pid)
    beat = heir.beat()
    assert (beat.restarts, beat.last_exit) == (1, f"killed while running sleep (job {job_id})")


@pytest.mark.parametrize("is_expected", [False, True], ids=["any", "expected"])
def test_a_crash_is_told_by_the_instances_after_a_planned_restart_and_after_a_stop(
    start_worker: StartWorker, broker: Broker, tmp_path: Path, is_expected: bool
) -> None:
    options = expected(tmp_path) if is_expected else ()
    worker = start_worker("--max-jobs", 1, *options)
    worker.wait_for("idle")
    worker.signal(signal.SIGKILL)
    worker.process.wait()
    worker = start_worker("--max-jobs", 1, *options)
    crash = worker.wait_for("idle")
    assert (crash.restarts, crash.last_exit) == (1, "killed while idle")
    broker.put("ok")
    assert worker.exit_code() == 10
    worker = start_worker(*options)
    heir = worker.wait_for("idle")
    assert (heir.restarts, heir.last_exit) == (1, "killed while idle")
    assert heir.crashed_at == crash.crashed_at < heir.started_at
    assert worker.stop() == 0
    with RedisReader(parse_redis_url(worker.redis_url), 5) as link:
        (left,) = read_workers(link.execute, with_ended=True)
        assert bool(read_workers(link.execute)) == is_expected
    assert decide_restarted(left)
    assert left.has_left != is_expected
    assert start_worker(*options).wait_for("idle").last_exit == "killed while idle"
    with RedisReader(parse_redis_url(worker.redis_url), 5) as link:
        (back,) = read_workers(link.execute, with_ended=True)
        assert not back.has_left
        assert link.execute([("ZCARD", ENDED_KEY)]) == [0]


def test_a_raised_version_restarts_every_worker_after_its_job(
    start_worker: StartWorker, broker: Broker, redis_server: Redis
) -> None:
    with redis_server.client() as redis:
        redis.set("{beanwatch}:version", "1")
        workers = [start_worker("--restart-spread", 1, name=name) for name in ("w1", "w2")]
        for worker in workers:
            worker.wait_for("idle")
        broker.put("sleep", {"seconds": 3})
        wait_until(lambda: any(worker.running().name for worker in workers))
        redis.set("{beanwatch}:version", "2")
    assert [worker.exit_code() for worker in workers] == [10, 10]
    assert sorted(workers[0].outcomes() + workers[1].outcomes()) == ["ok"]


class NotifySocket:
    """systemd's side of sd_notify."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)
        self.received: list[str] = []

    def lines(self) -> list[str]:
        try:
            while True:
                self.received += self._socket.recv(4096).decode().splitlines()
        except BlockingIOError:
            return self.received

    def watchdogs(self) -> int:
        return self.lines().count("WATCHDOG=1")

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def notify(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NotifySocket]:
    with closing(NotifySocket(tmp_path_factory.mktemp("n") / "s")) as notify_socket:
        yield notify_socket


def test_systemd_is_told_of_start_state_and_end(
    start_worker: StartWorker, broker: Broker, notify: NotifySocket
) -> None:
    job_id = broker.put("sleep", {"seconds": 2.5})
    worker = start_worker(env={"NOTIFY_SOCKET": str(notify.path)})
    wait_until(lambda: "READY=1" in notify.lines())
    wait_until(lambda: f"STATUS=busy: sleep (job {job_id})" in notify.lines())
    wait_until(lambda: "STATUS=idle" in notify.lines())
    wait_until(lambda: notify.watchdogs() >= 4)  # that of the idle tick is here
    worker.stop()
    assert notify.lines()[-1] == "STOPPING=1"


def test_systemds_watchdog_is_fed_during_a_job_also_past_its_deadline(
    start_worker: StartWorker, broker: Broker, notify: NotifySocket
) -> None:
    broker.put("sleep", {"seconds": 10})
    broker.put("loop")
    worker = start_worker("--grace", 600, env={"NOTIFY_SOCKET": str(notify.path)})
    for health in ("busy", "hung"):
        wait_until(lambda health=health: worker.health() == health, 40)
        fed = notify.watchdogs()
        wait_until(lambda fed=fed: notify.watchdogs() >= fed + 2)
        assert worker.health() == health


def test_a_start_that_waits_for_another_instance_is_no_timeout_for_systemd(
    start_worker: StartWorker, notify: NotifySocket
) -> None:
    start_worker("--heartbeat-interval", 45, env={"NOTIFY_SOCKET": str(notify.path)})
    wait_until(lambda: "READY=1" in notify.lines())
    assert notify.lines()[0] == "EXTEND_TIMEOUT_USEC=150000000"


def test_hup_goes_on_in_a_new_log_file(start_worker: StartWorker, broker: Broker) -> None:
    worker = start_worker()
    worker.wait_for("idle")
    rotated = worker.log_file.with_suffix(".1")
    worker.log_file.rename(rotated)
    worker.signal(signal.SIGHUP)
    broker.put("ok")
    wait_until(lambda: worker.outcomes() == ["ok"])
    assert "the worker starts" in rotated.read_text()


def test_usr1_logs_the_stacks(start_worker: StartWorker, broker: Broker) -> None:
    broker.put("sleep", {"seconds": 30})
    worker = start_worker()
    wait_until(lambda: worker.running().name == "sleep")
    worker.signal(signal.SIGUSR1)
    wait_until(lambda: worker.logged("stacks of all threads, requested by SIGUSR1"))
    line = worker.logged("stacks")
    assert line
    assert "in sleep" in line["context"]["stacks"]


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("tests.worker_core.jobs",), "expected MODULE:APP"),
        (("tests.worker_core.jobs:app", "--name", "a.b"), "--name 'a.b'"),
        (("tests.worker_core.jobs:app", "--queue", "a\r\nquit"), "--queue"),
        (("tests.worker_core.jobs:app", "--server", "nohost:0"), "port must be"),
        (("tests.worker_core.jobs:app", "--metrics", "http://x"), "expected statsd://"),
        (("tests.worker_core.jobs:app", "--redis", "http://x"), "expected redis://"),
        (("tests.worker_core.jobs:app", "--job-timeout", "0"), "--job-timeout"),
        (("tests.worker_core.jobs:app", "--log-file", "/nowhere/x"), "/nowhere/x"),
    ],
)
def test_wrong_use_is_one_line_and_exit_2(
    run: Callable[..., tuple[int, str, str]], argv: tuple[str, ...], says: str
) -> None:
    code, _out, err = run(
        "beanwatch", "worker", *argv, *(() if "--name" in argv else ("--name", "w")),
        *(() if "--queue" in argv else ("--queue", "t")),
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert (code, len(err.splitlines())) == (2, 1)
    assert says in err


def test_a_bad_temporary_directory_is_one_line_and_exit_1(
    start_worker: StartWorker,
) -> None:
    worker: RunningWorker = start_worker("--tmp-root", "/nowhere/at/all")
    assert worker.exit_code() == 1
    assert "see --tmp-root" in worker.errors.read_text()


def test_it_starts_in_a_directory_that_it_must_not_read(
    start_worker: StartWorker, broker: Broker, tmp_path: Path
) -> None:
    """As under `sudo -u` in a directory of root."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o311)
    no_privileges = ["setpriv", "--bounding-set=-all"] if os.geteuid() == 0 else []
    enter = ["sh", "-c", 'cd "$0" && exec "$@"', str(closed)]
    worker = start_worker(wrapper=[*no_privileges, *enter], env={"PYTHONPATH": str(ROOT)})
    broker.put("tmp", {"file": str(tmp_path / "paths")})
    wait_until(lambda: worker.outcomes() == ["ok"])
    assert worker.stop() == 0


def test_a_read_only_root_is_one_line_and_exit_1_or_no_matter_with_a_temporary_directory(
    tmp_path: Path, beanstalkd: Beanstalkd
) -> None:
    argv: list[str | Path] = [ROOT / ".venv/bin/beanwatch", "worker", "tests.worker_core.jobs:app"]
    argv += ["--queue", "work", "--name", "w", "--server", beanstalkd.address, "--max-time", "1"]
    argv += ["--redis", "redis://127.0.0.1:1/0"]
    done = run_read_only(tmp_path, argv)
    reason = "no directory for temporary files can be written: mount one on /tmp, or name another"
    assert (done.returncode, done.stderr) == (1, f"beanwatch: {reason} with --tmp-root\n")
    assert done.stdout == ""
    done = run_read_only(tmp_path, [*argv, "--tmp-root", tmp_path])
    assert (done.returncode, done.stderr) == (10, "")


@pytest.mark.parametrize(
    ("library", "replaced"),
    [
        ("gevent", "_thread.start_new_thread"),
        ("gevent", "time.sleep"),
        ("gevent", "socket.socket"),
        ("gevent", "signal.signal"),
        ("eventlet", "_thread.start_new_thread"),
    ],
)
def test_an_application_that_replaces_threads_is_refused_at_the_start(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path, library: str, replaced: str
) -> None:
    """The library is a stand-in that replaces one function, as `monkey.patch_all()` does."""
    module, _, name = replaced.partition(".")
    (tmp_path / f"{library}.py").write_text("def replacement(*_): ...\n")
    (tmp_path / "patched.py").write_text(
        f"import {library}, {module}\n"
        "from beanwatch.worker import App\n"
        f"{module}.{name} = {library}.replacement\n"
        "app = App()\n"
    )
    argv = ("beanwatch", "worker", "patched:app", "--queue", "q", "--name", "w")
    code, out, err = run(*argv, env={"PYTHONPATH": str(tmp_path)})
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    reason = f"patched:app has replaced Python's threads and sockets by those of {library}: "
    assert err.startswith(f"beanwatch: {reason}")
