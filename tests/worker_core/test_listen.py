"""`beanwatch worker --listen`: what probes and Prometheus learn, whatever hangs or is away."""

import os
import re
import signal
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open
from prometheus_client.parser import text_string_to_metric_families as parse_plain

from beanwatch.store.worker_status import (
    END_MARGIN,
    SIZE,
    StatusError,
    WorkerStatus,
    encode_status,
    parse_status,
    why_not_live,
    why_not_ready,
)
from tests.real import Beanstalkd, Redis, free_port, wait_until
from tests.worker_core.conftest import Broker, RunningWorker, StartWorker

BUSY = 60.0  # seconds; the machine may be busy


def ask(port: int, path: str, accept: str = "") -> tuple[int, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Accept": accept})
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def scrape(port: int, name: str, **labels: str) -> list[float]:
    return [
        sample.value
        for family in parse_plain(ask(port, "/metrics")[1])
        for sample in family.samples
        if sample.name == f"beanwatch_{name}" and labels.items() <= sample.labels.items()
    ]


def start(start_worker: StartWorker, *options: object, **more: str) -> tuple[RunningWorker, int]:
    port = free_port()
    worker = start_worker("--listen", port, *options, **more)
    wait_until(lambda: ask(port, "/readyz")[0] == 200, BUSY)
    return worker, port


def test_the_page_has_each_run_its_duration_and_its_wait(
    start_worker: StartWorker, broker: Broker, beanstalkd: Beanstalkd
) -> None:
    _, port = start(start_worker)
    for _ in range(3):
        broker.put("ok")
    broker.put("sleep", {"seconds": 0.3})
    broker.put("raise", {"kind": "bury"})
    kind = {"queue": "work", "job": "ok"}
    wait_until(lambda: broker.counts(buried=1), BUSY)
    wait_until(lambda: scrape(port, "job_runs_total", outcome="buried", job="raise") == [1], BUSY)
    assert scrape(port, "job_runs_total", outcome="ok", **kind) == [3]
    assert scrape(port, "job_duration_seconds_count", **kind) == [3]
    assert scrape(port, "job_wait_seconds_count", **kind) == [3]
    assert scrape(port, "job_duration_seconds_bucket", job="sleep", le="0.25") == [0]
    assert scrape(port, "job_duration_seconds_bucket", job="sleep", le="3600.0") == [1]
    assert 0.3 <= scrape(port, "job_duration_seconds_sum", job="sleep")[0] < 5
    assert scrape(port, "worker_busy_seconds_total", worker="here.w1")[0] >= 0.3
    assert scrape(port, "worker_memory_bytes")[0] > 1e6
    assert scrape(port, "worker_ready") == [1]
    assert len(scrape(port, "worker_info", worker="here.w1", app_version="test")) == 1
    plain, openly = (ask(port, "/metrics", a)[1] for a in ("", "application/openmetrics-text"))
    names = [
        {sample.name for family in parse(text) for sample in family.samples}
        for parse, text in ((parse_plain, plain), (parse_open, openly))
    ]
    assert names[0] == names[1]


def test_a_broker_or_a_redis_that_is_away_or_hangs_is_not_ready_but_live(
    start_worker: StartWorker, broker: Broker, beanstalkd: Beanstalkd, redis_server: Redis
) -> None:
    worker, port = start(start_worker, "--reserve-timeout", 1)
    redis_server.freeze()
    assert ask(port, "/livez") == (200, "ok\n")
    assert ask(port, "/metrics")[0] == 200
    beanstalkd.kill()
    wait_until(lambda: ask(port, "/readyz")[0] == 503, BUSY)
    assert re.search("refused|connection|closed", ask(port, "/readyz")[1])
    assert ask(port, "/livez") == (200, "ok\n")
    redis_server.thaw()
    redis_server.kill()
    beanstalkd.start()
    wait_until(lambda: ask(port, "/readyz") == (200, "ok\n"), BUSY)
    assert ask(port, "/livez") == (200, "ok\n")
    wait_until(lambda: scrape(port, "worker_reconnects_total")[0] >= 1, BUSY)
    assert worker.process.poll() is None


def test_a_handler_that_hangs_in_python_blocks_no_page_and_is_live_until_its_deadline(
    start_worker: StartWorker, broker: Broker, tmp_path: Path
) -> None:
    _, port = start(start_worker, "--grace", 2)
    broker.put("blocked")
    wait_until(lambda: broker.stats()["reserved"] == 1, BUSY)
    assert ask(port, "/livez") == (200, "ok\n")
    assert ask(port, "/readyz") == (200, "ok\n")
    assert ask(port, "/metrics")[0] == 200


def test_a_worker_that_stops_is_not_ready_and_live(
    start_worker: StartWorker, broker: Broker, tmp_path: Path
) -> None:
    worker, port = start(start_worker)
    until = tmp_path / "until"
    data = {"started": str(tmp_path / "s"), "until": str(until), "file": str(tmp_path / "f")}
    broker.put("wait-for-file", data)
    wait_until((tmp_path / "s").exists, BUSY)
    worker.signal(signal.SIGTERM)
    wait_until(lambda: ask(port, "/readyz")[0] == 503, BUSY)
    assert ask(port, "/livez") == (200, "ok\n")
    until.touch()
    assert worker.exit_code(BUSY) == 0


def test_a_child_that_outlives_the_worker_does_not_keep_the_address(
    start_worker: StartWorker, broker: Broker, tmp_path: Path
) -> None:
    worker, port = start(start_worker)
    pid_file = tmp_path / "pid"
    broker.put("fork-and-stay", {"file": str(pid_file)})
    wait_until(pid_file.exists, BUSY)
    pid = int(pid_file.read_text())
    try:
        worker.process.kill()
        worker.process.wait()
        start_worker("--listen", port, name="w2")
        wait_until(lambda: ask(port, "/readyz")[0] == 200, BUSY)
    finally:
        os.kill(pid, signal.SIGKILL)


def test_an_address_that_is_taken_is_one_line_and_leaves_nothing_behind(
    start_worker: StartWorker, beanstalkd: Beanstalkd, tmp_path: Path
) -> None:
    worker = start_worker("--listen", beanstalkd.port)
    assert worker.exit_code(BUSY) == 1
    (line,) = worker.errors.read_text().splitlines()
    assert line.startswith(f"beanwatch: --listen: cannot listen on 127.0.0.1:{beanstalkd.port}: ")
    assert not list(tmp_path.glob("beanwatch-*"))
    assert worker.seen() is None
    worker = start_worker("--listen", "nonsense", name="w2")
    assert worker.exit_code(BUSY) == 2
    assert "--listen: invalid address 'nonsense'" in worker.errors.read_text()


STATUS = WorkerStatus(1, 100.0, 100.0, 20.0, 0.0, True)


@pytest.mark.parametrize(
    ("changes", "now", "reason"),
    [
        ({}, 120.0, ""),
        ({}, 121.0, "its main thread has not moved for 21 s"),
        ({"hard_deadline": 500.0}, 505.0, ""),
        ({"hard_deadline": 500.0}, 511.0, "its job runs 11 s after its hard deadline"),
        ({"is_connected": False, "reason": "refused"}, 120.0, ""),
        ({"ends_at": 130.0}, 135.0, ""),
        ({"ends_at": 130.0}, 141.0, "it has not stopped 11 s after its time"),
        ({"ends_at": 130.0, "hard_deadline": 500.0}, 141.0, ""),
    ],
)
def test_the_main_thread_moves_or_its_job_is_within_its_deadline(
    changes: dict[str, float], now: float, reason: str
) -> None:
    assert why_not_live(STATUS._replace(**changes), now) == reason
    assert END_MARGIN == 10


def test_a_worker_that_is_not_connected_says_why() -> None:
    assert why_not_ready(STATUS) == ""
    away = STATUS._replace(is_connected=False)
    assert why_not_ready(away._replace(reason="refused")) == "refused"
    assert "not connected" in why_not_ready(away)


TIMES = st.floats(0, 1e9).map(lambda value: round(value, 3))


@given(st.integers(1, 2**22), TIMES, TIMES, TIMES, TIMES, st.booleans(), st.text())
def test_what_is_written_is_read_and_what_is_half_written_is_not(
    pid: int, beat: float, loop: float, idle: float, ends: float, connected: bool, reason: str
) -> None:
    status = WorkerStatus(pid, beat, loop, idle, ends, connected, " ".join(reason[:300].split()))
    page = encode_status(status).ljust(SIZE, b"\0")
    try:
        encoded = status.reason.encode()
    except UnicodeEncodeError:
        encoded = status.reason.encode("utf-8", "replace")
    assert parse_status(page) == status._replace(reason=encoded.decode())
    for bad in (page[:-1], b"", b"\0" * SIZE, page[:12] + b"9" + page[13:]):
        if bad != page:
            with pytest.raises(StatusError):
                parse_status(bad)
