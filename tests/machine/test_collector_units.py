"""beanwatch-collect.service, and beanwatch-collect-once with its timer."""

from collections.abc import Iterator

import pytest

from tests.machine.conftest import SHORT_WATCHDOG, Unit, is_confined
from tests.machine.machine import Machine
from tests.real import LineSink, wait_until

STATE = "/var/lib/beanwatch-collect"


@pytest.fixture
def carbon(machine: Machine) -> Iterator[LineSink]:
    with machine.inside(LineSink) as sink:
        yield sink


def set_options(unit: Unit, text: str) -> None:
    unit.machine.write("/etc/default/beanwatch-collect", text)


def up(carbon: LineSink) -> list[str]:
    return [line for line in carbon.lines if line.startswith("beanwatch.server.queue1.up 1 ")]


def test_it_sends_says_what_it_does_and_stops(collector: Unit, carbon: LineSink) -> None:
    set_options(collector, f"BEANWATCH_GRAPHITE_ADDRESS={carbon.address}\n")
    collector.start()
    assert collector.show()["ActiveState"] == "active"
    found = collector.wait_for(StatusText="1 server, backlog 0 points, 0 dropped")
    wait_until(lambda: up(carbon), 30, "a point")
    is_confined(collector.machine, found, STATE)
    assert collector.machine.run("stat", "-L", "--format=%a", STATE).strip() == "700"
    collector.stop()
    found = collector.show()
    assert (found["ActiveState"], found["Result"]) == ("inactive", "success")


def test_it_keeps_its_points_while_carbon_is_away(collector: Unit) -> None:
    set_options(collector, "BEANWATCH_GRAPHITE_ADDRESS=127.0.0.1:2\n")
    collector.start()
    wait_until(lambda: "backlog 0" not in collector.show()["StatusText"], 30, "a backlog")
    collector.stop()
    assert collector.machine.shell(f"ls {STATE}/spool/")


def test_systemd_kills_and_restarts_it_if_it_is_silent(collector: Unit) -> None:
    collector.drop_in(SHORT_WATCHDOG)
    collector.start()
    collector.kill("STOP")
    collector.wait_for(NRestarts="1", ActiveState="active")
    assert "Watchdog timeout" in collector.journal()


def test_it_is_started_again_after_a_crash_but_not_with_a_broken_configuration(
    collector: Unit,
) -> None:
    collector.drop_in("[Service]\nRestartSec=100ms\n")
    set_options(collector, "BEANWATCH_GRAPHITE_ADDRESS=127.0.0.1:2\n")
    collector.start()
    set_options(collector, "BEANWATCH_COLLECT_INTERVAL=often\n")
    collector.kill("KILL")
    found = collector.wait_for(ActiveState="failed")
    assert (found["NRestarts"], found["ExecMainStatus"]) == ("1", "2")
    assert "BEANWATCH_COLLECT_INTERVAL" in collector.journal()


def test_the_timer_runs_it_once_a_minute(machine: Machine, carbon: LineSink) -> None:
    timer = Unit(machine, "beanwatch-collect-once.timer")
    once = Unit(machine, "beanwatch-collect-once.service")
    set_options(once, f"BEANWATCH_GRAPHITE_ADDRESS={carbon.address}\n")
    try:
        timer.start()
        now = float(machine.run("date", "+%s"))
        spec = machine.show(timer.name)["TimersCalendar"]
        assert "OnCalendar=*-*-* *:*:00" in spec
        due = machine.run("systemctl", "list-timers", "--output=json", timer.name)
        assert '"next":' in due
        # The same, each second: no test waits for a minute.
        timer.drop_in("[Timer]\nOnCalendar=\nOnCalendar=*-*-* *:*:*\n")
        machine.shell(f"systemctl daemon-reload; systemctl restart {timer.name}")
        wait_until(lambda: len(up(carbon)) >= 2, 60, "two points")
        found = machine.show(once.name)
        assert found["Result"] == "success"
        assert float(up(carbon)[0].split()[-1]) >= now - 1
    finally:
        timer.close()
        once.close()
