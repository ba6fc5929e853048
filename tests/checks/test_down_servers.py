"""A worker that only waits for a queue server that is down is that server's alert, not one more."""

import socket
from collections.abc import Callable
from typing import Any

import pytest

from tests.checks.conftest import Answer, Check
from tests.checks.test_workers import beat
from tests.real import Beanstalkd, Redis

OK, WARNING, CRITICAL, UNKNOWN = range(4)
Ask = Callable[..., Answer]


def disconnected(server: str) -> dict[str, Any]:
    """The fields of a worker on this host that cannot use its queue server."""
    reason = f"{server}: connection refused"
    record = {"state": "blocked", "is_disconnected": True, "reason": reason}
    return {**record, "server": server, "hostname": socket.gethostname()}


@pytest.fixture
def ask(check: Check, redis_server: Redis, beanstalkd: Beanstalkd) -> Ask:
    def run(*arguments: str) -> Answer:
        watched = arguments or ("--watched", beanstalkd.address)
        return check("worker_heartbeat", "--redis", redis_server.url, *watched)

    return run


def test_a_worker_that_waits_for_a_watched_server_that_is_down_is_no_problem(
    ask: Ask, redis_server: Redis, beanstalkd: Beanstalkd
):
    beat(redis_server, "web1.a", **disconnected(beanstalkd.address))
    beanstalkd.kill()
    answer = ask()
    assert answer.code == OK
    assert "web1.a: blocked, waits for " in answer.text
    assert f"({beanstalkd.address}), which does not answer: see the service" in answer.text
    beat(redis_server, "web1.b")
    answer = ask()
    assert answer.code == OK
    assert "2 workers: 1 blocked, 1 idle; " in answer.text
    assert "does not answer, see the service there" in answer.text


def test_a_frozen_server_is_down_too(ask: Ask, redis_server: Redis, beanstalkd: Beanstalkd):
    beat(redis_server, "web1.a", **disconnected(beanstalkd.address))
    beanstalkd.freeze()
    answer = ask("--watched", beanstalkd.address, "-t", "3")
    beanstalkd.thaw()
    assert (answer.code, "which does not answer" in answer.text) == (OK, True), answer.text


def test_it_alerts_if_nobody_watches_the_server(
    ask: Ask, redis_server: Redis, beanstalkd: Beanstalkd
):
    beat(redis_server, "web1.a", **disconnected(beanstalkd.address))
    beanstalkd.kill()
    assert ask("-v").code == WARNING
    assert ask("--watched", "127.0.0.1:1").code == WARNING


def test_it_alerts_if_the_server_answers_the_check(
    ask: Ask, redis_server: Redis, beanstalkd: Beanstalkd
):
    beat(redis_server, "web1.a", **disconnected(beanstalkd.address))
    answer = ask()
    assert (answer.code, "web1.a: blocked, takes no job: " in answer.text) == (WARNING, True)


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        ({"is_disconnected": False, "reason": "12 MiB of disk are free"}, WARNING, "of disk are"),
        ({"hostname": "another-host"}, WARNING, "blocked, takes no job"),
        ({"server": ""}, WARNING, "blocked, takes no job"),
        ({"restart_refused": "cannot import shop"}, WARNING, "did not restart as told"),
        (
            {"started_at": -9.0, "last_exit": "killed"},
            WARNING,
            "the previous process ended: killed",
        ),
        ({"age": 99.0}, CRITICAL, "no heartbeat for"),
    ],
    ids=["disk", "other host", "no address", "deploy", "crash", "dead"],
)
def test_another_problem_of_the_worker_is_told_while_the_server_is_down(
    check: Check,
    old_redis: Redis,
    beanstalkd: Beanstalkd,
    fields: dict[str, Any],
    code: int,
    words: str,
):
    beat(old_redis, "web1.a", **{**disconnected(beanstalkd.address), **fields})
    beanstalkd.kill()
    watched = ("--watched", beanstalkd.address)
    answer = check("worker_heartbeat", "--redis", old_redis.url, *watched)
    assert (answer.code, words in answer.text) == (code, True), answer.text


def test_a_wrong_address_is_a_usage_error(ask: Ask):
    answer = ask("--watched", "unix:x")
    assert (answer.code, "--watched: " in answer.text) == (UNKNOWN, True)
