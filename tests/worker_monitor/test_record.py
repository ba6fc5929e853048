"""The public record: the schema and the reader agree, and nothing that is read breaks a reader."""

import inspect
import json
import math
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from beanwatch.checks.lib.chosen_workers import with_process
from beanwatch.checks.lib.worker_verdict import decide, decide_left
from beanwatch.cli.lib.worker_view import worker_table, worker_tree
from beanwatch.collectors.poll.worker_series import FleetPoll, derive_fleet
from beanwatch.fleet.workers import why_cannot
from beanwatch.quoting import terminal_text
from beanwatch.store.health import HEALTH, decide_health
from beanwatch.store.heartbeats import (
    Heartbeat,
    JobRecord,
    Worker,
    decode_heartbeat,
    encode_heartbeat,
    make_worker,
)
from beanwatch.store.records import RecordError
from beanwatch.store.run_totals import RunTotals
from beanwatch.worker import WorkerMonitor
from tests.operations import worker_record

SCHEMA = json.loads(worker_record.SCHEMA.read_text())
VALIDATOR = Draft202012Validator(SCHEMA)
SMALLEST = worker_record.smallest()
ALMOST_A_JOB = {"id": "7", "name": "send", "queue": "email"}
ALMOST_TOTALS = {"queue": "q", "job": "j", "outcomes": {"ok": 3}}

# JSON has no NaN and no infinity. A text may have been cut in the middle of a character.
NUMBERS = (
    st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([0, 7, 7.0, 0.5, 2.0**62, 2**63, -(2**63), 2**53, 1e300, -1, True])
)
TEXTS = st.text(max_size=5) | st.sampled_from(["", "idle", "\ud83d", "\x1b[2J", "x" * 256])
LEAVES = st.none() | st.booleans() | NUMBERS | TEXTS
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)


def records(kind: type[Any], base: dict[str, Any], parts: Any = VALUES) -> Any:
    """Almost valid records of a kind: some fields have any value, and one may be missing."""
    fields = st.dictionaries(st.sampled_from(kind._fields), parts, max_size=4)  # type: ignore[attr-defined]
    return st.builds(
        lambda more, lost: {k: v for k, v in (base | more).items() if k != lost},
        fields,
        st.none() | st.sampled_from(kind._fields),  # type: ignore[attr-defined]
    )


JOBS = st.lists(records(JobRecord, ALMOST_A_JOB), max_size=2)
TOTALS = st.lists(records(RunTotals, ALMOST_TOTALS), max_size=2)
RECORDS = records(Heartbeat, SMALLEST, VALUES | JOBS | TOTALS) | st.builds(
    lambda record, jobs, totals: record | {"jobs": jobs, "totals": totals},
    records(Heartbeat, SMALLEST),
    JOBS,
    TOTALS,
)


@given(RECORDS | VALUES)
@example(SMALLEST)
@example(SMALLEST | {"jobs": [{"id": 7.0}], "totals": [ALMOST_TOTALS | {"outcomes": []}]})
@example(SMALLEST | {"jobs": None, "totals": None, "host": "\ud83d"})
@example(SMALLEST | {"jobs": [{"id": "\udc00", "note": "\ud83d"}], "queues": ["\ud83d"]})
@example(SMALLEST | {"v": 2.0, "pid": 7.0, "language": {"php": 8}})
@example(SMALLEST | {"v": True})
@example(SMALLEST | {"recycled_at": [1e300]})
def test_the_reader_accepts_what_the_schema_accepts_and_names_the_field_otherwise(record: Any):
    worker = make_worker("web1.mailer", 1.0, json.dumps(record).encode())
    assert (not worker.problem) == VALIDATOR.is_valid(record), worker.problem
    if worker.heartbeat is None:
        assert is_named(worker.problem, record), worker.problem
    else:
        judge(worker)
        judge(worker._replace(age=60.0))


def is_named(problem: str, record: Any) -> bool:
    """True if the text begins with a field of the record, or says that this is no record."""
    if not isinstance(record, dict):
        return problem == "it is not a JSON object"
    name = problem.partition(" ")[0].rstrip(":").partition("[")[0]
    return name in Heartbeat._fields


def judge(worker: Worker) -> None:
    """Do with a record whatever readers do: nothing raises, and all can be written."""
    beat = worker.heartbeat
    assert beat is not None
    assert decode_heartbeat(encode_heartbeat(beat)) == beat
    assert all(math.isfinite(value) for value in beat if isinstance(value, float))
    assert decide_health(worker) in HEALTH
    texts = [decide(with_process(worker))[1], decide_left(worker)[1], why_cannot(worker, "stop")]
    worker_table([worker])
    texts.append(json.dumps(worker_tree(worker), ensure_ascii=False))
    for text in texts:
        assert terminal_text(text).encode().decode().isprintable()
    for _, values in derive_fleet("beanwatch", FleetPoll(workers=[worker])):
        assert all(isinstance(value, int | float) for value in values.values())


@given(st.binary(max_size=20) | st.text(max_size=20).map(str.encode))
def test_what_is_no_json_is_rejected(body: bytes):
    try:
        decode_heartbeat(body)
    except RecordError as error:
        assert str(error) in ("it is not JSON", "it is not a JSON object", "v is missing")


def test_the_schema_is_a_schema_and_is_that_of_the_code():
    Draft202012Validator.check_schema(SCHEMA)
    assert worker_record.make_schema() == worker_record.SCHEMA.read_text(), "run: make docs"


def test_the_smallest_record_is_read_and_no_smaller_one_is():
    worker = make_worker("web1.mailer", 1.0, json.dumps(SMALLEST).encode())
    assert (worker.problem, decide_health(worker)) == ("", "idle")
    assert len(SMALLEST) == 8
    for name in SMALLEST:
        smaller = {key: value for key, value in SMALLEST.items() if key != name}
        worker = make_worker("web1.mailer", 1.0, json.dumps(smaller).encode())
        assert worker.problem == f"{name} is missing"


@pytest.mark.parametrize("version", [3, 2.5, 99])
def test_a_record_of_a_higher_version_says_so(version: float):
    worker = make_worker("web1.mailer", 1.0, json.dumps(SMALLEST | {"v": version}).encode())
    assert worker.problem == f"v: the record is of version {version}, this beanwatch reads 2"
    assert decide(worker)[1].startswith("web1.mailer: beats, but its record is unreadable: v: ")


def test_the_page_names_every_argument_and_every_method_of_the_monitor():
    page = worker_record.PAGE.read_text().rpartition("```\n")[2]
    shown = set(re.findall(r"[a-z_]+", " ".join(re.findall(r"`[^`]+`", page))))
    arguments = inspect.signature(WorkerMonitor).parameters
    by_itself = {"before_fork", "after_fork", "after_fork_in_child"}  # os.fork calls them
    methods = {name for name in vars(WorkerMonitor) if not name.startswith("_")} - by_itself
    assert {*arguments, *methods} - shown == set()
