"""The control tube: obeyed within a second, also while a job runs."""

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beanwatch.worker.control import Answer, Message, MessageError, encode, parse_message
from tests.real import Redis, wait_until
from tests.worker_core.conftest import Queue, RunningWorker, StartWorker

REPLIES = "beanwatch.reply.test"


def tell(queue: Queue, worker: RunningWorker, command: str, **fields: Any) -> Answer:
    """Send a command and wait for its answer, at most a second and what a loaded host adds."""
    message = {"command": command, "reply_to": REPLIES, "id": command, **fields}
    queue.put_raw(json.dumps(message), tube=f"beanwatch.control.{worker.id}", priority=0)
    answer, _ = queue.take(REPLIES, timeout=8)
    assert (answer["worker"], answer["id"], answer["command"]) == (worker.id, command, command)
    return Answer(**answer)


@pytest.fixture
def busy(start_worker: StartWorker, queue: Queue) -> RunningWorker:
    """A worker in the middle of a job."""
    queue.put("sleep", {"seconds": 8})
    worker = start_worker()
    wait_until(lambda: worker.beat().job == "sleep")
    return worker


def test_status_tells_what_the_heartbeat_does(busy: RunningWorker, queue: Queue) -> None:
    answer = tell(queue, busy, "status")
    assert answer.beat is not None
    assert (answer.beat["job"], answer.beat["state"]) == ("sleep", "busy")
    assert answer.beat["instance"] == answer.instance


def test_dump_tells_where_every_thread_is(busy: RunningWorker, queue: Queue) -> None:
    answer = tell(queue, busy, "dump")
    assert "in sleep" in answer.dump
    assert "Thread pulse" in answer.dump
    assert answer.beat is not None
    assert answer.beat["job"] == "sleep"


def test_stop_ends_it_after_the_job(busy: RunningWorker, queue: Queue) -> None:
    assert tell(queue, busy, "stop").text == "stops after sleep (job 1)"
    assert busy.beat().state in ("busy", "stopping")
    assert busy.exit_code() == 0
    assert busy.outcomes() == ["ok"]


def test_restart_is_a_stop_that_the_supervisor_undoes(busy: RunningWorker, queue: Queue) -> None:
    tell(queue, busy, "restart")
    assert busy.exit_code() == 10
    assert busy.outcomes() == ["ok"]


def test_wait_and_resume(start_worker: StartWorker, queue: Queue) -> None:
    worker = start_worker("--reserve-timeout", 600)
    worker.wait_for("idle")
    tell(queue, worker, "wait")
    worker.wait_for("waiting")
    queue.put("ok")
    seen = worker.beat()
    wait_until(lambda: worker.beat().loop_at > seen.loop_at + 1, message="the loop goes on")
    assert queue.counts(ready=1)
    tell(queue, worker, "resume")
    wait_until(lambda: worker.outcomes() == ["ok"])


def test_a_wait_ends_by_itself(start_worker: StartWorker, queue: Queue) -> None:
    worker = start_worker()
    worker.wait_for("idle")
    assert tell(queue, worker, "wait", args={"seconds": 1}).text == "waits for 1 s"
    queue.put("ok")
    wait_until(lambda: worker.outcomes() == ["ok"])


def test_messages_for_others_and_old_ones_are_dropped(
    start_worker: StartWorker, queue: Queue
) -> None:
    worker = start_worker()
    worker.wait_for("idle")
    tube = f"beanwatch.control.{worker.id}"
    for body in (
        '{"command": "stop", "instance": "another"}',
        json.dumps({"command": "stop", "expires_at": time.time() - 1}),
        '{"command": "explode"}',
        '{"command": "wait", "args": {"seconds": -1}}',
        "junk",
    ):
        queue.put_raw(body, tube=tube)
    tell(queue, worker, "status", instance=worker.beat().instance)
    wait_until(lambda: queue.counts(tube), message="all are taken out of the tube")
    assert worker.in_state("idle")
    # It deletes a message, and then says what it was.
    wait_until(lambda: sum("dropped" in line["message"] for line in worker.lines()) == 5)


def test_control_comes_back_after_beanstalkd_was_away(
    start_worker: StartWorker, queue: Queue, redis_server: Redis
) -> None:
    worker = start_worker()
    worker.wait_for("idle")
    queue.server.restart()
    wait_until(lambda: tell(queue, worker, "status").ok, 40)


def test_a_message_that_was_encoded_is_read_again() -> None:
    message = Message("wait", instance="i", expires_at=5.0, reply_to="tube", id="7")
    assert parse_message(encode(message), instance="i", now=4.0) == message


@given(st.binary() | st.recursive(st.none() | st.text(), st.lists).map(lambda v: repr(v).encode()))
def test_nothing_that_is_no_message_is_obeyed(body: bytes) -> None:
    with pytest.raises(MessageError):
        parse_message(body, instance="i", now=0.0)
