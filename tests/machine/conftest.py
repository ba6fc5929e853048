"""One machine for all tests, with beanwatch installed as the docs say."""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.machine.machine import Machine, build_wheel, why_not

EXAMPLE = "beanwatch.worker.example:app"
# A watchdog of seconds, so that no test waits for the unit's own.
SHORT_WATCHDOG = "[Service]\nWatchdogSec=3\nTimeoutAbortSec=1\nRestartSec=100ms\n"
UNITS = "/etc/systemd/system"
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    if reason := why_not():
        pytest.skip(reason)
    directory = tmp_path_factory.mktemp("machine")
    shared: Path = directory / "shared"
    shared.mkdir()
    wheel = build_wheel(shared)
    with Machine(directory, shared) as machine:
        pip = "/opt/beanwatch/bin/pip install --quiet --root-user-action=ignore"
        machine.shell(f"{pip} --no-index --no-deps /srv/tests/{wheel.name}")
        machine.shell("ln -s /opt/beanwatch/bin/beanwatch /usr/local/bin/")
        for kind in ("systemd", "nsca", "regenerate"):
            machine.run("beanwatch", "install", kind)
        machine.systemctl("daemon-reload")
        yield machine


class Unit:
    """One unit, in the machine; at the end it is stopped, and its drop-ins are removed.

    It is enabled while it is tested: systemd forgets how a unit ended that nothing needs.
    """

    def __init__(self, machine: Machine, name: str) -> None:
        self.machine, self.name = machine, name
        self._wanted = f"{UNITS}/multi-user.target.wants/{name}"

    def start(self, code: int | None = 0) -> None:
        """Start it, with the drop-ins that it has now."""
        file = f"{UNITS}/{re.sub('@.*[.]', '@.', self.name)}"
        self.machine.shell(f"ln -sf '{file}' '{self._wanted}'; systemctl daemon-reload")
        self.machine.systemctl("start", self.name, code=code)

    def stop(self) -> None:
        self.machine.systemctl("stop", self.name)

    def show(self) -> dict[str, str]:
        return self.machine.show(self.name)

    def wait_for(self, timeout: float = 60.0, **wanted: str) -> dict[str, str]:
        return self.machine.wait_for(self.name, timeout, **wanted)

    def journal(self) -> str:
        return self.machine.journal(self.name)

    def drop_in(self, text: str) -> None:
        self.machine.write(f"{UNITS}/{self.name}.d/test.conf", text)

    def kill(self, signal: str) -> None:
        """Send a signal to the main process."""
        self.machine.systemctl("kill", "--kill-whom=main", f"--signal={signal}", self.name)

    def close(self) -> None:
        self.machine.shell(
            f"systemctl stop '{self.name}' || true\n"
            f"systemctl reset-failed '{self.name}' || true\n"
            f"rm -rf '{UNITS}/{self.name}.d' '{self._wanted}'"
        )


class Worker(Unit):
    """A worker of the example application, with a queue of its own, whose name is the worker's."""

    def __init__(self, machine: Machine, options: str = "--shutdown-timeout 1s") -> None:
        self.queue = self.worker = f"w{next(_numbers)}"
        super().__init__(machine, f"beanwatch-worker@{self.worker}.service")
        self.configure(EXAMPLE, options)

    def configure(self, app: str, options: str = "", more: str = "") -> None:
        """Write the file of this one worker."""
        self.machine.write(
            f"/etc/default/beanwatch-worker-{self.worker}",
            f"WORKER_APP={app}\nWORKER_OPTIONS=--queue {self.queue} {options}\n{more}\n",
        )

    @property
    def id(self) -> str:
        return f"queue1.{self.worker}"

    def put(self, **data: object) -> None:
        self.machine.put(self.queue, "email.send", **data)

    def jobs(self, state: str) -> int:
        return self.machine.jobs(self.queue, state)


@pytest.fixture
def worker(machine: Machine) -> Iterator[Worker]:
    """A worker that was not started yet."""
    unit = Worker(machine)
    yield unit
    unit.close()


@pytest.fixture
def collector(machine: Machine) -> Iterator[Unit]:
    unit = Unit(machine, "beanwatch-collect.service")
    yield unit
    unit.close()


def is_confined(machine: Machine, unit: dict[str, str], writable: str) -> None:
    """Assert that a process has no rights, and can write only into a directory and its own /tmp."""
    status = dict(
        line.split(":\t", 1)
        for line in machine.run("cat", f"/proc/{unit['MainPID']}/status").splitlines()
    )
    (uid,) = set(status["Uid"].split())
    assert 61184 <= int(uid) <= 65519, "it is no user that systemd has made for it"
    assert (int(status["CapEff"], 16), int(status["CapBnd"], 16)) == (0, 0)
    assert status["NoNewPrivs"] == "1"
    enter = ("nsenter", f"--target={unit['MainPID']}", "--mount", "setpriv", f"--reuid={uid}")
    enter += (f"--regid={uid}", "--clear-groups", "touch")
    for path in ("/usr/x", "/etc/x", "/var/lib/x", "/var/cache/x", "/root/x", "/home/x"):
        assert machine.run(*enter, path, code=1)
    machine.run(*enter, f"{writable}/x", "/tmp/x")
    assert not machine.shell("ls /tmp | grep -x x || true")
