"""The control queue: obeyed within a second, also while a job runs."""

import json
import signal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beanwatch.net.address import parse_address
from beanwatch.net.redis_reader import RedisReader
from beanwatch.net.redis_url import parse_redis_url
from beanwatch.store.audit import describe_user
from beanwatch.store.stops import read_stops
from beanwatch.worker.control.channel import Target
from beanwatch.worker.control.client import send_command
from beanwatch.worker.control.messages import (
    Answer,
    Command,
    Message,
    MessageError,
    encode,
    parse_message,
)
from tests.real import Redis, wait_until
from tests.worker_core.conftest import Broker, RunningWorker, StartWorker

REPLIES = "beanwatch.reply.test"


def tell(broker: Broker, worker: RunningWorker, command: str, **fields: Any) -> Answer:
    """Send a command and wait for its answer, at most a second and what a loaded host adds."""
    message = {"command": command, "reply_to": REPLIES, "id": command, **fields}
    with broker.server.client(watch=REPLIES) as client:
        broker.put_raw(json.dumps(message), queue=f"beanwatch.control.{worker.id}", priority=0)
        job = client.reserve(8)
        client.delete(job)
    answer = json.loads(job.body)
    assert (answer["worker"], answer["id"], answer["command"]) == (worker.id, command, command)
    return Answer(**answer)


@pytest.fixture
def busy(start_worker: StartWorker, broker: Broker) -> RunningWorker:
    """A worker in the middle of a job."""
    broker.put("sleep", {"seconds": 8})
    worker = start_worker()
    wait_until(lambda: worker.running().name == "sleep")
    return worker


def test_status_tells_what_the_heartbeat_does(busy: RunningWorker, broker: Broker) -> None:
    answer = tell(broker, busy, "status")
    assert answer.beat is not None
    assert (answer.beat["jobs"][0]["name"], answer.beat["state"]) == ("sleep", "busy")
    assert answer.beat["instance"] == answer.instance


def test_dump_tells_where_every_thread_is(busy: RunningWorker, broker: Broker) -> None:
    answer = tell(broker, busy, "dump")
    assert "in sleep" in answer.dump
    assert "Thread pulse" in answer.dump
    assert answer.beat is not None
    assert answer.beat["jobs"][0]["name"] == "sleep"


def test_a_name_that_is_no_text_ends_no_exchange(start_worker: StartWorker, broker: Broker) -> None:
    """A job names a thread after a file whose name is no UTF-8."""
    broker.put("sleep", {"seconds": 8, "latin_1_name": "März.csv"})
    worker = start_worker()
    wait_until(lambda: worker.running().name == "sleep")
    for _ in range(2):
        assert "Thread M?rz.csv" in tell(broker, worker, "dump").dump
    assert worker.process.poll() is None


def test_stop_ends_it_after_the_job(busy: RunningWorker, broker: Broker) -> None:
    assert tell(broker, busy, "stop").text == "stops after sleep (job 1)"
    assert busy.beat().state in ("busy", "stopping")
    assert busy.exit_code() == 0
    assert busy.outcomes() == ["ok"]


def test_the_first_signal_after_a_stop_leaves_the_job_its_time(
    busy: RunningWorker, broker: Broker
) -> None:
    tell(broker, busy, "stop")
    busy.signal(signal.SIGTERM)
    assert busy.exit_code() == 0
    assert busy.outcomes() == ["ok"]
    assert busy.logged("the worker ends: told to stop by")


@pytest.mark.parametrize(("command", "code"), [("stop", 0), ("restart", 10)])
def test_a_stop_leaves_the_command_its_sender_and_the_words_in_the_log_and_for_the_checks(
    start_worker: StartWorker,
    broker: Broker,
    redis_server: Redis,
    command: Command,
    code: int,
) -> None:
    worker = start_worker()
    worker.wait_for("idle")
    told = Target(worker.id, parse_address(broker.server.address))
    (result,) = send_command([told], command, timeout=30, words="a new\n disk" + 300 * "!")
    assert result.ok, result.problem
    assert worker.exit_code() == code
    words = f"{describe_user()}: a new disk!"
    assert worker.logged(f"received the command {command} from {words}")
    assert worker.logged(f"the worker ends: told to {command} by {words}")
    with RedisReader(parse_redis_url(redis_server.url), 30) as link:
        (stop,) = read_stops(link.execute)
    assert stop.worker == worker.id
    assert stop.reason.startswith(f"told to {command} by {words}")


def test_a_stop_by_a_signal_is_no_stop_by_a_command(
    start_worker: StartWorker, redis_server: Redis
) -> None:
    worker = start_worker()
    worker.wait_for("idle")
    assert worker.stop() == 0
    with RedisReader(parse_redis_url(redis_server.url), 30) as link:
        assert read_stops(link.execute) == []


def test_restart_is_a_stop_that_the_supervisor_undoes(busy: RunningWorker, broker: Broker) -> None:
    tell(broker, busy, "restart")
    assert busy.exit_code() == 10
    assert busy.outcomes() == ["ok"]


def test_wait_and_resume(start_worker: StartWorker, broker: Broker) -> None:
    worker = start_worker("--reserve-timeout", 600)
    worker.wait_for("idle")
    tell(broker, worker, "wait")
    worker.wait_for("waiting")
    broker.put("ok")
    seen = worker.beat()
    wait_until(lambda: worker.beat().loop_at > seen.loop_at + 1, message="the loop goes on")
    assert broker.counts(ready=1)
    tell(broker, worker, "resume")
    wait_until(lambda: worker.outcomes() == ["ok"])


def test_a_wait_ends_by_itself(start_worker: StartWorker, broker: Broker) -> None:
    worker = start_worker()
    worker.wait_for("idle")
    assert tell(broker, worker, "wait", args={"seconds": 1}).text == "waits for 1 s"
    broker.put("ok")
    wait_until(lambda: worker.outcomes() == ["ok"])


def test_messages_for_others_and_old_ones_are_dropped(
    start_worker: StartWorker, broker: Broker
) -> None:
    worker = start_worker()
    worker.wait_for("idle")
    queue = f"beanwatch.control.{worker.id}"
    for body in (
        '{"command": "stop", "instance": "another"}',
        '{"command": "explode"}',
        '{"command": "wait", "args": {"seconds": -1}}',
        "junk",
    ):
        broker.put_raw(body, queue=queue)
    broker.put_raw('{"command": "stop", "lifetime": 0.5}', queue=queue, delay=1)
    tell(broker, worker, "status", instance=worker.beat().instance)
    wait_until(lambda: broker.counts(queue), message="all are taken out of the queue")
    assert worker.in_state("idle")
    # It deletes a message, and then says what it was.
    wait_until(lambda: sum("ignored " in line["message"] for line in worker.lines()) == 5)


@pytest.mark.parametrize(("command", "code"), [("stop", 0), ("restart", 10)])
def test_an_answer_for_which_nobody_waits_any_more_is_not_sent(
    start_worker: StartWorker, broker: Broker, command: str, code: int
) -> None:
    """A restart is answered later than other commands."""
    worker = start_worker()
    worker.wait_for("idle")
    message = {"command": command, "reply_to": REPLIES, "id": "1"}
    broker.put_raw(json.dumps(message), queue=f"beanwatch.control.{worker.id}")
    assert worker.exit_code() == code
    assert broker.server.stats_tube(REPLIES) == {}


def test_control_comes_back_after_beanstalkd_was_away(
    start_worker: StartWorker, broker: Broker, redis_server: Redis
) -> None:
    worker = start_worker()
    worker.wait_for("idle")
    broker.server.restart()
    wait_until(lambda: tell(broker, worker, "status").ok, 40)


def test_a_message_that_was_encoded_is_read_again() -> None:
    message = Message("wait", instance="i", lifetime=5.0, reply_to="queue", id="7")
    assert parse_message(encode(message), instance="i", age=4.0) == message


@given(st.binary() | st.recursive(st.none() | st.text(), st.lists).map(lambda v: repr(v).encode()))
def test_nothing_that_is_no_message_is_obeyed(body: bytes) -> None:
    with pytest.raises(MessageError):
        parse_message(body, instance="i", age=0.0)
