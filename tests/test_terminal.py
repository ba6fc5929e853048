"""Whatever servers, jobs and records say reaches a terminal as text, a line for each."""

import io
import json
import os
import socket
import time
import tomllib
from pathlib import Path

import pytest
from rich.console import Console

from beanwatch.cli.lib.worker_view import worker_table
from beanwatch.net.systemd import SystemdNotifier
from beanwatch.store.heartbeats import (
    WORKERS_KEY,
    Heartbeat,
    JobRecord,
    Worker,
    encode_heartbeat,
    worker_key,
)
from beanwatch.store.outcome_counts import outcomes_key
from beanwatch.telemetry.logging.setup import configure, get_logger
from tests.queues.liar import Liar
from tests.real import Redis
from tests.records import make_beat, make_job

# Clears the screen, sets a title, C1's CSI, a right-to-left override, a line end, DEL.
EVIL = "\x1b[2J\x1b]0;PWNED\x07\x9b31m\u202ecba\u2066\n[red]fine\x7f"


def assert_plain(text: str) -> None:
    """No line has anything that a terminal could obey."""
    assert all(line.isprintable() for line in text.split("\n")), repr(text)


def evil_record() -> Heartbeat:
    """A heartbeat in which every text is EVIL."""
    texts, job_texts = (
        {name: EVIL for name, kind in record.__annotations__.items() if kind is str}
        for record in (Heartbeat, JobRecord)
    )
    job = make_job(**{**job_texts, "id": "7"})
    return make_beat(**{**texts, "state": "busy", "queues": (EVIL,), "jobs": (job,)})


@pytest.fixture
def evil_redis(redis_server: Redis) -> Redis:
    client = redis_server.client()
    for worker in ("web1.a", EVIL):
        client.zadd(WORKERS_KEY, {worker: time.time()})
        client.set(worker_key(worker), encode_heartbeat(evil_record()))
    minute = int(time.time()) // 60
    client.hset(outcomes_key(minute), f"{EVIL}|{EVIL}|failed", 5)
    client.zadd(WORKERS_KEY, {"web1.b": time.time()})
    client.set(worker_key("web1.b"), json.dumps({"note": [EVIL]}))
    return redis_server


COMMANDS = [
    ("beanwatch", "workers", "list"),
    ("beanwatch", "workers", "status", "--timeout", "0.2s"),
    ("beanwatch", "workers", "dump", "*", "--timeout", "0.2s"),
    ("beanwatch", "workers", "list", EVIL),
    ("beanwatch", "workers", "forget", "*"),
    ("beanwatch", "top", "--once"),
    ("beanwatch", "queues", "list"),
    ("beanwatch", "queues", "show"),
    ("beanwatch", "queues", "peek", "*"),
    ("beanwatch", "queues", "kick", "*", "--dry-run"),
    ("beanwatch", "job", "7"),
    ("beanwatch", "passive", "--once", "--discover"),
    ("beanwatch", "doctor", "--wait", "1s"),
    ("beanwatch", "put", EVIL, EVIL, "--delay", EVIL),
    ("beanwatch", EVIL),
    ("check_queue_server",),
    ("check_queue_depth",),
    ("check_queue_buried", "-v"),
    ("check_worker_heartbeat", "-v"),
    ("check_job_failures", "-v"),
    ("check_queue_depth", "-Q", EVIL),
    (
        "beanwatch_notify",
        *["--kind", "x", "--host", "x", "--state", "x", "--output", "x", "--smtp", "x:1"],
        "--mail",
        EVIL,
    ),
    (
        "beanwatch_kick_buried",
        *["--server", "t:", "--state", "CRITICAL", "--type", "HARD"],
        "-Q",
        "\x9bq",
    ),
]


def test_no_command_passes_on_what_a_terminal_obeys(run, tmp_path: Path, evil_redis: Redis):
    with Liar() as liar:
        evil = EVIL.replace("\n", " ").encode()
        job = b"---\nid: 7\ntube: %b\nstate: %b\nage: 3\nreserves: 1\n%b: %b\n" % ((evil,) * 4)
        liar.lie(b"stats-job", job)
        liar.lie(b"list-tubes", b"---\n- t\n- %b\n" % evil)
        config = tmp_path / "b.toml"
        config.write_text(
            f'[servers]\nq1 = "{liar.address}"\n[redis]\nurl = "{evil_redis.url}"\n'
            f"[links]\ngraphs = {json.dumps(EVIL.replace(chr(127), ''))}\n"
        )
        env = {"BEANWATCH_CONFIG": str(config), "BEANWATCH_STATE_DIR": str(tmp_path / "state")}
        for argv in COMMANDS:
            _, stdout, stderr = run(*argv, env=env)
            assert "Traceback" not in stderr
            assert stdout or stderr, argv
            assert_plain((stdout + stderr).replace("\t", " "))
        _, stdout, _ = run("beanwatch", "config", "show", env=env)
        assert_plain(stdout)
        assert tomllib.loads(stdout)["links"]["graphs"] == EVIL.replace("\x7f", "")


@pytest.mark.parametrize("lines", [f'"{chr(0x9B)}" = 1', "[redis]\nurl = '\u202e'"])
def test_errors_of_a_configuration_are_plain(run, tmp_path: Path, lines: str):
    (tmp_path / "b.toml").write_text(lines)
    for command in (("config", "check"), ("workers",), ("worker", "a:b", "--queue", "q")):
        _, stdout, stderr = run("beanwatch", *command, "--config", "b.toml")
        assert stderr
        assert_plain(stdout + stderr)


def test_a_table_in_a_terminal_shows_notes_as_text_on_one_line():
    stream = io.StringIO()
    console = Console(file=stream, width=2000, force_terminal=True, color_system=None)
    console.print(worker_table([Worker("web1.a", 0.1, evil_record())]))
    assert_plain(stream.getvalue())
    assert len(stream.getvalue().splitlines()) == 2
    assert "[red]fine" in stream.getvalue()


@pytest.mark.parametrize("style", ["json", "console", "plain"])
def test_a_log_is_plain_in_every_format(style: str, tmp_path: Path):
    file = tmp_path / "log"
    configure(style, str(file))
    log = get_logger(worker=EVIL)
    log.warning("{job} failed: {reason}", job=EVIL, reason=EVIL, other={EVIL: [EVIL]})
    try:
        raise ValueError(EVIL)
    except ValueError as error:
        log.error("an exception", exc_info=error)
    text = file.read_text()
    assert_plain(text)
    assert "PWNED" in text
    if style == "json":
        lines = [json.loads(line) for line in text.splitlines()]
        assert lines[0]["context"]["job"] == EVIL
        assert lines[1]["context"]["exception"]["message"] == EVIL
    configure("json", "/dev/null")


def test_a_job_name_sends_systemd_no_other_assignment(tmp_path: Path):
    path = os.path.join("/tmp", f"beanwatch-notify-{os.getpid()}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(path)
        try:
            notifier = SystemdNotifier({"NOTIFY_SOCKET": path})
            notifier.status("busy: x\nMAINPID=1 \udc80")
            notifier._socket.close()
            assert systemd.recv(1000) == rb"STATUS=busy: x\nMAINPID=1 \udc80"
        finally:
            os.unlink(path)
