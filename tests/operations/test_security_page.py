"""What docs/security.md shows, run: Redis users with the rights it names, beanstalkd by stunnel."""

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from beanwatch.store.heartbeats import worker_key
from beanwatch.worker.api import envelope
from tests.real import ROOT, Beanstalkd, Redis, Server, spawn, stop_process, wait_until

Run = Callable[..., tuple[int, str, str]]
PAGE = (ROOT / "docs" / "security.md").read_text()
PASSWORD = "correct-horse"


def blocks(kind: str) -> list[str]:
    """The page's fenced blocks of that kind."""
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.M | re.S)


class GuardedRedis(Redis):
    """A Redis that knows the two users of the page, and nobody else."""

    def argv(self) -> list[str]:
        (users,) = blocks("text")
        lines = users.replace("PASSWORD", PASSWORD).strip().splitlines()
        conf = self.directory / "redis.conf"
        conf.write_text("\n".join(["user default off", *lines]) + "\n")
        program, *options = super().argv()
        return [program, str(conf), *options]


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[GuardedRedis]:
    with GuardedRedis(tmp_path / "redis") as server:
        yield server


def test_each_redis_user_may_do_what_it_has_to(
    guarded: GuardedRedis, beanstalkd: Beanstalkd, run: Run, tmp_path: Path
) -> None:
    urls = {
        who: f"redis://beanwatch-{who}@127.0.0.1:{guarded.port}/0" for who in ("worker", "reader")
    }
    secret = {"BEANWATCH_REDIS_PASSWORD": PASSWORD}
    argv: list[str | Path] = [ROOT / ".venv/bin/beanwatch", "worker"]
    argv += ["beanwatch.worker.example:app", "--queue", "email", "--name", "w1", "--host", "h1"]
    argv += ["--server", beanstalkd.address, "--ledger", "all"]
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    told = {
        "BEANWATCH_REDIS_URL": urls["worker"],
        "BEANWATCH_REDIS_PASSWORD_FILE": str(tmp_path / "password"),
    }
    assert all(f"{name}=" in PAGE for name in told)
    log = tmp_path / "worker.log"
    with beanstalkd.client(use="email", encoding=None) as client:
        client.put(envelope.encode("email.send", {"seconds": 0}, id="one"))
        client.put(envelope.encode("no.such.job", id="two"))
    worker = spawn(argv, log=log, env=told)
    try:
        wait_until(lambda: beanstalkd.stats_tube("email")["current-jobs-buried"] == 1, 20)
        wait_until(lambda: beanstalkd.stats_tube("email")["cmd-delete"] == 1, 20)
        check = ("check_worker_heartbeat", "--redis", urls["reader"], "--worker", "h1.w1")
        wait_until(lambda: run(*check, env=secret)[1].startswith("WORKER_HEARTBEAT OK - "), 20)

        def read_ledger() -> str:
            return run("beanwatch", "job", "one", "--redis", urls["reader"], env=secret)[1]

        wait_until(lambda: "ok" in read_ledger(), 20)
        failures = ("check_job_failures", "--redis", urls["reader"], "--least", "1")
        wait_until(lambda: run(*failures, env=secret)[0] == 2, 20, "one of two jobs has failed")
        for url in urls.values():
            assert run("check_redis", "--redis", url, env=secret)[0] == 0
        kick = ("beanwatch", "queues", "kick", "email", "--server", beanstalkd.address, "--yes")
        code, _, said = run(*kick, "--redis", urls["reader"], env=secret)
        assert (code, "not written to the audit list" in said) == (0, True), said
        assert "NOPERM" not in log.read_text(), log.read_text()
    finally:
        stop_process(worker)
    assert "PASSWORD" not in log.read_text()
    code, line, _ = run(*check, env={"BEANWATCH_REDIS_PASSWORD": "wrong"})
    assert code == 3
    assert "WRONGPASS" in line
    assert worker_key("h1.w1") not in line


class Stunnel(Server):
    """stunnel with a section of the page; only its ports and files are this test's."""

    name = "stunnel"

    def __init__(self, directory: Path, section: str, connect: int, files: Path) -> None:
        super().__init__(directory)
        self._section, self._connect, self._files = section, connect, files

    def argv(self) -> list[str | Path]:
        section = re.sub(r"accept = .*", f"accept = 127.0.0.1:{self.port}", self._section)
        section = re.sub(r"connect = .*", f"connect = 127.0.0.1:{self._connect}", section)
        section = section.replace("/etc/stunnel", str(self._files))
        conf = self.directory / "stunnel.conf"
        conf.write_text(f"foreground = yes\npid =\n{section}")
        return ["stunnel", conf]


@pytest.mark.skipif(not shutil.which("stunnel"), reason="no stunnel here (Debian: stunnel4)")
def test_beanstalkd_is_reached_through_stunnel(
    beanstalkd: Beanstalkd, run: Run, tmp_path: Path
) -> None:
    for name in ("beanstalkd", "client"):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
             "-subj", f"/CN={name}", "-keyout", tmp_path / "key", "-out", tmp_path / "cert"],
            check=True, capture_output=True,
        )  # fmt: skip
        both = (tmp_path / "key").read_text() + (tmp_path / "cert").read_text()
        (tmp_path / f"{name}.pem").write_text(both)
        (tmp_path / f"{name}.pem").chmod(0o600)
    shutil.copy(tmp_path / "client.pem", tmp_path / "clients.pem")
    far, near, _ = blocks("ini")
    with (
        Stunnel(tmp_path / "far", far, beanstalkd.port, tmp_path) as server,
        Stunnel(tmp_path / "near", near, server.port, tmp_path) as client,
    ):
        code, line, _ = run("check_queue_depth", "-p", client.port)
        assert (code, line.partition(" - ")[0]) == (0, "QUEUE_DEPTH OK")
        beanstalkd.stop()
        code, line, _ = run("check_queue_depth", "-p", client.port)
        assert code == 3
        assert "the server closed the connection" in line or "reset by peer" in line
