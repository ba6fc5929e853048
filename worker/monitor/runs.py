"""Defines the result of a run, and the sinks (log, metrics, ledger) that receive it."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from msgspec import Struct

from beanwatch.worker.monitor.internal_errors import InternalErrors


class JobSource(Struct, frozen=True):
    """Holds what a job was put with, so that it can be put again. `ttr` is in seconds."""

    body: bytes
    priority: int
    ttr: int


class Run(Struct, frozen=True, omit_defaults=True):
    """Holds the result of one run of a job.

    Times are seconds since the epoch, durations are seconds. `outcome` is one of
    `beanwatch.outcomes.NAMES`. `job_id` is a number only in beanstalkd. `attempt` is 1 in the
    first run: beanstalkd's `reserves`, without deliveries to workers that died before they ran the
    job. `uuid` is the id that the producer gave it, or "". `server` is the `id` in the server's
    `stats`. `job` is the name of a registered handler, or `unknown`, so that a name which a
    producer invents does not create metric series.
    """

    server: str
    queue: str
    job: str
    job_id: int | str
    attempt: int
    outcome: str
    uuid: str = ""
    reason: str = ""
    traceback: str = ""
    started_at: float = 0.0
    wait: float | None = None  # in the queue; None: not known
    duration: float = 0.0
    delay: float = 0.0  # before the next attempt
    parent: str = ""  # uuid of the job that put this one
    follow_ups: tuple[str, ...] = ()  # uuids of the follow-ups that were put
    source: JobSource | None = None  # of a job that was not done


class Sink(Protocol):
    """Receives every run of a worker.

    The methods must not block, and must count the data that they lose. `on_finished` is called
    after the acknowledgement, because the outcome `lost` is only known then. The pulse thread calls
    `tick` once per tick, to send the collected data. `close` sends the rest within `timeout`
    seconds.
    """

    def on_finished(self, run: Run) -> None: ...

    def tick(self) -> None: ...

    def close(self, timeout: float) -> None: ...


@runtime_checkable
class FinishingSink(Sink, Protocol):
    """Receives each run twice: before its job is acknowledged (`on_finishing`), and after."""

    def on_finishing(self, run: Run) -> None: ...


class Sinks:
    """Passes each call on to all sinks of a worker.

    If a sink raises an exception, it is logged and counted, and the other sinks are still called.
    """

    def __init__(self, sinks: Sequence[Sink], errors: InternalErrors) -> None:
        self._sinks, self._errors = sinks, errors
        self._on_finishing = [s.on_finishing for s in sinks if isinstance(s, FinishingSink)]
        self._on_finished = [s.on_finished for s in sinks]

    def on_finishing(self, run: Run) -> None:
        """Pass a run to each `FinishingSink`, before its job is acknowledged."""
        for on_finishing in self._on_finishing:
            self._errors.attempt(on_finishing, run)

    def on_finished(self, run: Run) -> None:
        """Pass a run to each sink, after its job was acknowledged."""
        for on_finished in self._on_finished:
            self._errors.attempt(on_finished, run)

    def tick(self) -> None:
        """Let each sink send the data that it has collected."""
        for sink in self._sinks:
            self._errors.attempt(sink.tick)

    def close(self, timeout: float) -> None:
        """Close the sinks in their order, each within `timeout` seconds."""
        for sink in self._sinks:
            self._errors.attempt(sink.close, timeout)
