"""`beanwatch failures` and `beanwatch queues retry` on jobs that RQ itself gave up."""

import json
import subprocess
from collections.abc import Callable

import pytest

from beanwatch.store.audit import AUDIT_KEY
from beanwatch.store.failures import FailureDetail, add_command
from tests.queues.redis.conftest import FRAMEWORKS, App, make_server
from tests.real import Redis

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def rq(app: App) -> App:
    """Runs apps/rq_app.py, after three jobs of `mail` have failed."""

    def run(*arguments: object) -> str:
        return app(FRAMEWORKS / "python", "rq_app.py", *arguments)

    run("put", "mail", "fail", 3)
    run("work", "mail")
    return run


def test_failed_jobs_of_rq_are_listed_shown_retried_and_deleted(
    rq: App, redis_server: Redis, run: Run
) -> None:
    server = make_server("rq", redis_server.url)

    def failures(action: str, *arguments: object) -> str:
        done = run(server, "beanwatch", "failures", action, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    (group,) = json.loads(failures("list", "--json"))
    assert (group["failed"], group["node"], group["job"]) == (3, "jobs", "rq_app.fail")
    assert "RuntimeError: smtp refused" in failures("list")
    (one,) = json.loads(failures("list", "--each", "--json", "--reason", "refused 2"))
    shown = failures("show", one["id"])
    assert "rq_app.fail(2)" in shown
    assert "kept by jobs" in shown
    assert "Traceback (most recent call last)" in shown
    assert "would retry jobs mail: 1 failed job" in failures("retry", one["id"], "--dry-run")
    assert failures("retry", one["id"], "--yes") == "jobs mail: 1 failed job, retried\n"
    found = json.loads(rq("numbers", "mail"))
    assert (found["ready"], found["buried"]) == (1, 2)
    done = json.loads(failures("delete", "--job", "rq_app.*", "--yes", "--json"))
    assert [(row["queue"], row["planned"], row["done"]) for row in done] == [("mail", 2, 2)]
    assert json.loads(rq("numbers", "mail"))["buried"] == 0
    assert failures("list") == "no failed run is recorded that fits\n"


def test_queues_retry_is_kick_and_is_in_the_audit_list(
    rq: App, redis_server: Redis, run: Run
) -> None:
    server = make_server("rq", redis_server.url)
    retry = ("beanwatch", "queues", "retry", "mail", "--redis", redis_server.url)
    done = run(server, *retry, "--reason", "*refused 1*", "--yes")
    assert (done.returncode, done.stdout) == (0, "jobs mail: 1 failed job, retried\n")
    assert json.loads(rq("numbers", "mail"))["ready"] == 1
    entries = [json.loads(one) for one in redis_server.client().lrange(AUDIT_KEY, 0, -1)]
    assert [(one["action"], one["state"], one["jobs"]) for one in entries] == [
        ("queues retry", "done", 1),
        ("queues retry", "started", 1),
    ]
    assert entries[0]["what"] == "retry jobs mail: 1 failed job"


def test_a_named_server_that_keeps_its_failed_jobs_leaves_those_of_others_alone(
    rq: App, redis_server: Redis, run: Run
) -> None:
    server = make_server("rq", redis_server.url)
    entry = json.dumps({"queue": "email", "job": "send", "address": "10.0.0.1:11300"})
    add = add_command("1", 1e9, entry.encode(), FailureDetail(b"{}", ""))
    redis_server.client().execute_command(*add)
    redis = ("--redis", redis_server.url)
    delete = ("beanwatch", "failures", "delete", "--job", "*", "--yes", *redis)
    done = run(server, *delete, "--server", "jobs")
    assert (done.returncode, done.stdout) == (0, "jobs mail: 3 failed jobs, deleted\n")
    assert "email" in run(server, "beanwatch", "failures", "list", *redis).stdout


def test_a_server_that_does_not_answer_is_told(redis_server: Redis, run: Run) -> None:
    redis_server.kill()
    retry = ("beanwatch", "failures", "retry", "--job", "*", "--yes")
    assert run(make_server("rq", redis_server.url), *retry).returncode == 1, "it is not known"
    done = run(make_server("rq", redis_server.url), "beanwatch", "failures", "list")
    assert (done.returncode, done.stdout) == (1, "")
    assert "cannot read the failed jobs of jobs" in done.stderr


def test_a_job_that_cannot_be_retried_alone_is_not_called_unrecorded(
    redis_server: Redis, run: Run
) -> None:
    server = make_server("list", redis_server.url)
    redis_server.client().rpush("mail:failed", "a", "b")
    failures = ("beanwatch", "failures")
    first, _ = json.loads(run(server, *failures, "list", "--each", "--json").stdout)
    done = run(server, *failures, "retry", first["id"], "--yes")
    assert (done.returncode, done.stdout) == (1, "nothing to retry\n")
    assert "can only act on all failed jobs of a queue" in done.stderr
    assert "recorded" not in done.stderr


def test_the_audit_list_says_that_a_retry_failed(rq: App, redis_server: Redis, run: Run) -> None:
    server = make_server("rq", redis_server.url)
    redis, failures = ("--redis", redis_server.url), ("beanwatch", "failures")
    found = json.loads(run(server, *failures, "list", "--each", "--json", *redis).stdout)
    redis_server.client().hset(f"rq:job:{found[0]['job_id']}", "rate_limit_key", "x")
    assert run(server, *failures, "retry", "--job", "*", "--yes", *redis).returncode == 1
    last = json.loads(redis_server.client().lrange(AUDIT_KEY, 0, 0)[0])
    assert (last["state"], last["jobs"]) == ("failed", 2)
    assert "1 job with a rate limit" in last["note"]
