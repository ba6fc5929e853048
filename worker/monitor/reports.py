"""Makes the objects through which a worker process reports: log, heartbeat, metrics, ledger."""

from collections.abc import Sequence
from typing import NamedTuple

from structlog.typing import FilteringBoundLogger

from beanwatch.net.redis_url import RedisUrl
from beanwatch.telemetry.logging.output import LogOutput
from beanwatch.worker.monitor.heartbeat.heartbeat_writer import HeartbeatWriter, NoHeartbeatWriter
from beanwatch.worker.monitor.runs import Run, Sink
from beanwatch.worker.monitor.sinks.failure_writer import FailureWriter
from beanwatch.worker.monitor.sinks.ledger_writer import LedgerWriter, Mode
from beanwatch.worker.monitor.sinks.log_sink import LogSink
from beanwatch.worker.monitor.sinks.metrics import Metrics, SeriesOwner, make_metrics
from beanwatch.worker.monitor.sinks.outcome_counter import OutcomeCounter
from beanwatch.worker.monitor.sinks.redis_stream import RedisStream
from beanwatch.worker.monitor.sinks.run_counter import RunCounter


class ReportSettings(NamedTuple):
    """Says where a worker process reports to, and under which names."""

    owner: SeriesOwner
    redis: RedisUrl | None = None  # None: no heartbeats and no ledger
    is_expected: bool = False  # the configuration lists this worker
    metrics: str = ""  # URL of the sink
    metrics_per_worker: bool = False
    ledger: Mode = "failures"  # "off" also turns off the list of failed runs
    address: str = ""  # of the queue server; "": not known


class Reports(NamedTuple):
    """Holds the objects through which a worker process reports.

    `log_sink` is one of the sinks; others send through `stream`, which is None if Redis is off.
    """

    settings: ReportSettings
    instance: str
    log: FilteringBoundLogger
    log_output: LogOutput
    log_sink: LogSink
    stream: RedisStream | None
    heartbeat_writer: HeartbeatWriter
    metrics: Metrics
    counter: RunCounter
    sinks: Sequence[Sink]

    def count_dropped(self) -> tuple[int, int]:
        """Return how many metric values, and how many records for Redis, could not be sent."""
        return self.metrics.dropped, self.stream.dropped if self.stream else 0

    def log_losses(self) -> None:
        """Log what the closed sinks could not send: nothing else tells it, now that they are."""
        metrics, records = self.count_dropped()
        if metrics or records:
            self.log.warning(
                "lost since the start: {metrics} metric values, {records} records for Redis",
                metrics=metrics,
                records=records,
            )

    def record_killed_run(self, instance: str, run: Run) -> None:
        """Write a run during which another instance ended into log, ledger and outcome counts.

        It gets no metrics, because nobody measured how long the handler ran.
        """
        self.log_sink.on_finished(run)
        if self.stream is None:
            return
        sinks = _make_redis_sinks(self.settings, instance, self.stream, self.heartbeat_writer)
        for sink in sinks:
            sink.on_finished(run)
        for sink in sinks:
            sink.tick()


def make_reports(
    settings: ReportSettings, instance: str, log: FilteringBoundLogger, log_output: LogOutput
) -> Reports:
    """Make the heartbeat writer and the sinks. Raises ValueError for a wrong URL."""
    counter = RunCounter(log)
    metrics = make_metrics(
        settings.metrics, settings.owner, per_worker=settings.metrics_per_worker, log=log
    )
    log_sink = LogSink(log, log_output)
    sinks: list[Sink] = [log_sink, metrics, counter]
    stream: RedisStream | None = None
    writer: HeartbeatWriter = NoHeartbeatWriter()
    if settings.redis is None:
        log.warning(
            "Redis is off (redis.url is empty): this worker sends no heartbeats and records no runs"
        )
    else:
        worker = settings.owner.worker
        writer = HeartbeatWriter(settings.redis, worker, is_expected=settings.is_expected)
        stream = RedisStream(settings.redis, log)
        sinks += _make_redis_sinks(settings, instance, stream, writer)
    return Reports(
        settings, instance, log, log_output, log_sink, stream, writer, metrics, counter, sinks
    )


def _make_redis_sinks(
    settings: ReportSettings, instance: str, stream: RedisStream, writer: HeartbeatWriter
) -> list[Sink]:
    """Make the sinks of Redis in the order in which they must be closed."""
    # All workers write with Redis's clock, because readers compare these times.
    clock, worker = writer.time, settings.owner.worker
    sinks: list[Sink] = [OutcomeCounter(stream, clock=clock)]
    if settings.ledger != "off":
        sinks.append(FailureWriter(stream, worker, settings.address, clock=clock))
    return [*sinks, LedgerWriter(stream, worker, instance, settings.ledger, clock=clock)]
