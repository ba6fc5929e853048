"""beanstalkd goes away in every possible way, and the worker recovers by itself."""

import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.real import Beanstalkd, Proxy, wait_until
from tests.worker_core.conftest import Broker, StartWorker

MakeProxy = Callable[[str], Proxy]


@pytest.fixture
def durable(tmp_path: Path) -> Iterator[Beanstalkd]:
    with Beanstalkd(tmp_path / "durable", binlog=True) as server:
        yield server


def job_data(tmp_path: Path) -> dict[str, str]:
    return {
        "started": str(tmp_path / "started"),
        "until": str(tmp_path / "until"),
        "file": str(tmp_path / "file"),
    }


def test_restarted_while_idle_without_binlog(start_worker: StartWorker, broker: Broker) -> None:
    worker = start_worker("--reserve-timeout", 600)
    worker.wait_for("idle")
    broker.server.restart()
    broker.put("ok")
    wait_until(lambda: worker.outcomes() == ["ok"], 40)


def test_restarted_while_idle_with_binlog(start_worker: StartWorker, durable: Beanstalkd) -> None:
    broker = Broker(durable)
    worker = start_worker("--reserve-timeout", 600, server=durable.address)
    broker.put("ok")
    wait_until(lambda: worker.outcomes() == ["ok"])
    broker.put("ok", delay=1)
    durable.restart()
    wait_until(lambda: worker.outcomes() == ["ok"] * 2, 40)


def test_restarted_in_the_middle_of_a_job_without_binlog(
    start_worker: StartWorker, broker: Broker, tmp_path: Path
) -> None:
    broker.put("wait-for-file", job_data(tmp_path), ttr=3)
    worker = start_worker()
    wait_until((tmp_path / "started").exists)
    broker.server.restart()
    (tmp_path / "until").touch()
    wait_until(lambda: worker.outcomes() == ["lost"])
    broker.put("ok")
    wait_until(lambda: worker.outcomes() == ["lost", "ok"], 40)


def test_restarted_in_the_middle_of_a_job_with_binlog_it_runs_again(
    start_worker: StartWorker, durable: Beanstalkd, tmp_path: Path
) -> None:
    broker = Broker(durable)
    job_id = broker.put("wait-for-file", job_data(tmp_path))
    worker = start_worker(server=durable.address)
    wait_until((tmp_path / "started").exists)
    durable.restart()
    (tmp_path / "until").touch()
    wait_until(lambda: worker.outcomes() == ["lost", "ok"], 40)
    assert broker.job(job_id) == {}


@pytest.mark.parametrize("fault", ["reset", "refuse", "blackhole"])
def test_a_path_that_fails_in_the_middle_of_a_job_does_not_hang_the_worker(
    start_worker: StartWorker,
    broker: Broker,
    beanstalkd: Beanstalkd,
    proxy: MakeProxy,
    tmp_path: Path,
    fault: str,
) -> None:
    path = proxy(beanstalkd.address)
    broker.put("wait-for-file", job_data(tmp_path), ttr=3)
    worker = start_worker("--reserve-timeout", 1, server=path.address)
    wait_until((tmp_path / "started").exists)
    getattr(path, fault)()
    seen = worker.beat()
    wait_until(lambda: worker.beat().beat_at > seen.beat_at + 3, message="the pulse goes on")
    (tmp_path / "until").touch()
    wait_until(lambda: worker.outcomes()[:1] == ["lost"])
    path.restore()
    wait_until(lambda: worker.outcomes()[1:2] == ["ok"], 60, "the job is run again")
    assert [run["attempt"] for run in worker.runs()] == [1, 2]


@pytest.mark.parametrize("garbage", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"RESERVED 1 -5\r\n"])
def test_a_server_that_answers_nonsense_is_left_and_tried_again_without_a_spin(
    start_worker: StartWorker,
    broker: Broker,
    beanstalkd: Beanstalkd,
    proxy: MakeProxy,
    garbage: bytes,
) -> None:
    path = proxy(beanstalkd.address)
    worker = start_worker("--reserve-timeout", 1, server=path.address)
    worker.wait_for("idle")
    path.garble(garbage)
    assert worker.wait_for("blocked", 30).is_disconnected
    before, since = path.connections, time.monotonic()
    seen = worker.beat()
    wait_until(lambda: worker.beat().beat_at > seen.beat_at + 2)
    assert path.connections - before < 20 * (time.monotonic() - since)
    path.restore()
    broker.put("ok")
    wait_until(lambda: worker.outcomes() == ["ok"], 60)


class Impostor:
    """Lets a worker connect and watch, and answers each reserve with the same line."""

    def __init__(self, answer: bytes) -> None:
        self.connections = 0
        impostor = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                impostor.connections += 1
                watched = b"---\n- work\n"
                answers = {
                    b"watch": b"WATCHING 2\r\n",
                    b"ignore": b"WATCHING 1\r\n",
                    b"list-tubes-watched": b"OK %d\r\n%b\r\n" % (len(watched), watched),
                    b"stats": b"OK 11\r\n---\nid: ab\n\r\n",
                }
                for line in self.rfile:
                    self.wfile.write(answers.get(line.split()[0], answer))

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.mark.parametrize("answer", [b"DEADLINE_SOON\r\n", b"OUT_OF_MEMORY\r\n", b"x\r\n"])
def test_a_server_that_fails_at_each_reserve_is_not_asked_without_a_pause(
    start_worker: StartWorker, answer: bytes
) -> None:
    with closing(Impostor(answer)) as server:
        worker = start_worker(server=server.address)
        worker.wait_for("blocked")
        before, since = server.connections, time.monotonic()
        seen = worker.beat()
        wait_until(lambda: worker.beat().beat_at > seen.beat_at + 3)
        # Two connections for each try, as the pulse has one of its own.
        assert server.connections - before < 15 * (time.monotonic() - since)


@pytest.mark.parametrize("count", [1, 9, 17, 60])
def test_a_reply_that_is_cut_short_loses_no_job(
    start_worker: StartWorker, broker: Broker, beanstalkd: Beanstalkd, proxy: MakeProxy, count: int
) -> None:
    path = proxy(beanstalkd.address)
    worker = start_worker("--reserve-timeout", 1, server=path.address)
    worker.wait_for("idle")
    path.truncate(count)
    for _ in range(5):
        broker.put("ok")
    wait_until(lambda: worker.logged("the connection to beanstalkd failed"))
    path.restore()
    wait_until(lambda: broker.counts(), 60, "all jobs are done")
    assert worker.outcomes().count("ok") >= 4


def test_a_slow_path_is_no_failure(
    start_worker: StartWorker, broker: Broker, beanstalkd: Beanstalkd, proxy: MakeProxy
) -> None:
    path = proxy(beanstalkd.address)
    path.latency(0.3)
    worker = start_worker("--reserve-timeout", 1, server=path.address)
    for _ in range(3):
        broker.put("sleep", {"seconds": 1.5}, ttr=2)
    wait_until(lambda: worker.outcomes() == ["ok"] * 3, 60)
    assert [run["attempt"] for run in worker.runs()] == [1, 1, 1]
    assert not worker.logged("the connection to beanstalkd failed")


def test_a_unix_socket_is_a_server_like_any_other(
    start_worker: StartWorker, tmp_path: Path
) -> None:
    with Beanstalkd(tmp_path / "unix", unix=True) as server:
        broker = Broker(server)
        worker = start_worker(server=server.address)
        broker.put("ok")
        wait_until(lambda: worker.outcomes() == ["ok"])
        broker.put_raw('{"command": "stop"}', queue=f"beanwatch.control.{worker.id}")
        assert worker.exit_code() == 0
