"""Plays the troubles of a night, at most two at a time, and judges the mails that arrive."""

import random
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from tests.night.fleet import Fleet
from tests.night.mails import Expected, Inbox, NightMail
from tests.night.trouble import Trouble

AT_ONCE = 2  # troubles
# In ticks: minutes of the monitor.
CALM = 3.0  # after a trouble; no further mail may come in it
CALM_WITHOUT_MAILS = 6.0  # the same, for a trouble that must cause none
MAX_GAP = 2.0  # between the starts of two troubles, at most


class Result(NamedTuple):
    """What came of one trouble."""

    trouble: Trouble
    arrived: list[tuple[Expected, float]]  # and the seconds after its cause or its fix
    missing: list[Expected]


class _Played:
    """One trouble that is being played: its problems, then its recoveries, then calm."""

    def __init__(self, trouble: Trouble, now: float, tick: float) -> None:
        self.trouble = trouble
        self._tick = tick  # seconds
        self.pending = list(trouble.problems)
        self.arrived: list[tuple[Expected, float]] = []
        self.missing: list[Expected] = []
        self.is_fixed = False
        self.began = now  # when it was caused or fixed
        self.lasts_until = 0.0 if trouble.problems else now + CALM_WITHOUT_MAILS * tick
        self.calm_until = 0.0  # once it is mended

    def take(self, mail: NightMail) -> bool:
        """Return True if this mail was expected, and note it."""
        match = next((one for one in self.pending if one.matches(mail)), None)
        if match is None:
            return False
        self.pending.remove(match)
        self.arrived.append((match, mail.at - self.began))
        return True

    def drop_late(self, now: float) -> None:
        """Move the mails that did not arrive in time to `missing`."""
        late = [one for one in self.pending if now - self.began > one.time_limit(self._tick)]
        self.pending = [one for one in self.pending if one not in late]
        self.missing += late


class Night:
    """Plays troubles in a random order. `say` gets each line of the report as it happens.

    `clock` is in seconds. A night on a busy machine needs one that goes slower while the machine is
    slow, such as `Pace.clock`.
    """

    def __init__(
        self,
        fleet: Fleet,
        seed: int,
        say: Callable[[str], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.results: list[Result] = []
        self.extra: list[NightMail] = []
        self._fleet, self._say = fleet, say
        self._tick = fleet.tick
        self._random = random.Random(seed)
        self._inbox = Inbox(fleet.smtp, clock)
        self._clock, self._sleep = clock, sleep
        self._playing: list[_Played] = []
        self._started = clock()

    @property
    def is_well(self) -> bool:
        """True if every expected mail arrived in time, and no other."""
        return not self.extra and not any(result.missing for result in self.results)

    def wait_for_calm(self, ticks: float) -> None:
        """Let `ticks` pass, during which nothing may be mailed: all is well at first."""
        end = self._clock() + ticks * self._tick
        while self._clock() < end:
            self._step()

    def play(self, troubles: Sequence[Trouble]) -> None:
        """Play all, in a random order. Troubles that share a part wait for each other."""
        waiting = list(troubles)
        self._random.shuffle(waiting)
        next_start = self._clock()
        while waiting or self._playing:
            now = self._clock()
            if len(self._playing) < AT_ONCE and now >= next_start:
                busy = frozenset().union(*(one.trouble.parts for one in self._playing))
                free = next((one for one in waiting if not one.parts & busy), None)
                if free is not None:
                    waiting.remove(free)
                    self._start(free)
                    next_start = self._clock() + self._random.uniform(0, MAX_GAP) * self._tick
            self._step()

    def _start(self, trouble: Trouble) -> None:
        self._tell(f"✗ {trouble.name}")
        trouble.cause(self._fleet)
        self._playing.append(_Played(trouble, self._clock(), self._tick))

    def _step(self) -> None:
        self._fleet.supervise()
        for mail in self._inbox.fetch():
            is_expected = any(one.take(mail) for one in self._playing)
            self._tell(f"    {'✉' if is_expected else 'EXTRA'} {mail.line}")
            if not is_expected:
                self.extra.append(mail)
        for one in list(self._playing):
            self._advance(one)
        self._sleep(0.1)

    def _advance(self, one: _Played) -> None:
        now = self._clock()
        one.drop_late(now)
        if one.pending or now < max(one.lasts_until, one.calm_until):
            return
        if not one.lasts_until:
            one.lasts_until = now + one.trouble.lasts * self._tick
        elif not one.is_fixed:
            self._tell(f"✓ mended: {one.trouble.name}")
            one.trouble.fix(self._fleet)
            one.is_fixed, one.began = True, self._clock()
            one.pending = list(one.trouble.recoveries)
        elif not one.calm_until:
            one.calm_until = now + CALM * self._tick
        else:
            self._playing.remove(one)
            self.results.append(Result(one.trouble, one.arrived, one.missing))
            for missing in one.missing:
                self._tell(f"    MISSING {missing} ({one.trouble.name})")

    def _tell(self, line: str) -> None:
        self._say(f"{self._clock() - self._started:5.0f} s  {line}")
