"""RQ: jobs that RQ itself puts, runs and fails, compared with RQ's own numbers."""

import json
import os
import signal
import subprocess
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beanwatch.queues.base import ServerError, UnsupportedError
from beanwatch.queues.redis.rq import parse_time, parse_worker
from beanwatch.queues.redis.rq_actions import RqActions, inflate, to_job
from beanwatch.queues.servers import Server
from tests.queues.redis.conftest import FRAMEWORKS, App, make_server, read, read_problems
from tests.queues.redis.replies import REPLIES
from tests.real import Redis, wait_until

PYTHON = FRAMEWORKS / "python"
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def server(redis_server: Redis) -> Server:
    return make_server("rq", redis_server.url)


@pytest.fixture
def rq(app: App) -> App:
    """Runs apps/rq_app.py."""
    return lambda *arguments: app(PYTHON, "rq_app.py", *arguments)


@pytest.fixture
def actions(server: Server) -> Iterator[RqActions]:
    with closing(server.system.open_actions(server, 5.0)) as found:
        assert isinstance(found, RqActions)
        yield found


def test_numbers_are_those_of_rq(server: Server, rq: App, start: Callable[..., Any]) -> None:
    rq("put", "mail", "fail", 3)
    rq("work", "mail")
    rq("put", "mail", "hang", 1)
    rq("later", "mail", 500)
    # A worker that forks would leave its child behind when it is killed.
    simple = ("--worker-class", "rq.SimpleWorker")
    worker = start(FRAMEWORKS / "rq", "worker", *simple, "mail")
    wait_until(lambda: (read(server).queues or {})["mail"].reserved == 1)
    rq("put", "mail", "send", 4)
    rq("put", "höch /ä", "send", 1)
    reading = read(server, heads=("ready", "buried"))
    assert not reading.trouble
    assert not reading.implausible
    assert reading.queues is not None
    mail, other = reading.queues["mail"], reading.queues["höch /ä"]
    expected = json.loads(rq("numbers", "mail"))
    assert {field: getattr(mail, field) for field in expected} == expected
    assert expected == {"ready": 4, "reserved": 1, "delayed": 1, "buried": 3, "consumers": 1}
    wait_until(lambda: (read(server).queues or {})["mail"].idle_consumers == 0)
    assert mail.head_ready_age is not None
    assert 0 <= mail.head_ready_age < 60
    assert mail.head_buried_age is not None
    assert mail.head_buried_age >= mail.head_ready_age
    assert (other.ready, other.consumers, other.paused) == (1, 0, False)
    assert reading.server is not None
    assert (reading.server.ready, reading.server.buried, reading.server.queues) == (5, 3, 2)
    assert read_problems(server) == []
    os.kill(worker.pid, signal.SIGKILL)


def test_the_first_job_is_the_one_that_waits_longest(
    server: Server, rq: App, redis_server: Redis
) -> None:
    rq("put", "mail", "send", 2)
    first = redis_server.client().lindex("rq:queue:mail", 0)
    redis_server.client().hset(f"rq:job:{first}", "enqueued_at", "2026-01-01T00:00:00.000000Z")
    queues = read(server, heads=("ready",)).queues or {}
    assert (queues["mail"].head_ready_age or 0) > 86400
    redis_server.client().hset(f"rq:job:{first}", "enqueued_at", "yesterday")
    queues = read(server, heads=("ready",)).queues or {}
    assert queues["mail"].head_ready_age is None


def test_failed_jobs_that_rq_has_forgotten_do_not_count(
    server: Server, rq: App, redis_server: Redis
) -> None:
    rq("put", "mail", "fail", 1, 3600)
    rq("put", "mail", "fail", 1, -1)
    rq("work", "mail")
    redis_server.client().zadd("rq:failed:mail", {"forgotten": 1000})
    queue = (read(server, heads=("buried",)).queues or {})["mail"]
    assert queue.buried == 2 == json.loads(rq("numbers", "mail"))["buried"]
    assert queue.head_buried_age is not None


def test_a_worker_whose_heartbeat_expired_is_no_consumer_and_is_told(
    server: Server, redis_server: Redis, start: Callable[..., Any]
) -> None:
    worker = start(FRAMEWORKS / "rq", "worker", "--name", "web1.7", "mail")
    client = redis_server.client()
    wait_until(lambda: client.hget("rq:worker:web1.7", "state") == "idle")
    state = (read(server, names=["mail"]).queues or {})["mail"]
    assert (state.consumers, state.idle_consumers) == (1, 1)
    client.hdel("rq:worker:web1.7", "state")  # as before its first state, just registered
    state = (read(server, names=["mail"]).queues or {})["mail"]
    assert (state.consumers, state.idle_consumers) == (1, 1)
    assert read_problems(server) == []
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    client.delete("rq:worker:web1.7")  # as its time to live does after some minutes
    client.sadd("rq:queues", "rq:queue:mail")
    state = (read(server).queues or {})["mail"]
    assert (state.consumers, state.idle_consumers, state.held) == (0, 0, 0)
    (problem,) = read_problems(server)
    assert problem == (
        "warning: lists 1 worker whose heartbeat has expired "
        "(dead, frozen, or cut off from Redis): web1.7 (queue mail)"
    )


def test_overdue_jobs_and_suspended_workers_are_told(
    server: Server, redis_server: Redis, rq: App, app: App
) -> None:
    rq("later", "mail", 500)
    client = redis_server.client()
    (job,) = client.zrange("rq:scheduled:mail", 0, 0)
    rq("put", "mail", "send", 1)
    assert read_problems(server) == []
    client.zadd("rq:scheduled:mail", {job: 1_700_000_000})
    (problem,) = read_problems(server)
    assert "has 1 scheduled job more than 60 s overdue" in problem
    app(FRAMEWORKS / "rq", "suspend", "--url", redis_server.url)
    assert (read(server).queues or {})["mail"].paused is True


def test_requeue_is_what_rq_does(server: Server, rq: App, run: Run) -> None:
    rq("put", "mail", "fail", 3)
    rq("work", "mail")
    shown = run(server, "beanwatch", "queues", "peek", "mail").stdout
    assert "rq_app.fail(" in shown
    assert "RuntimeError: smtp refused" in shown
    done = run(server, "beanwatch", "queues", "kick", "mail", "--count", 2, "--yes", "--json")
    assert done.returncode == 0, done.stderr
    numbers = json.loads(rq("numbers", "mail"))
    assert (numbers["ready"], numbers["buried"]) == (2, 1)
    rq("work", "mail")  # they run again, and fail again
    assert json.loads(rq("numbers", "mail"))["buried"] == 3


def test_a_requeued_job_has_the_fields_that_rq_writes(
    actions: RqActions, rq: App, redis_server: Redis
) -> None:
    rq("put", "mail", "fail", 2)
    rq("work", "mail")
    jobs = actions.list_jobs("mail", "buried", 10)
    assert [str(job.facts["error"]).strip().startswith("Traceback") for job in jobs] == [True, True]
    assert list(actions.kick_jobs("mail", [jobs[0].id, "no-such-job"])) == [1]
    assert list(actions.kick_jobs("mail", [jobs[0].id])) == []  # it has not failed any more
    job = json.loads(rq("job", "mail", jobs[0].id))
    assert (job["status"], job["done"][:2]) == ("queued", [None, None])
    assert not redis_server.client().hexists(f"rq:job:{jobs[0].id}", "exc_info")


def test_a_job_with_a_rate_limit_is_left_to_rq(
    actions: RqActions, rq: App, redis_server: Redis
) -> None:
    rq("put", "mail", "fail", 2)
    rq("work", "mail")
    jobs = actions.list_jobs("mail", "buried", 10)
    redis_server.client().hset(f"rq:job:{jobs[0].id}", "rate_limit_key", "smtp")
    done = []
    with pytest.raises(UnsupportedError, match="1 job with a rate limit"):
        done += list(actions.kick("mail", 10)) or done
    assert json.loads(rq("numbers", "mail"))["ready"] == 1
    with pytest.raises(UnsupportedError, match="rq requeue"):
        list(actions.delete_jobs("mail", [jobs[0].id]))


def test_deleted_jobs_leave_no_key(
    actions: RqActions, rq: App, redis_server: Redis, server: Server, run: Run
) -> None:
    rq("put", "mail", "fail", 2)
    rq("work", "mail")
    rq("later", "mail", 500)
    rq("put", "mail", "send", 3)
    failed = actions.list_jobs("mail", "buried", 1)[0].id
    assert list(actions.delete_jobs("mail", [failed])) == [1]
    done = run(server, "beanwatch", "queues", "empty", "mail", "--yes")
    assert done.returncode == 0, done.stderr
    numbers = json.loads(rq("numbers", "mail"))
    assert (numbers["ready"], numbers["delayed"], numbers["buried"]) == (0, 0, 0)
    left = redis_server.client().keys("*")
    assert [key for key in left if "job" in key or "results" in key] == []


def test_an_action_on_running_jobs_is_refused(actions: RqActions) -> None:
    with pytest.raises(UnsupportedError):
        list(actions.empty("mail", "reserved", 1)) or actions.peek("mail", "x")
    with pytest.raises(UnsupportedError):
        actions.peek("mail", "unheard of")


def test_a_bomb_in_a_result_is_cut(actions: RqActions, redis_server: Redis) -> None:
    client = redis_server.client()
    client.zadd("rq:failed:mail", {"bomb": 9_999_999_999})
    bomb = zlib.compress(b"x" * 50_000_000)
    client.hset("rq:job:bomb", mapping={"description": "d" * 100_000, "exc_info": bomb})
    (job,) = actions.list_jobs("mail", "buried", 10)
    assert len(job.body or b"") == 65_536
    assert job.facts["full_size"] == 100_000
    assert len(str(job.facts["error"])) <= 65_536
    assert len(inflate(bomb)) == 65_536


def test_a_prefix_without_its_colon_is_refused(redis_server: Redis) -> None:
    with pytest.raises(ValueError, match="write 'shop:'"):
        make_server("rq", redis_server.url, prefix="shop")


def test_rq_with_another_prefix(redis_server: Redis, app: App) -> None:
    env = {"RQ_KEY_PREFIX": "shop"}
    app(PYTHON, "rq_app.py", "put", "mail", "fail", 1, env=env)
    app(PYTHON, "rq_app.py", "work", "mail", env=env)
    server = make_server("rq", redis_server.url, prefix="shop:")
    assert (read(server).queues or {})["mail"].buried == 1
    with closing(server.system.open_actions(server, 5.0)) as actions:
        assert list(actions.kick("mail", 5)) == [1]


@given(REPLIES, REPLIES)
def test_any_reply_gives_a_job(values: Any, results: Any) -> None:
    job = to_job("mail", "buried", "id", values, results, 1e9)
    assert job.id == "id"
    parse_worker(values)
    parse_time(values)


@given(st.text(max_size=40))
def test_any_text_is_a_time_or_none(text: str) -> None:
    found = parse_time(text.encode("utf-8", "replace"))
    assert found is None or isinstance(found, float)


def test_a_server_without_redis_is_one_line(server: Server, redis_server: Redis) -> None:
    redis_server.stop()
    with pytest.raises(ServerError, match="connection refused") as caught:
        read(server)
    assert str(caught.value).count("127.0.0.1") == 1


def test_a_busy_queue_whose_waiting_jobs_have_all_been_taken_since_is_well(
    server: Server, rq: App, start: Callable[..., Any], redis_server: Redis, run: Run
) -> None:
    simple = ("--worker-class", "rq.SimpleWorker")
    start(FRAMEWORKS / "rq", "worker", *simple, "mail")
    rq("put", "mail", "hang", 3)
    wait_until(lambda: (read(server).queues or {})["mail"].idle_consumers == 0, 60)

    def check() -> tuple[int, str]:
        done = run(server, "check_queue_consumers", "-Q", "mail")
        return done.returncode, done.stdout

    assert check()[0] == 0, "one run cannot tell"
    code, text = check()
    assert code == 1
    assert "mail: 2 jobs ready and not getting fewer, though its one consumer is busy" in text
    redis_server.client().delete("rq:queue:mail")
    rq("put", "mail", "hang", 2)
    code, text = check()
    assert code == 0, text
    assert "mail: 2 jobs ready, 1 consumer, 0 of them waiting" in text
    assert check()[0] == 1


def test_a_server_without_any_queue_is_well(redis_server: Redis, run: Run) -> None:
    server = make_server("rq", redis_server.url)
    for check in ("depth", "buried", "age", "consumers"):
        done = run(server, f"check_queue_{check}")
        assert done.returncode == 0, done.stdout
        assert " OK - there is no queue, and no job" in done.stdout
    assert run(server, "check_queue_depth", "-Q", "mail*").returncode == 0
