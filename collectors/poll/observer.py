"""Read one server repeatedly, and compare each reading with the previous one."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from beanwatch.collectors.poll.derive import ObservedQueue, derive_queue
from beanwatch.collectors.poll.samples import QueueSample, ServerSamples
from beanwatch.queues.base import (
    DEFAULT_TIMEOUT,
    SERVER_ONLY,
    Chosen,
    Problem,
    Reader,
    ReaderOptions,
    Reading,
    ServerError,
    Wanted,
)
from beanwatch.queues.model import EMPTY_QUEUE, QueueState, ServerState
from beanwatch.queues.selection import Selection
from beanwatch.queues.servers import Server
from beanwatch.store.run_totals import QueueRuns
from beanwatch.store.workers_needed import workers_needed

# A function that returns how long the runs of a queue (server's node, name) take; None: unknown.
FindRuns = Callable[[str, str], QueueRuns | None]
HEAD_STATES = ("ready", "buried")  # the states whose first job's age is read


class Observation(NamedTuple):
    """The result of one poll of a server.

    `state` is None if the server did not answer, `queues` is None if they were not read. `trouble`
    says which requested part is missing and why. `implausible` has a text for each value that
    cannot be right, and was left out.
    """

    state: ServerState | None = None
    queues: Mapping[str, ObservedQueue] | None = None
    chosen: Chosen = Chosen(())
    trouble: str = ""
    implausible: Sequence[str] = ()
    problems: Sequence[Problem] = ()  # empty unless they were requested
    forgotten: int = 0  # values that the reader's memory had no room for: there are too many queues
    absent: QueueState = EMPTY_QUEUE  # that of the reading

    @property
    def is_complete(self) -> bool:
        """True if every requested part was read, and no value had to be left out as implausible."""
        return not self.trouble and not self.implausible

    @property
    def queues_success(self) -> float:
        """1 if all requested numbers of the queues were read, 0.5 if some are missing, else 0."""
        if self.queues is None:
            return 0
        return 0.5 if self.trouble else 1

    @property
    def missing_jobs(self) -> int | None:
        """The number of jobs that the server lost, in all queues that were read.

        None if the number is unknown for one of them, or if no queues were read.
        """
        if not self.queues:
            return None
        known = [queue.state.missing_jobs for queue in self.queues.values()]
        return None if None in known else sum(count or 0 for count in known)


class Observer:
    """Reads one server repeatedly, and computes rates with the samples of the last reading.

    `timeout` (seconds) limits the reading of the server, `sweep_timeout` the reading of its queues
    (default: `timeout`). With `find_runs`, the number of workers that each queue needs is computed.
    Not safe for use from several threads at once.
    """

    def __init__(
        self,
        server: Server,
        samples: ServerSamples | None = None,
        selection: Selection | None = None,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        sweep_timeout: float | None = None,
        head_ages: bool = True,
        find_runs: FindRuns | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.server = server
        self.samples = samples or ServerSamples()
        self._selection = selection or Selection()
        # Reading many queues takes longer than reading the server, so it has its own timeout.
        options = ReaderOptions(timeout, sweep_timeout or 0.0, self.samples.memory, clock, True)
        self._reader: Reader = server.system.open_reader(server, options)
        self._find_runs = find_runs
        self._heads = HEAD_STATES if head_ages else ()
        self._clock = clock

    def observe(self, *, queues: bool = True, problems: bool = False) -> Observation:
        """Read the server, and its queues and problems if these are true.

        No ServerError is raised: an error is in `Observation.trouble`.
        """
        self.samples.memory.now = self._clock()
        try:
            wanted = self._wanted() if queues else SERVER_ONLY
            reading = self._reader.read(wanted._replace(problems=problems))
            found = tuple(self._reader.problems(reading)) if problems else ()
        except ServerError as error:
            return Observation(trouble=str(error))
        state = reading.server
        if state is None:
            return Observation(trouble=f"{self.server}: its reply has no statistics of the server")
        self.samples.enter_instance(state.instance)
        if not queues or reading.queues is None:
            return Observation(
                state, trouble=reading.trouble, implausible=reading.implausible, problems=found
            )
        observed = self._derive(reading, reading.queues, state)
        forgotten = self.samples.memory.dropped
        self.samples.memory.forget_old()
        return Observation(
            state,
            observed,
            reading.chosen,
            reading.trouble,
            reading.implausible,
            found,
            forgotten,
            reading.absent,
        )

    def close(self) -> None:
        """Close the connection, if there is one."""
        self._reader.close()

    def _wanted(self) -> Wanted:
        return Wanted(choose=self._choose, known=self.samples.queues, heads=self._heads)

    def _choose(self, names: Sequence[str]) -> Chosen:
        return self._selection.choose(names, self.samples.queues.keys() - self.samples.rest)

    def _derive(
        self, reading: Reading, queues: Mapping[str, QueueState], state: ServerState
    ) -> dict[str, ObservedQueue]:
        before, selection = self.samples.queues, self._selection.key
        absent_at = self.samples.absent_at(selection)
        begin_at_0 = self.server.system.counters_begin_at_0
        observed: dict[str, ObservedQueue] = {}
        samples: dict[str, QueueSample] = {}
        for name, queue in queues.items():
            received_at = reading.received_at.get(name, self.samples.memory.now)
            one, samples[name] = derive_queue(
                queue, state, before.get(name), received_at, absent_at, begin_at_0=begin_at_0
            )
            if self._find_runs and (runs := self._find_runs(self.server.node, name)):
                needed = workers_needed(runs, queue.ready, one.put_rate)
                one = one._replace(workers_needed=needed)
            observed[name] = one
        # Replace the whole dict, do not change it: another thread may be saving the old one.
        self.samples.queues = samples
        self.samples.rest = frozenset(reading.chosen.rest)
        if state.instance is not None:
            # The list was read after this moment: a queue that is not in it did not exist then.
            self.samples.swept_at, self.samples.selection = self.samples.memory.now, selection
        return observed
