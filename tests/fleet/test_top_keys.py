"""The keys of `beanwatch top` change what the screen shows, without a poll."""

import io
import threading
from typing import Any, Self, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from beanwatch.cli import top
from beanwatch.cli.top import KEYS, MAX_INTERVAL, MIN_INTERVAL, Screen, show_live
from beanwatch.collectors.poll.fleet_totals import FleetTotals
from beanwatch.fleet.overview import FleetObserver, Overview, QueueRow, ServerRow


class Fleet:
    """Twenty queues on one server; the last one has buried jobs."""

    polls = 0

    def observe(self) -> Overview:
        self.polls += 1
        rows = [QueueRow("q1", f"user.{n:02}", ready=n, buried=0, state="ok") for n in range(20)]
        rows[-1] = rows[-1]._replace(buried=3)
        return Overview([ServerRow("q1", "q1:11300", "beanstalkd", True)], rows)


class HungFleet(Fleet):
    """It does not answer before it is let go on."""

    def __init__(self) -> None:
        self.may_answer = threading.Event()

    def observe(self) -> Overview:
        overview = super().observe()
        self.may_answer.wait(60)
        return overview


class Person:
    """The keys of somebody who presses `q` after some seconds, by a clock of its own."""

    def __init__(self, patience: float) -> None:
        self.now, self._patience = 0.0, patience

    def clock(self) -> float:
        return self.now

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def wait(self, seconds: float) -> str:
        self.now += seconds
        return "q" if self.now >= self._patience else ""


def make_screen(order: str = "name", **options: Any) -> tuple[Screen, Fleet]:
    fleet = Fleet()
    screen = new_screen(fleet, order, **options)
    screen.poll()
    return screen, fleet


def new_screen(fleet: Fleet, order: str = "name", **options: Any) -> Screen:
    return Screen(
        cast("FleetObserver", fleet),
        None,
        FleetTotals([]),
        order=order,
        pattern="*",
        only_wrong=False,
        timeout=1.0,
        **options,
    )


def shown(screen: Screen, height: int = 14, width: int = 80) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width).print(screen.draw(screen.select(), height))
    return stream.getvalue()


def press(screen: Screen, *keys: str) -> None:
    for key in keys:
        assert screen.press(key)


def test_the_queues_can_be_scrolled_to_the_end_and_back():
    screen, fleet = make_screen()
    assert "user.00" in shown(screen)
    assert "user.19" not in shown(screen)
    press(screen, *["page down"] * 5)
    assert "user.19" in shown(screen)
    press(screen, "up")
    assert "user.18" in shown(screen)
    press(screen, *["k"] * 30)
    assert "user.00" in shown(screen)
    assert fleet.polls == 1


def test_a_filter_is_a_glob_or_a_part_of_the_name():
    screen, _ = make_screen()
    press(screen, "/", *"07q", "\x7f", "\r")
    assert "user.07" in shown(screen)
    assert "user.08" not in shown(screen)
    press(screen, "/", *"user.1?", "\r")
    assert "user.07" not in shown(screen)
    assert "user.12" in shown(screen)
    press(screen, "/", *"nothing", "escape")
    assert "user.12" in shown(screen), "the filter is as before"
    press(screen, "/", "\r")
    assert "user.00" in shown(screen)


def test_only_queues_with_problems_are_shown_as_such():
    screen, _ = make_screen()
    press(screen, "w")
    (row,) = [line for line in shown(screen).splitlines() if line.startswith("user.")]
    assert row.split()[-2:] == ["3", "buried"]
    assert " ok" not in row


def test_the_help_names_every_key_and_any_key_closes_it():
    screen, _ = make_screen()
    press(screen, "?")
    help_text = shown(screen)
    assert all(meaning in help_text for _, meaning in KEYS)
    press(screen, "w")
    assert "user.00" in shown(screen), "the key only closed the help"


@given(st.lists(st.sampled_from(["+", "-", "p", "s", "S", "w", "j", "k", "?", "x", "escape", ""])))
def test_no_keys_leave_the_screen_without_its_hint(keys: list[str]):
    screen, _ = make_screen()
    press(screen, *keys)
    assert MIN_INTERVAL <= screen.interval <= MAX_INTERVAL
    for width in (20, 40, 80):
        lines = shown(screen, width=width).splitlines()
        assert max(map(len, lines)) <= width
    assert not screen.press("q") or screen.press("q") is False


def test_keys_work_while_a_poll_hangs_and_no_second_poll_is_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    person, fleet = Person(20.0), HungFleet()
    monkeypatch.setattr(top, "Keys", lambda: person)
    screen, stream = new_screen(fleet, clock=person.clock), io.StringIO()
    try:
        show_live(screen, Console(file=stream, force_terminal=True), clock=person.clock)
        assert fleet.polls == 1
        assert "waits for the first answers" in stream.getvalue()
    finally:
        fleet.may_answer.set()


def test_the_age_of_an_old_result_is_shown() -> None:
    now = 100.0
    screen, _ = make_screen(clock=lambda: now)
    assert "seen" not in shown(screen)
    now += MIN_INTERVAL + 7.0
    assert "seen 7s ago" in shown(screen)


def test_an_error_of_the_thread_that_polls_ends_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(top, "Keys", lambda: Person(1e4))
    screen = new_screen(cast("Fleet", None))
    with pytest.raises(AttributeError, match="observe"):
        show_live(screen, Console(file=io.StringIO(), force_terminal=True))
