"""A real supervisord with the shipped configuration, three workers, and what happens to them."""

import configparser
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from beanwatch.store.heartbeats import Heartbeat, decode_heartbeat, worker_key
from beanwatch.worker.api import envelope
from tests.real import ROOT, Beanstalkd, Redis, Server, closed_port, wait_until
from tests.records import running_job

BIN = ROOT / ".venv" / "bin"
SHIPPED = ROOT / "worker" / "supervisor" / "beanwatch-workers.conf"
Run = Callable[..., tuple[int, str, str]]

APP = """
import pathlib, time
from beanwatch.worker import App

app = App()

@app.job("email.send", timeout=60, max_attempts=3)
@app.job("email.hang", timeout=1, max_attempts=1)
def send(ctx, data):
    until = pathlib.Path(data["until"])
    while not until.exists():
        try:
            time.sleep(0.05)
        except BaseException:
            pass  # a handler that nothing reaches
"""


class Supervisord(Server):
    """supervisord with one program section; only paths and names of this test differ.

    `section` is the text of the section; default: the shipped one.
    """

    name = "supervisord"

    def __init__(
        self, directory: Path, command: str, environment: dict[str, str], section: str = ""
    ) -> None:
        super().__init__(directory)
        # A socket's path has room for 108 bytes, which a test's directory may exceed.
        self._sockets = tempfile.TemporaryDirectory(prefix="supervisor-")
        self._socket = Path(self._sockets.name) / "socket"
        self._conf = directory / "supervisord.conf"
        shipped = configparser.RawConfigParser(inline_comment_prefixes=(" ;",))
        shipped.read_string(section or SHIPPED.read_text())
        (program,) = (shipped[name] for name in shipped.sections())
        program["command"] = command
        program["directory"] = str(directory)
        program["stdout_logfile"] = f"{directory}/%(program_name)s-%(process_num)d.log"
        program["stderr_logfile"] = f"{directory}/%(program_name)s-%(process_num)d.err"
        program["environment"] = ",".join(f'{k}="{v}"' for k, v in environment.items())
        shipped["supervisord"] = {
            "nodaemon": "true",
            "logfile": f"{directory}/supervisord.log.main",
            "pidfile": f"{directory}/supervisord.pid",
        }
        shipped["unix_http_server"] = {"file": str(self._socket)}
        factory = "supervisor.rpcinterface:make_main_rpcinterface"
        shipped["rpcinterface:supervisor"] = {"supervisor.rpcinterface_factory": factory}
        shipped["supervisorctl"] = {"serverurl": f"unix://{self._socket}"}
        with self._conf.open("w") as file:
            shipped.write(file)

    def choose_ports(self) -> None:
        """It listens on a socket only."""
        self.port = -1

    def argv(self) -> list[str | Path]:
        return [BIN / "supervisord", "-c", self._conf]

    def ready(self) -> bool:
        return self._socket.exists()

    def ctl(self, *words: str) -> str:
        """The output of supervisorctl."""
        argv = [BIN / "supervisorctl", "-c", self._conf, *words]
        return subprocess.run(argv, capture_output=True, text=True, timeout=60).stdout

    def states(self) -> list[str]:
        """The state of each program, in the order of their names."""
        return [line.split()[1] for line in self.ctl("status").splitlines()]

    def stop(self) -> None:
        super().stop()
        self._sockets.cleanup()


@pytest.fixture
def supervisord(
    tmp_path: Path, beanstalkd: Beanstalkd, redis_server: Redis
) -> Iterator[Supervisord]:
    directory = tmp_path / "supervisord"
    directory.mkdir()
    (directory / "shop.py").write_text(APP)
    # The shipped command with the tests' servers; deadlines as short as a test wants them.
    command = read_command(SHIPPED)
    command = command.replace("beanwatch worker shop.jobs:app", f"{BIN}/beanwatch worker shop:app")
    command += f" --host web1 --server {beanstalkd.address} --redis {redis_server.url}"
    command += " --grace 1s --restart-spread 1s --heartbeat-interval 0.2s"
    with Supervisord(directory, command, {"PATH": os.environ["PATH"]}) as server:
        yield server


def read_command(conf: Path) -> str:
    """The command of a shipped configuration."""
    lines = conf.read_text().splitlines()
    (command,) = (line.removeprefix("command=") for line in lines if line.startswith("command="))
    return command


def read_beat(server: Redis, worker: str) -> Heartbeat:
    record = server.client(decode_responses=False).get(worker_key(worker))
    assert isinstance(record, bytes), worker
    return decode_heartbeat(record)


def beats(server: Redis, condition: Callable[[Heartbeat], bool] = bool) -> dict[str, Heartbeat]:
    """The records of all three workers, once the condition holds for each."""

    def read() -> dict[str, Heartbeat]:
        found = {f"web1.email-{n}": read_beat(server, f"web1.email-{n}") for n in (1, 2, 3)}
        return found if all(map(condition, found.values())) else {}

    return wait_until(read, 60, "all three workers beat")


def test_a_killed_and_a_hung_worker_come_back_and_everyone_is_told(
    supervisord: Supervisord, beanstalkd: Beanstalkd, redis_server: Redis, run: Run, tmp_path: Path
) -> None:
    first = beats(redis_server, lambda beat: beat.state == "idle")
    check = ("check_worker_heartbeat", "--redis", redis_server.url)
    for n in (1, 2, 3):
        check += ("--worker", f"web1.email-{n}")
    code, line, _ = run(*check)
    assert (code, line.split(" - ")[0]) == (0, "WORKER_HEARTBEAT OK")

    # One is killed while it works; its job runs again elsewhere, and then ends.
    killed_job = put(beanstalkd, "email.send", until=tmp_path / "mended")
    victim = wait_until(lambda: busy_with(redis_server, killed_job), 20)
    os.kill(first[victim].pid, signal.SIGKILL)
    (tmp_path / "mended").touch()
    # One hangs for good: its job is buried at the hard deadline, and the worker ends itself.
    hung_job = put(beanstalkd, "email.hang", until=tmp_path / "never")
    hung = wait_until(lambda: busy_with(redis_server, hung_job), 20)
    wait_until(lambda: beanstalkd.stats_tube("email.regular")["current-jobs-buried"] == 1, 30)

    back = {victim, hung}
    now = beats(redis_server, lambda beat: beat.state == "idle" and beat.pid > 0)
    now = wait_until(
        lambda: (
            all(
                read_beat(redis_server, worker).instance != first[worker].instance
                for worker in back
            )
            and beats(redis_server, lambda beat: beat.state == "idle")
        ),
        30,
        f"{back} are back",
    )
    assert supervisord.states() == ["RUNNING"] * 3
    assert {worker for worker in now if now[worker].restarts} == back
    assert "hard deadline" in now[hung].last_exit

    code, line, _ = run(*check)
    assert (code, line.split(" - ")[0]) == (1, "WORKER_HEARTBEAT WARNING")
    assert all(worker in line for worker in back)
    assert beanstalkd.stats_tube("email.regular")["current-jobs-ready"] == 0
    where = ("--redis", redis_server.url, "--server", beanstalkd.address)
    code, told, _ = run("beanwatch", "job", hung_job, *where)
    assert code == 0
    assert "timeout" in told
    assert hung in told


def put(beanstalkd: Beanstalkd, job: str, until: Path) -> str:
    """A job that runs until the file is there; its uuid."""
    uuid = f"job-{until.name}"
    body = envelope.encode(job, {"until": str(until)}, id=uuid)
    with beanstalkd.client(use="email.regular", encoding=None) as client:
        client.put(body)
    return uuid


def busy_with(server: Redis, uuid: str) -> str:
    """The worker that runs the job, if any does."""
    for number in (1, 2, 3):
        worker = f"web1.email-{number}"
        if running_job(read_beat(server, worker)).uuid == uuid:
            return worker
    return ""


def test_told_to_stop_a_worker_stays_down_and_told_to_restart_it_comes_back(
    supervisord: Supervisord, redis_server: Redis
) -> None:
    first = beats(redis_server, lambda beat: beat.state == "idle")
    os.kill(first["web1.email-1"].pid, signal.SIGTERM)
    wait_until(lambda: supervisord.states() == ["EXITED", "RUNNING", "RUNNING"], 20)
    redis_server.client().incr("{beanwatch}:version")
    wait_until(
        lambda: all(
            read_beat(redis_server, worker).instance != first[worker].instance
            for worker in ("web1.email-2", "web1.email-3")
        ),
        60,
        "both have restarted for the new version",
    )
    assert supervisord.states() == ["EXITED", "RUNNING", "RUNNING"]


def test_misuse_is_not_tried_again_but_a_broken_application_is(tmp_path: Path) -> None:
    redis = f"--redis redis://127.0.0.1:{closed_port()}/0"
    command = f"{BIN}/beanwatch worker nothing:app --name %(program_name)s-%(process_num)d {redis}"
    directory = tmp_path / "supervisord"
    log, errors = directory / "email-1.log", directory / "email-1.err"
    with Supervisord(directory, command, {"PATH": os.environ["PATH"]}) as server:
        wait_until(lambda: server.states() == ["EXITED"] * 3, 30)
        assert "a worker needs --queue and --name" in errors.read_text()
    with Supervisord(directory, f"{command} --queue t", {"PATH": os.environ["PATH"]}) as server:
        wait_until(lambda: errors.read_text().count("beanwatch: cannot import nothing") > 1, 60)
        (directory / "nothing.py").write_text("from beanwatch.worker import App\napp = App()\n")
        wait_until(lambda: "the worker starts" in log.read_text(), 60)
