"""RabbitMQ through beanwatch's commands and checks, also with jobs that Celery puts and takes."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Result
from tests.queues.rabbitmq.helpers import holder, queues_of, wait_for
from tests.real import spawn, stop_process, wait_until
from tests.real.rabbitmq import FRAMEWORKS, RabbitMQ, Vhost

CELERY = """\
from celery import Celery
app = Celery("shop", broker=BROKER)
app.conf.update(task_default_queue="mail", worker_prefetch_multiplier=1, task_acks_late=True,
                task_reject_on_worker_lost=True, broker_connection_retry_on_startup=True)

@app.task(name="send")
def send(path):
    open(path, "a").write("sent\\n")
"""
Run = Callable[..., Result]


@pytest.fixture
def call(run: Run, vhost: Vhost, tmp_path: Path) -> Run:
    """Run a command with a configuration that has only this vhost, as `mq`, and no Redis."""
    config = tmp_path / "beanwatch.toml"
    config.write_text(f'[redis]\nurl = ""\n[servers]\nmq = "{vhost.url}"\n')
    state = {"BEANWATCH_STATE_DIR": str(tmp_path / "state"), "BEANWATCH_CONFIG": str(config)}

    def run_it(*argv: object, **options: Any) -> Result:
        return run(*argv, env={**state, **options.pop("env", {})}, **options)

    return run_it


def test_the_commands_on_queues(call: Run, vhost: Vhost) -> None:
    vhost.declare("orders", dead_letter_exchange="", dead_letter_routing_key="dead")
    vhost.declare("dead")
    vhost.fail("orders", "first", "second", into="dead")
    vhost.publish("orders", "third")
    wait_for(vhost, lambda q: (q["orders"].buried, q["orders"].ready) == (2, 1))
    listed = call("beanwatch", "queues", "list", "--json")
    rows = {row["queue"]: row for row in json.loads(listed.stdout)}
    assert (rows["orders"]["ready"], rows["orders"]["buried"]) == (1, 2)
    assert rows["orders"]["delayed"] is None
    assert rows["orders"]["state"] == "no_consumer"
    assert rows["dead"]["state"] == "ok"
    shown = call("beanwatch", "queues", "show", "orders")
    assert "consumer_capacity" in shown.stdout
    peeked = call("beanwatch", "queues", "peek", "orders")
    assert "failed because: rejected in queue orders" in peeked.stdout
    assert "  first" in peeked.stdout.splitlines()
    kicked = call("beanwatch", "queues", "kick", "orders", "--count", "1", "--yes")
    assert (kicked.code, kicked.stdout) == (0, "mq orders: 1 dead letter, kicked\n")
    assert vhost.payloads("orders") == ["third", "first"]
    wait_for(vhost, lambda q: (q["orders"].buried, q["orders"].ready) == (1, 2))
    deleted = call("beanwatch", "queues", "delete", "orders", "--yes")
    assert deleted.code == 0, deleted.stderr
    assert vhost.payloads("dead") == []
    wait_for(vhost, lambda q: q["orders"].buried == 0)
    emptied = call("beanwatch", "queues", "empty", "orders", "--yes")
    assert emptied.stdout == "mq orders: 2 ready jobs, deleted\n"
    for action in ("pause", "resume"):
        refused = call("beanwatch", "queues", action, "orders", "--yes")
        assert refused.code == 1
        assert "rabbitmq has no action" in refused.stderr


def test_the_checks(call: Run, vhost: Vhost) -> None:
    vhost.declare("orders", dead_letter_exchange="", dead_letter_routing_key="dead")
    vhost.declare("dead")
    vhost.fail("orders", "bad", into="dead")
    vhost.publish("orders", "x")
    wait_for(vhost, lambda q: (q["orders"].buried, q["orders"].ready) == (1, 1))
    code, out, _ = call("check_queue_server")
    assert (code, out.startswith("QUEUE_SERVER OK - mq (rabbitmq://")) == (0, True)
    code, out, _ = call("check_queue_depth", "-Q", "orders", "-c", "0")
    assert (code, "orders: 1 job ready" in out) == (2, True)
    code, out, _ = call("check_queue_buried")
    assert code == 1
    text = out.partition("|")[0]
    assert "orders: 1 job buried (limit 0)" in text
    assert "dead" not in text  # each job is named once
    code, out, _ = call("check_queue_consumers")
    assert code == 2
    text = out.partition("|")[0]
    assert "orders: 1 job ready and no consumer" in text
    assert "dead" not in text  # nobody is expected to consume it
    code, out, _ = call("check_queue_age", "-Q", "orders")
    assert (code, "orders: the wait of the next job is not known" in out) == (3, True)
    code, out, _ = call("check_queue_depth", "-Q", "gone")
    assert (code, "gone: no such queue" in out) == (3, True)


def test_consumers_that_acknowledge_nothing(call: Run, vhost: Vhost, tmp_path: Path) -> None:
    vhost.declare("orders")
    for _ in range(5):
        vhost.publish("orders", "x")
    with holder(vhost, "orders", 2, tmp_path):
        wait_for(vhost, lambda q: q["orders"].has_room is False)
        first = call("check_queue_consumers", "-Q", "orders")
        assert first.code == 0, first.stdout  # one look cannot tell
        (state,) = (tmp_path / "state").glob("*.json")
        text = state.read_text()
        memory = json.loads(text)
        make_older(memory, 60.0)
        state.write_text(json.dumps(memory))
        code, out, _ = call("check_queue_consumers", "-Q", "orders")
    assert code == 1
    assert (
        "orders: 3 jobs ready, and none was acknowledged since the last check: its one consumer "
        "holds 2 jobs, as many as the prefetch allows"
    ) in out


def make_older(memory: Any, seconds: float) -> None:
    """Let the state file of check_queue_consumers be from an earlier time."""
    if isinstance(memory, dict):
        for value in memory.values():
            make_older(value, seconds)
    elif isinstance(memory, list):
        if len(memory) > 4 and isinstance(memory[0], float):
            memory[0] -= seconds
        for value in memory:
            make_older(value, seconds)


def test_a_field_that_it_does_not_have_is_unknown_everywhere(call: Run, vhost: Vhost) -> None:
    vhost.declare("orders")
    wait_for(vhost, lambda q: "orders" in q and q["orders"].consumers == 0)
    (row,) = json.loads(call("beanwatch", "queues", "list", "--json").stdout)
    (shown,) = json.loads(call("beanwatch", "queues", "show", "orders", "--json").stdout)
    lines = call("beanwatch", "collect", "--once", "--graphite", "-").stdout
    assert ".orders.consumers 0 " in lines
    for field in ("delayed", "idle_consumers", "head_buried_age", "paused"):
        assert row.get(field) is None
        assert shown[field] is None
        assert f".{field} " not in lines


def test_the_collector_sends_its_series(call: Run, vhost: Vhost) -> None:
    vhost.declare("a b")
    vhost.publish("a b", "x")
    wait_for(vhost, lambda q: q["a b"].ready == 1)
    lines = call("beanwatch", "collect", "--once", "--graphite", "-").stdout.splitlines()
    values = {line.split()[0]: float(line.split()[1]) for line in lines}
    assert values["beanwatch.queue.mq.a_b.ready"] == 1
    assert values["beanwatch.queue.mq.a_b.puts"] == 1
    assert values["beanwatch.server.mq.up"] == 1
    assert values["beanwatch.server.mq.memory"] > 0
    assert "beanwatch.server.mq.puts" not in values


def test_a_memory_alarm(call: Run, rabbitmq: RabbitMQ, vhost: Vhost) -> None:
    rabbitmq.ctl("set_vm_memory_high_watermark", "absolute", "1MB")
    try:
        wait_until(lambda: rabbitmq.api("GET", "nodes")[0]["mem_alarm"], 30.0)
        code, out, _ = call("check_queue_server")
        assert code == 2
        assert "blocks all publishers: memory alarm on node" in out
        assert "of 1 MB used)" in out
        assert call("check_queue_depth").code == 0 or not queues_of(vhost)
    finally:
        rabbitmq.ctl("set_vm_memory_high_watermark", "0.6")
    wait_until(lambda: not rabbitmq.api("GET", "nodes")[0]["mem_alarm"], 30.0)
    assert call("check_queue_server").code == 0


def test_celery_puts_and_takes_jobs_and_runs_one_that_was_kicked(
    call: Run, vhost: Vhost, tmp_path: Path
) -> None:
    (tmp_path / "shop.py").write_text(CELERY.replace("BROKER", repr(vhost.amqp_url)))
    done = tmp_path / "done"
    vhost.declare("dead")
    vhost.policy("^mail$", dead_letter_exchange="", dead_letter_routing_key="dead")
    put = f"import shop; shop.send.delay({str(done)!r})"
    subprocess.run([FRAMEWORKS, "-c", put], cwd=tmp_path, check=True, timeout=60)
    wait_for(vhost, lambda q: "mail" in q and (q["mail"].ready, q["mail"].puts) == (1, 1))
    vhost.reject("mail")  # as a worker does with a job that it gives up
    wait_for(vhost, lambda q: q["mail"].buried == 1)
    assert call("beanwatch", "queues", "kick", "mail", "--yes").code == 0
    argv = ["-m", "celery", "-A", "shop", "worker", "-P", "solo", "-c", "1", "-l", "WARNING"]
    worker = spawn([FRAMEWORKS, *argv], log=tmp_path / "celery.log", cwd=tmp_path)
    try:
        wait_until(lambda: done.read_text() == "sent\n", 60.0, "Celery has run the job")
        taken = wait_for(vhost, lambda q: q["mail"].consumers == 1 and q["mail"].deletes == 1)
        assert taken["mail"].buried == 0
        wait_for(vhost, lambda q: q["mail"].ready == 0)  # the server counts it a moment later
    finally:
        stop_process(worker)
