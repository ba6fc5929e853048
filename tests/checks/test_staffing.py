"""An alert says how many workers a queue has and about how many it needs, if that is known."""

from collections.abc import Callable
from pathlib import Path

import pytest

from beanwatch.store.heartbeats import WORKERS_KEY, encode_heartbeat, worker_key
from beanwatch.store.run_totals import RunTotals
from tests.checks.conftest import Answer
from tests.real import Beanstalkd, Redis, closed_port, wait_until
from tests.records import make_beat

Check = Callable[..., Answer]
MEAN = 2.0  # seconds


def beat(redis: Redis, worker: str, server: str, *, runs: int | None = 50) -> None:
    """A heartbeat of a worker that has run so many jobs; None: a record without these numbers."""
    totals = (RunTotals("mail", "send", {"ok": runs or 0}, MEAN * (runs or 0), (runs or 0,)),)
    with redis.client() as client:
        seconds, micros = client.time()
        now = seconds + micros / 1e6
        record = make_beat(
            queues=("mail",),
            server=server,
            state="idle",
            beat_at=now,
            loop_at=now,
            started_at=now - 900,
            totals=None if runs is None else totals,
        )
        client.set(worker_key(worker), encode_heartbeat(record))
        client.zadd(WORKERS_KEY, {worker: now + 3600})


def put(server: Beanstalkd, count: int) -> None:
    with server.client(use="mail") as client:
        for _ in range(count):
            client.put("x")


@pytest.mark.parametrize("name", ["queue_depth", "queue_age"])
def test_an_alert_says_how_many_workers_are_there_and_how_many_are_needed(
    check: Check, beanstalkd: Beanstalkd, redis_server: Redis, name: str, tmp_path: Path
) -> None:
    put(beanstalkd, 300)
    for worker in ("web1.a", "web1.b"):
        beat(redis_server, worker, beanstalkd.address)
    arguments = ("--server", beanstalkd.address, "-Q", "mail")

    def look(limit: str, memory: str) -> Answer:
        """With a memory of its own: two looks that are seconds apart know a rate."""
        state = str(tmp_path / memory)
        environ = {"BEANWATCH_REDIS_URL": redis_server.url, "BEANWATCH_STATE_DIR": state}
        return check(name, *arguments, "-c", limit, **environ)

    limit = "10" if name == "queue_depth" else "0"
    if name == "queue_age":
        wait_until(lambda: check(name, *arguments, "-c", limit).code == 2)
    answer = look(limit, "first")
    # 300 jobs of 2 s each in 300 s, with a fifth of the time to spare.
    assert answer.code == 2
    assert answer.text.endswith(", 2 workers there, at least 3 needed")
    fine = look("100000", "second")
    assert "needed" not in fine.text, "only an alert needs it"
    beat(redis_server, "web1.c", beanstalkd.address)
    answer = look(limit, "third")
    assert "needed" not in answer.text, "at least 3 of 3 says nothing"


@pytest.mark.parametrize(
    "what", ["no record", "old records", "another server", "redis away", "redis hangs", "off"]
)
def test_what_is_not_known_is_not_said_and_changes_no_state(
    check: Check, beanstalkd: Beanstalkd, old_redis: Redis, tmp_path: Path, what: str
) -> None:
    put(beanstalkd, 11)
    url = old_redis.url
    config = tmp_path / "beanwatch.toml"
    config.write_text(f'[servers]\nq1 = "{beanstalkd.address}"\nq2 = "127.0.0.1:1"\n')
    if what == "old records":
        beat(old_redis, "web1.a", beanstalkd.address, runs=None)
    if what == "another server":
        beat(old_redis, "web1.a", "queue2:11300")
    if what == "redis away":
        url = f"redis://127.0.0.1:{closed_port()}"
    if what == "off":
        url = ""
    arguments = ("--config", config, "--server", "q1", "-Q", "mail", "-c", "10")
    if what == "redis hangs":
        old_redis.freeze()
    try:
        answer = check("queue_depth", *arguments, BEANWATCH_REDIS_URL=url)
    finally:
        if what == "redis hangs":
            old_redis.thaw()
    assert answer.code == 2
    assert answer.text == (
        "QUEUE_DEPTH CRITICAL - mail: 11 jobs ready (limit 10), no consumer watches it"
    )
    has_note = any("heartbeats" in line for line in answer.long)
    assert has_note == (what in ("redis away", "redis hangs"))
