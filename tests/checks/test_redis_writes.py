"""A Redis that answers reads and refuses writes is reported as that; nobody is called dead."""

import json
from collections.abc import Callable

import pytest

from beanwatch.net.redis_reader import RedisReader
from beanwatch.net.redis_url import WRITE_REFUSALS, parse_redis_url
from beanwatch.store.heartbeats import read_workers
from beanwatch.store.outcome_counts import outcome_field, outcomes_key
from tests.checks.conftest import Check
from tests.checks.test_workers import beat
from tests.real import Beanstalkd, Redis

Run = Callable[..., tuple[int, str, str]]
OK, WARNING, CRITICAL, UNKNOWN = range(4)
# Users with a few rights, as ACL rules.
READS = "on >secret ~{beanwatch}:* -@all +@read +time +ping +select"
USERS = {
    "all": "",
    "no INFO": f"{READS} +@write",
    "no writes": f"{READS} +info",
}


def url_of(redis: Redis, rules: str) -> str:
    """The URL of a user with these rights; of the default user if there are no rules."""
    if not rules:
        return redis.url
    redis.client().execute_command("ACL", "SETUSER", "watch", *rules.split())
    return f"redis://watch:secret@127.0.0.1:{redis.port}/0"


@pytest.mark.parametrize("rules", USERS.values(), ids=USERS)
@pytest.mark.parametrize("code", WRITE_REFUSALS)
def test_old_heartbeats_in_a_redis_that_refuses_writes_are_one_unknown_with_the_reason(
    check: Check, redis_server: Redis, code: str, rules: str
):
    for name in ("a", "b"):
        beat(redis_server, f"web1.{name}", age=60.0)
    url = url_of(redis_server, rules)
    redis_server.refuse_writes(code)
    for name in ("worker_heartbeat", "job_failures"):
        answer = check(name, "--redis", url)
        assert answer.code == UNKNOWN, answer.text
        assert answer.text == (
            f"{name.upper()} UNKNOWN - Redis takes no writes: {code}, {WRITE_REFUSALS[code]}"
        )
        assert answer.long[0] == "What to do: beanwatch runbook redis"


def test_without_a_heartbeat_nobody_is_called_missing_if_redis_refuses_writes(
    check: Check, redis_server: Redis
):
    redis_server.refuse_writes("OOM")
    answer = check("worker_heartbeat", "--redis", redis_server.url, "--worker", "web1.a")
    assert answer.code == UNKNOWN
    assert "Redis takes no writes: OOM" in answer.text


def test_a_replica_that_gets_fresh_heartbeats_from_its_master_is_believed(
    check: Check, old_redis: Redis
):
    beat(old_redis, "web1.a")
    beat(old_redis, "web1.b", age=60.0)
    old_redis.refuse_writes("READONLY")
    answer = check("worker_heartbeat", "--redis", old_redis.url)
    assert answer.code == CRITICAL
    assert "web1.b: no heartbeat for 1m" in answer.text
    assert check("job_failures", "--redis", old_redis.url).code == OK


def test_the_last_heartbeats_before_a_refusal_differ_and_nobody_is_called_dead(
    check: Check, old_redis: Redis
):
    beat(old_redis, "web1.a", age=10.4)
    beat(old_redis, "web1.b", age=9.7)
    beat(old_redis, "web1.old", age=600.0)
    old_redis.refuse_writes("READONLY")
    answer = check("worker_heartbeat", "--redis", old_redis.url)
    assert (answer.code, "web1.a" in answer.text) == (UNKNOWN, False), answer.text
    with RedisReader(parse_redis_url(old_redis.url), 10.0) as link:
        found = {one.id: one for one in read_workers(link.execute)}
    assert {name for name, worker in found.items() if worker.doubt} >= {"web1.a"}
    assert not found["web1.old"].doubt, "others wrote after it"


def test_a_check_writes_nothing_where_info_says_enough(check: Check, redis_server: Redis):
    beat(redis_server, "web1.a", age=60.0)
    url = url_of(redis_server, USERS["no writes"])
    check("worker_heartbeat", "--redis", url)
    check("job_failures", "--redis", url)
    assert redis_server.client().acl_log() == []


def test_consumers_are_not_compared_with_heartbeats_that_cannot_be_written(
    check: Check, redis_server: Redis, beanstalkd: Beanstalkd
):
    with beanstalkd.client(use="images") as client:
        client.put("a picture")
    beat(redis_server, "web1.a", age=60.0)
    redis_server.refuse_writes("OOM")
    answer = check(
        "queue_consumers", "-H", beanstalkd.address, "-Q", "images", "--redis", redis_server.url
    )
    assert answer.code == CRITICAL
    assert "dead" not in answer.text
    assert any("not compared" in line and "takes no writes: OOM" in line for line in answer.long)


def test_commands_and_collector_say_it_too_and_forget_nobody(
    run: Run, redis_server: Redis, beanstalkd: Beanstalkd
):
    beat(redis_server, "web1.a", age=60.0)
    redis_server.refuse_writes("OOM")
    at = ("--redis", redis_server.url)
    words = "Redis takes no writes: OOM, its memory is full"
    (shown,) = json.loads(run("beanwatch", "workers", "list", "--json", *at)[1])
    assert (shown["health"], shown["problem"]) == ("unknown", words)
    assert words in run("beanwatch", "workers", "list", *at)[1]
    code, out, err = run("beanwatch", "workers", "forget", "web1.a", *at)
    assert (code, out) == (1, "")
    assert err == f"beanwatch: it is not known which workers are dead: {words}\n"
    server = ("--server", beanstalkd.address)
    top = json.loads(run("beanwatch", "top", "--once", "--json", *at, *server)[1])
    assert top["trouble"] == [{"redis": words}]
    code, out, err = run("beanwatch", "collect", "--once", "--graphite", "-", *at, *server)
    assert code == 1
    assert words in err
    assert "beanwatch.workers.success 0 " in out
    assert out.count("beanwatch.worker") == 1


def test_counts_of_runs_are_believed_while_redis_takes_writes(check: Check, redis_server: Redis):
    with redis_server.client() as client:
        minute = client.time()[0] // 60
        client.hset(outcomes_key(minute), outcome_field("images", "resize", "buried"), 30)
    assert check("job_failures", "--redis", redis_server.url).code == CRITICAL
