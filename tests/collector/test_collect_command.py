"""`beanwatch collect` as a process, on real servers."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from beanwatch.net.files import locked
from beanwatch.queues.servers import short_host
from tests.collector.parts import Sink
from tests.real import ROOT, Beanstalkd, Graphite, Proxy, Redis, closed_port, wait_until
from tests.records import make_beat

Run = Callable[..., Any]


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as one:
        yield one


class Daemon:
    """A collector that stays up; what it says is kept in a file."""

    def __init__(self, directory: Path, *argv: object, env: dict[str, str] | None = None) -> None:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("BEANWATCH_")}
        self.log = directory / "collect.log"
        with self.log.open("ab") as stderr:
            self.process = subprocess.Popen(
                [ROOT / ".venv" / "bin" / "beanwatch", "collect", *map(str, argv)],
                stderr=stderr,
                cwd=directory,
                env={**inherited, **(env or {})},
            )

    @property
    def messages(self) -> list[str]:
        return [json.loads(line)["message"] for line in self.log.read_text().splitlines()]

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    with ExitStack() as stack:

        def start(*argv: object, env: dict[str, str] | None = None) -> Daemon:
            one = Daemon(tmp_path, *argv, env=env)
            stack.callback(one.process.wait)
            stack.callback(one.process.kill)
            return one

        yield start


def stamps(sink: Sink, path: str) -> list[int]:
    """The times of a series' points, in the order of their arrival."""
    return [int(line.split()[2]) for line in list(sink.lines) if line.split()[0] == path]


def values(sink: Sink, path: str) -> list[float]:
    """The values of a series, in the order of their arrival."""
    return [float(line.split()[1]) for line in list(sink.lines) if line.split()[0] == path]


def test_once_sends_everything_and_says_nothing(
    beanstalkd: Beanstalkd, sink: Sink, run: Run, tmp_path: Path
):
    with beanstalkd.client(use="email.regular") as client:
        client.put("x")
    config = tmp_path / "beanwatch.toml"
    config.write_text(
        f'prefix = "bw"\n[servers]\nq1 = "{beanstalkd.address}"\n'
        f'[graphite]\naddress = "{sink.address}"\n[collect]\nstate = "{tmp_path}/state"\n'
    )
    assert run("beanwatch", "collect", "--once", "--config", config) == (0, "", "")
    wait_until(lambda: values(sink, "bw.queue.q1.email_regular.ready") == [1])
    assert values(sink, "bw.collector.q1.success") == [1]


def test_once_prints_what_it_would_send(beanstalkd: Beanstalkd, run: Run, tmp_path: Path):
    argv = ("collect", "--once", "--server", beanstalkd.address, "--state", tmp_path / "s")
    code, stdout, stderr = run("beanwatch", *argv, "--graphite", "-")
    assert (code, stderr) == (0, "")
    assert all(len(line.split()) == 3 for line in stdout.splitlines())
    assert ".default.ready 0 " in stdout


def test_once_tells_all_from_some_from_none_and_why(
    beanstalkd: Beanstalkd, sink: Sink, run: Run, tmp_path: Path
):
    gone = f"127.0.0.1:{closed_port()}"
    common = ("beanwatch", "collect", "--once", "--graphite", sink.address, "--timeout", "2")
    state = ("--state", tmp_path / "state")
    good = ("--server", beanstalkd.address)
    bad = ("--server", gone)
    assert run(*common, *state, *good).code == 0
    some = run(*common, *state, *good, *bad)
    none = run(*common, *state, *bad)
    assert (some.code, none.code) == (1, 2)
    for result in (some, none):
        assert f"{gone}: connection refused" in result.stderr
        assert result.stderr.count("\n") == 1
    wait_until(lambda: 0 in values(sink, f"beanwatch.server.{host()}_{gone.split(':')[1]}.up"))


def test_once_counts_a_server_that_answered_in_part(
    beanstalkd: Beanstalkd,
    proxy: Callable[[str], Proxy],
    sink: Sink,
    run: Run,
    tmp_path: Path,
):
    cut = proxy(beanstalkd.address)
    cut.truncate(1100)  # stats are about 1,000 bytes
    code, _, stderr = run(
        *("beanwatch", "collect", "--once", "--server", cut.address),
        *("--graphite", sink.address, "--state", tmp_path / "s"),
    )
    assert code == 1
    assert "queues: " in stderr


def test_once_without_graphite_fails_and_with_a_spool_loses_nothing(
    beanstalkd: Beanstalkd, sink: Sink, run: Run, tmp_path: Path
):
    common = (
        *("beanwatch", "collect", "--once", "--server", beanstalkd.address),
        *("--state", tmp_path / "state"),
    )
    lost = run(*common, "--graphite", f"127.0.0.1:{closed_port()}")
    assert lost.code == 1
    assert "no spool is set" in lost.stderr
    kept = run(*common, "--graphite", f"127.0.0.1:{closed_port()}", "--spool", tmp_path / "spool")
    assert kept.code == 1
    assert "kept in the spool" in kept.stderr
    assert run(*common, "--graphite", sink.address, "--spool", tmp_path / "spool").code == 0
    path = f"beanwatch.server.{host()}_{beanstalkd.port}.up"
    wait_until(lambda: values(sink, path) == [1, 1], message="the kept and the new point")


def test_once_remembers_counters_for_rates(
    beanstalkd: Beanstalkd, sink: Sink, run: Run, tmp_path: Path
):
    argv = (
        *("beanwatch", "collect", "--once", "--server", beanstalkd.address),
        *("--graphite", sink.address, "--state", tmp_path / "state"),
    )
    with beanstalkd.client(use="t") as client:
        client.put("x")
        run(*argv)
        for _ in range(1000):
            client.put("x")
        run(*argv)
        beanstalkd.restart()
    with beanstalkd.client(use="t") as client:
        client.put("x")
    run(*argv)
    stem = f"beanwatch.queue.{host()}_{beanstalkd.port}.t"
    wait_until(lambda: values(sink, f"{stem}.puts") == [1, 1001, 1])
    (rate,) = values(sink, f"{stem}.put_rate")
    assert 1 < rate < 1000 / 0.01
    restarts = f"beanwatch.server.{host()}_{beanstalkd.port}.restarts"
    assert values(sink, restarts) == [0, 0, 1]
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o600


def test_a_state_that_cannot_be_understood_is_said_and_replaced(
    beanstalkd: Beanstalkd, sink: Sink, run: Run, tmp_path: Path
):
    argv = (
        *("beanwatch", "collect", "--once", "--server", beanstalkd.address),
        *("--graphite", sink.address, "--state", tmp_path / "state"),
    )
    for nonsense in (b"\xff\x00", b"[]", b'{"format": 99}', b'{"format": 1, "servers": 3}'):
        (tmp_path / "state").write_bytes(nonsense)
        first = run(*argv)
        assert first.code == 0
        assert "cannot be understood" in first.stderr
        assert run(*argv).stderr == ""


def test_a_symlink_in_the_place_of_the_state_is_not_followed(
    beanstalkd: Beanstalkd, sink: Sink, run: Run, tmp_path: Path
):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "state").symlink_to(victim)
    run(
        *("beanwatch", "collect", "--once", "--server", beanstalkd.address),
        *("--graphite", sink.address, "--state", tmp_path / "state"),
    )
    assert victim.read_text() == "precious"


def test_a_second_collector_with_the_same_state_is_refused(
    beanstalkd: Beanstalkd, sink: Sink, run: Run, daemon: Callable[..., Daemon], tmp_path: Path
):
    argv = (
        *("--server", beanstalkd.address, "--graphite", sink.address),
        *("--state", tmp_path / "state"),
    )
    daemon(*argv)
    wait_until(lambda: sink.lines)
    code, _, stderr = run("beanwatch", "collect", "--once", *argv)
    assert code == 1, "systemd must start it again: the other one may end"
    assert "another `beanwatch collect` uses the state file" in stderr
    argv = (
        *("--server", beanstalkd.address, "--graphite", sink.address),
        *("--state", tmp_path / "other", "--spool", tmp_path / "spool"),
    )
    (tmp_path / "spool").mkdir()
    with locked(str(tmp_path / "spool" / ".lock")):
        code, _, stderr = run("beanwatch", "collect", "--once", *argv)
    assert code == 1
    assert "another `beanwatch collect` uses the spool directory" in stderr


def test_an_interval_at_which_points_look_late_is_logged_at_the_start(
    beanstalkd: Beanstalkd, sink: Sink, daemon: Callable[..., Daemon]
):
    argv = ("--server", beanstalkd.address, "--graphite", sink.address, "--interval")
    for interval, warnings in (("61s", 1), ("60s", 0)):
        one = daemon(*argv, interval)
        wait_until(lambda one=one: any("collecting" in message for message in one.messages))
        assert sum("at most 60 s" in message for message in one.messages) == warnings
        one.stop()
        one.log.unlink()


def test_a_hanging_server_delays_none_of_the_others(
    beanstalkd: Beanstalkd, tmp_path: Path, sink: Sink, daemon: Callable[..., Daemon]
):
    with Beanstalkd(tmp_path / "frozen") as frozen:
        frozen.freeze()
        servers = ("--server", frozen.address, "--server", beanstalkd.address)
        one = daemon(*servers, "--graphite", sink.address, "--interval", "0.5", "--timeout", "5")
        path = f"beanwatch.server.{host()}_{beanstalkd.port}.up"
        wait_until(lambda: len(values(sink, path)) >= 6, message="the well one is polled on time")
        assert 1 not in values(sink, f"beanwatch.server.{host()}_{frozen.port}.up")
        frozen.thaw()
        well = f"beanwatch.server.{host()}_{frozen.port}.up"
        wait_until(lambda: 1 in values(sink, well), message="the other one is polled again")
        missed = f"beanwatch.collector.{host()}_{frozen.port}.missed_ticks"
        wait_until(lambda: max(values(sink, missed)) > 0)
        missed = f"beanwatch.collector.{host()}_{beanstalkd.port}.missed_ticks"
        assert min(values(sink, missed)) == 0
    assert one.stop() == 0


def test_points_are_an_interval_apart_and_the_end_is_clean(
    beanstalkd: Beanstalkd, sink: Sink, daemon: Callable[..., Daemon]
):
    server = ("--server", beanstalkd.address, "--redis", "")
    one = daemon(*server, "--graphite", sink.address, "--interval", "1")
    path = f"beanwatch.server.{host()}_{beanstalkd.port}.uptime"
    wait_until(lambda: len(stamps(sink, path)) >= 5)
    assert one.stop(signal.SIGQUIT) == 0
    seen = stamps(sink, path)
    assert len(set(seen[1:])) == len(seen[1:]), "each in a step of its own"
    assert seen == sorted(seen)
    assert one.messages == ["collecting every 1 s"]
    (line,) = one.log.read_text().splitlines()
    assert json.loads(line)["context"]["targets"] == [f"graphite {sink.address}"]
    assert values(sink, f"beanwatch.server.{host()}_{beanstalkd.port}.total_connections")[-1] <= 3


def test_queues_can_be_swept_less_often(
    beanstalkd: Beanstalkd, sink: Sink, daemon: Callable[..., Daemon]
):
    daemon(
        *("--server", beanstalkd.address, "--graphite", sink.address),
        *("--interval", "0.2", "--queues-interval", "2"),
    )
    queues = f"beanwatch.queue.{host()}_{beanstalkd.port}.default.puts"
    server = f"beanwatch.server.{host()}_{beanstalkd.port}.up"
    wait_until(lambda: len(values(sink, server)) > 5 + len(values(sink, queues)) > 6)


def test_a_killed_collector_sends_later_what_it_had_kept(
    beanstalkd: Beanstalkd, sink: Sink, daemon: Callable[..., Daemon], tmp_path: Path
):
    argv = (
        *("--server", beanstalkd.address, "--graphite", sink.address, "--interval", "0.2"),
        *("--spool", tmp_path / "spool"),
    )
    path = f"beanwatch.server.{host()}_{beanstalkd.port}.up"
    sink.stop()
    one = daemon(*argv)
    wait_until(lambda: len(list((tmp_path / "spool").glob("[0-9]*"))) >= 20)
    assert one.stop(signal.SIGKILL) == -signal.SIGKILL
    kept = [
        int(line.split()[2])
        for file in (tmp_path / "spool").glob("[0-9]*")
        if file.suffix != ".new"  # it was killed while it wrote this one
        for line in file.read_text().splitlines()
        if line.startswith(path)
    ]
    sink.start()
    two = daemon(*argv)
    wait_until(lambda: set(kept) <= set(stamps(sink, path)), message="everything arrives")
    assert two.stop() == 0


def test_drops_are_counted_and_said(beanstalkd: Beanstalkd, sink: Sink, run: Run, tmp_path: Path):
    spool = tmp_path / "spool"
    spool.mkdir()
    blob = spool / "00000000000000000001.1000.q9"
    blob.write_text("old.point 1 1\n")
    os.truncate(blob, 2 * 1024**3)  # as if the spool were full of old points
    result = run(
        *("beanwatch", "collect", "--once", "--server", beanstalkd.address),
        *("--graphite", sink.address, "--state", tmp_path / "s", "--spool", spool),
    )
    assert result.code == 1
    assert "1000 points were dropped" in result.stderr
    assert not blob.exists()


def test_points_that_are_left_at_the_end_are_said(
    beanstalkd: Beanstalkd, daemon: Callable[..., Daemon]
):
    gone = f"127.0.0.1:{closed_port()}"
    one = daemon("--server", beanstalkd.address, "--graphite", gone, "--interval", "1")
    wait_until(lambda: any("points are kept" in message for message in one.messages))
    assert one.stop() == 0
    assert one.messages[-1].endswith("points were not sent; they are lost (no spool is set)")


def kept_points(spool: Path) -> int:
    """The number of lines in the files of a spool."""
    return sum(len(file.read_text().splitlines()) for file in spool.glob("[0-9]*"))


@pytest.mark.parametrize("is_freed", [False, True])
def test_with_a_full_disk_the_end_says_what_the_spool_has_and_what_is_lost(
    beanstalkd: Beanstalkd, daemon: Callable[..., Daemon], small_disk: Path, is_freed: bool
):
    spool = small_disk / "spool"
    one = daemon(
        *("--server", beanstalkd.address, "--graphite", f"127.0.0.1:{closed_port()}"),
        *("--interval", "0.2", "--spool", spool),
    )
    wait_until(lambda: len(list(spool.glob("[0-9]*"))) >= 3)
    blob = small_disk / "blob"
    with blob.open("wb", buffering=0) as stream, contextlib.suppress(OSError):
        while stream.write(b"x" * 4096):
            pass
    full = f"cannot write to spool {spool}: No space left on device; points are kept in memory only"
    wait_until(lambda: full in one.messages)
    before = kept_points(spool)
    if is_freed:
        blob.unlink()
    assert one.stop() == 0
    kept = kept_points(spool)
    (message,) = (text for text in one.messages if "were not sent" in text)
    unsent = int(message.split()[0])
    assert unsent >= kept > 0
    if is_freed:
        assert message == f"{unsent} points were not sent; they are kept in the spool"
        assert kept == unsent > before
    else:
        assert message == (
            f"{unsent} points were not sent; {kept} are kept in the spool, "
            f"{unsent - kept} are lost: the spool could not be written"
        )
        assert unsent > kept == before


def test_systemd_is_told_ready_alive_and_stopping(
    beanstalkd: Beanstalkd, sink: Sink, daemon: Callable[..., Daemon], tmp_path: Path
):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(b"\0beanwatch-test-%d" % os.getpid())
        systemd.settimeout(20)
        env = {"NOTIFY_SOCKET": f"@beanwatch-test-{os.getpid()}"}
        one = daemon("--server", beanstalkd.address, "--graphite", sink.address, env=env)
        assert systemd.recv(1000) == b"READY=1"
        heard = [systemd.recv(1000) for _ in range(3)]
        assert b"WATCHDOG=1" in heard
        assert any(line.startswith(b"STATUS=1 server, backlog ") for line in heard)
        one.process.terminate()
        wait_until(lambda: systemd.recv(1000) == b"STOPPING=1")
        assert one.process.wait(20) == 0


def test_workers_are_sent_from_their_heartbeats(
    beanstalkd: Beanstalkd, old_redis: Redis, sink: Sink, run: Run, tmp_path: Path
):
    from beanwatch.store.heartbeats import WORKERS_KEY, encode_heartbeat, worker_key

    now = time.time()
    alive = make_beat(
        state="idle", interval=2, beat_at=now, loop_at=now, restarts=3, disk_free=1 << 30
    )
    with old_redis.client() as client:
        for worker, beat, age in (("web1.w1", alive, 0), ("web1.w2", alive, 100)):
            client.zadd(WORKERS_KEY, {worker: now - age})
            client.set(worker_key(worker), encode_heartbeat(beat))
    argv = (
        *("beanwatch", "collect", "--once", "--server", beanstalkd.address),
        *("--graphite", sink.address, "--state", tmp_path / "s", "--redis"),
    )
    assert run(*argv, old_redis.url).code == 0
    wait_until(lambda: values(sink, "beanwatch.workers.live"))
    assert values(sink, "beanwatch.workers.live") == [1]
    assert values(sink, "beanwatch.workers.dead") == [1]
    assert values(sink, "beanwatch.worker.web1.w1.restarts") == [3]
    assert values(sink, "beanwatch.worker.web1.w1.disk_free") == [1 << 30]
    assert values(sink, "beanwatch.worker.web1.w2.beat_age")[0] >= 100
    gone = run(*argv, f"redis://:secret@127.0.0.1:{closed_port()}/0")
    assert gone.code == 1
    assert "connection refused" in gone.stderr
    assert "secret" not in gone.stderr


def test_a_real_graphite_draws_what_was_collected(
    beanstalkd: Beanstalkd, graphite: Graphite, prefix: str, daemon: Callable[..., Daemon]
):
    with beanstalkd.client(use="t") as client:
        for _ in range(7):
            client.put("x")
    one = daemon(
        *("--server", beanstalkd.address, "--graphite", graphite.carbon),
        *("--prefix", prefix, "--interval", "1"),
    )
    stem = f"{prefix}.queue.{host()}_{beanstalkd.port}.t"
    assert graphite.latest(f"{stem}.ready", timeout=30) == 7
    assert graphite.latest(f"{stem}.put_rate", timeout=30) == 0
    assert one.stop() == 0


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("--server", "a b"), "address 'a b'"),
        (("--graphite", "x:y"), "the port must be a number"),
        (("--interval", "0"), "--interval: must be at least 0.1 s"),
        (("--timeout", "0"), "--timeout: must be at least 0.1 s"),
        (("--interval", "soon"), "expected a duration"),
        (("--redis", "http://x"), "redis URL"),
        (
            ("--graphite", "127.0.0.1:1", "--spool", "/proc/nowhere"),
            "cannot open spool directory /proc/nowhere",
        ),
        (("--state", "/proc/nowhere/x"), "cannot open state file /proc/nowhere/x"),
        (("--server", "q.1:1", "--server", "q_1:1"), "would both be called 'q_1_1'"),
        (("--config", "/nowhere.toml"), "/nowhere.toml: no such file"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(
    run: Run, tmp_path: Path, argv: tuple[str, ...], words: str
):
    common = ("collect", "--once", "--graphite", "-", "--state", tmp_path / "state")
    code, stdout, stderr = run("beanwatch", *common, *argv)
    assert (code, stdout) == (2, "")
    assert words in stderr
    assert stderr.count("\n") == 1


def test_a_proxy_that_trickles_is_cut_off_at_the_timeout(
    beanstalkd: Beanstalkd, proxy: Callable[[str], Proxy], sink: Sink, run: Run, tmp_path: Path
):
    slow = proxy(beanstalkd.address)
    slow.latency(1.0)
    started = time.monotonic()
    code, _, stderr = run(
        *("beanwatch", "collect", "--once", "--server", slow.address, "--timeout", "0.5"),
        *("--graphite", sink.address, "--state", tmp_path / "s", "--queues-interval", "5"),
    )
    assert code == 2
    assert "within 0.5 s" in stderr
    assert time.monotonic() - started < 20


def host() -> str:
    return short_host()
