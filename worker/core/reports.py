"""Makes the objects through which a worker reports: log, heartbeat, metrics, other sinks."""

from collections.abc import Sequence
from typing import NamedTuple

from structlog.typing import FilteringBoundLogger

from beanwatch.net.redis_url import parse_redis_url
from beanwatch.telemetry.logging import setup as logs
from beanwatch.telemetry.logging.output import LogOutput
from beanwatch.worker.core.record import Run, Sink
from beanwatch.worker.core.settings import Settings
from beanwatch.worker.telemetry.failure_writer import FailureWriter
from beanwatch.worker.telemetry.heartbeat_writer import HeartbeatWriter, NoHeartbeatWriter
from beanwatch.worker.telemetry.ledger_writer import LedgerWriter
from beanwatch.worker.telemetry.log_sink import LogSink
from beanwatch.worker.telemetry.metrics import Metrics, SeriesOwner, make_metrics
from beanwatch.worker.telemetry.outcome_counter import OutcomeCounter
from beanwatch.worker.telemetry.redis_stream import RedisStream
from beanwatch.worker.telemetry.run_counter import RunCounter
from beanwatch.worker.telemetry.run_starts import RunStarts


class Telemetry(NamedTuple):
    """Holds the objects through which a worker reports: log, heartbeat, metrics, other sinks.

    `log_sink` is one of the sinks; others send through `stream`, which is None if Redis is off.
    """

    log: FilteringBoundLogger
    log_output: LogOutput
    log_sink: LogSink
    stream: RedisStream | None
    heartbeat_writer: HeartbeatWriter
    metrics: Metrics
    counter: RunCounter
    sinks: Sequence[Sink]
    starts: RunStarts

    def count_dropped(self) -> tuple[int, int]:
        """Return how many metric values, and how many records for Redis, could not be sent."""
        return self.metrics.dropped, self.stream.dropped if self.stream else 0


def record_killed_run(telemetry: Telemetry, settings: Settings, instance: str, run: Run) -> None:
    """Write a run during which the previous instance ended into log, ledger and outcome counts.

    It gets no metrics, because nobody measured how long the handler ran.
    """
    stream = telemetry.stream
    if stream is None:
        telemetry.log_sink.on_finished(run)
        return
    clock = telemetry.heartbeat_writer.time
    counter = OutcomeCounter(stream, clock=clock)
    ledger = LedgerWriter(stream, settings.worker, instance, settings.options.ledger, clock=clock)
    sinks: list[Sink] = [telemetry.log_sink, counter, ledger]
    if settings.options.ledger != "off":
        sinks.append(FailureWriter(stream, settings.worker, str(settings.address), clock=clock))
    for sink in sinks:
        sink.on_finished(run)
    counter.tick()


def make_telemetry(settings: Settings, instance: str, log_output: LogOutput) -> Telemetry:
    """Make the log, the heartbeat writer and the sinks. Raises ValueError for a wrong URL."""
    worker = settings.worker
    log = logs.get_logger(worker=worker, instance=instance)
    counter = RunCounter(log)
    metrics = make_metrics(
        settings.options.metrics,
        SeriesOwner(settings.prefix, settings.server_node, worker),
        per_worker=settings.options.metrics_per_worker,
        log=log,
    )
    if not settings.redis_url:
        log.warning(
            "Redis is off (redis.url is empty): this worker sends no heartbeats and records no runs"
        )
        log_sink = LogSink(log, log_output)
        sinks: list[Sink] = [log_sink, metrics, counter]
        starts = RunStarts(None, log)
        return Telemetry(
            log, log_output, log_sink, None, NoHeartbeatWriter(), metrics, counter, sinks, starts
        )
    redis = parse_redis_url(settings.redis_url, settings.redis_password)
    heartbeat_writer = HeartbeatWriter(redis, worker, is_expected=settings.is_expected)
    # All workers write with Redis's clock, because readers compare these times.
    clock = heartbeat_writer.time
    stream = RedisStream(redis, log)
    ledger = LedgerWriter(stream, worker, instance, settings.options.ledger, clock=clock)
    outcomes = OutcomeCounter(stream, clock=clock)
    log_sink = LogSink(log, log_output)
    sinks = [log_sink, metrics, counter, outcomes]
    if settings.options.ledger != "off":
        sinks.append(FailureWriter(stream, worker, str(settings.address), clock=clock))
    sinks.append(ledger)
    starts = RunStarts(redis, log, clock=clock)
    return Telemetry(
        log, log_output, log_sink, stream, heartbeat_writer, metrics, counter, sinks, starts
    )
