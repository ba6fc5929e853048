"""Observe one server over time: its connection, what was seen last, what follows from both."""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from beanwatch.collectors.poll.derive import (
    Jobs,
    derive_life,
    derive_queue,
    derive_rejected,
    enter_life,
)
from beanwatch.collectors.poll.samples import QueueSample, ServerSamples
from beanwatch.queues.beanstalkd.connection import Link, ServerError
from beanwatch.queues.beanstalkd.heads import Peek
from beanwatch.queues.beanstalkd.stats import Stats
from beanwatch.queues.beanstalkd.sweep import Reading, read
from beanwatch.queues.selection import Chosen, Selection
from beanwatch.queues.servers import Server


class Observation(NamedTuple):
    """What was seen. `stats` is None when the server did not answer.

    `queues` has the series of each queue by name; None when they were not read. `trouble`
    says what is missing and why.
    """

    stats: Stats | None = None
    queues: dict[str, dict[str, int | float]] | None = None
    chosen: Chosen = Chosen(())
    trouble: str = ""

    @property
    def drift(self) -> int | None:
        """The jobs that the server has lost count of, over all queues that were read."""
        if self.queues is None:
            return None
        return sum(int(values["drift"]) for values in self.queues.values())


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
        # Many queues may take their time, as long as they do not take the next sweep's.
        self._sweep_timeout = max(timeout, sweep_timeout or 0)
        self._head_ages = head_ages
        self._clock = clock
        self._link: Link | None = None
        self._unseen: Sequence[Peek] = ()

    def observe(self, *, queues: bool = True) -> Observation:
        """Read the server, and its `queues` if they are wanted. Never raises ServerError."""
        try:
            reading = self._read(queues=queues)
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

    def _read(self, *, queues: bool) -> Reading:
        started = self._clock()
        link, self._link = self._link, None  # kept again only if all went well
        if link is None:
            return self._read_from(self._open(self._timeout), queues=queues)
        try:
            return self._read_from(link, queues=queues)
        except ServerError:
            # Most likely the server was restarted since the last time, and is well.
            left = self._timeout - (self._clock() - started)
            if left <= 0:
                raise
            return self._read_from(self._open(left), queues=queues)

    def _open(self, timeout: float) -> Link:
        return Link(self.server.address, timeout, clock=self._clock)

    def _read_from(self, link: Link, *, queues: bool) -> Reading:
        try:
            order = self._order if self._head_ages else None
            choose = self._choose if queues else None
            reading = read(link, choose, self.samples.queues, order, self._sweep_timeout)
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
        return self._selection.choose(names, self.samples.queues.keys() - self.samples.rest)

    def _order(self, peeks: list[Peek]) -> list[Peek]:
        # Those for which there was no room come first, so that each has its turn.
        turn = {peek: number for number, peek in enumerate(self._unseen)}
        return sorted(peeks, key=lambda peek: turn.get(peek, len(turn))) if turn else peeks

    def _derive(
        self, reading: Reading, queues: dict[str, Stats]
    ) -> dict[str, dict[str, int | float]]:
        before, jobs = self.samples.queues, reading.heads.jobs
        derived: dict[str, dict[str, int | float]] = {}
        samples: dict[str, QueueSample] = {}
        for name, stats in queues.items():
            heads = Jobs(jobs.get(Peek(name, "ready")), jobs.get(Peek(name, "buried")))
            derived[name], samples[name] = derive_queue(
                stats, heads, before.get(name), reading.heard[name], reading.server
            )
        # Replaced as a whole: another thread may be saving them.
        self.samples.queues = samples
        self.samples.rest = frozenset(reading.chosen.rest)
        self._unseen = reading.heads.left
        return derived
