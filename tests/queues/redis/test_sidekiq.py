"""Sidekiq: 6.4 as it really runs, compared with its own API; 7 and 8 by their layouts."""

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from hypothesis import given

from beanwatch.queues.base import ServerError, UnsupportedError
from beanwatch.queues.redis.sidekiq import enqueued_at, parse_process, queue_of
from beanwatch.queues.redis.sidekiq_actions import SidekiqActions, retried, to_job
from beanwatch.queues.servers import Server
from tests.queues.redis.conftest import App, make_server, read, read_problems
from tests.queues.redis.replies import REPLIES
from tests.real import Redis, wait_until

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def server(redis_server: Redis) -> Server:
    return make_server("sidekiq", redis_server.url)


@pytest.fixture
def sidekiq(app: App) -> App:
    """Runs apps/sidekiq_app.rb."""
    return lambda *arguments: app("ruby", "sidekiq_app.rb", *arguments)


@pytest.fixture
def actions(server: Server) -> Iterator[SidekiqActions]:
    with closing(server.system.open_actions(server, 5.0)) as found:
        assert isinstance(found, SidekiqActions)
        yield found


def dead(client: Any, *jobs: dict[str, Any]) -> None:
    for number, job in enumerate(jobs):
        client.zadd("dead", {json.dumps(job): 1_760_000_000 + number})


def test_numbers_are_those_of_sidekiq(
    server: Server,
    sidekiq: App,
    start: Callable[..., Any],
    redis_server: Redis,
    actions: SidekiqActions,
    run: Run,
) -> None:
    sidekiq("put", "mail", "fail", 2)
    sidekiq("put", "mail", "hang", 2)
    sidekiq("put", "other", "ok", 3)
    sidekiq("later", "mail")
    worker = start("sidekiq", "-r", "./sidekiq_app.rb", "-q", "mail", "-c", 3)

    def running() -> bool:
        state = (read(server, heads=("ready", "buried")).queues or {})["mail"]
        return (state.reserved, state.idle_consumers) == (2, 1)

    wait_until(running, 40)
    reading = read(server, heads=("ready", "buried"))
    assert reading.queues is not None
    assert reading.server is not None
    assert (reading.trouble, list(reading.implausible)) == ("", [])
    mail, other = reading.queues["mail"], reading.queues["other"]
    own = json.loads(sidekiq("numbers"))
    sizes = {name: queue["size"] for name, queue in own["queues"].items()}
    assert {"mail": mail.ready, "other": other.ready} == sizes == {"mail": 0, "other": 3}
    assert (mail.consumers, mail.held, other.consumers) == (3, 2, 0)
    assert other.head_ready_age == pytest.approx(own["queues"]["other"]["latency"], abs=5)
    assert reading.server.reserved == own["running"] == 2
    assert reading.server.buried == own["dead"] == 2
    assert reading.server.delayed == own["scheduled"] + own["retries"] == 1
    assert reading.server.native["processed"] == own["processed"]
    assert reading.server.native["failed"] == own["failed"]
    assert reading.server.native["processes"] == own["processes"] == 1
    bin_ = reading.queues["dead-set"]
    assert (bin_.buried, bin_.is_dead_letter) == (2, True)
    assert 0 <= (bin_.head_buried_age or -1) < 120
    assert (mail.buried, mail.delayed) == (None, None)
    assert read_problems(server) == []

    # A retried job runs again, and fails again: Sidekiq reads what beanwatch wrote.
    (job, _) = actions.list_jobs("dead-set", "buried", 5)
    assert str(job.facts["error"]).startswith("RuntimeError: smtp refused")
    assert list(actions.kick_jobs("dead-set", [job.id])) == [1]
    wait_until(lambda: json.loads(sidekiq("numbers"))["failed"] == own["failed"] + 1, 30)
    assert json.loads(sidekiq("numbers"))["dead"] == 2

    worker.kill()
    worker.wait()
    client = redis_server.client()
    (process,) = client.smembers("processes")
    client.delete(process, f"{process}:workers")  # as its time to live does after a minute
    (problem,) = read_problems(server)
    assert "lists 1 process whose heartbeat has expired" in problem
    assert process in problem
    assert (read(server).queues or {})["mail"].consumers == 0
    done = run(server, "check_queue_buried", "-H", "jobs", "-c", 1)
    assert (done.returncode, "2 failed jobs on this server" in done.stdout) == (2, True)
    done = run(server, "beanwatch", "queues", "kick", "dead-set", "--yes")
    assert done.returncode == 0, done.stderr
    assert json.loads(sidekiq("numbers"))["queues"]["mail"]["size"] == 2
    first = json.loads(sidekiq("first", "mail"))
    assert (first["queue"], first["args"][0], first["retry_count"]) == ("mail", "fail", -1)


def test_a_quiet_process_takes_no_jobs(server: Server, redis_server: Redis) -> None:
    client = redis_server.client()
    client.sadd("queues", "mail")
    client.sadd("processes", "a:1:x", "b:2:y")
    info = json.dumps({"queues": ["mail"], "concurrency": 5})
    client.hset("a:1:x", mapping={"info": info, "busy": 2, "quiet": "true"})
    client.hset("b:2:y", mapping={"info": info, "busy": 1, "quiet": "false"})
    mail = (read(server).queues or {})["mail"]
    assert (mail.consumers, mail.idle_consumers) == (5, 4)


def test_an_unreadable_process_makes_consumers_unknown(server: Server, redis_server: Redis) -> None:
    client = redis_server.client()
    client.sadd("queues", "mail")
    client.lpush("queue:mail", "not JSON")
    client.sadd("processes", "a:1:x")
    client.hset("a:1:x", mapping={"info": "{", "busy": 2})
    reading = read(server, heads=("ready",))
    mail = (reading.queues or {})["mail"]
    assert (mail.ready, mail.consumers, mail.reserved, mail.head_ready_age) == (1, None, None, None)
    assert reading.server is not None
    assert reading.server.reserved is None
    (doubt,) = reading.implausible
    assert "'a:1:x'" in doubt


@pytest.mark.parametrize(
    ("work", "info", "enqueued"),
    [
        # 7: the work hash has another name, and its payload is text.
        ("work", {"queues": ["mail", "low"], "weights": [{"mail": 0}], "version": "7.3.0"}, 1.76e9),
        # 8.0: times are milliseconds.
        ("work", {"queues": ["mail"], "embedded": False, "version": "8.0.0"}, 1_760_000_000_000),
        # 8.1: the queues are listed by capsule.
        (
            "work",
            {"capsules": {"default": {"concurrency": 5, "weights": {"mail": 0}}}},
            1_760_000_000_000,
        ),
    ],
)
def test_recorded_layouts_of_later_versions(
    server: Server, redis_server: Redis, work: str, info: dict[str, Any], enqueued: float
) -> None:
    client = redis_server.client()
    client.sadd("queues", "mail")
    client.sadd("processes", "a:1:x")
    info = {"hostname": "a", "pid": 1, "tag": "shop", "concurrency": 5, **info}
    client.hset("a:1:x", mapping={"info": json.dumps(info), "busy": 1, "quiet": "false"})
    payload = json.dumps({"class": "Mail", "queue": "mail", "jid": "1"})
    running = {"queue": "mail", "payload": payload, "run_at": 1_760_000_000}
    client.hset(f"a:1:x:{work}", "tid", json.dumps(running))
    client.lpush("queue:mail", json.dumps({"jid": "2", "enqueued_at": enqueued}))
    mail = (read(server, heads=("ready",)).queues or {})["mail"]
    assert (mail.reserved, mail.consumers, mail.idle_consumers) == (1, 5, 4)
    now = float(client.time()[0])
    assert mail.head_ready_age == pytest.approx(now - 1_760_000_000, abs=5)


def test_a_capsule_has_its_own_threads(server: Server, redis_server: Redis) -> None:
    client = redis_server.client()
    client.sadd("queues", "mail", "slow")
    client.sadd("processes", "a:1:x")
    default = {"concurrency": 10, "mode": "strict", "weights": {"mail": 0}}
    single = {"concurrency": 1, "mode": "strict", "weights": {"slow": 0}}
    info = {"concurrency": 11, "capsules": {"default": default, "single": single}}
    client.hset("a:1:x", mapping={"info": json.dumps(info), "busy": 1, "quiet": "false"})
    client.hset("a:1:x:work", "tid", json.dumps({"queue": "slow", "payload": "{}"}))
    client.lpush("queue:slow", *(f'{{"jid": "{number}"}}' for number in range(500)))
    reading = read(server)
    queues = reading.queues or {}
    slow, mail = queues["slow"], queues["mail"]
    assert (slow.consumers, slow.idle_consumers, slow.held) == (1, 0, 1)
    assert (mail.consumers, mail.idle_consumers, mail.held) == (10, 10, 0)
    single["weights"] = {"slow": 0, "mail": 0}
    client.hset("a:1:x", "info", json.dumps(info))
    mail = (read(server).queues or {})["mail"]
    assert (mail.consumers, mail.idle_consumers) == (11, 10), "in both capsules"
    assert reading.server is not None
    assert reading.server.native["processes"] == 1


def test_the_unit_of_times_is_that_of_the_job() -> None:
    job = {"queue": "low", "retry_count": 3, "enqueued_at": 1.76e9, "args": [], "n": 2**63}
    queue, text = retried(job, 1.8e9)
    assert queue == "low"
    assert json.loads(text) == {**job, "retry_count": 2, "enqueued_at": 1.8e9}
    _, text = retried({**job, "created_at": 1_760_000_000_000}, 1_800_000_000.5)
    assert json.loads(text)["enqueued_at"] == 1_800_000_000_500


def test_dead_jobs_by_id_and_members_that_are_no_jobs(
    server: Server, redis_server: Redis, actions: SidekiqActions
) -> None:
    client = redis_server.client()
    client.zadd("dead", {"not JSON": 1})
    dead(client, *({"jid": str(number), "queue": "mail", "class": "M"} for number in range(250)))
    assert list(actions.delete_jobs("dead-set", ["0", "240", "x"])) == [2]
    assert list(actions.kick_jobs("dead-set", ["1"])) == [1]
    assert sum(actions.kick("dead-set", 1000)) == 247
    assert client.zrange("dead", 0, -1) == ["not JSON"]
    assert client.llen("queue:mail") == 248
    assert actions.list_jobs("dead-set", "buried", 3)[0].body == b"not JSON"
    assert list(actions.empty("dead-set", "buried", 5)) == [1]
    with pytest.raises(UnsupportedError, match="dead-set"):
        list(actions.kick("mail", 1))
    with pytest.raises(UnsupportedError):
        list(actions.empty("mail", "reserved", 1))


def test_a_dead_job_with_an_id_that_is_no_text_hinders_no_other_job(
    redis_server: Redis, actions: SidekiqActions
) -> None:
    client = redis_server.client()
    dead(client, *({"jid": jid, "queue": "mail"} for jid in (["a"], None, "b")))
    located = actions.locate("b")
    assert located is not None
    assert located.id == "b"
    assert [job.id for job in actions.list_jobs("dead-set", "buried", 5)].count("") == 2
    assert sum(actions.delete_jobs("dead-set", ["", "b"])) == 1
    assert client.zcard("dead") == 2


def test_a_queue_that_is_called_dead_set_is_a_queue(
    server: Server, redis_server: Redis, actions: SidekiqActions
) -> None:
    client = redis_server.client()
    client.sadd("queues", "dead-set")
    client.lpush("queue:dead-set", "{}")
    dead(client, {"jid": "1"})
    state = (read(server).queues or {})["dead-set"]
    assert (state.ready, state.buried, state.is_dead_letter) == (1, None, False)
    assert len(actions.list_jobs("dead-set", "ready", 5)) == 1
    with pytest.raises(ServerError):
        list(actions.kick("dead-set", 1))


def test_checks_of_all_queues_take_the_dead_set_as_one_of_failed_jobs(
    server: Server, redis_server: Redis, run: Run
) -> None:
    client = redis_server.client()
    client.sadd("queues", "mail")
    client.lpush("queue:mail", json.dumps({"enqueued_at": client.time()[0]}))
    dead(client, {"jid": "1"})
    client.sadd("processes", "a:1:x")
    info = json.dumps({"queues": ["mail"], "concurrency": 5})
    client.hset("a:1:x", mapping={"info": info, "busy": 0, "quiet": "false"})
    for check in ("depth", "consumers", "age"):
        done = run(server, f"check_queue_{check}", "-H", "jobs")
        assert done.returncode == 0, done.stdout
    # The dead jobs of one queue are not known: they are in one set with those of the others.
    assert run(server, "check_queue_buried", "-H", "jobs", "-Q", "mail").returncode == 3
    assert run(server, "check_queue_buried", "-H", "jobs").returncode == 1


def test_a_namespace(redis_server: Redis) -> None:
    client = redis_server.client()
    client.sadd("shop:queues", "mail")
    client.lpush("shop:queue:mail", "{}")
    client.zadd("shop:dead", {json.dumps({"jid": "1", "queue": "mail"}): 1})
    server = make_server("sidekiq", redis_server.url, prefix="shop:")
    assert (read(server).queues or {})["mail"].ready == 1
    with closing(server.system.open_actions(server, 5.0)) as actions:
        assert list(actions.kick("dead-set", 5)) == [1]
    assert client.llen("shop:queue:mail") == 2


def test_a_long_body_is_cut(redis_server: Redis, actions: SidekiqActions) -> None:
    body = json.dumps({"jid": "1", "args": ["x" * 100_000], "error_message": "e" * 50_000})
    redis_server.client().lpush("queue:mail", body)
    job = actions.peek("mail", "ready")
    assert job is not None
    assert len(job.body or b"") == 65_536
    assert job.facts["full_size"] == len(body)
    assert len(str(job.facts["error"])) < 11_000


@given(REPLIES)
def test_any_reply_is_parsed(reply: Any) -> None:
    parse_process(reply, {})
    assert queue_of(reply) is None or isinstance(queue_of(reply), str)
    found = enqueued_at(reply)
    assert found is None or found > 0
    if isinstance(reply, bytes):
        to_job("mail", "ready", reply, 1.8e9)
