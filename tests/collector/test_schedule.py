"""The schedule, on a clock of its own."""

import pytest

from beanwatch.collectors.poll.schedule import EveryNthTick, Schedule, Tick


class Clock:
    """A monotonic and a wall clock that move when somebody sleeps, or is told that they did."""

    def __init__(self, wall: float) -> None:
        self.now = 1000.0
        self.offset = wall - self.now

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now + self.offset

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock(wall=1_700_000_003.25)


@pytest.fixture
def schedule(clock: Clock) -> Schedule:
    return Schedule(10, clock=clock.monotonic, wall=clock.wall)


def test_the_first_tick_is_at_once_and_the_others_are_on_round_moments(
    schedule: Schedule, clock: Clock
):
    assert schedule.wait(clock.sleep) == Tick(1_700_000_003, 0)
    assert schedule.wait(clock.sleep) == Tick(1_700_000_010, 1)
    clock.now += 3
    assert schedule.wait(clock.sleep) == Tick(1_700_000_020, 2)
    assert schedule.missed == 0


def test_a_late_poll_keeps_the_time_that_was_due(schedule: Schedule, clock: Clock):
    schedule.wait(clock.sleep)
    schedule.wait(clock.sleep)
    clock.now += 19.5  # the poll took long
    assert schedule.wait(clock.sleep) == Tick(1_700_000_020, 2)
    assert schedule.wait(clock.sleep) == Tick(1_700_000_030, 3)
    assert schedule.missed == 0


def test_missed_ticks_are_skipped_and_counted(schedule: Schedule, clock: Clock):
    schedule.wait(clock.sleep)
    schedule.wait(clock.sleep)
    clock.now += 42
    assert schedule.wait(clock.sleep) == Tick(1_700_000_050, 5)
    assert schedule.missed == 3
    assert schedule.wait(clock.sleep) == Tick(1_700_000_060, 6)
    assert schedule.missed == 3


def test_a_clock_that_is_set_makes_no_burst_and_no_pause(schedule: Schedule, clock: Clock):
    schedule.wait(clock.sleep)
    schedule.wait(clock.sleep)
    clock.offset += 3600
    before = clock.now
    assert schedule.wait(clock.sleep) == Tick(1_700_003_620, 2)
    assert clock.now - before == pytest.approx(10)
    assert schedule.missed == 0


def test_it_ends_when_the_sleep_was_ended(schedule: Schedule, clock: Clock):
    schedule.wait(clock.sleep)
    assert schedule.wait(lambda _: True) is None


def test_every_nth_tick_is_due_and_a_skipped_one_is_replaced_by_the_next():
    every_fourth = EveryNthTick(4)
    ticks = [0, 1, 2, 3, 4, 5, 9, 10, 11, 12, 13]
    assert [tick for tick in ticks if every_fourth.is_due(tick)] == [0, 4, 9, 12]
    assert all(EveryNthTick(1).is_due(tick) for tick in ticks)


def test_a_delay_moves_the_ticks_and_not_their_stamps(clock: Clock):
    schedule = Schedule(10, 2.5, clock=clock.monotonic, wall=clock.wall)
    assert schedule.wait(clock.sleep) == Tick(1_700_000_003, 0)
    assert schedule.wait(clock.sleep) == Tick(1_700_000_010, 1)
    assert clock.wall() == 1_700_000_012.5
    clock.now += 9  # the poll took long
    assert schedule.wait(clock.sleep) == Tick(1_700_000_020, 2)
    assert schedule.missed == 0
