"""The judge of the night, and a short night on each monitor. The whole one is `make night`."""

import random
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from tests.demo.programs import BIN
from tests.night.__main__ import play
from tests.night.fleet import Fleet
from tests.night.mails import Expected, NightMail, parse_mail
from tests.night.monitors import MONITORS
from tests.night.night import Night
from tests.night.pace import Pace
from tests.night.trouble import Trouble
from tests.night.troubles import TROUBLES
from tests.real import wait_until
from tests.real.check_server import CheckServer

BODY = "WORKER_HEARTBEAT CRITICAL - web1.a: dead\n\nHost:    queue1\nService: worker web1.a\n"
DEAD = parse_mail("PROBLEM: queue1 worker web1.a is CRITICAL: web1.a: dead", BODY)
ALIVE = NightMail("RECOVERY", "queue1", "worker web1.a", "OK", "WORKER_HEARTBEAT OK - web1.a")
EXPECTED = Expected("CRITICAL", "queue1 / worker web1.a", r"web1\.a: dead", minutes=25)


class FakeFleet:
    """A fleet whose troubles do nothing. `mails` are delivered, each at its second."""

    def __init__(self, mails: list[tuple[float, NightMail]]) -> None:
        self.now, self.mails = 0.0, mails
        self.smtp, self.tick = None, 1.0

    def supervise(self) -> None:
        return

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def fetch(self) -> Iterator[NightMail]:
        while self.mails and self.mails[0][0] <= self.now:
            at, mail = self.mails.pop(0)
            yield mail._replace(at=at)


def play_fake(mails: list[tuple[float, NightMail]], *expected: Expected) -> Night:
    fleet = FakeFleet(mails)
    night = Night(cast("Fleet", fleet), 1, lambda _: None, clock=fleet.clock, sleep=fleet.sleep)
    cast("Any", night)._inbox = fleet
    recoveries = (Expected("OK", EXPECTED.service),) if expected else ()
    nothing = lambda _: None  # noqa: E731
    night.play([Trouble("it", frozenset(("a",)), nothing, expected, nothing, recoveries)])
    return night


def test_the_service_is_read_from_the_body_as_the_subject_is_cut():
    assert NightMail("PROBLEM", "queue1", "worker web1.a", "CRITICAL", BODY) == DEAD
    assert parse_mail("Undelivered Mail Returned to Sender", "x").kind == "OTHER"


def test_a_night_is_well_when_each_mail_arrives_once_and_no_other():
    assert play_fake([(5, DEAD), (10, ALIVE)], EXPECTED).is_well
    assert play_fake([]).is_well


@pytest.mark.parametrize(
    "mails",
    [
        [(5.0, DEAD)],
        [(31.0, DEAD), (35.0, ALIVE)],
        [(5.0, DEAD), (6.0, DEAD), (10.0, ALIVE)],
        [(5.0, DEAD), (10.0, ALIVE), (12.0, ALIVE)],
        [(5.0, DEAD._replace(text="another text")), (10.0, ALIVE)],
        [(5.0, DEAD._replace(host="queue2")), (10.0, ALIVE)],
    ],
    ids=["missing", "late", "twice", "extra", "other words", "other host"],
)
def test_a_night_is_not_well_with_a_missing_late_or_extra_mail(mails: list[Any]):
    assert not play_fake(mails, EXPECTED).is_well


def test_a_mail_where_nobody_must_be_woken_spoils_the_night():
    assert not play_fake([(5, DEAD)]).is_well


def test_the_clock_of_a_night_goes_slower_while_the_machine_is_slow():
    now, runs, is_over = [0.0], [], threading.Event()

    def work() -> None:
        runs.append(now[0])
        if len(runs) == 1:
            now[0] += 1
        else:
            is_over.wait(30)

    with Pace(work, monotonic=lambda: now[0]) as pace:
        pace.clock()
        now[0] += 4
        assert pace.clock() == 4 + 1, "as fast as at first"
        wait_until(lambda: len(runs) == 2)
        now[0] += 30
        assert pace.clock() == 5 + 1, "what took 1 s has taken 30 s, and is not done yet"
        is_over.set()


@pytest.mark.parametrize("argument", ["127.0.0.1:1", "unix:x", ""], ids=["down", "wrong", "empty"])
def test_a_check_in_the_night_says_what_its_plugin_says(tmp_path: Path, argument: str):
    plugin = tmp_path / "check_queue_depth"
    with CheckServer(tmp_path / "server") as server:
        server.write_plugin(plugin)
        arguments = ["--server", argument, "-Q", "a*"]
        night, day = (
            subprocess.run([path, *arguments], capture_output=True, text=True)
            for path in (plugin, BIN / plugin.name)
        )
    assert (night.returncode, night.stdout) == (day.returncode, day.stdout)
    assert night.stdout.startswith("QUEUE_DEPTH UNKNOWN - ")


def test_troubles_have_names_of_their_own_and_valid_expressions():
    names = [trouble.name for trouble in TROUBLES]
    assert len(set(names)) == len(names) >= 20
    for trouble in TROUBLES:
        for one in (*trouble.problems, *trouble.recoveries):
            assert re.compile(one.words)
            assert 0 < one.minutes < 15


@pytest.mark.parametrize("monitor", MONITORS)
def test_in_a_short_night_each_page_comes_once_and_no_other(monitor: str):
    seed = random.randrange(10_000)
    assert play(monitor, seed, is_short=True)
