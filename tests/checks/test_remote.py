"""NRPE serves the shipped commands, and NSCA takes passive results."""

import getpass
import grp
import os
import subprocess
from pathlib import Path

import pytest

from beanwatch.cli.lib.submit import MAX_NSCA_HOST, MAX_NSCA_SERVICE
from tests.checks.conftest import parse_output
from tests.checks.site import Site
from tests.real import Beanstalkd, Nagios, Redis, Server, closed_port, wait_until

CHECK_NRPE = "/usr/lib/nagios/plugins/check_nrpe"


@pytest.fixture
def site(
    tmp_path: Path, beanstalkd: Beanstalkd, old_redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> Site:
    monkeypatch.setenv("BEANWATCH_STATE_DIR", str(tmp_path / "state"))
    return Site(tmp_path, beanstalkd, old_redis)


def group() -> str:
    return grp.getgrgid(os.getgid()).gr_name


class Nrpe(Server):
    """An NRPE that includes what `beanwatch install nrpe` placed."""

    name = "nrpe"

    def __init__(self, directory: Path, site: Site) -> None:
        super().__init__(directory)
        self._site = site
        self._included = site.root / "etc/nagios/nrpe.d"
        for file in self._included.iterdir():  # the commands name the real plugin directory
            text = file.read_text()
            file.write_text(text.replace("/usr/lib/nagios/plugins", str(site.plugins)))

    def argv(self) -> list[str | Path]:
        # It refuses to run as root: then it is somebody else, with the files of the same owner.
        is_root = os.geteuid() == 0
        user, group = (1000, 1000) if is_root else (os.getuid(), os.getgid())
        config = self.directory / "nrpe.cfg"
        config.write_text(
            f"server_address=127.0.0.1\nserver_port={self.port}\n"
            f"nrpe_user={user}\nnrpe_group={group}\n"
            f"pid_file={self.directory}/nrpe.pid\nallowed_hosts=127.0.0.1\ndont_blame_nrpe=0\n"
            f"include_dir={self._included}\nkeep_env_vars=BEANWATCH_CONFIG,BEANWATCH_STATE_DIR\nlog_file={self.directory}/nrpe.events\n"
        )
        other = ["unshare", f"--map-user={user}", f"--map-group={group}"] if is_root else []
        return [*other, "nrpe", "-c", config, "-f"]

    def environment(self) -> dict[str, str]:
        return {"BEANWATCH_CONFIG": str(self._site.config)}

    def run(self, *argv: str) -> "subprocess.CompletedProcess[str]":
        """check_nrpe."""
        return subprocess.run(
            [CHECK_NRPE, "-H", "127.0.0.1", "-p", str(self.port), "-t", "30", *argv],
            capture_output=True,
            text=True,
            timeout=40,
        )


def can_be_somebody_else() -> bool:
    """Root needs a user namespace for it; not every container allows one."""
    if os.geteuid():
        return True
    return (
        subprocess.run(["unshare", "--map-user=1000", "true"], capture_output=True).returncode == 0
    )


@pytest.mark.skipif(not can_be_somebody_else(), reason="this machine allows no user namespaces")
def test_nrpe_serves_every_shipped_command_without_arguments(site: Site, tmp_path: Path):
    site.install("nrpe")
    site.bury()
    with Nrpe(tmp_path / "nrpe", site) as nrpe:
        expected = {
            "queue_server": (0, "up for "),
            "queue_depth": (0, "jobs ready"),
            "queue_buried": (2, "images: 1 job buried (limit 0)"),
            "queue_age": (0, "2 queues"),
            "queue_consumers": (0, "2 queues"),
            "redis": (0, "MiB used"),
            "worker_heartbeat": (2, "no worker sends a heartbeat"),
            "job_failures": (0, "no job ran"),
            "metrics_fresh": (3, "Graphite is off"),
        }
        for name, (code, words) in expected.items():
            done = nrpe.run("-c", f"beanwatch_{name}")
            answer = parse_output(done.returncode, done.stdout, done.stderr)
            assert (name, answer.code) == (name, code)
            assert words in answer.text
        done = nrpe.run("-c", "beanwatch_queue1_buried_of_images")
        assert done.returncode == 2
        assert "'images'=1;;0;0" in done.stdout


class Nsca(Server):
    """An NSCA that writes into a Nagios's command file."""

    name = "nsca"

    def __init__(self, directory: Path, command_file: Path) -> None:
        super().__init__(directory)
        self._command_file = command_file

    def argv(self) -> list[str | Path]:
        config = self.directory / "nsca.cfg"
        config.write_text(
            f"server_address=127.0.0.1\nserver_port={self.port}\n"
            f"nsca_user={getpass.getuser()}\nnsca_group={group()}\n"
            f"command_file={self._command_file}\npid_file={self.directory}/nsca.pid\n"
            "decryption_method=1\npassword=secret\nmax_packet_age=30\nappend_to_file=0\n"
            f"alternate_dump_file={self.directory}/dump\n"
        )
        return ["nsca", "-c", config, "-f"]


def test_nsca_delivers_passive_results(site: Site, tmp_path: Path):
    site.install("nagios", "--passive")
    site.bury()
    sender = tmp_path / "send_nsca.cfg"
    sender.write_text("encryption_method=1\npassword=secret\n")
    with site.nagios("--file /dev/null") as nagios:
        with Nsca(tmp_path / "nsca", nagios._run / "commands") as nsca:
            argv = ("--to", "nsca", "--monitor", f"127.0.0.1:{nsca.port}", "--nsca-config", sender)
            assert site.beanwatch("passive", "--once", *argv) == "13 check results submitted\n"
            wait_until(lambda: output(nagios, "buried of images") != "", timeout=30)
        assert "images: 1 job buried" in output(nagios, "buried of images")
        status = nagios.statuses()["queue1", "buried of images"]
        assert status["performance_data"] == "'images'=1;;0;0"
        assert status["long_plugin_output"].startswith(
            r"What to do: beanwatch runbook queue-buried\n"
        )


def test_nsca_gets_no_name_that_it_would_cut(site: Site, run, tmp_path: Path):
    """It would cut it without a word, and Nagios would know no such host."""
    sender, pipe = tmp_path / "send_nsca.cfg", tmp_path / "commands"
    sender.write_text("encryption_method=1\npassword=secret\n")
    os.mkfifo(pipe)
    fits, long = "h" * MAX_NSCA_HOST, "i" * (MAX_NSCA_HOST + 1)
    worker = "w" * MAX_NSCA_SERVICE
    site.config.write_text(
        f'[servers]\n{fits} = "{site.beanstalkd.address}"\n{long} = "127.0.0.1:1"\n'
        f'[redis]\nurl = "{site.redis.url}"\n[workers]\nexpected = ["web1.{worker}"]\n'
    )
    reader = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    with Nsca(tmp_path / "nsca", pipe) as nsca:
        argv = ("--to", "nsca", "--monitor", f"127.0.0.1:{nsca.port}", "--nsca-config", sender)
        code, out, err = run("beanwatch", "passive", "--once", *argv, "--config", site.config)
        assert (code, out) == (1, "")
        assert err.startswith("beanwatch: submitted only ")
        assert f"the name of host '{long}' is longer than the 63 bytes that NSCA carries" in err
        assert f"service 'worker web1.{worker}' is longer than the 127 bytes" in err
        got = b""
        while b"job failures" not in got:
            got += wait_until(lambda: os.read(reader, 65536), 20)
    os.close(reader)
    hosts = {line.split(b";")[1] for line in got.splitlines()}
    assert hosts == {fits.encode()}
    assert b"worker web1." not in got


def output(nagios: Nagios, service: str) -> str:
    return nagios.statuses().get(("queue1", service), {}).get("plugin_output", "")


def test_an_nsca_that_is_not_there_is_said(site: Site, run, tmp_path: Path):
    sender = tmp_path / "send_nsca.cfg"
    sender.write_text("encryption_method=1\npassword=secret\n")
    monitor = f"127.0.0.1:{closed_port()}"
    code, _, stderr = run(
        *("beanwatch", "passive", "--once", "--to", "nsca", "--monitor", monitor),
        *("--nsca-config", sender, "--config", site.config),
    )
    assert code == 1
    assert stderr.startswith(f"beanwatch: cannot submit results to {monitor}: send_nsca: ")


def test_a_command_file_that_nobody_reads_is_said(site: Site, run, tmp_path: Path):
    fifo = tmp_path / "commands"
    os.mkfifo(fifo)
    argv = ("--to", "command-file", "--command-file", fifo, "--config", site.config)
    code, _, stderr = run("beanwatch", "passive", "--once", *argv)
    assert code == 1
    assert stderr.startswith(
        f"beanwatch: cannot submit results to {fifo}: no process reads this pipe; "
        "is Nagios running?"
    )


def test_results_that_nobody_reads_are_judged_nevertheless(site: Site, run, tmp_path: Path):
    """Else the next round would know of no earlier one: a false recovery."""
    fifo = tmp_path / "commands"
    os.mkfifo(fifo)
    with site.config.open("a") as config:
        config.write('[queues."images".depth]\nwarning = 0\nfor = "0.5s"\n')
    with site.beanstalkd.client(use="images") as client:
        client.put("a picture")
    argv = ("beanwatch", "passive", "--once", "--config", site.config)

    def is_warning() -> bool:
        return "\tdepth of images\t1\t" in run(*argv)[1]

    wait_until(is_warning)
    assert run(*argv, "--to", "command-file", "--command-file", fifo)[0] == 1
    assert is_warning()


def test_a_command_file_that_is_none_is_left_alone(site: Site, run, tmp_path: Path):
    file = tmp_path / "notes"
    file.write_text("mine")
    argv = ("--to", "command-file", "--command-file", file, "--config", site.config)
    code, _, stderr = run("beanwatch", "passive", "--once", *argv)
    assert (code, file.read_text()) == (1, "mine")
    assert stderr.startswith(f"beanwatch: cannot submit results to {file}: it is not a named pipe")
