"""check_redis: does the Redis of the heartbeats answer, take writes, and keep them?"""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beanwatch.checks.redis import DEFAULT_LIMITS, decide
from beanwatch.config import Threshold
from beanwatch.net.redis_info import RedisState
from beanwatch.net.redis_url import WRITE_REFUSALS
from tests.checks.conftest import Check
from tests.checks.test_redis_writes import USERS, url_of
from tests.checks.test_workers import beat
from tests.real import Redis
from tests.real.redis_server import SpecialRedis

OK, WARNING, CRITICAL, UNKNOWN = range(4)
MIB = 1024 * 1024


def test_a_redis_without_a_limit_is_well_and_its_memory_is_told(check: Check, redis_server: Redis):
    answer = check("redis", "--redis", redis_server.url)
    assert answer.code == OK
    assert answer.text.startswith("REDIS OK - version ")
    assert answer.text.endswith(" MiB used (no limit)")
    assert set(answer.perfdata) == {"used_memory"}


@pytest.mark.parametrize("rules", USERS.values(), ids=USERS)
@pytest.mark.parametrize("code", WRITE_REFUSALS)
def test_a_redis_that_refuses_writes_is_critical_with_the_reason(
    check: Check, redis_server: Redis, code: str, rules: str
):
    url = url_of(redis_server, rules)
    assert check("redis", "--redis", url).code == OK
    redis_server.refuse_writes(code)
    answer = check("redis", "--redis", url)
    assert answer.code == CRITICAL
    assert f"Redis takes no writes: {code}, {WRITE_REFUSALS[code]}" in answer.text
    assert answer.long[0] == "What to do: beanwatch runbook redis"


def test_used_memory_is_judged_by_its_limits(check: Check, redis_server: Redis, tmp_path: Path):
    client = redis_server.client()
    client.config_set("maxmemory", str(2 * client.info("memory")["used_memory"]))
    url = redis_server.url
    assert check("redis", "--redis", url).code == OK
    answer = check("redis", "--redis", url, "-w", "30")
    assert answer.code == WARNING
    assert " % of its maxmemory is used (limit 30 %)" in answer.text
    assert 40 < float(answer.perfdata["memory"].removesuffix("%")) < 90
    config = tmp_path / "beanwatch.toml"
    config.write_text(f'[redis]\nurl = "{url}"\n[checks.redis]\ncritical = 30\n')
    assert check("redis", "--config", config).code == CRITICAL
    # A cache is always full, and takes writes all the same.
    client.config_set("maxmemory-policy", "volatile-lru")
    assert check("redis", "--redis", url, "-w", "30").code == OK


@given(st.integers(0, 10_000), st.integers(0, 100))
def test_no_alert_says_that_80_percent_are_over_a_limit_of_80(used: int, limit: int):
    """What is shown is what is judged."""
    info = {"used_memory": str(used), "maxmemory": "10000", "role": "master"}
    found = list(decide(RedisState("", info), Threshold(critical=str(limit))))
    shown = round(100 * (used / 10000), 1)
    assert [text.partition(";")[0] for _, text in found] == (
        [f"{shown:g} % of its maxmemory is used (limit {limit} %)"] if shown > limit else []
    )


@pytest.mark.parametrize("used", [81, 95, 99, 100])
def test_a_redis_that_is_nearly_full_is_a_warning_while_it_takes_writes(used: int):
    """CRITICAL would silence the services of workers and jobs, whose state is known."""
    info = {"used_memory": str(used), "maxmemory": "100", "role": "master"}
    ((state, text),) = decide(RedisState("", info), DEFAULT_LIMITS)
    assert state.code == WARNING
    assert text == (
        f"{used} % of its maxmemory is used (limit 80 %); a full Redis takes no heartbeats"
    )
    assert [state.code for state, _ in decide(RedisState("OOM", info), DEFAULT_LIMITS)] == [
        CRITICAL,
        WARNING,
    ]


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-random", "volatile-ttl"])
def test_a_policy_that_deletes_heartbeats_is_a_warning_once_there_is_a_limit(
    check: Check, redis_server: Redis, policy: str
):
    redis_server.client().config_set("maxmemory-policy", policy)
    assert check("redis", "--redis", redis_server.url).code == OK
    redis_server.client().config_set("maxmemory", str(100 * MIB))
    answer = check("redis", "--redis", redis_server.url)
    assert answer.code == WARNING
    assert f"may delete heartbeats when its memory is full (maxmemory-policy {policy})" in (
        answer.text
    )


def test_a_save_that_failed_is_a_warning_while_writes_are_taken(check: Check, redis_server: Redis):
    redis_server.refuse_writes("MISCONF")
    redis_server.client().config_set("stop-writes-on-bgsave-error", "no")
    answer = check("redis", "--redis", redis_server.url)
    assert answer.code == WARNING
    assert "Redis could not save its data to disk at its last attempt" in answer.text


def test_a_user_without_info_is_no_alert_unless_memory_has_limits(
    check: Check, redis_server: Redis
):
    url = url_of(redis_server, USERS["no INFO"])
    answer = check("redis", "--redis", url)
    assert answer.code == OK
    assert "it takes writes; its user may not run INFO, so version and memory are not known" in (
        answer.text
    )
    assert answer.perfdata == {"used_memory": "U"}
    assert check("redis", "--redis", url, "-w", "80").code == UNKNOWN


def test_a_redis_whose_info_was_renamed_is_tested_by_a_write(check: Check, tmp_path: Path):
    with SpecialRedis(tmp_path / "hardened", "--rename-command", "INFO", "") as server:
        beat(server, "web1.a", age=60.0)
        assert "it takes writes; " in check("redis", "--redis", server.url).text
        assert check("worker_heartbeat", "--redis", server.url).code == CRITICAL
        assert check("job_failures", "--redis", server.url).code == OK
        server.refuse_writes("OOM")
        assert check("worker_heartbeat", "--redis", server.url).code == UNKNOWN


def test_a_user_who_may_not_find_out_is_unknown_until_heartbeats_arrive(
    check: Check, redis_server: Redis
):
    url = url_of(redis_server, USERS["no writes"].replace("+info", ""))
    answer = check("redis", "--redis", url)
    assert answer.code == UNKNOWN
    assert "may run neither INFO nor SET {beanwatch}:probe" in answer.text
    beat(redis_server, "web1.a")
    assert check("redis", "--redis", url).code == OK
