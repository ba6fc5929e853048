"""Poll one server: read it, log its problems, and publish what was seen."""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from beanwatch.collectors.poll.observer import Observation, Observer
from beanwatch.queues.base import Problem
from beanwatch.queues.selection import Selection
from beanwatch.queues.servers import Server
from beanwatch.telemetry.logging.problems import ProblemLog


class Poll(NamedTuple):
    """One poll of a server, for those who publish it: to Graphite, to Prometheus."""

    server: Server
    stamp: int  # seconds since the epoch
    seen: Observation
    has_queues: bool  # true if this poll was to read the queues too
    seconds: float  # how long it took
    restarts: int = 0  # restarts of the server that were seen
    missed: int = 0  # polls that were skipped since the start
    expected: Sequence[str] = ()  # the queues that the configuration names


Publish = Callable[[Poll], object]
MAX_TOLD = 5  # problems of a server in one line of the log


class Poller:
    """Polls one server, and passes each poll to all functions in `publish`."""

    def __init__(
        self,
        observer: Observer,
        selection: Selection,
        problems: ProblemLog,
        publish: Sequence[Publish],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.observer = observer
        self._selection = selection
        self._problems = problems
        self._publish = publish
        self._clock = clock
        self._node = observer.server.node
        self._logged_value = ""  # the line that was logged for an implausible value
        self._logged_problems = frozenset[str]()  # what tells those apart that were logged

    def __str__(self) -> str:
        return str(self.observer.server)

    def poll(self, stamp: int, *, queues: bool = True, missed_ticks: int = 0) -> Observation:
        """Read the server, and its queues if `queues` is true, and publish what was seen.

        `stamp` is the time of the poll, in seconds since the epoch. `missed_ticks` is the number of
        polls that were skipped since the start.
        """
        started = self._clock()
        seen = self.observer.observe(queues=queues, problems=queues)
        self._log_trouble(seen)
        if queues and seen.state is not None:
            self._log_problems(seen.problems)
        poll = Poll(
            self.observer.server,
            stamp,
            seen,
            queues,
            self._clock() - started,
            self.observer.samples.restarts,
            missed_ticks,
            self._selection.expected,
        )
        for publish in self._publish:
            publish(poll)
        return seen

    def _log_problems(self, problems: Sequence[Problem]) -> None:
        """Log the faults that the server shows. Their numbers may differ at each poll."""
        key = f"{self._node} problems"
        causes = frozenset(
            cause for one in problems for cause in one.causes or [one.text.partition(" ")[0]]
        )
        if not causes:
            self._problems.clear(key, f"{self}: its problems are over", server=self._node)
        elif causes != self._logged_problems:
            more = f"; and {len(problems) - MAX_TOLD} more" if len(problems) > MAX_TOLD else ""
            told = "; ".join(one.line for one in problems[:MAX_TOLD])
            self._problems.report(key, f"{self} {told}{more}", server=self._node)
        self._logged_problems = causes

    def _log_trouble(self, seen: Observation) -> None:
        if seen.trouble:
            self._problems.report(self._node, seen.trouble, server=self._node)
        else:
            self._problems.clear(
                self._node, f"{self}: all parts can be read again", server=self._node
            )
        key = f"{self._node} memory"
        if seen.forgotten:
            self._problems.report(
                key,
                f"{self}: it has too many queues to remember all of their first jobs, so some ages "
                "are unknown or too low",
                server=self._node,
                forgotten=seen.forgotten,
            )
        elif seen.queues is not None:
            self._problems.clear(
                key, f"{self}: all first jobs can be remembered again", server=self._node
            )
        key = f"{self._node} implausible"
        if seen.implausible:
            # Log the first value only: its number may differ at each poll.
            if not self._logged_value:
                more = (
                    f", and {len(seen.implausible) - 1} more" if len(seen.implausible) > 1 else ""
                )
                self._logged_value = (
                    f"{self}: left out an implausible value: {seen.implausible[0]}{more}"
                )
            self._problems.report(key, self._logged_value, server=self._node)
        elif seen.queues is not None:
            self._logged_value = ""
            self._problems.clear(key, f"{self}: all numbers are plausible again", server=self._node)
