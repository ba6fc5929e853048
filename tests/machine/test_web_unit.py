"""beanwatch-web.service: the live page."""

import http.client
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.machine.conftest import Unit, is_confined
from tests.machine.machine import Machine
from tests.real import wait_until


@pytest.fixture
def web(machine: Machine) -> Iterator[Unit]:
    unit = Unit(machine, "beanwatch-web.service")
    yield unit
    unit.close()


def get(machine: Machine, path: str) -> tuple[int, str]:
    with closing(http.client.HTTPConnection("127.0.0.1", 8025)) as connection:
        connection.sock = machine.connect(8025)
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def test_it_answers_as_soon_as_it_is_active_and_stops(web: Unit) -> None:
    web.start()
    status, text = get(web.machine, "/livez")
    assert (status, text.strip()) == (200, "ok")
    status, text = get(web.machine, "/queues")
    assert status == 200
    assert "beanwatch" in text
    is_confined(web.machine, web.show(), "/tmp")
    web.stop()
    found = web.show()
    assert (found["ActiveState"], found["Result"]) == ("inactive", "success")


def test_it_lets_only_the_users_of_the_documented_file_in(web: Unit) -> None:
    machine = web.machine
    machine.shell(
        "groupadd --system --force beanwatch; install -d /etc/beanwatch\n"
        "install -m 0640 -g beanwatch /dev/null /etc/beanwatch/web-users\n"
        "echo 'correct horse' | beanwatch web --add-user ann >> /etc/beanwatch/web-users"
    )
    machine.write("/etc/default/beanwatch-web", "WEB_OPTIONS=--users /etc/beanwatch/web-users\n")
    try:
        web.start(code=1)
        assert "Permission denied" in web.journal()
        assert web.wait_for(ActiveState="failed")["NRestarts"] == "0"
        web.drop_in("[Service]\nSupplementaryGroups=beanwatch\n")
        web.start()
        assert get(machine, "/queues")[0] == 401
    finally:
        machine.shell("rm -r /etc/default/beanwatch-web /etc/beanwatch")


def test_it_is_started_again_unless_an_option_is_wrong(web: Unit) -> None:
    """An address that is taken may be free later."""
    web.drop_in("[Unit]\nStartLimitIntervalSec=0\n[Service]\nRestartSec=100ms\n")
    web.start()
    web.kill("KILL")
    found = web.wait_for(ActiveState="active", SubState="running", NRestarts="1")
    assert found["MainPID"] != "0"
    try:
        web.machine.write("/etc/default/beanwatch-web", "WEB_OPTIONS=--listen 11300\n")
        web.kill("KILL")
        wait_until(lambda: int(web.show()["NRestarts"]) >= 4, 60)
        web.machine.write("/etc/default/beanwatch-web", "WEB_OPTIONS=--no-such-option\n")
        found = web.wait_for(ActiveState="failed")
    finally:
        web.machine.shell("rm /etc/default/beanwatch-web")
    assert found["ExecMainStatus"] == "2"
