"""Heartbeats in a real Redis."""

import re
import threading
from pathlib import Path
from typing import Any

import pytest

from beanwatch.checks.lib.fleet_source import read_fleet, read_settled
from beanwatch.config import Config
from beanwatch.net.redis_reader import RedisReader
from beanwatch.net.redis_url import RedisError, parse_redis_url
from beanwatch.store.clock import read_time
from beanwatch.store.fleet import Fleet
from beanwatch.store.heartbeats import (
    ENDED_KEY,
    WORKERS_KEY,
    JobRecord,
    encode_heartbeat,
    worker_key,
)
from beanwatch.store.stops import STOPS_KEPT, STOPS_KEY, Stop, read_stops, stop_commands
from tests.checks.conftest import Check, says
from tests.real import Redis
from tests.records import make_beat, make_job

OK, WARNING, CRITICAL, UNKNOWN = range(4)
NOW = 1_800_000_000.0  # by the worker's clock, which may be any


def beat(redis: Redis, worker: str, *, age: float = 0.2, **fields: Any) -> None:
    """A heartbeat; times are relative to the worker's own clock."""
    times = {"beat_at": 0.0, "loop_at": 0.0, "started_at": -9000.0}
    record = {"state": "idle", "queues": ("images",), "max_idle": 20.0, **times, **fields}
    for key in (*times, "crashed_at", "shutdown_deadline"):
        if key in record:
            record[key] += NOW
    record["jobs"] = tuple(at_now(job) for job in record.get("jobs", ()))
    with redis.client() as client:
        seconds, micros = client.time()
        client.set(worker_key(worker), encode_heartbeat(make_beat(**record)))
        client.zadd(WORKERS_KEY, {worker: seconds + micros / 1e6 - age})


def at_now(job: JobRecord) -> JobRecord:
    """A job whose times were relative to the worker's clock."""
    times = ("started_at", "deadline", "hard_deadline")
    return job._replace(**{key: NOW + at for key in times if (at := getattr(job, key))})


RESIZE = make_job(
    name="image.resize", queue="images", where="jobs.py:12 in resize", started_at=-100.0
)
BUSY = {"state": "busy", "jobs": (RESIZE,)}
LATE = {**BUSY, "jobs": (RESIZE._replace(deadline=-30.0, hard_deadline=5.0),)}
TOO_LATE = {**BUSY, "jobs": (RESIZE._replace(deadline=-30.0, hard_deadline=-5.0),)}


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        ({}, OK, "web1.a: idle"),
        (BUSY, OK, "web1.a: busy with image.resize (job 7, queue images)"),
        ({"state": "waiting"}, OK, "web1.a: waiting"),
        ({"age": 7260.0}, CRITICAL, "web1.a: no heartbeat for 2h 1m, last seen idle"),
        ({"age": 15.0, "interval": 10.0}, OK, "web1.a: idle"),
        (
            {**BUSY, "age": 7260.0},
            CRITICAL,
            "no heartbeat for 2h 1m, last seen running image.resize (job 7, queue images)",
        ),
        (
            LATE,
            WARNING,
            "hung in image.resize (job 7, queue images) at jobs.py:12 in resize, 30s past its",
        ),
        (
            TOO_LATE,
            CRITICAL,
            "hung in image.resize (job 7, queue images) at jobs.py:12 in resize, 30s past its",
        ),
        (
            {"loop_at": -90.0},
            CRITICAL,
            "hung outside a job, its main loop has been stuck for 1m 30s",
        ),
        (
            {"state": "blocked", "reason": "free disk 12 MB"},
            WARNING,
            "blocked, takes no job: free disk 12 MB",
        ),
        (
            {"started_at": -90.0, "last_exit": "killed by SIGKILL", "restarts": 1},
            WARNING,
            "restarted 1m 30s ago, the previous process ended: killed by SIGKILL",
        ),
        ({"started_at": -900.0, "last_exit": "killed by SIGKILL"}, OK, "idle"),
        (
            {"started_at": -5.0, "crashed_at": -90.0, "last_exit": "killed while idle"},
            WARNING,
            "restarted 1m 30s ago, an earlier process ended: killed while idle",
        ),
        ({"started_at": -5.0, "crashed_at": -601.0, "last_exit": "killed while idle"}, OK, "idle"),
        (
            {"state": "stopping", "is_over": True, "age": 30.0, "last_exit": "killed while idle"}
            | {"started_at": -90.0, "crashed_at": -90.0},
            WARNING,
            "restarted 2m 0s ago, the previous process ended: killed while idle",
        ),
        (
            {"started_at": -90.0, "last_exit": "killed while idle", "restarts": 7},
            WARNING,
            "restarted 1m 30s ago and 7 times in all, "
            "the previous process ended: killed while idle",
        ),
        ({"state": "stopping", "is_over": True, "age": 30.0}, OK, "web1.a: stopping"),
        (
            {"state": "stopping", "is_over": True, "reason": "3 jobs done", "age": 7260.0},
            CRITICAL,
            "web1.a: ended 2h 1m ago (3 jobs done), and was not started again",
        ),
        (
            {"state": "stopping", "is_over": True, "shutdown_timeout": 15.0, "age": 16.0},
            CRITICAL,
            "web1.a: ended 16s ago, and was not started again",
        ),
        (
            {"state": "stopping", "is_over": True, "shutdown_timeout": 600.0, "age": 61.0},
            CRITICAL,
            "web1.a: ended 1m 1s ago, and was not started again",
        ),
        (
            {"state": "stopping", "shutdown_deadline": -5.0, "shutdown_timeout": 30.0},
            OK,
            "web1.a: stopping",
        ),
        (
            {**BUSY, "state": "stopping", "shutdown_deadline": -40.0},
            CRITICAL,
            "hung while it stops, in image.resize (job 7, queue images), 40s past its shutdown",
        ),
        (
            {"state": "starting", "failed_starts": 3, "last_words": "cannot import shop: no json"},
            CRITICAL,
            "web1.a: cannot start: cannot import shop: no json (tried 0s ago, 3 times in a row)",
        ),
        (
            {**BUSY, "age": 7260.0, "last_words": "image.resize ran past its hard deadline"},
            CRITICAL,
            "web1.a: dead for 2h 1m, it ended itself: image.resize ran past its hard deadline",
        ),
        (
            {"restart_refused": "cannot import shop: no json"},
            WARNING,
            "web1.a: did not restart as told, runs on: cannot import shop: no json",
        ),
        (
            {"recycled_at": tuple(int(NOW) - 60 * n for n in range(7)), "recycles": 90}
            | {"recycled_why": "it uses 300 MiB of memory, over its limit (jobs run: 1)"},
            WARNING,
            "web1.a: recycled 7 times in 10 minutes (limit 5), the last time because it uses "
            "300 MiB of memory, over its limit (jobs run: 1)",
        ),
        ({"recycled_at": tuple(int(NOW) - 110 * n for n in range(9))}, WARNING, "recycled 6 times"),
        ({"recycled_at": tuple(int(NOW) - 121 * n for n in range(9))}, OK, "web1.a: idle"),
        ({"state": "of a newer worker"}, OK, "web1.a: idle"),
    ],
)
def test_each_state_of_a_worker_has_its_words(
    check: Check, old_redis: Redis, fields: dict[str, Any], code: int, words: str
):
    beat(old_redis, "web1.a", **fields)
    answer = check("worker_heartbeat", "--redis", old_redis.url)
    assert (answer.code, says(answer.text, words)) == (code, True), answer.text


def test_how_often_a_worker_may_be_recycled_can_be_chosen(check: Check, redis_server: Redis):
    beat(redis_server, "web1.a", recycled_at=(int(NOW) - 20, int(NOW) - 10), recycled_why="x")
    arguments = ("--redis", redis_server.url, "--recycled")
    assert check("worker_heartbeat", *arguments, "1").code == WARNING
    assert check("worker_heartbeat", *arguments, "2").code == OK


def test_the_worst_worker_comes_first(check: Check, old_redis: Redis):
    beat(old_redis, "web1.a", state="blocked", reason="full")
    beat(old_redis, "web1.b", age=99.0)
    beat(old_redis, "web1.c")
    answer = check("worker_heartbeat", "--redis", old_redis.url)
    assert answer.code == CRITICAL
    assert answer.text.index("web1.b: no heartbeat") < answer.text.index("web1.a: blocked")
    assert "web1.c" not in answer.text
    assert answer.perfdata["live"] == "2"


def test_a_worker_that_is_expected_and_not_there_is_critical(
    check: Check, old_redis: Redis, tmp_path: Path
):
    beat(old_redis, "web1.a")
    config = tmp_path / "beanwatch.toml"
    config.write_text(
        f'[redis]\nurl = "{old_redis.url}"\n[workers]\nexpected = ["web1.a", "web1.b"]\n'
    )
    answer = check("worker_heartbeat", "--config", config)
    assert answer.code == CRITICAL
    assert answer.text.endswith("web1.b: not running, though it is expected")
    assert check("worker_heartbeat", "--config", config, "--worker", "*.a").code == OK
    assert check("worker_heartbeat", "--redis", old_redis.url, "--worker", "web1.z").code == 2


def test_an_expected_worker_that_runs_under_another_host_is_named(
    check: Check, redis_server: Redis, tmp_path: Path
):
    beat(redis_server, "web1.a")
    config = tmp_path / "beanwatch.toml"
    config.write_text('[workers]\nexpected = ["queue1.a"]\n')
    answer = check("worker_heartbeat", "--redis", redis_server.url, "--config", config)
    assert answer.code == CRITICAL
    assert answer.text.endswith(
        "queue1.a: not running, though it is expected (an id is HOST.NAME; did you mean web1.a?)"
    )


def test_no_worker_at_all_is_critical(check: Check, old_redis: Redis):
    answer = check("worker_heartbeat", "--redis", old_redis.url, "--worker", "web9.*")
    assert answer.code == CRITICAL
    assert answer.text.endswith("no worker web9.* sends a heartbeat")


def test_the_number_of_live_workers_of_a_queue_can_be_judged(check: Check, redis_server: Redis):
    beat(redis_server, "web1.a")
    beat(redis_server, "web1.b", queues=("email",))
    arguments = ("--redis", redis_server.url, "-Q", "images", "-c", "2:")
    answer = check("worker_heartbeat", *arguments)
    assert (answer.code, answer.perfdata["live"]) == (CRITICAL, "1")
    assert "1 live worker (allowed 2:)" in answer.text


def test_a_fresh_record_that_cannot_be_read_is_not_a_dead_worker_and_an_old_one_is(
    check: Check, old_redis: Redis
):
    for age, code, words in (
        (0.2, UNKNOWN, "web1.a: beats, but its record is unreadable: it is not JSON"),
        (60.0, CRITICAL, "1m 0s, and its record in Redis is unreadable: it is not JSON"),
    ):
        beat(old_redis, "web1.a", age=age)
        with old_redis.client() as client:
            client.set(worker_key("web1.a"), b"{nonsense")
        answer = check("worker_heartbeat", "--redis", old_redis.url)
        assert answer.code == code
        assert says(answer.text, words), answer.text
    with old_redis.client() as client:
        client.delete(worker_key("web1.a"))
    answer = check("worker_heartbeat", "--redis", old_redis.url)
    assert ", and its record in Redis is gone" in answer.text


def retire(redis: Redis, worker: str) -> None:
    """Take a worker out of the list, as it does when it stops and still has a crash to tell."""
    with redis.client() as client:
        (score,) = client.zmscore(WORKERS_KEY, [worker])
        client.zrem(WORKERS_KEY, worker)
        client.zadd(ENDED_KEY, {worker: score})


def test_a_crash_is_told_for_ten_minutes_though_the_worker_was_stopped_since(
    check: Check, redis_server: Redis
):
    crashed = {"is_over": True, "started_at": -20.0, "last_exit": "killed while idle"}
    beat(redis_server, "web1.a")
    for worker, crashed_at, age in (("b", -30.0, 300.0), ("c", -30.0, 580.0), ("d", -30.0, 200.0)):
        beat(redis_server, f"web1.{worker}", **crashed, crashed_at=crashed_at, age=age)
        retire(redis_server, f"web1.{worker}")
    with redis_server.client() as client:
        client.delete(worker_key("web1.d"))  # its record has expired
    answer = check("worker_heartbeat", "--redis", redis_server.url)
    assert answer.code == WARNING
    told = "stopped on request 5m 0s ago, restarted 5m 30s ago, an earlier process ended: killed"
    assert says(answer.text, f"WORKER_HEARTBEAT WARNING - web1.b: {told} while idle"), answer.text
    assert "web1.c" not in answer.text
    assert answer.perfdata["live"] == "1"
    arguments = ("--redis", redis_server.url, "--restarted")
    assert check("worker_heartbeat", *arguments, "5m").code == OK
    assert "web1.c" in check("worker_heartbeat", *arguments, "11m").text


def test_a_worker_that_has_been_gone_for_an_hour_is_forgotten(check: Check, old_redis: Redis):
    beat(old_redis, "web1.a")
    beat(old_redis, "web1.b", age=4000.0)
    with old_redis.client() as client:
        client.delete(worker_key("web1.b"))  # as its expiry does
    assert check("worker_heartbeat", "--redis", old_redis.url).code == OK


def test_a_worker_that_a_command_stopped_is_named_with_its_sender_for_ten_minutes(
    check: Check, old_redis: Redis
):
    beat(old_redis, "web1.a")
    with RedisReader(parse_redis_url(old_redis.url), 30) as link:
        now = read_time(link.execute)
        for worker, age in (("web1.b", 125.0), ("web1.old", 601.0), ("web1.a", 20.0)):
            stop = Stop(worker, "5e1f", "told to stop by ann@adm1: a | new\x1b[2J disk")
            link.execute(stop_commands(stop, now - age))
    answer = check("worker_heartbeat", "--redis", old_redis.url)
    assert answer.code == OK
    told = "web1.b: told to stop by ann@adm1: a new [2J disk, 2m 5s ago"
    assert says(answer.text, f"web1.a: idle / {told}"), answer.text
    assert answer.text.count("told to stop") == 1, "not those of long ago, nor that runs again"
    beat(old_redis, "web1.c", age=60.0)
    answer = check("worker_heartbeat", "--redis", old_redis.url)
    assert answer.code == CRITICAL
    assert "web1.c: no heartbeat for" in answer.text
    assert "web1.b: told to stop by ann@adm1" in answer.text


def test_stops_that_are_recorded_are_bounded_and_expire(redis_server: Redis):
    with RedisReader(parse_redis_url(redis_server.url), 30) as link:
        now = read_time(link.execute)
        for n in range(STOPS_KEPT + 20):
            link.execute(stop_commands(Stop(f"web1.{n}"), now))
        assert len(read_stops(link.execute)) == STOPS_KEPT
        link.execute([("ZADD", STOPS_KEY, now, b"junk")])
        assert len(read_stops(link.execute)) == STOPS_KEPT
    assert 0 < redis_server.client().ttl(STOPS_KEY) <= 600


def test_workers_that_write_again_after_redis_was_away_are_not_called_dead(
    check: Check, redis_server: Redis
):
    """Redis was frozen for a minute: at its first look the check sees no fresh heartbeat."""
    for worker in ("web1.a", "web1.b"):
        beat(redis_server, worker, age=60)
    writing = threading.Timer(0.5, lambda: [beat(redis_server, w) for w in ("web1.a", "web1.b")])
    writing.start()
    answer = check("worker_heartbeat", "--redis", redis_server.url)
    writing.join()
    assert (answer.code, answer.text) == (OK, "WORKER_HEARTBEAT OK - 2 workers: 2 idle")


@pytest.mark.parametrize("others", ["none", "one"])
def test_a_worker_that_has_not_written_since_redis_was_started_is_not_called_missing(
    check: Check, redis_server: Redis, tmp_path: Path, others: str
):
    """It connects again a second after Redis is back; another one may have been faster."""
    config = tmp_path / "beanwatch.toml"
    config.write_text('[workers]\nexpected = ["web1.a", "web1.b"]\n')
    redis_server.restart()
    if others == "one":
        beat(redis_server, "web1.a")
    writing = threading.Timer(0.8, lambda: [beat(redis_server, w) for w in ("web1.a", "web1.b")])
    writing.start()
    answer = check("worker_heartbeat", "--redis", redis_server.url, "--config", config)
    writing.join()
    assert (answer.code, answer.text) == (OK, "WORKER_HEARTBEAT OK - 2 workers: 2 idle")


@pytest.mark.parametrize("record", ["none", "old", "of no worker"])
def test_a_worker_that_is_silent_since_redis_was_started_is_unknown_not_dead(
    check: Check, redis_server: Redis, tmp_path: Path, record: str
):
    """On a slow host it needs seconds to connect again, more than the check can wait."""
    config = tmp_path / "beanwatch.toml"
    is_any_known = record != "of no worker"
    config.write_text('[workers]\nexpected = ["web1.a", "web1.b"]\n' if is_any_known else "")
    redis_server.restart()
    if is_any_known:
        beat(redis_server, "web1.a")
    if record == "old":
        beat(redis_server, "web1.b", age=60)
    answer = check("worker_heartbeat", "--redis", redis_server.url, "--config", config)
    assert answer.code == UNKNOWN, answer.text
    assert re.fullmatch(
        r"WORKER_HEARTBEAT UNKNOWN - Redis was started \ds ago: "
        "workers may not have connected again yet",
        answer.text,
    )


def test_a_first_worker_that_has_not_written_since_redis_was_started_is_waited_for(
    check: Check, redis_server: Redis
):
    redis_server.restart()
    writing = threading.Timer(0.8, beat, (redis_server, "web1.a"))
    writing.start()
    answer = check("worker_heartbeat", "--redis", redis_server.url)
    writing.join()
    assert (answer.code, answer.text) == (OK, "WORKER_HEARTBEAT OK - web1.a: idle")


@pytest.mark.parametrize(("interval", "age"), [(20.0, 30.0), (1e9, 100.0)])
def test_workers_with_a_long_interval_are_waited_for(
    redis_server: Redis, interval: float, age: float
):
    beat(redis_server, "web1.a", age=60, interval=interval)

    def read(redis_age: float) -> Fleet:
        with RedisReader(parse_redis_url(redis_server.url), 5) as link:
            return read_fleet(link.execute)._replace(redis_age=redis_age)

    def no_sleep(_: float) -> None:
        return

    config = Config(expected_workers=("web1.a", "web1.b"))
    with pytest.raises(RedisError, match="workers may not have connected again yet"):
        read_settled(lambda: read(age), 10, config, sleep=no_sleep)
    assert read_settled(lambda: read(121.0), 10, config, sleep=no_sleep).workers


def test_one_fresh_heartbeat_shows_that_redis_was_there(check: Check, old_redis: Redis):
    """Then a worker without one is dead, and the check says so at once."""
    beat(old_redis, "web1.a", age=60)
    beat(old_redis, "web1.b")
    reads: list[Fleet] = []

    def read() -> Fleet:
        with RedisReader(parse_redis_url(old_redis.url), 5) as link:
            reads.append(read_fleet(link.execute)._replace(redis_age=60.0))
        return reads[-1]

    read_settled(read, 10, Config(), sleep=pytest.fail)
    assert len(reads) == 1
    answer = check("worker_heartbeat", "--redis", old_redis.url)
    assert answer.code == CRITICAL
    assert "web1.a: no heartbeat for 1m" in answer.text
