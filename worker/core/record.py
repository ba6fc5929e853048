"""One run of one job, and the sinks that are told about it: the log, the metrics, the ledger."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from msgspec import Struct

from beanwatch.worker.core.internal_errors import InternalErrors


class Run(Struct, frozen=True, omit_defaults=True):
    """The result of one run. Times are seconds since the epoch, durations are seconds.

    `outcome` is one of `beanwatch.outcomes.NAMES`. `attempt` is beanstalkd's
    `reserves`, so 1 is the first run. `uuid` is the envelope's id, or "". `server` is the `id` in
    the server's `stats`. `job` is the name of a registered handler, or `unknown`: other names that
    a producer writes must not make series.
    """

    server: str
    queue: str
    job: str
    job_id: int
    attempt: int
    outcome: str
    uuid: str = ""
    reason: str = ""
    traceback: str = ""
    started_at: float = 0.0
    wait: float = 0.0
    duration: float = 0.0
    delay: float = 0.0  # before the next attempt
    parent: str = ""  # uuid of the job that put this one
    follow_ups: tuple[str, ...] = ()  # uuids of the follow-ups that were put


class Sink(Protocol):
    """A receiver of all runs. Its methods must not wait, and count the data that they lose.

    `on_finished` is called after the acknowledgement, with the final outcome: only then is `lost`
    known. `tick` is called by the pulse thread once a tick, to send what was collected. `close`
    sends the rest within `timeout` seconds.
    """

    def on_finished(self, run: Run) -> None: ...

    def tick(self) -> None: ...

    def close(self, timeout: float) -> None: ...


@runtime_checkable
class FinishingSink(Sink, Protocol):
    """A sink that is also told of each run before its acknowledgement."""

    def on_finishing(self, run: Run) -> None: ...


class Sinks:
    """All sinks of a worker, used like one.

    If a sink raises, this is logged and counted, and the other sinks are still called.
    """

    def __init__(self, sinks: Sequence[Sink], errors: InternalErrors) -> None:
        self._sinks, self._errors = sinks, errors
        self._on_finishing = [s.on_finishing for s in sinks if isinstance(s, FinishingSink)]
        self._on_finished = [s.on_finished for s in sinks]

    def on_finishing(self, run: Run) -> None:
        """Announce a run that is about to be acknowledged."""
        for on_finishing in self._on_finishing:
            self._errors.attempt(on_finishing, run)

    def on_finished(self, run: Run) -> None:
        """Report a run that has ended."""
        for on_finished in self._on_finished:
            self._errors.attempt(on_finished, run)

    def tick(self) -> None:
        """Have each sink send what it has collected."""
        for sink in self._sinks:
            self._errors.attempt(sink.tick)

    def close(self, timeout: float) -> None:
        """Close the sinks in their order, each within `timeout` seconds."""
        for sink in self._sinks:
            self._errors.attempt(sink.close, timeout)
