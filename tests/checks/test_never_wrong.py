"""Whatever goes wrong, every check gives the documented state, within `-t`, on line 1."""

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from beanwatch.words import install_command
from tests.checks.conftest import Check, parse_output
from tests.real import ROOT, Beanstalkd, HttpSink, Proxy, Redis, closed_port
from tests.real.drip import Drip
from tests.real.silent_dns import run_with_silent_dns

QUEUE_CHECKS = ("queue_depth", "queue_buried", "queue_age", "queue_consumers")
SERVER_CHECKS = ("queue_server", *QUEUE_CHECKS)
REDIS_CHECKS = ("redis", "worker_heartbeat", "job_failures")
NAMES = (*SERVER_CHECKS, *REDIS_CHECKS, "metrics_fresh")
OK, WARNING, CRITICAL, UNKNOWN = range(4)
START = 8.0  # seconds that a process may take to start


def ended_in_time(started: float) -> None:
    """Assert that a check with a timeout of 1 s ended in time, even if this host is slow now."""
    passed = time.monotonic() - started
    if passed >= 1 + START:
        before = time.monotonic()
        subprocess.run([ROOT / ".venv/bin/check_queue_server", "--help"], capture_output=True)
        assert passed < 1 + START + 3 * (time.monotonic() - before)


def address_arguments(name: str, address: str) -> list[str]:
    """How this check is pointed at its server."""
    if name in SERVER_CHECKS:
        return ["--server", address]
    if name in REDIS_CHECKS:
        return ["--redis", f"redis://{address}/0"]
    return ["--graphite-url", f"http://{address}"]


def unreachable(name: str) -> int:
    """The documented state of a server that cannot be used."""
    return CRITICAL if name in ("queue_server", "redis") else UNKNOWN


def runbook_of(name: str) -> str:
    """The heading for a server that cannot be used: that of what is away, not of the check."""
    if name in SERVER_CHECKS:
        return "queue-server"
    return "redis" if name in REDIS_CHECKS else name.replace("_", "-")


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Beanstalkd, Redis]]:
    """For all tests here: nobody puts anything."""
    root = tmp_path_factory.mktemp("servers")
    with Beanstalkd(root / "beanstalkd") as beanstalkd, Redis(root / "redis") as redis:
        yield beanstalkd, redis


@pytest.fixture
def front(servers: tuple[Beanstalkd, Redis]) -> Iterator[Callable[[str], Proxy]]:
    """A proxy before the server that the check of this name asks."""
    proxies: list[Proxy] = []
    beanstalkd, redis = servers
    with HttpSink() as web:

        def make(name: str) -> Proxy:
            if name in SERVER_CHECKS:
                upstream = beanstalkd.address
            elif name in REDIS_CHECKS:
                upstream = redis.url.removeprefix("redis://").partition("/")[0]
            else:
                upstream = web.url.removeprefix("http://")
            proxies.append(Proxy(upstream).__enter__())
            return proxies[-1]

        yield make
        for proxy in proxies:
            proxy.close()


@pytest.mark.parametrize("name", NAMES)
def test_a_refused_connection_is_said(check: Check, name: str):
    answer = check(name, *address_arguments(name, f"127.0.0.1:{closed_port()}"))
    assert answer.code == unreachable(name)
    assert "connection refused: no server listens there" in answer.text
    heading = runbook_of(name)
    assert answer.long[0] == f"What to do: beanwatch runbook {heading}"
    assert answer.long[1].endswith(f"runbook/#{heading}")
    assert f"## {heading}\n" in (ROOT / "docs" / "runbook.md").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_a_black_hole_ends_within_the_limit(check: Check, front: Callable[[str], Proxy], name: str):
    proxy = front(name)
    proxy.blackhole()
    started = time.monotonic()
    answer = check(name, *address_arguments(name, proxy.address), "-t", "1")
    ended_in_time(started)
    assert answer.code == unreachable(name)
    # Of several servers each has its share of what is left, rounded; late, the watchdog speaks.
    assert re.search(r"no answer within (0\.[89]\d?|1) s", answer.text), answer.text


@pytest.mark.parametrize("name", NAMES)
def test_the_state_of_a_timeout_can_be_chosen(
    check: Check, front: Callable[[str], Proxy], name: str
):
    proxy = front(name)
    proxy.blackhole()
    answer = check(name, *address_arguments(name, proxy.address), "-t", "0.5:warning")
    assert answer.code == WARNING


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "garbage",
    [
        b"\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x00\xff\xfe|\r\n|\r\n",
        b"OUT_OF_MEMORY\r\n",
        b"INTERNAL_ERROR\r\n",
        b"OK 99999999999999999999\r\n",
        b"OK -5\r\nabc\r\n",
        b"OK 3\r\nabcdef\r\n",
        b"-OOM command not allowed when used memory > 'maxmemory'\r\n",
        b"-NOAUTH Authentication required.\r\n" * 8,
        b"+OK\r\n",
        b"*-1\r\n",
        b"*999999999\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n[[[[[",
        b'HTTP/1.0 200 OK\r\n\r\n[{"target": 1, "datapoints": [[null, null], ["a", "b"]]}]',
        b"x" * 5000,
    ],
)
def test_nonsense_is_never_taken_for_an_answer(
    check: Check, front: Callable[[str], Proxy], name: str, garbage: bytes
):
    proxy = front(name)
    proxy.garble(garbage)
    started = time.monotonic()
    answer = check(name, *address_arguments(name, proxy.address), "-t", "1")
    assert answer.code == unreachable(name)
    ended_in_time(started)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("count", [0, 1, 7, 60])
def test_an_answer_that_is_cut_off_is_no_answer(
    check: Check, front: Callable[[str], Proxy], name: str, count: int
):
    proxy = front(name)
    proxy.truncate(count)
    answer = check(name, *address_arguments(name, proxy.address), "-t", "3")
    assert answer.code == unreachable(name) or (name == "worker_heartbeat" and count == 60)


@pytest.mark.parametrize("name", SERVER_CHECKS)
def test_a_slow_answer_is_an_answer(check: Check, front: Callable[[str], Proxy], name: str):
    proxy = front(name)
    proxy.latency(0.1)
    answer = check(name, *address_arguments(name, proxy.address), "-t", "20")
    assert answer.code == OK


@pytest.mark.parametrize("name", REDIS_CHECKS)
def test_a_slow_redis_answers_too(check: Check, old_redis: Redis, name: str):
    with Proxy(f"127.0.0.1:{old_redis.port}") as proxy:
        proxy.latency(0.1)
        answer = check(name, *address_arguments(name, proxy.address), "-t", "20")
    assert answer.code == (CRITICAL if name == "worker_heartbeat" else OK)  # there is no worker


def test_a_frozen_server_is_reported_beside_one_in_trouble(
    check: Check, beanstalkd: Beanstalkd, tmp_path: Path
):
    with Beanstalkd(tmp_path / "other") as other:
        with other.client(use="images") as client:
            client.put("x")
        beanstalkd.freeze()
        arguments = ("--server", beanstalkd.address, "--server", other.address)
        answer = check("queue_depth", *arguments, "-Q", "images", "-c", "0", "-t", "2")
        beanstalkd.thaw()
    assert answer.code == CRITICAL
    assert "images: 1 job ready" in answer.text
    assert answer.text.index("images") < answer.text.index("no answer")


TLS_RECORD = b"\x16\x03\x03\x40\x00"  # the start of a handshake message of 16 KiB


@pytest.mark.parametrize(
    ("name", "option", "start"),
    [
        ("metrics_fresh", "--graphite-url=http://", b"HTTP/1.0 200 OK\r\nX: "),
        ("metrics_fresh", "--graphite-url=https://", TLS_RECORD),
        ("worker_heartbeat", "--redis=redis://", b"+"),
        ("worker_heartbeat", "--redis=rediss://", TLS_RECORD),
        ("queue_depth", "--server=", b"OK 100000\r\n"),
    ],
)
def test_a_reply_that_comes_byte_by_byte_ends_with_the_timeout(
    check: Check, name: str, option: str, start: bytes
):
    started = time.monotonic()
    with Drip(start) as server:
        answer = check(name, f"{option}{server.address}", "-t", "1")
    ended_in_time(started)
    assert answer.code == UNKNOWN
    assert "no answer within" in answer.text


def test_an_event_handler_ends_with_the_timeout_when_a_reply_comes_byte_by_byte(run):
    started = time.monotonic()
    with Drip(b"USING ") as server:
        argv = ("--server", server.address, "-Q", "q", "--state", "CRITICAL", "--type", "HARD")
        code, _, stderr = run("beanwatch_kick_buried", *argv, "-t", "1")
    ended_in_time(started)
    failed = "cannot kick the buried jobs of q: not done within 1 s"
    assert (code, stderr) == (1, f"beanwatch_kick_buried: {failed}\n")


@pytest.mark.parametrize("name", NAMES)
def test_a_name_server_that_hangs_does_not_hang_the_check(tmp_path: Path, name: str):
    program = str(ROOT / ".venv" / "bin" / f"check_{name}")
    started = time.monotonic()
    argv = [program, *address_arguments(name, "queue1.example.org:80"), "-t", "1"]
    done = run_with_silent_dns(tmp_path, argv)
    answer = parse_output(done.returncode, done.stdout, done.stderr)
    ended_in_time(started)
    assert answer.code == unreachable(name)
    # Late, the watchdog speaks.
    late = "no answer within 1 s while asking queue1.example.org:80"
    cause = "the host name cannot be resolved (no answer from the name server)"
    assert cause in answer.text or answer.text.endswith(late)
    assert answer.long[0] == f"What to do: beanwatch runbook {runbook_of(name)}"


@pytest.mark.parametrize(
    ("name", "argv", "reason"),
    [
        ("queue_depth", ("-H", ""), "address ''"),
        (
            "queue_depth",
            ("-H", "127.0.0.1", "-Q", "a\r\nput 0 0 60 1\r\nx"),
            "not a valid name or glob of a queue",
        ),
        ("queue_depth", ("-H", "127.0.0.1", "-Q", "\udcff"), "not a valid name or glob of a queue"),
        ("worker_heartbeat", ("--redis", "redis://127.0.0.1/x"), "the database must be a number"),
        ("worker_heartbeat", ("--redis", "redis://[::1/0"), "write an IPv6 address as [::1]:6379"),
        (
            "job_failures",
            ("--minutes", "121"),
            "--minutes: runs are kept for 120 minutes only, not 121",
        ),
        ("metrics_fresh", ("--graphite-url", "http://[::1"), "URL: expected http://HOST"),
        ("metrics_fresh", ("--graphite-url", "http://"), "URL: expected http://HOST"),
    ],
)
def test_what_an_argument_cannot_be_is_said_in_words(
    check: Check, name: str, argv: tuple[str, ...], reason: str
):
    answer = check(name, *argv)
    assert (answer.code, reason in answer.text) == (UNKNOWN, True), answer.text


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "argv",
    [
        ("--nonsense",),
        ("-t", "0"),
        ("-t", "ten"),
        ("-t", "5:fine"),
        ("-w", "10:5"),
        ("-c", "nan"),
        ("-w", "1e3"),
        ("-w",),
        ("--help",),
        ("--version",),
        ("--config", "/no/such/file"),
    ],
)
def test_bad_arguments_are_unknown_and_not_critical(run, name: str, argv: tuple[str, ...]):
    code, stdout, stderr = run(f"check_{name}", *argv)
    assert code == UNKNOWN
    assert stdout
    assert "Traceback" not in stdout + stderr


@pytest.mark.parametrize("name", NAMES)
def test_the_help_names_the_state_of_a_timeout(run, name: str):
    state = "critical" if unreachable(name) == CRITICAL else "unknown"
    assert f"10:{state})" in " ".join(run(f"check_{name}", "--help").stdout.split())


@pytest.mark.parametrize("name", NAMES)
def test_a_broken_configuration_is_unknown_and_names_the_line(
    check: Check, tmp_path: Path, name: str
):
    broken = tmp_path / "broken.toml"
    broken.write_text('prefix = "x"\n[queues."email.*".depth]\nwaring = 5\n')
    answer = check(name, "--config", broken)
    assert answer.code == UNKNOWN
    assert f"{broken}:3: " in answer.text
    assert "did you mean 'warning'?" in answer.text


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("module", ["nagiosplugin", "argparse"])
def test_a_missing_module_is_unknown_on_one_line(run, tmp_path: Path, name: str, module: str):
    (tmp_path / f"{module}.py").write_text("raise ImportError('gone', name=__name__)")
    code, stdout, stderr = run(f"check_{name}", env={"PYTHONPATH": str(tmp_path)})
    assert (code, stderr) == (UNKNOWN, "")
    reason = f"cannot start: gone; install beanwatch again: {install_command()}"
    assert stdout == f"{name.upper()} UNKNOWN - {reason}\n"


def test_hiredis_is_only_missed_by_those_who_need_it(run, tmp_path: Path, beanstalkd: Beanstalkd):
    (tmp_path / "hiredis.py").write_text("raise ImportError('gone', name=__name__)")
    env = {"PYTHONPATH": str(tmp_path)}
    assert run("check_worker_heartbeat", env=env)[0] == UNKNOWN
    assert run("check_queue_depth", "--server", beanstalkd.address, env=env)[0] == OK


@pytest.mark.parametrize("name", NAMES)
def test_a_closed_output_changes_no_exit_code(name: str):
    argv = [ROOT / ".venv" / "bin" / f"check_{name}"]
    argv += address_arguments(name, f"127.0.0.1:{closed_port()}")
    done = subprocess.run(["sh", "-c", '"$@" >&-', "sh", *argv], capture_output=True, timeout=30)
    assert (done.returncode, done.stderr) == (unreachable(name), b"")


@pytest.mark.parametrize("name", NAMES)
def test_no_type_is_a_string_where_python_would_compile_it(name: str):
    """NamedTuple compiles a string that is a type; the first compile() of a process takes 2 ms."""
    code = (
        "import typing; typing.ForwardRef = None;"
        f"import beanwatch.checks.{name}, beanwatch.queues.beanstalkd.reader"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", SERVER_CHECKS)
def test_a_check_of_a_server_loads_nothing_that_it_can_do_without(name: str):
    slow = {"msgspec", "structlog", "click", "rich", "redis", "greenstalk", "asyncio"}
    code = f"import sys, beanwatch.checks.{name}; print(*sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not slow & set(shown.stdout.split())
