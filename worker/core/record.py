"""One run of one job, and the sinks that are told about it: the log, the metrics, the ledger."""

from typing import Protocol

from msgspec import Struct


class Run(Struct, frozen=True, omit_defaults=True):
    """The result of one run. Times are seconds since the epoch, durations are seconds.

    `outcome` is one of `beanwatch.telemetry.series.OUTCOMES`. `attempt` is beanstalkd's
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
    """A receiver of all runs. Its methods must not wait; data that it loses is counted.

    `on_finished` is called after the acknowledgement, with the final outcome: only then is `lost`
    known. `tick` is called by the pulse thread once a tick, to send what was collected. `close`
    sends the rest within `timeout` seconds.
    """

    @property
    def dropped(self) -> int: ...

    def on_finished(self, run: Run) -> None: ...

    def tick(self) -> None: ...

    def close(self, timeout: float) -> None: ...
