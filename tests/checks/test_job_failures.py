"""What check_job_failures says of the outcomes in a real Redis, word for word."""

import time

import pytest

from beanwatch.store.outcome_counts import outcome_field, outcomes_key
from tests.checks.conftest import Check
from tests.real import Redis

OK, WARNING, CRITICAL, UNKNOWN = range(4)


def count(redis: Redis, queue: str, job: str, **outcomes: int) -> None:
    """Count into the running minute."""
    with redis.client() as client:
        key = outcomes_key(int(client.time()[0]) // 60)
        for outcome, number in outcomes.items():
            client.hincrby(key, outcome_field(queue, job, outcome), number)


@pytest.mark.parametrize(
    ("outcomes", "code", "words"),
    [
        ({"ok": 100}, OK, "all jobs: 0 of 100 runs failed"),
        ({"ok": 96, "retry": 4}, OK, "all jobs: 4 of 100 runs failed"),
        (
            {"ok": 90, "retry": 10},
            WARNING,
            "images resize: 10 of 100 runs failed, 10 % (limit 5 %)",
        ),
        # A share is judged as it is shown: no alert says "5 % (limit 5 %)".
        ({"ok": 9496, "retry": 504}, OK, "504 of 10000 runs failed"),
        ({"ok": 9494, "retry": 506}, WARNING, "506 of 10000 runs failed, 5.1 % (limit 5 %)"),
        ({"ok": 10, "buried": 10}, CRITICAL, "10 of 20 runs failed, 50 % (limit 25 %)"),
        ({"ok": 1, "buried": 10}, OK, "10 of 11 runs failed"),  # too few to say anything
        ({"ok": 9, "discarded": 100}, OK, "0 of 109 runs failed"),
        (
            {"ok": 100, "poison": 1},
            WARNING,
            "1 poison (buried because its runs killed workers), in 10 minutes",
        ),
        ({"ok": 100, "timeout": 2}, WARNING, "2 timed out"),
        (
            {"ok": 100, "lost": 3},
            WARNING,
            "3 done, but beanstalkd did not confirm the delete: may run twice",
        ),
    ],
)
def test_failures_are_judged_by_their_share_and_their_kind(
    check: Check, redis_server: Redis, outcomes: dict[str, int], code: int, words: str
):
    count(redis_server, "images", "resize", **outcomes)
    answer = check("job_failures", "--redis", redis_server.url)
    assert (answer.code, words in answer.text) == (code, True), answer.text


def test_one_bad_kind_of_job_is_not_hidden_by_many_good_ones(check: Check, redis_server: Redis):
    count(redis_server, "email", "send", ok=100_000)
    count(redis_server, "images", "a|b", ok=10, buried=20)
    answer = check("job_failures", "--redis", redis_server.url)
    assert answer.code == CRITICAL
    assert "images a b: 20 of 30 runs failed" in answer.text
    assert answer.perfdata["runs"] == "100030"
    assert check("job_failures", "--redis", redis_server.url, "-Q", "email").code == OK
    assert check("job_failures", "--redis", redis_server.url, "--exclude", "a|b").code == OK


def test_when_nothing_ran_the_state_can_be_chosen(check: Check, redis_server: Redis):
    assert check("job_failures", "--redis", redis_server.url).code == OK
    answer = check("job_failures", "--redis", redis_server.url, "--missing", "warning")
    assert (answer.code, answer.text.endswith("no job ran in 10 minutes")) == (WARNING, True)


def test_what_is_older_than_the_window_does_not_count(check: Check, redis_server: Redis):
    with redis_server.client() as client:
        old = int(time.time()) // 60 - 30
        client.hset(outcomes_key(old), outcome_field("images", "resize", "buried"), 100)
    assert check("job_failures", "--redis", redis_server.url).code == OK
    assert check("job_failures", "--redis", redis_server.url, "--minutes", "60").code == CRITICAL


@pytest.mark.parametrize(
    ("outcomes", "code", "words"),
    [
        ({"ok": 2}, OK, "all jobs: 0 of 2 runs failed"),
        ({"buried": 2}, OK, "all jobs: 2 of 2 runs failed (too few to judge: under 20)"),
        (
            {"ok": 100, "lost": 3},
            WARNING,
            "images resize: 3 done, but beanstalkd did not confirm the delete: may run twice, "
            "in 10 minutes",
        ),
    ],
)
def test_it_says_no_more_than_is_known(
    check: Check, redis_server: Redis, outcomes: dict[str, int], code: int, words: str
):
    count(redis_server, "images", "resize", **outcomes)
    answer = check("job_failures", "--redis", redis_server.url)
    assert answer.code == code
    assert answer.text.endswith(f" - {words}")


def test_of_all_jobs_the_kind_that_failed_most_is_named(check: Check, redis_server: Redis):
    count(redis_server, "mail", "send", ok=36, retry=2)
    count(redis_server, "mail", "fail", buried=12)
    answer = check("job_failures", "--redis", redis_server.url)
    assert (
        "all jobs: 14 of 50 runs failed, 28 % (limit 25 %), most of them mail fail: 12 of 12, in 10"
    ) in answer.text
    count(redis_server, "mail", "send", retry=11)
    count(redis_server, "mail", "move", retry=11)
    answer = check("job_failures", "--redis", redis_server.url)
    assert "above all mail send: 13 of 49, in 10 minutes" in answer.text
