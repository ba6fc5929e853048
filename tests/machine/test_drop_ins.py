"""The drop-ins that the docs show do what the docs say."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.machine.conftest import Unit, Worker
from tests.machine.machine import Machine
from tests.operations.shown import parse_page
from tests.real import ROOT, wait_until

SECURITY = ROOT / "docs" / "security.md"
PASSWORD = "/etc/beanwatch/redis.password"
EDIT = re.compile(r"^# systemctl edit (\S+)\n(.*?)^```", re.M | re.S)


def find_drop_ins() -> list[tuple[str, str]]:
    """Return the unit and the text of each drop-in on the pages."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    return [found for page in pages for found in EDIT.findall(page.read_text())]


def test_each_drop_in_of_the_docs_is_tried_here() -> None:
    assert [unit for unit, _ in find_drop_ins()] == ["beanwatch-worker@"]


def test_a_worker_with_the_user_and_the_directory_of_the_drop_in(
    machine: Machine, worker: Worker
) -> None:
    ((_, text),) = find_drop_ins()
    assert "User=mailer" in text
    machine.shell(
        "id mailer 2> /dev/null || useradd --system mailer\n"
        "install -d -o mailer /srv/mailer/out /srv/mailer/other"
    )
    worker.drop_in(text)
    worker.start()
    pid = worker.wait_for(StatusText="idle")["MainPID"]
    enter = ("nsenter", f"--target={pid}", "--mount", "setpriv", "--reuid=mailer")
    enter += ("--regid=mailer", "--clear-groups", "touch")
    assert machine.run("stat", "--format=%U", f"/proc/{pid}").strip() == "mailer"
    machine.run(*enter, "/srv/mailer/out/x")
    assert "Read-only file system" in machine.run(*enter, "/srv/mailer/other/x", code=1)
    worker.put(crash=True)  # its black box is where it may write, too
    wait_until(lambda: "killed while running" in worker.journal(), 60, "the black box")


@pytest.fixture
def units(machine: Machine, worker: Worker) -> Iterator[list[Unit]]:
    """All units that read the configuration."""
    names = ("beanwatch-collect.service", "beanwatch-web.service", "beanwatch-passive.service")
    others = [Unit(machine, name) for name in names]
    yield [worker, *others]
    for unit in others:
        unit.close()


@contextmanager
def group_and_password(machine: Machine) -> Iterator[str]:
    """What the page types: a group for secrets, and the password of Redis."""
    shown = [one.command for one in parse_page(SECURITY)]
    first = shown.index("groupadd --system beanwatch")
    (drop_ins,) = (one for one in shown if "SupplementaryGroups" in one)
    last = shown.index(drop_ins)
    machine.shell("groupdel beanwatch 2> /dev/null || true")
    machine.shell("\n".join(shown[first:last]))
    secret = machine.run("cat", PASSWORD).strip()
    machine.write("/etc/beanwatch/beanwatch.toml", f'[redis]\npassword_file = "{PASSWORD}"\n')
    machine.run("redis-cli", "config", "set", "requirepass", secret)
    try:
        yield drop_ins
    finally:
        machine.run("redis-cli", "-a", secret, "config", "set", "requirepass", "")
        machine.shell("rm -rf /etc/beanwatch /etc/systemd/system/beanwatch-*.d/group.conf")
        machine.systemctl("daemon-reload")


def test_only_with_the_group_can_the_units_read_the_password(
    machine: Machine, worker: Worker, units: list[Unit]
) -> None:
    machine.write("/etc/default/beanwatch-passive", "PASSIVE_OPTIONS=--to stdout\n")
    passive = units[-1]
    with group_and_password(machine) as drop_ins:
        for unit in units:
            unit.start(code=None)
            if unit is passive:  # it goes on, as its results tell the reason
                wait_until(lambda: "Permission denied" in passive.journal(), 60, "a result")
                continue
            found = unit.wait_for(ActiveState="failed")
            assert (found["ExecMainStatus"], found["NRestarts"]) == ("2", "0")
            assert "Permission denied" in unit.journal()
        passive.stop()
        machine.shell(drop_ins)
        machine.systemctl("daemon-reload")
        for unit in units:
            unit.start()
        wait_until(lambda: "REDIS OK" in passive.journal(), 60, "a check of Redis")
        assert passive.show()["ActiveState"] == "active"
        worker.wait_for(StatusText="idle")
        wait_until(lambda: f"{worker.id} " in machine.run("beanwatch", "workers"), 30, "its record")
        assert machine.run("id", "nagios").count("beanwatch") == 1
