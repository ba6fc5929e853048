"""An application that cannot be imported: at a start, and before the restart after a deploy."""

import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from beanwatch.worker.control.restart_check import RestartCheck, find_directory
from beanwatch.worker.core.start import decide_start_delay
from tests.conftest import Result
from tests.real import Redis, closed_port, wait_until
from tests.worker_core.conftest import Broker, RunningWorker, StartWorker

GOOD = "from beanwatch.worker import App\napp = App()\n"
BROKEN = "from json import nothing_there\n"
CAUSE = "cannot import shop: ImportError: cannot import name 'nothing_there' from 'json'"
Run = Callable[..., Result]
StartShop = Callable[..., RunningWorker]


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """The file of the application."""
    path = tmp_path / "deployed" / "shop.py"
    path.parent.mkdir()
    path.write_text(GOOD)
    return path


@pytest.fixture
def start_shop(start_worker: StartWorker, shop: Path) -> StartShop:
    environment = {"PYTHONPATH": str(shop.parent), "PYTHONDONTWRITEBYTECODE": "1"}

    def start(*options: object, **fields: object) -> RunningWorker:
        return start_worker(*options, app="shop:app", env=environment, **fields)

    return start


def test_it_is_told_in_the_alert_until_a_start_succeeds(
    start_shop: StartShop, shop: Path, redis_server: Redis, run: Run
) -> None:
    shop.write_text(BROKEN)
    worker = start_shop()
    assert worker.exit_code() == 13
    assert worker.health() == "dead", "also before its heartbeat is old"
    (line,) = worker.errors.read_text().splitlines()
    assert line.startswith(f"beanwatch: {CAUSE}")
    logged = worker.logged("the worker cannot start")
    assert logged
    assert CAUSE in logged["message"]
    check = ("check_worker_heartbeat", "--redis", redis_server.url)
    code, out, _ = run(*check)
    assert code == 2
    assert f"here.w1: cannot start: {CAUSE}" in out
    assert start_shop().exit_code() == 13
    assert "2 times in a row" in run(*check).stdout
    shop.write_text(GOOD)
    beat = start_shop().wait_for("idle")
    assert beat.last_exit.startswith(CAUSE)
    assert beat.failed_starts == 0
    assert run(*check).code == 1


def test_a_failed_start_hides_no_crash_from_before(start_shop: StartShop, shop: Path) -> None:
    worker = start_shop()
    worker.wait_for("idle")
    worker.signal(signal.SIGKILL)
    worker.process.wait()
    shop.write_text(BROKEN)
    for _ in range(2):
        assert start_shop().exit_code() == 13
    shop.write_text(GOOD)
    assert start_shop().wait_for("idle").last_exit == "killed, last seen idle"


def test_a_failed_start_leaves_the_record_of_a_worker_that_runs(
    start_shop: StartShop, shop: Path
) -> None:
    worker = start_shop()
    pid = worker.wait_for("idle").pid
    shop.write_text(BROKEN)
    assert start_shop().exit_code() == 12
    assert worker.beat().pid == pid


def test_failed_starts_wait_longer_each_time_but_less_than_systemd_allows_for_a_start() -> None:
    delays = [decide_start_delay(failed) for failed in range(50)]
    assert delays[:5] == [0.0, 0.0, 2.0, 4.0, 8.0]
    assert delays == sorted(delays)
    assert delays[-1] == 30.0


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        (GOOD, 0, "shop:app can be imported"),
        (BROKEN, 13, CAUSE),
        ("raise SystemExit(0)", 13, "cannot import shop: SystemExit: 0"),
        ("def f(:", 13, "SyntaxError"),
        ("raise ValueError('a\\n\\x1b[31mb')", 13, r"ValueError: a \x1b[31mb"),
        ("", 13, "'app' must be a beanwatch.worker.App, but it does not exist"),
        ("app = print", 13, "must be a beanwatch.worker.App, but it is of type builtin_function"),
    ],
)
def test_a_check_only_imports_the_application(
    run: Run, shop: Path, text: str, code: int, says: str
) -> None:
    shop.write_text(text)
    done = run("beanwatch", "worker", "shop:app", "--check", env={"PYTHONPATH": str(shop.parent)})
    told = done.stdout if code == 0 else done.stderr
    assert (done.code, len(told.splitlines())) == (code, 1)
    assert says in told


def test_a_check_with_the_options_of_a_worker_also_checks_these(run: Run) -> None:
    argv = ("beanwatch", "worker", "beanwatch.worker.example:app", "--check", "--name", "a")
    assert run(*argv, "--queue", "q").code == 0
    assert run(*argv, "--queue", "q", "--job-timeout", "0").code == 2


@pytest.mark.parametrize("is_off", [False, True])
@pytest.mark.parametrize("module", ["nowhere:app", "tests.worker_core.jobs:nothing"])
def test_a_start_without_redis_is_one_line_and_the_same_exit_code(
    run: Run, module: str, is_off: bool
) -> None:
    redis = "" if is_off else f"redis://127.0.0.1:{closed_port()}/0"
    argv = ("--name", "w", "--queue", "t", "--redis", redis)
    root = str(Path(__file__).parents[2])
    code, _, err = run("beanwatch", "worker", module, *argv, env={"PYTHONPATH": root})
    assert (code, len(err.splitlines())) == (13, 1)


def count_lines(worker: RunningWorker, text: str) -> int:
    return sum(text in line["message"] for line in worker.lines())


def test_a_worker_that_could_not_start_again_does_not_restart(
    start_shop: StartShop, shop: Path, redis_server: Redis, run: Run
) -> None:
    workers = [start_shop("--restart-spread", 0, name=name) for name in ("w1", "w2")]
    for worker in workers:
        worker.wait_for("idle")
    shop.write_text(BROKEN)
    command = ("beanwatch", "workers", "restart")
    where = ("--redis", redis_server.url)
    code, _, err = run(*command, "here.w1", *where)
    assert (code, CAUSE in err) == (1, True)
    code, _, err = run(*command, *where)
    assert (code, CAUSE in err) == (1, True)
    assert err.splitlines()[-1] == "beanwatch: 1 other worker was not told to restart"
    assert run(*command, "--all-at-once", *where).code == 0
    refused = "the worker does not restart, the next instance could not start"
    # Each command told one worker, and the last one both: while a check still runs, the worker
    # accepts no further order.
    wait_until(lambda: sum(count_lines(worker, refused) for worker in workers) == 4, 30)
    wait_until(lambda: all(worker.beat().restart_refused.startswith(CAUSE) for worker in workers))
    code, out, _ = run("check_worker_heartbeat", *where)
    assert (code, f"here.w2: did not restart as told, runs on: {CAUSE}" in out) == (1, True)
    shop.write_text(GOOD)
    code, out, err = run(*command, "here.w1", *where)
    assert (code, out) == (0, "here.w1: restarts\n"), err
    assert workers[0].exit_code() == 10
    assert workers[1].process.poll() is None


def test_of_many_workers_one_restarts_and_runs_before_the_others_are_told(
    start_shop: StartShop, broker: Broker, redis_server: Redis, run: Run
) -> None:
    workers = {name: start_shop("--restart-spread", 0, name=name) for name in ("w1", "w2")}
    for worker in workers.values():
        worker.wait_for("idle")
    with ThreadPoolExecutor() as pool:
        told = pool.submit(run, "beanwatch", "workers", "restart", "--redis", redis_server.url)
        ended = wait_until(
            lambda: [name for name, worker in workers.items() if worker.process.poll() == 10], 30
        )
        assert len(ended) == 1
        (other,) = (worker for name, worker in workers.items() if name not in ended)
        assert other.beat().state == "idle"
        start_shop("--restart-spread", 0, name=ended[0])  # as a supervisor does
        assert told.result(60).code == 0
    assert other.exit_code() == 10


def test_the_trial_runs_where_the_next_instance_will_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    current = tmp_path / "current"
    current.symlink_to("old")
    monkeypatch.chdir(current)
    directory = find_directory({"PWD": str(current)})
    assert directory == str(current), "not its target, which the next deploy leaves"
    assert find_directory({"PWD": "/"}) == find_directory({}) == str(tmp_path / "old")
    check = RestartCheck(["/bin/sh", "-c", "pwd -P >&2; exit 13"], directory, [13])
    current.unlink()
    current.symlink_to("new")
    assert check.find_fault() == str(tmp_path / "new")


def test_a_release_that_was_deleted_cannot_be_tried_and_refuses_no_restart(tmp_path: Path) -> None:
    assert RestartCheck(["/bin/sh"], str(tmp_path / "gone"), [13]).find_fault() == ""
    assert "cannot run /bin/gone" in RestartCheck(["/bin/gone"], "/", [13]).find_fault()
