"""What check_job_failures says of the outcomes in a real Redis, word for word."""

import pytest

from beanwatch.collectors.heartbeats import outcomes_key
from beanwatch.collectors.outcomes import outcome_field
from tests.checks.conftest import Check
from tests.real import Redis

OK, WARNING, CRITICAL, UNKNOWN = range(4)


def count(redis: Redis, tube: str, job: str, **outcomes: int) -> None:
    """Count into the running minute."""
    with redis.client() as client:
        key = outcomes_key(int(client.time()[0]) // 60)
        for outcome, number in outcomes.items():
            client.hincrby(key, outcome_field(tube, job, outcome), number)


@pytest.mark.parametrize(
    ("outcomes", "code", "words"),
    [
        ({"ok": 2}, OK, "all jobs: 0 of 2 runs failed"),
        ({"buried": 2}, OK, "all jobs: 2 of 2 runs failed (under 20, too few to judge)"),
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
