"""Jobs that Laravel's own queue component puts: a Python worker and Laravel's share one queue."""

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beanwatch.worker.decoders.laravel import CALLS_OBJECTS, decode_laravel
from tests.real import ROOT, wait_until
from tests.worker_core.conftest import QUEUE, Broker, RunningWorker, StartWorker
from tests.worker_core.test_envelope import JSON
from tests.worker_core.test_php_serialize import APP as PHP_APP

APP = "tests.worker_core.decoding_jobs:app"
Laravel = Callable[..., str]


@pytest.fixture
def laravel(broker: Broker) -> Laravel:
    """Runs the application of Laravel: `laravel("put", CLASS, properties)`."""

    def run(action: str, *arguments: object) -> str:
        texts = [one if isinstance(one, str) else json.dumps(one) for one in arguments]
        done = subprocess.run(
            ["php", PHP_APP, str(broker.server.port), action, QUEUE, *texts],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def body_of(broker: Broker, job_id: int) -> bytes:
    with broker.server.client(encoding=None) as client:
        return client.peek(job_id).body


def test_the_properties_of_a_job_class_are_its_data(
    start_worker: StartWorker, broker: Broker, laravel: Laravel
) -> None:
    laravel("put", "SendInvoice")
    laravel("string", "Mail@send", {"to": 3})
    worker = start_worker(app=APP)
    wait_until(lambda: worker.outcomes() == ["ok", "ok"])
    invoice, mail = (worker.logged(text) for text in ("invoice", "mail"))
    assert invoice
    assert mail
    customer = {"id": 3, "name": "Ann"}
    assert invoice["context"]["data"] == {
        "invoice": 7,
        "to": ["ann@example.org", "jürgen@example.org"],
        "total": 19.5,
        "kind": "Reminder",
        "customer": customer,
        "copy": customer,
        "options": {"paper": "A4", "pages": [1, 2]},
        "file": "/dev/null",
    }
    assert mail["context"]["data"] == {"to": 3}
    assert broker.counts()


def test_a_job_that_failed_here_is_finished_by_laravels_worker_under_the_same_id(
    start_worker: StartWorker, broker: Broker, laravel: Laravel, tmp_path: Path
) -> None:
    done = tmp_path / "done"
    job_id = int(laravel("put", "Limited", {"file": str(done)}))
    body = body_of(broker, job_id)
    uuid = json.loads(body)["uuid"]
    worker = start_worker(app=APP)
    wait_until(lambda: worker.outcomes() == ["retry", "retry"])
    job = broker.job(job_id)
    assert (job["state"], job["delay"], job["reserves"]) == ("delayed", 5, 2)
    worker.stop()
    assert body_of(broker, job_id) == body
    with broker.server.client() as client:
        client.kick_job(job_id)
    assert laravel("work") == ""
    assert done.read_text() == f"php {uuid} 3\n"
    assert broker.job(job_id) == {}
    assert [run["id"] for run in worker.runs()] == [uuid] * 2
    shown = run_job_command(worker, broker, uuid)
    assert f"App\\Jobs\\Limited {uuid} in {QUEUE}" in shown
    assert shown.count(" retry ") == 2


def run_job_command(worker: RunningWorker, broker: Broker, uuid: str) -> str:
    done = subprocess.run(
        [ROOT / ".venv/bin/beanwatch", "job", uuid, "--redis", worker.redis_url,
         "--server", broker.server.address],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_only_laravel_can_run_is_buried_and_laravel_runs_it_after_a_kick(
    start_worker: StartWorker, broker: Broker, laravel: Laravel, tmp_path: Path
) -> None:
    done = tmp_path / "done"
    put: list[tuple[int, str]] = []  # the id of each job, and why it is buried
    for name, properties, reason in (
        ("Secret", {}, "only Laravel can run this job: its command is encrypted"),
        ("SendInvoice", {"chain": ["ForLaravel"]}, "other jobs follow it in a chain"),
        ("SendInvoice", {"batchId": "b-1"}, "it belongs to a batch"),
        ("ForLaravel", {}, "no handler for the job 'App\\\\Jobs\\\\ForLaravel'"),
    ):
        job_id = int(laravel("put", name, {"file": str(done), **properties}))
        put.append((job_id, reason))
    uuids = [json.loads(body_of(broker, job_id))["uuid"] for job_id, _ in put]
    worker = start_worker(app=APP)
    wait_until(lambda: worker.outcomes() == ["invalid"] * 4)
    worker.stop()
    for (_, reason), uuid, run in zip(put, uuids, worker.runs(), strict=True):
        assert run["id"] == uuid
        assert reason in run["reason"]
    assert broker.counts(buried=4)
    del put[2], uuids[2]  # its batch is in a database
    with broker.server.client() as client:
        for job_id, _ in put:
            client.kick_job(job_id)
            assert laravel("work") == ""
    assert done.read_text() == "".join(f"php {uuid} 2\n" for uuid in uuids)
    assert broker.counts(ready=1, buried=1), "the next job of the chain"


def test_the_limits_in_a_payload_are_kept(
    start_worker: StartWorker, broker: Broker, laravel: Laravel
) -> None:
    now = int(time.time())
    late = int(laravel("put", "Limited", {"file": "hang"}))
    expired = int(laravel("put", "Expiring", {"until": now - 5}))
    retried = int(laravel("put", "Expiring", {"until": now + 3600, "backoff": 0}))
    worker = start_worker(app=APP)
    ends: dict[int, list[dict[str, Any]]] = {}

    def is_done() -> bool:
        for job_id in (late, expired, retried):
            ends[job_id] = [run for run in worker.runs() if run["job_id"] == job_id]
        done = bool(ends[late] and ends[expired]) and len(ends[retried]) > 2
        first = [line["message"] for line in worker.lines()[:5]]
        assert done, (worker.process.poll(), {one: len(runs) for one, runs in ends.items()}, first)
        return True

    wait_until(is_done, 60)
    assert [run["outcome"] for run in ends[late]] == ["timeout"]
    assert "longer than 1 s" in ends[late][0]["reason"]
    assert broker.job(late)["state"] == "buried"
    assert [run["outcome"] for run in ends[expired]] == ["invalid"]
    assert "`retry_until`" in ends[expired][0]["reason"]
    # The handler allows one attempt; Laravel allows any number until then.
    assert {run["outcome"] for run in ends[retried]} == {"retry"}


def payload(**fields: Any) -> bytes:
    plain = {"displayName": "Mail", "job": "Mail@send", "maxTries": None, "data": {"to": 1}}
    return json.dumps({**plain, **fields}).encode()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"maxTries": "3"}, {"max_attempts": 3}),
        ({"maxTries": 0}, {"max_attempts": 0}),
        ({"maxTries": -1}, {"max_attempts": None}),
        ({"backoff": 60}, {"backoff": (60.0,)}),
        ({"backoff": "1,5,10"}, {"backoff": (1.0, 5.0, 10.0)}),
        ({"backoff": "1,soon"}, {"backoff": ()}),
        ({"timeout": 0}, {"timeout": None}),
        ({"timeout": 1e300}, {"timeout": None}),
        ({"timeout": True}, {"timeout": None}),
        ({"failOnTimeout": True}, {"on_timeout": "bury"}),
        ({"uuid": "a b"}, {"id": None}),
        ({"uuid": 7}, {"id": None}),
        ({"createdAt": 1_795_492_885}, {"enqueued_at": 1_795_492_885}),
        ({"retryUntil": 1_795_492_885}, {"retry_until": 1_795_492_885}),
        ({"job": CALLS_OBJECTS}, {"refusal": "this job of Laravel has no command"}),
        (
            {"job": CALLS_OBJECTS, "data": {"commandName": "A", "command": "O:1:"}},
            {"job": "A", "refusal": "the command of this job of Laravel cannot be read: "
             "it does not begin with an object"},
        ),
        (
            {"job": CALLS_OBJECTS, "displayName": "App\\Mail\\Hello", "data": {
                "commandName": "Illuminate\\Mail\\SendQueuedMailable",
                "command": 'O:34:"Illuminate\\Mail\\SendQueuedMailable":0:{}'}},
            {"job": "App\\Mail\\Hello"},
        ),
    ],
)  # fmt: skip
def test_a_field_that_makes_no_sense_is_ignored(
    fields: dict[str, Any], expected: dict[str, Any]
) -> None:
    envelope = decode_laravel(payload(**fields))
    assert envelope
    assert {name: getattr(envelope, name) for name in expected} == expected


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_what_is_not_of_laravel_is_left_to_others(body: bytes) -> None:
    assert decode_laravel(body) is None


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(
    ("uuid", "displayName", "maxTries", "backoff", "timeout", "retryUntil", "createdAt", "data",
     "failOnTimeout"), JSON)), st.sampled_from(["Mail@send", CALLS_OBJECTS]))  # fmt: skip
def test_no_field_of_a_payload_is_an_unexpected_exception(fields: Any, job: str) -> None:
    from beanwatch.worker.api.decoders import decode_foreign

    assert decode_foreign([decode_laravel], payload(**fields, job=job)).job in (job, "Mail")


def test_the_example_in_the_docs_runs_a_job_of_laravel(
    start_worker: StartWorker, broker: Broker, laravel: Laravel, tmp_path: Path
) -> None:
    page = (ROOT / "docs" / "producers.md").read_text()
    section = page.partition("## From Laravel")[2]
    example = section.partition("```python\n")[2].partition("```")[0]
    (tmp_path / "invoices.py").write_text(example)
    laravel("put", "SendInvoice")
    path = {"PYTHONPATH": str(tmp_path)}
    worker = start_worker(app="invoices:app", env=path)
    wait_until(lambda: worker.outcomes() == ["ok"])
    assert worker.logged("invoice 7")
