"""A PHP worker's log lines, records in Redis and metrics have the form of our own worker's."""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from beanwatch.net.redis_url import parse_redis_url
from beanwatch.outcomes import OUTCOMES
from beanwatch.store.redis_state import PROBE_KEY
from beanwatch.telemetry.logging import setup as logs
from beanwatch.telemetry.logging.output import LogOutput
from beanwatch.worker.monitor.runs import Run
from beanwatch.worker.monitor.sinks.ledger_writer import LedgerWriter
from beanwatch.worker.monitor.sinks.log_sink import LogSink
from beanwatch.worker.monitor.sinks.metrics import NOT_RUN, RunSeries, SeriesOwner
from beanwatch.worker.monitor.sinks.outcome_counter import OutcomeCounter
from beanwatch.worker.monitor.sinks.redis_stream import RedisStream
from tests.php_worker.conftest import Site
from tests.real import Redis, wait_until
from tests.worker_telemetry.conftest import RecordingLog

WORKER = "here.formats"
# The runs that the script and our own sinks report.
RUNS = [
    Run("server-1", "work", "email.send", 7, 1, "ok", wait=0.25),
    Run("server-1", "work", "email.send", 8, 2, "ok", uuid="u-8", wait=1.0),
    Run("server-1", "work", "email.send", 9, 1, "retry", uuid="u-9", reason="later", delay=30.0),
    Run("server-1", "work", "b;a d", 10, 1, "buried", uuid="u-10", reason="x" * 700, parent="u-9"),
    Run("server-1", "work", "email.send", 11, 1, "timeout", reason="late"),
    Run("server-1", "work", "email.send", 12, 1, "discarded", uuid="u-12", follow_ups=("u-13",)),
    Run("server-1", "work", "email.send", 13, 1, "lost", uuid="u-13", reason="gone"),
    Run("server-1", "work", "unknown", 14, 1, "invalid", reason="no envelope"),
    Run("server-1", "work", "email.send", 15, 6, "poison", uuid="u-15", reason="kills"),
    Run("other", "work", "email.send", "t-16", 1, "failed", uuid="t-16", reason="no"),
]
SCRIPT = Path(__file__).with_name("formats.php")


class Reported:
    """What the script and our own sinks reported of the same runs."""

    def __init__(self, site: Site) -> None:
        self.statsd = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.statsd.bind(("127.0.0.1", 0))
        self.statsd.settimeout(5)
        runs = json.dumps([{**as_dict(run), "outcome": run.outcome} for run in RUNS])
        address = f"127.0.0.1:{self.statsd.getsockname()[1]}"
        self.worker = site.start_script("formats", SCRIPT, address, runs)
        assert self.worker.exit_code() == 0, self.worker.errors.read_text()
        self.lines = self.worker.lines()
        self.redis = site.redis


def as_dict(run: Run) -> dict[str, Any]:
    return {name: getattr(run, name) for name in run.__struct_fields__ if getattr(run, name)}


@pytest.fixture(scope="module")
def reported(site: Site) -> Iterator[Reported]:
    found = Reported(site)
    yield found
    found.statsd.close()


def normalize(value: Any, name: str = "") -> Any:
    """Replace what differs from run to run: times, durations, and the id of the instance."""
    if isinstance(value, dict):
        filled = {key: normalize(one, key) for key, one in value.items()}
        return {key: one for key, one in filled.items() if one not in ("", None, [], 0, {})}
    if name in ("started_at", "buried_at", "duration", "duration_ms"):
        return "a number" if isinstance(value, int | float) else value
    return "an id" if name == "instance" else value


def dump(redis: Redis, db: int) -> dict[str, Any]:
    """What is in a database, by key: its type, for how many days it lives, and its members."""
    found: dict[str, Any] = {}
    with redis.client() as client:
        client.select(db)
        for key in client.keys("*"):
            kind, days = client.type(key), round(client.ttl(key) / 86400, 1)
            if kind == "zset":
                values: Any = [normalize(parse(one)) for one in client.zrange(key, 0, -1)]
                values = sorted(values, key=str)
            elif kind == "hash":
                values, key = client.hgetall(key), key.rpartition(":")[0]
            else:
                values = client.get(key)
            found[key] = (kind, days, values)
    return found


def parse(member: str) -> Any:
    return json.loads(member) if member.startswith('{"') else member


def test_redis_holds_what_our_own_worker_writes(reported: Reported) -> None:
    ours = parse_redis_url(f"redis://127.0.0.1:{reported.redis.port}/1")
    stream = RedisStream(ours, RecordingLog().as_logger())
    ledger, counter = LedgerWriter(stream, WORKER, "an id"), OutcomeCounter(stream)
    for number, run in enumerate(RUNS):
        started = Run(**{**as_dict(run), "started_at": time.time() + number, "duration": 0.1})
        counter.on_finished(started)
        ledger.on_finished(started)
    counter.tick()
    ledger.close(5)
    expected, found = dump(reported.redis, 1), dump(reported.redis, 0)
    del expected[PROBE_KEY]  # our own worker tries whether Redis takes writes
    for key, value in expected.items():
        assert found.pop(key, None) == value, key
    assert not found


def test_the_log_lines_of_runs_have_our_fields_and_levels(
    reported: Reported, tmp_path: Path
) -> None:
    file = tmp_path / "ours.log"
    output: LogOutput = logs.configure("json", str(file))
    log = logs.get_logger(worker=WORKER, instance="an id", kind="php")
    sink = LogSink(log, output)
    for run in RUNS:
        sink.on_finished(Run(**{**as_dict(run), "duration": 0.1}))
    ours = [json.loads(line) for line in file.read_text().splitlines()]
    theirs = [line for line in reported.lines if "outcome" in line["context"]]
    assert len(ours) == len(theirs) == len(RUNS)
    for our, their in zip(ours, theirs, strict=True):
        assert sorted(our) == sorted(their)
        assert [our[f] for f in ("message", "level", "level_name", "channel")] == [
            their[f] for f in ("message", "level", "level_name", "channel")
        ]
        assert normalize(their["context"]) == normalize(our["context"])
        assert list(their["extra"]) == list(our["extra"]) == ["process_id"]
        assert their["datetime"][19:20] == "."
        assert their["datetime"].endswith("+00:00")


def test_what_an_application_logs_names_its_job_and_no_terminal_obeys_it(
    reported: Reported,
) -> None:
    said, failed = reported.lines[-2:]
    assert said["message"] == "said \x9b2J\x7f"
    assert {f: said["context"][f] for f in ("worker", "queue", "job", "job_id", "id")} == {
        "worker": WORKER, "queue": "work", "job": "email.send", "job_id": 7, "id": "u-7",
    }  # fmt: skip
    raw = reported.worker.log_file.read_bytes()
    assert raw.isascii()
    assert not set(raw) & (set(range(32)) - {10} | {127})
    error = failed["context"]["exception"]
    assert (error["class"], error["message"], error["code"]) == ("DomainException", "bad", 0)
    assert error["file"].endswith("formats.php:29")


def test_the_metrics_have_our_names(reported: Reported) -> None:
    owner = SeriesOwner("beanwatch", "q1.example.org", WORKER)
    series = RunSeries(owner, "all", RecordingLog().as_logger())
    expected = [series.counter(run) for run in RUNS]
    for run in RUNS:
        if run.outcome not in NOT_RUN:
            expected.append(series.timings(run)[0][0])
        expected += [path for path, _ in series.timings(run) if path.endswith(".wait")]
    seen: list[str] = []

    def read() -> bool:
        seen.extend(reported.statsd.recv(65536).decode().splitlines())
        return len(seen) >= len(expected)

    wait_until(read, 20)
    names = sorted(line.partition(":")[0] for line in seen)
    assert names == sorted(expected)
    assert {line.rpartition("|")[2] for line in seen} == {"c", "ms"}
    assert f"{series.counter(RUNS[0])[: -len('.ok')]}.wait:250.000|ms" in seen


def test_the_outcomes_are_those_of_the_table(reported: Reported) -> None:
    assert sorted({run.outcome for run in RUNS}) == sorted(outcome.name for outcome in OUTCOMES)
