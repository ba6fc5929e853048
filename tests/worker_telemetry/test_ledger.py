"""The ledger and the counts in Redis: written without waiting, and there when it matters."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import asdict, replace

from beanwatch.net.redis_reader import RedisReader
from beanwatch.net.redis_url import parse_redis_url
from beanwatch.store import ledger as reader
from beanwatch.store.ledger import BuriedJob, LedgerEntry, job_key
from beanwatch.store.outcome_counts import JobKind, outcome_field, parse_outcomes, read_outcomes
from beanwatch.store.records import RecordError, decode_record
from beanwatch.worker.monitor.runs import Run
from beanwatch.worker.monitor.sinks import ledger_writer as writer
from beanwatch.worker.monitor.sinks.ledger_writer import LedgerWriter, Mode
from beanwatch.worker.monitor.sinks.outcome_counter import OutcomeCounter
from beanwatch.worker.monitor.sinks.redis_stream import RedisStream
from tests.real import ROOT, Proxy, Redis, wait_until
from tests.real.redis_server import Sentinel, SpecialRedis
from tests.test_redis_clients import tls_redis
from tests.worker_telemetry.conftest import RecordingLog

__all__ = ["tls_redis"]  # a fixture

Connect = Callable[..., RedisStream]


@pytest.fixture
def connect(log: RecordingLog) -> Iterator[Connect]:
    """Streams that are connected, unless the test says not to wait for that."""
    streams: list[RedisStream] = []

    def make(url: str, *, wait: bool = True, **options: Any) -> RedisStream:
        stream = RedisStream(parse_redis_url(url), log.as_logger(), **options)
        streams.append(stream)
        if wait:
            wait_until(lambda: stream.flush() or stream.is_connected)
        return stream

    yield make
    for stream in streams:
        stream.close(0)


def settled(stream: RedisStream) -> None:
    """Tick until Redis has confirmed everything."""
    wait_until(lambda: stream.flush() or not stream.is_unfinished, message="all is confirmed")


def execute(url: str) -> reader.Execute:
    def ask(commands: Any) -> list[Any]:
        with RedisReader(parse_redis_url(url)) as link:
            return link.execute(commands)

    return ask


def test_a_run_is_read_back_as_it_was_written_by_uuid_and_by_beanstalkd_id(
    redis_server: Redis, connect: Connect, make_run: Callable[..., Run]
):
    stream = connect(redis_server.url)
    ledger = LedgerWriter(stream, "web1.w1", "ab12", "all")
    run = make_run(
        job_id=7,
        uuid="u-7",
        outcome="retry",
        reason="SMTP: é \ud800",
        traceback="Traceback",
        delay=8.0,
        parent="u-1",
        follow_ups=("u-8", "u-9"),
    )
    ledger.on_finishing(run)
    ledger.on_finished(run)
    settled(stream)
    fields = asdict(run)
    del fields["source"]  # it is in the list of failures
    expected = LedgerEntry(
        worker="web1.w1",
        instance="ab12",
        **{**fields, "job_id": "7", "reason": "SMTP: é \\ud800"},
    )
    assert reader.read_job(execute(redis_server.url), "u-7") == [expected]
    assert reader.read_job_by_id(execute(redis_server.url), "5e1f", 7) == [expected]
    assert reader.read_job_by_id(execute(redis_server.url), "other", 7) == []


def test_a_job_without_a_uuid_is_known_by_its_server_and_id(
    redis_server: Redis, connect: Connect, make_run: Callable[..., Run]
):
    stream = connect(redis_server.url)
    ledger = LedgerWriter(stream, "web1.w1", "ab12", "all")
    for attempt in (1, 2):
        ledger.on_finishing(make_run(job_id=7, attempt=attempt, started_at=1e9 + attempt))
    settled(stream)
    found = reader.read_job_by_id(execute(redis_server.url), "5e1f", 7)
    assert [entry.attempt for entry in found] == [1, 2]


def test_a_lost_acknowledgement_corrects_the_entry_that_was_announced(
    redis_server: Redis, connect: Connect, make_run: Callable[..., Run]
):
    stream = connect(redis_server.url)
    for mode in ("all", "failures"):
        ledger = LedgerWriter(stream, "web1.w1", "ab12", mode)  # type: ignore[arg-type]
        run = make_run(uuid=mode, started_at=1234567890.1234567)
        ledger.on_finishing(run)
        ledger.on_finished(replace(run, outcome="lost", reason="NOT_FOUND"))
        settled(stream)
        found = reader.read_job(execute(redis_server.url), mode)
        assert [(entry.outcome, entry.reason) for entry in found] == [("lost", "NOT_FOUND")]


@pytest.mark.parametrize(
    ("mode", "outcome", "attempt", "expected"),
    [
        ("all", "ok", 1, 1),
        ("failures", "ok", 1, 0),
        ("failures", "ok", 2, 1),  # the end of a story that the ledger has begun to tell
        ("failures", "retry", 1, 1),
        ("off", "buried", 5, 0),
    ],
)
def test_what_each_mode_records(
    redis_server: Redis,
    connect: Connect,
    make_run: Callable[..., Run],
    mode: Mode,
    outcome: str,
    attempt: int,
    expected: int,
):
    stream = connect(redis_server.url)
    run = make_run(uuid="u", outcome=outcome, attempt=attempt)
    ledger = LedgerWriter(stream, "web1.w1", "ab12", mode)
    ledger.on_finishing(run)
    ledger.on_finished(run)
    settled(stream)
    assert len(reader.read_job(execute(redis_server.url), "u")) == expected
    if mode == "off":
        assert redis_server.client().keys("*") == ["{beanwatch}:probe"]


def test_what_was_announced_survives_a_kill_at_the_very_next_moment(redis_server: Redis):
    script = (
        "import os, signal, sys, time\n"
        "from beanwatch.net.redis_url import parse_redis_url\n"
        "from beanwatch.worker.monitor.sinks.ledger_writer import LedgerWriter\n"
        "from beanwatch.telemetry.logging.setup import get_logger\n"
        "from beanwatch.worker.monitor.runs import Run\n"
        "from beanwatch.worker.monitor.sinks.redis_stream import RedisStream\n"
        "stream = RedisStream(parse_redis_url(sys.argv[1]), get_logger())\n"
        "while not stream.is_connected: stream.flush()\n"
        "ledger = LedgerWriter(stream, 'web1.w1', 'ab12', 'all')\n"
        "for n in range(100):\n"  # the answers to these are never read
        "    run = Run('s', 't', 'j', n, 1, 'ok', sys.argv[2] + str(n), started_at=1.0)\n"
        "    ledger.on_finishing(run)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    for round_ in range(5):
        done = subprocess.run(
            [sys.executable, "-c", script, redis_server.url, f"{round_}-"], cwd=ROOT, timeout=30
        )
        assert done.returncode == -9
        client = redis_server.client()
        wait_until(lambda r=round_, c=client: c.exists(job_key(f"{r}-99", "", 0)))
        assert all(client.exists(job_key(f"{round_}-{n}", "", 0)) for n in range(100))


def test_nothing_stays_for_ever_and_nothing_grows_without_bound(
    redis_server: Redis,
    connect: Connect,
    make_run: Callable[..., Run],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(writer, "KEYS_KEPT", 20)
    monkeypatch.setattr(writer, "TRIM_AFTER", 10)
    monkeypatch.setattr(writer, "TRIM_AT_ONCE", 20)
    monkeypatch.setattr(writer, "BURIED_KEPT", 5)
    stream = connect(redis_server.url)
    ledger = LedgerWriter(stream, "web1.w1", "ab12", "all")
    now = time.time()
    for n in range(60):
        ledger.on_finished(
            make_run(
                job_id=n,
                uuid=f"u-{n}",
                outcome="buried",
                reason="r" * 10_000,
                traceback="t" * 100_000 + "the end",
                started_at=now + n,
            )
        )
    for attempt in range(1, 100):
        ledger.on_finished(
            make_run(uuid="often", job_id=99, attempt=attempt, started_at=now + attempt)
        )
    ledger.tick()
    settled(stream)
    client = redis_server.client()
    assert client.zcard("{beanwatch}:jobs") == 20
    keys = {*client.keys("{beanwatch}:job:*"), *client.keys("{beanwatch}:job-uuid:*")}
    assert keys == set(client.zrange("{beanwatch}:jobs", 0, -1))
    assert all(0 < client.ttl(key) <= writer.KEPT for key in keys)
    runs = reader.read_job(execute(redis_server.url), "often")
    assert [run.attempt for run in runs] == list(range(100 - writer.RUNS_KEPT, 100))
    (entry,) = reader.read_job(execute(redis_server.url), "u-59")
    assert len(entry.reason) == writer.REASON_SIZE
    assert len(entry.traceback) == writer.TRACEBACK_SIZE
    assert entry.traceback.endswith("the end")
    buried = reader.find_buried(execute(redis_server.url), "5e1f", "email.regular")
    assert [one.job_id for one in buried] == [55, 56, 57, 58, 59]


def test_buried_jobs_are_found_by_job_reason_and_age_until_they_run_again(
    redis_server: Redis, connect: Connect, make_run: Callable[..., Run]
):
    stream = connect(redis_server.url)
    ledger = LedgerWriter(stream, "web1.w1", "ab12", "failures", clock=lambda: 5000.0)
    for job_id, outcome in ((3, "buried"), (1, "poison"), (2, "retry"), (4, "buried")):
        ledger.on_finishing(make_run(job_id=job_id, outcome=outcome, reason=f"because {job_id}"))
    ledger.on_finished(make_run(job_id=4, outcome="lost"))  # somebody else has it
    find = reader.find_buried
    settled(stream)
    found = find(execute(redis_server.url), "5e1f", "email.regular")
    assert [(one.job_id, one.job, one.outcome, one.reason) for one in found] == [
        (1, "email.send", "poison", "because 1"),
        (3, "email.send", "buried", "because 3"),
    ]
    assert found[0].buried_at == 5000.0
    ledger.on_finishing(make_run(job_id=3, attempt=2))
    settled(stream)
    assert [one.job_id for one in find(execute(redis_server.url), "5e1f", "email.regular")] == [1]


def test_a_restart_of_redis_loses_nothing_that_is_written_meanwhile(
    redis_server: Redis, connect: Connect, make_run: Callable[..., Run], log: RecordingLog
):
    stream = connect(redis_server.url)
    ledger = LedgerWriter(stream, "web1.w1", "ab12", "all")
    redis_server.stop()
    for n in range(50):
        ledger.on_finishing(make_run(uuid=f"u-{n}"))
        ledger.tick()
    wait_until(lambda: ledger.tick() or log.lines)
    redis_server.start()
    settled(stream)
    assert all(reader.read_job(execute(redis_server.url), f"u-{n}") for n in range(50))
    assert ledger.dropped == 0
    assert log.levels == ["warning", "info"]


def test_a_connection_that_breaks_in_mid_stream_writes_each_entry_once(
    redis_server: Redis,
    connect: Connect,
    proxy: Callable[[str], Proxy],
    make_run: Callable[..., Run],
):
    front = proxy(f"127.0.0.1:{redis_server.port}")
    stream = connect(f"redis://{front.address}/0")
    ledger = LedgerWriter(stream, "web1.w1", "ab12", "all")
    for n in range(300):
        ledger.on_finishing(make_run(uuid=f"u-{n % 100}", attempt=n, started_at=1000.0 + n))
        if n % 60 == 30:
            front.reset()
        if n % 10 == 0:
            ledger.tick()
    settled(stream)
    for n in range(100):
        runs = reader.read_job(execute(redis_server.url), f"u-{n}")
        assert [run.attempt for run in runs] == [n, n + 100, n + 200]
    assert ledger.dropped == 0


def test_a_frozen_redis_costs_the_worker_no_time(
    redis_server: Redis, connect: Connect, make_run: Callable[..., Run], log: RecordingLog
):
    now = [0.0]
    stream = connect(redis_server.url, clock=lambda: time.monotonic() + now[0])
    ledger = LedgerWriter(stream, "web1.w1", "ab12", "all")
    redis_server.freeze()
    assert stream._socket
    assert stream._socket.gettimeout() == 0  # it never waits
    for n in range(2000):
        ledger.on_finishing(make_run(uuid=f"u-{n}"))
        if n % 100 == 0:
            ledger.tick()
    now[0] += 60  # nobody answered for a minute
    wait_until(lambda: ledger.tick() or log.lines)
    assert log.levels == ["warning"]
    redis_server.thaw()
    settled(stream)
    assert all(reader.read_job(execute(redis_server.url), f"u-{n}") for n in (0, 1000, 1999))
    assert log.levels == ["warning", "info"]


def test_a_backlog_is_bounded_and_what_it_cannot_hold_is_counted(
    connect: Connect, make_run: Callable[..., Run]
):
    stream = connect("redis://127.0.0.1:1/0", wait=False, limit=100_000)
    ledger = LedgerWriter(stream, "web1.w1", "ab12", "all")
    for n in range(1000):
        ledger.on_finishing(make_run(uuid=f"u-{n}"))
    kept = 1000 - ledger.dropped
    assert 0 < kept < 200
    ledger.close(0.05)
    assert ledger.dropped == 1000


@pytest.mark.parametrize(
    ("break_", "mend", "reason"),
    [
        (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE"), "READONLY"),
        (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0"), "OOM"),
    ],
)
def test_a_redis_that_refuses_to_write_is_told_once_and_the_entries_are_kept(
    redis_server: Redis,
    connect: Connect,
    make_run: Callable[..., Run],
    log: RecordingLog,
    break_: tuple[str, ...],
    mend: tuple[str, ...],
    reason: str,
):
    stream = connect(redis_server.url)
    ledger = LedgerWriter(stream, "web1.w1", "ab12", "all")
    with redis_server.client() as client:
        client.execute_command(*break_)
        ledger.on_finishing(make_run(uuid="u"))
        wait_until(lambda: ledger.tick() or log.lines)
        ledger.on_finishing(make_run(uuid="v"))
        client.execute_command(*mend)
    settled(stream)
    assert reader.read_job(execute(redis_server.url), "u")
    assert reader.read_job(execute(redis_server.url), "v")
    assert ledger.dropped == 0
    assert log.levels == ["warning", "info"]
    assert reason in log.lines[0][2]["reason"]


def test_every_way_to_a_redis_works(
    redis_server: Redis,
    tls_redis: Redis,
    certificate: Path,
    tmp_path: Path,
    connect: Connect,
    make_run: Callable[..., Run],
):
    options = ("--requirepass", "secret", "--unixsocket", str(tmp_path / "r.sock"))
    with (
        SpecialRedis(tmp_path / "special", *options) as special,
        Sentinel(tmp_path / "sentinel", redis_server) as sentinel,
    ):
        for url in (
            f"redis://:secret@127.0.0.1:{special.port}/3",
            f"unix://:secret@{tmp_path}/r.sock?db=2",
            f"rediss://127.0.0.1:{tls_redis.port}/0?ssl_ca_certs={certificate}",
            f"redis+sentinel://127.0.0.1:{sentinel.port}/main",
        ):
            stream = connect(url)
            ledger = LedgerWriter(stream, "web1.w1", "ab12", "all")
            for n in range(500):
                ledger.on_finishing(make_run(uuid=f"u-{n}", traceback="x" * 2000))
            settled(stream)
            assert len(reader.read_job(execute(url), "u-499")) == 1
            assert ledger.dropped == 0


def test_outcomes_are_counted_by_the_minute_and_expire(
    redis_server: Redis, connect: Connect, make_run: Callable[..., Run]
):
    stream = connect(redis_server.url)
    now = [time.time()]
    counts = OutcomeCounter(stream, clock=lambda: now[0])
    for outcome in ("ok", "ok", "buried"):
        counts.on_finished(make_run(outcome=outcome))
    counts.tick()
    now[0] -= 180
    counts.on_finished(make_run(job="report|build", outcome="poison"))
    counts.tick()
    settled(stream)
    look = execute(redis_server.url)
    send, report = JobKind("email.regular", "email.send"), JobKind("email.regular", "report|build")
    assert read_outcomes(look, 2) == {send: {"ok": 2, "buried": 1}}
    assert read_outcomes(look, 10) == {send: {"ok": 2, "buried": 1}, report: {"poison": 1}}
    client = redis_server.client()
    assert all(0 < client.ttl(key) <= 7200 for key in client.keys("{beanwatch}:outcomes:*"))


def test_counts_that_may_have_arrived_are_not_sent_twice(
    redis_server: Redis,
    connect: Connect,
    proxy: Callable[[str], Proxy],
    make_run: Callable[..., Run],
):
    front = proxy(f"127.0.0.1:{redis_server.port}")
    stream = connect(f"redis://{front.address}/0")
    counts = OutcomeCounter(stream)
    front.latency(5)  # written, but the answer is not here yet
    counts.on_finished(make_run())
    counts.tick()
    wait_until(lambda: read_outcomes(execute(redis_server.url), 2))
    front.reset()
    wait_until(lambda: counts.tick() or counts.dropped)
    front.restore()
    settled(stream)
    assert sum(read_outcomes(execute(redis_server.url), 2).popitem()[1].values()) == 1


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
_fields = st.sampled_from([*LedgerEntry._fields, "job_id", "buried_at", "newer"])


@given(st.binary() | st.dictionaries(_fields, _json).map(lambda d: json.dumps(d).encode()))
def test_nonsense_in_redis_is_no_entry_and_no_crash(body: bytes):
    for decode in (reader.decode_entry, lambda body: decode_record(body, BuriedJob)):
        try:
            assert isinstance(decode(body).job_id, int | str)
        except RecordError as error:
            assert re.match(r"it is not (JSON|a JSON object)$|\w+: |\w+ is missing$", str(error))


def test_an_entry_that_another_program_wrote_wrong_is_left_out_and_named(redis_server: Redis):
    good, bad = b'{"job": "a", "job_id": 7}', b'{"job": "a", "attempt": "7"}'
    client = redis_server.client(decode_responses=False)
    client.zadd(reader.job_key("u", "", 0), {good: 1, bad: 2})
    client.zadd(reader.buried_key("5e1f", "email"), {good: 7, b'{"job": "a"}': 8})
    rejected: list[str] = []
    note = lambda error: rejected.append(str(error))  # noqa: E731
    ask = execute(redis_server.url)
    assert reader.read_job(ask, "u", note) == [LedgerEntry(job="a", job_id="7")]
    assert reader.find_buried(ask, "5e1f", "email", note) == [BuriedJob(7, "a")]
    assert rejected == [
        "attempt: expected a whole number, not a text",
        "job_id is missing",
    ]


@given(
    st.dictionaries(
        st.tuples(
            st.text("abc.-/", min_size=1), st.text(), st.sampled_from(["ok", "buried", "lost"])
        ),
        st.integers(1, 10**9),
    )
)
def test_outcome_fields_survive_any_job_name(counts: dict[tuple[str, str, str], int]):
    flat: list[bytes] = []
    for (queue, job, outcome), n in counts.items():
        flat += [outcome_field(queue, job, outcome).encode(), str(n).encode()]
    found = parse_outcomes(flat)
    assert {
        (kind.queue, kind.job, outcome): n
        for kind, by_outcome in found.items()
        for outcome, n in by_outcome.items()
    } == counts
