"""Decoders read the jobs of other frameworks. One that goes wrong harms only its own job."""

from typing import Any

import pytest

from beanwatch.worker import App, Envelope, EnvelopeError, ForeignEnvelope
from beanwatch.worker.api.decoders import decode_foreign
from beanwatch.worker.core.limits import (
    Limits,
    RunLimits,
    decide_limits,
    find_refusal,
)
from tests.real import wait_until
from tests.worker_core.conftest import Broker, StartWorker

APP = "tests.worker_core.decoding_jobs:app"


def test_each_body_has_the_end_that_its_decoder_decides(
    start_worker: StartWorker, broker: Broker
) -> None:
    expected = {
        "plain hello": ("ok", ""),
        '{"job": "echo", "data": {"text": "own"}}': ("ok", ""),
        "refused R-5": ("invalid", "nobody may run it"),
        "unreadable": ("invalid", "nobody can read it"),
        "broken it": ("invalid", "the decoder decode_words failed: KeyError: 'it'"),
        "number": ("invalid", "the decoder decode_words returned no Envelope"),
        "nameless": ("invalid", "returned an invalid envelope: Expected `str`"),
        "other": ("invalid", "not a valid job envelope"),
        "exit": ("buried", "SystemExit: 3 (attempt 1, the last)"),
        "hang": ("timeout", "the job ran longer than 0.5 s, its timeout (attempt 1, the last)"),
    }
    jobs = {broker.put_raw(body): body for body in expected}
    worker = start_worker("--max-attempts", 1, "--job-timeout", "0.5s", app=APP)
    wait_until(lambda: len(worker.runs()) == len(jobs))
    for run in worker.runs():
        outcome, reason = expected[jobs[run["job_id"]]]
        assert run["outcome"] == outcome, run
        assert reason in run.get("reason", ""), run
        state = {} if outcome == "ok" else broker.job(run["job_id"])
        assert state.get("state", "gone") == ("gone" if outcome == "ok" else "buried")
    by_body = {jobs[run["job_id"]]: run for run in worker.runs()}
    assert by_body["plain hello"]["id"] == "plain-1"
    assert (by_body["refused R-5"]["id"], by_body["refused R-5"]["job"]) == ("R-5", "echo")
    assert "decoding_jobs.py" in by_body["broken it"]["traceback"]
    assert by_body["exit"]["job"] == "unknown"
    assert worker.process.poll() is None


def test_the_limits_of_a_foreign_envelope_replace_those_of_the_handler(
    start_worker: StartWorker, broker: Broker
) -> None:
    job_id = broker.put_raw("limited x")
    worker = start_worker(app=APP)
    wait_until(lambda: worker.outcomes() == ["retry", "buried"])
    assert broker.job(job_id)["state"] == "buried"
    assert [run.get("delay", 0) for run in worker.runs()] == [0, 0]


def test_a_decoder_that_kills_its_worker_makes_its_job_poison(
    start_worker: StartWorker, broker: Broker
) -> None:
    job_id = broker.put_raw("kill")
    assert start_worker("--max-attempts", 1, app=APP).exit_code() == -9
    worker = start_worker("--max-attempts", 1, app=APP)
    wait_until(lambda: "poison" in worker.outcomes())
    assert broker.job(job_id)["state"] == "buried"


def test_where_a_decoder_hangs_is_in_the_heartbeat(
    start_worker: StartWorker, broker: Broker
) -> None:
    broker.put_raw("hang")
    worker = start_worker(app=APP)
    worker.wait_for("busy")
    wait_until(lambda: "decoding_jobs.py" in worker.beat().jobs[0].where)
    assert worker.beat().jobs[0].deadline > 0


HANDLER = App()
HANDLER.job("j", timeout=5, max_attempts=4, backoff=7, on_timeout="bury")(lambda ctx, data: None)
DEFAULT = Limits(60, 10, 5)


@pytest.mark.parametrize(
    ("envelope", "expected"),
    [
        (Envelope("j"), RunLimits(5, 4, 7, "bury")),
        (ForeignEnvelope(job="j"), RunLimits(5, 4, 7, "bury")),
        (ForeignEnvelope(job="j", timeout=2.0), RunLimits(2, 4, 7, "bury")),
        (ForeignEnvelope(job="j", max_attempts=0), RunLimits(5, 0, 7, "bury")),
        (ForeignEnvelope(job="j", on_timeout="retry"), RunLimits(5, 4, 7, "retry")),
        (ForeignEnvelope(job="j", retry_until=9.0), RunLimits(5, 4, 7, "bury", 9.0)),
    ],
)
def test_a_limit_of_the_envelope_is_used_before_that_of_the_handler(
    envelope: Envelope, expected: RunLimits
) -> None:
    assert decide_limits(envelope, HANDLER.handlers["j"], DEFAULT) == expected
    assert decide_limits(Envelope("j"), None, DEFAULT) == RunLimits(60, 5)


def test_the_last_delay_is_repeated() -> None:
    envelope = ForeignEnvelope(job="j", backoff=(1.0, 5.0))
    backoff: Any = decide_limits(envelope, None, DEFAULT).backoff
    assert [backoff(attempt) for attempt in (1, 2, 3, 99)] == [1, 5, 5, 5]


def test_until_its_time_is_over_a_job_is_retried_and_then_no_more() -> None:
    envelope = ForeignEnvelope(job="j", retry_until=100.0)
    limits = decide_limits(envelope, HANDLER.handlers["j"], DEFAULT)
    assert (limits.attempts(99.0), limits.attempts(100.0)) == (0, 1)
    assert find_refusal(envelope, 0, 99.0) == ""
    assert "over since 5 s" in find_refusal(envelope, 0, 105.5)
    assert find_refusal(envelope, 1, 105.0) == "", "somebody kicked it"


@pytest.mark.parametrize(
    "fields",
    [
        {"timeout": 0},
        {"timeout": 1e9},
        {"timeout": "3"},
        {"max_attempts": -1},
        {"backoff": (-1.0,)},
        {"on_timeout": "explode"},
        {"job": "x" * 201},
        {"id": "a b"},
        {"enqueued_at": "now"},
        {"data": object()},
    ],
)
def test_what_a_decoder_returns_is_checked(fields: dict[str, Any]) -> None:
    with pytest.raises(EnvelopeError):
        decode_foreign([lambda body: ForeignEnvelope(**{"job": "j", **fields})], b"")


def test_decoders_are_asked_in_their_order() -> None:
    found = [lambda body: None, lambda body: Envelope("first"), lambda body: Envelope("second")]
    assert decode_foreign(found, b"").job == "first"
    assert decode_foreign(found[:1], b'{"job": "own"}').job == "own"


def test_a_decoder_that_would_never_run_is_an_error() -> None:
    async def decode(body: bytes) -> None: ...

    with pytest.raises(TypeError, match=r"decoder .* must be a plain function"):
        App().decoder(decode)  # type: ignore[arg-type]
