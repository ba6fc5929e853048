"""beanwatch-passive.service, beanwatch-regenerate and its timer, beside a Nagios of the machine."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.checks.test_remote import Nsca
from tests.machine.conftest import Unit, is_confined
from tests.machine.machine import Machine
from tests.real import wait_until

STATE = "/var/lib/beanwatch-passive"
SERVICES = "/etc/nagios4/conf.d/beanwatch-services.cfg"


class NscaInside(Nsca):
    """This host's NSCA in the machine's network."""

    def __init__(self, machine: Machine, directory: Path, command_file: Path) -> None:
        super().__init__(directory, command_file)
        self._network = machine.network

    def argv(self) -> list[str | Path]:
        return ["nsenter", f"--net={self._network}", *super().argv()]


@pytest.fixture(scope="module")
def nagios(machine: Machine) -> Iterator[Unit]:
    """Debian's own unit of Nagios, with beanwatch's services as passive ones."""
    machine.run("beanwatch", "install", "nagios", "--passive")
    machine.systemctl("start", "nagios4.service")
    yield Unit(machine, "nagios4.service")
    machine.systemctl("stop", "nagios4.service")


@pytest.fixture
def passive(machine: Machine) -> Iterator[Unit]:
    unit = Unit(machine, "beanwatch-passive.service")
    yield unit
    unit.close()


def set_options(unit: Unit, options: str) -> None:
    unit.machine.write("/etc/default/beanwatch-passive", f"PASSIVE_OPTIONS={options}\n")


def test_results_reach_nagios_through_its_command_file(passive: Unit, nagios: Unit) -> None:
    set_options(passive, "--to command-file")
    # As the comment in the unit says.
    passive.drop_in("[Service]\nDynamicUser=no\nUser=nagios\n")
    passive.start()
    wait_until(lambda: "PASSIVE SERVICE CHECK: queue1;redis;0" in nagios.journal(), 60, "a result")
    passive.stop()
    assert passive.show()["Result"] == "success"


def test_results_reach_a_monitoring_server_by_nsca(passive: Unit, tmp_path: Path) -> None:
    machine = passive.machine
    machine.write("/etc/send_nsca.cfg", "encryption_method=1\npassword=secret\n")
    pipe = tmp_path / "commands"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    with NscaInside(machine, tmp_path / "nsca", pipe) as nsca:
        set_options(passive, f"--to nsca --monitor 127.0.0.1:{nsca.port}")
        passive.start()
        got = b""
        while b"PROCESS_SERVICE_CHECK_RESULT;queue1;redis;0" not in got:
            got += wait_until(lambda: os.read(reader, 65536), 60, "results")
        is_confined(machine, passive.show(), STATE)
        # What the next results are compared with: systemd makes a link to this directory.
        wait_until(lambda: machine.shell(f"ls {STATE}/passive-*.json"), 60, "its state file")
        assert b"State file unusable" not in got
    os.close(reader)


def test_it_goes_on_while_the_monitoring_server_is_away(passive: Unit) -> None:
    set_options(passive, "--to nsca --monitor 127.0.0.1:2")
    passive.start()
    wait_until(lambda: "cannot submit results" in passive.journal(), 60, "a line in the log")
    found = passive.show()
    assert (found["ActiveState"], found["NRestarts"]) == ("active", "0")


def test_it_is_started_again_after_a_crash_but_not_with_a_wrong_option(passive: Unit) -> None:
    passive.drop_in("[Service]\nRestartSec=100ms\n")
    set_options(passive, "--to stdout")
    passive.start()
    set_options(passive, "--to nsca")
    passive.kill("KILL")
    found = passive.wait_for(ActiveState="failed")
    assert (found["NRestarts"], found["ExecMainStatus"]) == ("1", "2")
    assert "--to nsca needs --monitor HOST" in passive.journal()


def test_the_timer_adds_the_services_of_a_new_queue_and_reloads_nagios(
    machine: Machine, nagios: Unit
) -> None:
    timer = Unit(machine, "beanwatch-regenerate.timer")
    service = Unit(machine, "beanwatch-regenerate.service")
    machine.run("rm", "-rf", "/etc/beanwatch")  # a host without a configuration has none
    machine.put("new.queue", "email.send")
    try:
        timer.start()
        due = machine.systemctl("show", "--property=TimersMonotonic", timer.name)
        assert "OnBootUSec=5min" in due
        assert "OnUnitInactiveUSec=5min" in due
        # The same, at once.
        timer.drop_in("[Timer]\nOnBootSec=\nOnBootSec=1s\nRandomizedDelaySec=0\nAccuracySec=1ms\n")
        machine.shell(f"systemctl daemon-reload; systemctl restart {timer.name}")
        wait_until(lambda: "Caught SIGHUP" in nagios.journal(), 60, "a reload")
        assert "new.queue" in machine.run("cat", SERVICES)
        assert service.wait_for(ActiveState="inactive")["Result"] == "success"
    finally:
        timer.close()
        service.close()


def test_the_timer_lets_nagios_alone_if_the_files_would_not_be_valid(
    machine: Machine, nagios: Unit
) -> None:
    service = Unit(machine, "beanwatch-regenerate.service")
    before = machine.run("cat", SERVICES)
    machine.put("another.queue", "email.send")
    machine.write("/etc/nagios4/conf.d/broken.cfg", "define service {\n}\n")
    try:
        service.start(code=1)
        found = service.show()
        assert (found["ActiveState"], found["ExecMainStatus"]) == ("failed", "1")
        assert "the new files are not valid, so the old ones are back" in service.journal()
        assert machine.run("cat", SERVICES) == before
    finally:
        machine.run("rm", "/etc/nagios4/conf.d/broken.cfg")
        service.close()
