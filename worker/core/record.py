"""One run of one job, and who is told of it: the log, the metrics, the ledger."""

from typing import Protocol

from msgspec import Struct


class Run(Struct, frozen=True, omit_defaults=True):
    """What happened in one run of one job. Times are seconds since the epoch, spans seconds.

    `outcome` is one of `beanwatch.telemetry.series.OUTCOMES`. `attempt` is beanstalkd's
    `reserves`, so that 1 is the first run. `uuid` is the envelope's id, or empty. `server`
    is the `id` of its `stats`. `job` is the name of a registered handler or `unknown`: what a
    producer may write makes no series.
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
    delay: float = 0.0  # of a retry
    parent: str = ""  # uuid of the job whose follow-up this is
    follow_ups: tuple[str, ...] = ()  # uuids that were put


class Sink(Protocol):
    """Somebody who is told of every run. No method may raise or wait; what is lost is counted.

    `on_finished` comes after the acknowledgement, with the outcome as it turned out (`lost` is
    known only then). `tick` comes from the pulse thread, once a tick, to send what was
    gathered. `close` sends the rest, within `timeout` seconds.
    """

    @property
    def dropped(self) -> int: ...

    def on_finished(self, run: Run) -> None: ...

    def tick(self) -> None: ...

    def close(self, timeout: float) -> None: ...
