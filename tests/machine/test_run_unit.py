"""The unit of `beanwatch run` that the docs show."""

import re
from collections.abc import Iterator

import pytest

from tests.machine.conftest import Unit
from tests.machine.machine import Machine
from tests.real import ROOT, wait_until

# Stands for `php /srv/shop/worker.php`: it says what it does once in a while, until a file tells it
# to be silent, or to exit.
PROGRAM = """\
import os, pathlib, socket, sys, time
orders = pathlib.Path("/run/orders")
orders.unlink(missing_ok=True)
sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
address = os.environ["NOTIFY_SOCKET"].replace("@", "\\0", 1)
while True:
    order = orders.read_text() if orders.exists() else ""
    if order.startswith("exit"):
        sys.exit(int(order.split()[1]))
    if order != "silent":
        sender.sendto(b"WATCHDOG=1\\nSTATUS=waits for mail", address)
    time.sleep(0.2)
"""


@pytest.fixture(scope="module")
def template(machine: Machine) -> str:
    """Install the unit as it stands in the docs."""
    page = (ROOT / "docs" / "run.md").read_text().partition("## Under systemd")[2]
    (unit,) = re.findall(r"^```ini\n(.*?)^```", page, re.M | re.S)
    machine.write("/etc/systemd/system/mail@.service", unit)
    machine.write("/srv/shop/worker.php", PROGRAM)
    machine.shell("ln -sf /usr/bin/python3 /usr/local/bin/php")
    machine.systemctl("daemon-reload")
    return "mail@"


@pytest.fixture
def unit(machine: Machine, template: str) -> Iterator[Unit]:
    unit = Unit(machine, f"{template}1.service")
    unit.drop_in("[Service]\nRestartSec=100ms\nWatchdogSec=3\n")
    yield unit
    unit.close()
    machine.shell("rm -f /run/orders")


def order(unit: Unit, text: str) -> None:
    unit.machine.write("/run/orders", text)


def test_systemd_shows_what_the_program_says_and_stops_it(unit: Unit) -> None:
    unit.start()
    assert unit.show()["ActiveState"] == "active"
    unit.wait_for(StatusText="waits for mail")
    assert "queue1.mail-1" in unit.machine.run("beanwatch", "workers")
    unit.stop()
    assert unit.show()["ActiveState"] == "inactive"
    assert unit.machine.shell("ps -C php -o pid= || true").strip() == ""


def test_systemd_kills_and_restarts_both_if_the_program_is_silent(unit: Unit) -> None:
    unit.start()
    unit.wait_for(StatusText="waits for mail")
    order(unit, "silent")
    unit.wait_for(NRestarts="1", ActiveState="active", StatusText="waits for mail")
    assert "Watchdog timeout" in unit.journal()
    assert len(unit.machine.shell("ps -C php -o pid=").splitlines()) == 1


@pytest.mark.parametrize(("code", "restarts"), [("0", "0"), ("2", "0"), ("3", "1"), ("10", "1")])
def test_its_exit_code_says_whether_it_is_started_again(
    unit: Unit, code: str, restarts: str
) -> None:
    unit.start()
    unit.wait_for(StatusText="waits for mail")
    order(unit, f"exit {code}")
    if restarts == "1":
        unit.wait_for(NRestarts="1", ActiveState="active", StatusText="waits for mail")
    else:
        found = unit.wait_for(ActiveState="inactive" if code == "0" else "failed")
        assert (found["NRestarts"], found["ExecMainStatus"]) == ("0", code)


def test_an_order_restarts_it_and_another_stops_it(unit: Unit) -> None:
    unit.start()
    before = unit.wait_for(StatusText="waits for mail")
    unit.machine.run("beanwatch", "workers", "restart", "queue1.mail-1")
    after = unit.wait_for(NRestarts="1", ActiveState="active", StatusText="waits for mail")
    assert after["MainPID"] != before["MainPID"]
    stop = ("beanwatch", "workers", "stop", "queue1.mail-1")
    # Its first record may come after its state.
    wait_until(lambda: "no worker matches" not in unit.machine.run(*stop, code=None))
    found = unit.wait_for(ActiveState="inactive")
    assert (found["ExecMainStatus"], found["NRestarts"]) == ("0", "1")
