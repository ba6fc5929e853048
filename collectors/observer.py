"""Observe one server over time: its connection, what was seen last, what follows from both."""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from beanwatch.collectors.derive import Jobs, derive_life, derive_rejected, derive_tube, enter_life
from beanwatch.collectors.heads import Peek
from beanwatch.collectors.protocol import Link, ServerError
from beanwatch.collectors.samples import ServerSamples, TubeSample
from beanwatch.collectors.selection import Chosen, Selection
from beanwatch.collectors.servers import Server
from beanwatch.collectors.stats import Stats
from beanwatch.collectors.sweep import Reading, read


class Observation(NamedTuple):
    """What was seen. `stats` is None when the server did not answer.

    `tubes` has the series of each tube by name; None when they were not read. `trouble`
    says what is missing and why.
    """

    stats: Stats | None = None
    tubes: dict[str, dict[str, int | float]] | None = None
    chosen: Chosen = Chosen(())
    trouble: str = ""

    @property
    def drift(self) -> int | None:
        """The jobs that the server has lost count of, over all tubes that were read."""
        if self.tubes is None:
            return None
        return sum(int(values["drift"]) for values in self.tubes.values())


class Observer:
    """One server, used by one thread. A server that does not answer costs its `timeout`."""

    def __init__(
        self,
        server: Server,
        samples: ServerSamples | None = None,
        selection: Selection | None = None,
        *,
        timeout: float = 5.0,
        sweep_timeout: float | None = None,
        head_ages: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.server = server
        self.samples = samples or ServerSamples()
        self._selection = selection or Selection()
        self._timeout = timeout
        # Many tubes may take their time, as long as they do not take the next sweep's.
        self._sweep_timeout = max(timeout, sweep_timeout or 0)
        self._head_ages = head_ages
        self._clock = clock
        self._link: Link | None = None
        self._unseen: Sequence[Peek] = ()

    def observe(self, *, tubes: bool = True) -> Observation:
        """Read the server, and its `tubes` if they are wanted. Never raises ServerError."""
        try:
            reading = self._read(tubes=tubes)
        except ServerError as error:
            return Observation(trouble=str(error))
        enter_life(self.samples, derive_life(reading.server))
        self.samples.rejected = derive_rejected(reading.server, self.samples.rejected)
        if reading.tubes is None:
            return Observation(reading.server, trouble=reading.trouble)
        values = self._derive(reading, reading.tubes)
        return Observation(reading.server, values, reading.chosen, reading.trouble)

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._link:
            self._link.close()
            self._link = None

    def _read(self, *, tubes: bool) -> Reading:
        started = self._clock()
        link, self._link = self._link, None  # kept again only if all went well
        if link is None:
            return self._read_from(self._open(self._timeout), tubes=tubes)
        try:
            return self._read_from(link, tubes=tubes)
        except ServerError:
            # Most likely the server was restarted since the last time, and is well.
            left = self._timeout - (self._clock() - started)
            if left <= 0:
                raise
            return self._read_from(self._open(left), tubes=tubes)

    def _open(self, timeout: float) -> Link:
        return Link(self.server.address, timeout, clock=self._clock)

    def _read_from(self, link: Link, *, tubes: bool) -> Reading:
        try:
            order = self._order if self._head_ages else None
            choose = self._choose if tubes else None
            reading = read(link, choose, self.samples.tubes, order, self._sweep_timeout)
        except BaseException:
            link.close()
            raise
        if reading.trouble:
            link.close()
        else:
            link.timeout = self._timeout  # a second try had only what was left of it
            self._link = link
        return reading

    def _choose(self, names: Sequence[str]) -> Chosen:
        return self._selection.choose(names, self.samples.tubes.keys() - self.samples.rest)

    def _order(self, peeks: list[Peek]) -> list[Peek]:
        # Those for which there was no room come first, so that each has its turn.
        turn = {peek: number for number, peek in enumerate(self._unseen)}
        return sorted(peeks, key=lambda peek: turn.get(peek, len(turn))) if turn else peeks

    def _derive(
        self, reading: Reading, tubes: dict[str, Stats]
    ) -> dict[str, dict[str, int | float]]:
        before, jobs = self.samples.tubes, reading.heads.jobs
        derived: dict[str, dict[str, int | float]] = {}
        samples: dict[str, TubeSample] = {}
        for name, stats in tubes.items():
            heads = Jobs(jobs.get(Peek(name, "ready")), jobs.get(Peek(name, "buried")))
            derived[name], samples[name] = derive_tube(
                stats, heads, before.get(name), reading.heard[name], reading.server
            )
        # Replaced as a whole: another thread may be saving them.
        self.samples.tubes = samples
        self.samples.rest = frozenset(reading.chosen.rest)
        self._unseen = reading.heads.left
        return derived
