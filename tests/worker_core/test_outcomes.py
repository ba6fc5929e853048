"""The end of a job in each case, as beanstalkd and the log show it."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from beanwatch.net.redis_reader import RedisReader
from beanwatch.net.redis_url import parse_redis_url
from beanwatch.store.ledger import LedgerEntry, read_job
from tests.real import Proxy, Redis, wait_until
from tests.worker_core.conftest import Broker, StartWorker


def test_a_job_that_ends_well_is_deleted(start_worker: StartWorker, broker: Broker) -> None:
    job_id = broker.put("ok")
    worker = start_worker()
    wait_until(lambda: worker.outcomes("ok") == ["ok"])
    assert broker.job(job_id) == {}
    assert worker.runs("ok")[0]["attempt"] == 1


@pytest.mark.parametrize(("data", "outcome"), [("", "ok"), ("watched", "ok"), ("fail", "buried")])
def test_a_job_leaves_memory_with_its_end(
    start_worker: StartWorker, broker: Broker, data: str, outcome: str
) -> None:
    """Large ones would add up until the next garbage collection."""
    broker.put("remember", data)
    broker.put("see-earlier")
    worker = start_worker()
    wait_until(lambda: len(worker.outcomes()) == 2)
    assert worker.outcomes() == [outcome, "ok"]


def test_a_failing_job_is_tried_again_and_then_buried(
    start_worker: StartWorker, broker: Broker
) -> None:
    job_id = broker.put("fail", priority=123)
    worker = start_worker()
    wait_until(lambda: worker.outcomes("fail") == ["retry", "retry", "buried"])
    job = broker.job(job_id)
    assert (job["state"], job["pri"], job["reserves"]) == ("buried", 123, 3)
    last = worker.runs("fail")[-1]
    assert "it does not work" in last["reason"]
    assert "RuntimeError" in last["traceback"]


def test_a_kicked_job_gets_as_many_attempts_again(
    start_worker: StartWorker, broker: Broker
) -> None:
    job_id = broker.put("fail")
    worker = start_worker()
    wait_until(lambda: worker.outcomes("fail").count("buried") == 1)
    with broker.server.client() as client:
        client.kick_job(job_id)
    wait_until(lambda: worker.outcomes("fail").count("buried") == 2)
    assert worker.outcomes("fail") == ["retry", "retry", "buried"] * 2


def test_a_retry_keeps_the_priority_and_waits_longer_each_time(
    start_worker: StartWorker, broker: Broker
) -> None:
    job_id = broker.put("fail-slowly", priority=77)
    worker = start_worker()
    wait_until(lambda: worker.outcomes() == ["retry"])
    job = broker.job(job_id)
    assert (job["state"], job["pri"]) == ("delayed", 77)
    assert 3 <= job["delay"] <= 5


@pytest.mark.parametrize(
    ("kind", "outcomes", "state"),
    [
        ("bury", ["buried"], "buried"),
        ("discard", ["discarded"], None),
        ("exit", ["retry", "buried"], "buried"),
        ("interrupt", ["retry", "buried"], "buried"),
        ("generator", ["retry", "buried"], "buried"),
        ("system", ["retry", "buried"], "buried"),
    ],
)
def test_what_a_handler_raises_never_loses_the_job(
    start_worker: StartWorker, broker: Broker, kind: str, outcomes: list[str], state: str | None
) -> None:
    job_id = broker.put("raise", {"kind": kind})
    worker = start_worker()
    wait_until(lambda: worker.outcomes("raise") == outcomes)
    assert broker.job(job_id).get("state") == state
    broker.put("ok")
    wait_until(lambda: worker.outcomes("ok") == ["ok"], message="the worker lives on")


def test_a_handler_that_fails_in_a_task_group_is_told_with_the_causes(
    start_worker: StartWorker, broker: Broker
) -> None:
    broker.put("task-group")
    broker.put("task-group", {"bury": True})
    worker = start_worker()
    wait_until(lambda: worker.outcomes() == ["buried", "buried"])
    failed, buried = worker.runs()
    assert "ValueError: no such order; ConnectionError: mx1 is away" in failed["reason"]
    assert buried["reason"] == "beyond repair"


def test_a_handler_can_ask_for_its_own_delay(start_worker: StartWorker, broker: Broker) -> None:
    job_id = broker.put("raise", {"kind": "retry", "delay": 17.2})
    worker = start_worker()
    wait_until(lambda: worker.outcomes() == ["retry"])
    assert broker.job(job_id)["delay"] == 18
    assert worker.runs()[0]["reason"] == "not yet"


@pytest.mark.parametrize(
    ("job", "data"),
    [("bad-backoff", {}), ("raise", {"kind": "retry", "delay": "soon"})],
    ids=["backoff", "delay"],
)
def test_a_backoff_or_delay_that_makes_no_sense_does_not_end_the_worker(
    start_worker: StartWorker, broker: Broker, job: str, data: dict[str, str]
) -> None:
    job_id = broker.put(job, data)
    worker = start_worker()
    wait_until(lambda: worker.outcomes() == ["retry"])
    assert worker.logged("the worker uses the default backoff")
    assert broker.job(job_id)["state"] == "delayed"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"junk", "not a valid job envelope"),
        (b"\xff\xfe\x00", "not a valid job envelope"),
        (b"[" * 50_000, "not a valid job envelope"),
        (b'{"job": 5}', "$.job"),
        (b'{"job": "os.system", "data": "true"}', "no handler for the job 'os.system'"),
        (b'{"job": "mail", "data": {"to": 5}}', "$.to"),
        (b'{"job": "mail", "data": {}}', "`to`"),
        (b'{"job": "mail", "success": {"queue": "a\\r\\nput 1", "job": "x"}}', "$.success.queue"),
        (b'{"job": "ok", "v": 2}', "envelope version 2"),
    ],
)
def test_what_cannot_be_run_is_buried_with_the_reason(
    start_worker: StartWorker, broker: Broker, body: bytes, reason: str
) -> None:
    job_id = broker.put_raw(body)
    worker = start_worker()
    wait_until(lambda: worker.outcomes() == ["invalid"])
    assert reason in worker.runs()[0]["reason"]
    assert broker.job(job_id)["state"] == "buried"


def test_follow_ups_are_put_before_the_job_is_deleted(
    start_worker: StartWorker, broker: Broker
) -> None:
    success = {"queue": "next", "job": "then", "data": {"n": 1}, "priority": 9, "ttr": 33}
    failure = {"queue": "sorry", "job": "regret", "delay": 1}
    both = {"id": "parent-1", "success": success, "failure": failure}
    broker.put("ok", envelope=both)
    broker.put("raise", {"kind": "bury"}, envelope=both)
    worker = start_worker()
    wait_until(lambda: len(worker.outcomes()) == 2)
    then, stats = broker.take("next")
    assert (then["job"], then["data"], then["parent"]) == ("then", {"n": 1}, "parent-1")
    assert (stats["pri"], stats["ttr"]) == (9, 33)
    regret, _ = broker.take("sorry")
    assert regret["job"] == "regret"
    assert then["id"] != regret["id"]
    assert worker.runs("ok")[0]["follow_ups"] == [then["id"]]


def test_a_follow_up_that_is_put_twice_has_the_same_id(
    start_worker: StartWorker, broker: Broker
) -> None:
    body = {"success": {"queue": "next", "job": "then"}}
    broker.put("ok", envelope={"id": "same", **body})
    broker.put("ok", envelope={"id": "same", **body})
    start_worker()
    first, second = broker.take("next", 30)[0], broker.take("next", 30)[0]
    assert first["id"] == second["id"]


@pytest.mark.parametrize("is_deleted", [True, False])
def test_a_worker_killed_while_it_waits_for_the_delete_leaves_one_entry_that_says_lost(
    start_worker: StartWorker,
    broker: Broker,
    redis_server: Redis,
    proxy: Callable[[str], Proxy],
    tmp_path: Path,
    is_deleted: bool,
) -> None:
    """The ledger has announced `ok`. Nobody knows whether beanstalkd has deleted the job."""
    front, may_end = proxy(broker.server.address), tmp_path / "go"
    broker.put("wait", {"file": str(may_end)}, envelope={"id": "one"})
    worker = start_worker("--ledger", "all", server=front.address)
    wait_until(lambda: worker.running().name == "wait")
    lost: list[bytes] = []

    def lose_the_delete(reply: bytes) -> bytes:
        """Drop its reply, and that to the reserve behind it, which may come later."""
        if lost or reply.startswith(b"DELETED"):
            lost.append(reply)
        return b"" if lost else reply

    if is_deleted:
        front.edit(lose_the_delete)
    else:
        front.blackhole()

    def entries() -> list[LedgerEntry]:
        with RedisReader(parse_redis_url(redis_server.url), 5) as link:
            return read_job(link.execute, "one")

    may_end.touch()
    wait_until(lambda: [entry.outcome for entry in entries()] == ["ok"])
    if is_deleted:
        wait_until(lambda: broker.counts())
    worker.signal(signal.SIGKILL)
    worker.exit_code()
    front.close()
    heir = start_worker("--ledger", "all")
    expected = ["lost"] if is_deleted else ["lost", "ok"]
    wait_until(lambda: [entry.outcome for entry in entries()] == expected)
    assert entries()[0].reason == (
        "its worker ended before beanstalkd confirmed the end of the job; without this, the "
        "outcome would be ok"
    )
    assert [entry.attempt for entry in entries()] == list(range(1, len(expected) + 1))
    wait_until(lambda: heir.outcomes() == expected)


def test_a_job_whose_follow_up_is_refused_is_buried_not_lost(
    start_worker: StartWorker, broker: Broker
) -> None:
    # Just below the limit of a job; as a job of its own, with its id, it is above.
    follow_up = {"queue": "next", "job": "x", "data": "y" * 65_445}
    job_id = broker.put("ok", envelope={"success": follow_up})
    worker = start_worker()
    wait_until(lambda: worker.outcomes() == ["buried"])
    assert "JOB_TOO_BIG" in worker.runs()[0]["reason"]
    assert broker.job(job_id)["state"] == "buried"


def test_a_job_put_by_a_handler_has_an_id_that_a_second_run_repeats(
    start_worker: StartWorker, broker: Broker, tmp_path: Path
) -> None:
    ids = tmp_path / "ids"
    for _ in range(2):
        broker.put("chain", {"file": str(ids)}, envelope={"id": "parent"})
    worker = start_worker()
    wait_until(lambda: worker.outcomes() == ["ok", "ok"])
    assert len(set(ids.read_text().split())) == 1
    put, stats = broker.take("next")
    assert (put["id"], put["parent"]) == (ids.read_text().split()[0], "parent")
    assert (stats["pri"], stats["ttr"]) == (7, 9)


def test_a_handler_that_forks_ends_the_job_once(
    start_worker: StartWorker, broker: Broker, tmp_path: Path
) -> None:
    file = tmp_path / "who"
    broker.put("fork", {"file": str(file)})
    worker = start_worker()
    wait_until(lambda: worker.outcomes("fork") == ["ok"])
    assert file.read_text().split() == ["child", "parent"]
    broker.put("ok")
    wait_until(lambda: worker.outcomes("ok") == ["ok"])


def test_a_handlers_forked_children_can_be_terminated(
    start_worker: StartWorker, broker: Broker
) -> None:
    broker.put("multiprocessing")
    worker = start_worker()
    wait_until(lambda: worker.outcomes() == ["ok"])


def test_threads_of_a_handler_may_put_while_the_worker_touches(
    start_worker: StartWorker, broker: Broker
) -> None:
    broker.put("threads", ttr=1)
    worker = start_worker()
    wait_until(lambda: worker.outcomes() == ["ok"], 30)
    assert broker.counts("next", ready=200)


def test_a_coroutine_is_run_to_its_end(
    start_worker: StartWorker, broker: Broker, tmp_path: Path
) -> None:
    for _ in range(3):
        broker.put("async", {"file": str(tmp_path / "log")})
    worker = start_worker()
    wait_until(lambda: worker.outcomes("async") == ["ok"] * 3)
    assert (tmp_path / "log").read_text().split() == ["awaited"] * 3


def test_the_queue_default_is_left_alone(start_worker: StartWorker, broker: Broker) -> None:
    broker.put("ok", queue="default")
    broker.put("ok")
    worker = start_worker()
    wait_until(lambda: worker.outcomes("ok") == ["ok"])
    assert broker.counts("default", ready=1)


def test_resources_are_kept_renewed_and_closed(
    start_worker: StartWorker, broker: Broker, tmp_path: Path
) -> None:
    for _ in range(3):
        broker.put("resource")
    log = tmp_path / "resources"
    worker = start_worker(env={"RESOURCE_LOG": str(log)})
    wait_until(lambda: worker.outcomes() == ["ok"] * 3)
    assert worker.stop() == 0
    assert log.read_text().splitlines() == [
        "fresh opened", "kept opened", "fresh opened", "fresh opened", "kept closed",
    ]  # fmt: skip
