"""The public record of workers: one table from which the page and the JSON Schema are made."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from beanwatch.store import heartbeats
from beanwatch.store.heartbeats import VERSION, Heartbeat, JobRecord
from beanwatch.store.records import NUMBER_LIMIT
from beanwatch.store.run_totals import (
    BOUNDS,
    MAX_COUNT,
    MAX_NAME,
    MAX_OUTCOMES,
    MAX_READ,
    RunTotals,
)
from tests.operations.markdown import Blocks, table
from tests.real import ROOT

PAGE = ROOT / "docs" / "worker-record.md"
SCHEMA = ROOT / "src" / "beanwatch" / "store" / "worker-record.schema.json"


class Field(NamedTuple):
    """What a field means; `unit` is that of its number."""

    help: str
    unit: str = ""


EPOCH = "time"  # the page explains it
RECORD = {
    "v": Field("version of the record"),
    "instance": Field("a random text, new with every start of the process"),
    "host": Field("short name of the host; the worker's id is `HOST.NAME`"),
    "name": Field("the worker's name on this host"),
    "pid": Field("process id on the host"),
    "state": Field(
        "`starting`, `idle`, `busy`, `waiting` (takes no jobs on purpose), `blocked` (cannot take "
        "jobs), `stopping`; any other counts as busy or idle"
    ),
    "loop_at": Field("when the main loop last moved", EPOCH),
    "beat_at": Field("when this record was made", EPOCH),
    "kind": Field("`beanwatch`, `celery`, `rq`, `dramatiq`, `php`, `run`, or any other word"),
    "reason": Field("why it is blocked, waiting or stopping"),
    "is_disconnected": Field("it is blocked because it cannot use its queue server"),
    "jobs": Field(f"the jobs that run now, at most {heartbeats.MAX_JOBS}; see below"),
    "hostname": Field("whole name of the host"),
    "process": Field(
        "`BOOT/NAMESPACE/PID/START`: /proc/sys/kernel/random/boot_id, the inode of "
        "/proc/self/ns/pid, the pid, and field 22 of /proc/self/stat. With it, a check on the "
        "same host knows whether the process is gone"
    ),
    "child_of": Field("id of the worker that has forked this one"),
    "server": Field("its queue server: the address, or the name in `[servers]`"),
    "queues": Field("the queues that it takes jobs from"),
    "commands": Field(
        "those that it carries out, of `stop`, `wait`, `resume`, `restart`, `status`, `dump`"
    ),
    "commands_by": Field("how they reach it: `beanstalkd` (its `server`), or `redis`"),
    "app_version": Field("version of the application"),
    "version": Field("version of the program that writes the record"),
    "interval": Field("time between two heartbeats", "seconds"),
    "started_at": Field("when the process started", EPOCH),
    "redis_started_at": Field(
        "the same by Redis's clock; of two processes with one id, the younger one gives way", EPOCH
    ),
    "max_idle": Field(
        "the worker is hung if its main loop stands still for longer while no job runs; 0: the "
        "loop is not judged",
        "seconds",
    ),
    "has_own_loop": Field("the main loop also moves while jobs run, so it is judged then, too"),
    "processed": Field("runs that have ended since the start"),
    "failed": Field("those of them that failed"),
    "errors": Field("exceptions in the worker's own parts (sinks, hooks) since the start"),
    "ignored_values": Field("values in envelopes that were ignored, as they cannot be right"),
    "rss": Field("resident memory of the process", "bytes"),
    "cpu": Field("processor time that the process has used", "seconds"),
    "disk_free": Field("free space where jobs get their temporary directories", "bytes"),
    "shutdown_timeout": Field("time that running jobs have after a stop", "seconds"),
    "shutdown_deadline": Field(
        "when that time ends; 10 s later, a worker that still runs is hung", EPOCH
    ),
    "restarts": Field(
        "starts after a crash or failure under this id; 0 again an hour after the last"
    ),
    "last_exit": Field("how the last instance that crashed or failed ended; kept for an hour"),
    "crashed_at": Field("when the instance after that one started", EPOCH),
    "last_words": Field("the failure for which this instance has ended; empty while it runs"),
    "recycles": Field("exits at a limit of its own (`--max-...`) since it was last told to stop"),
    "recycled_at": Field("when the last of these were, at most 20 within an hour", EPOCH),
    "recycled_why": Field("which limit the last one reached, and after how many jobs"),
    "restart_refused": Field("why it runs on though it was told to restart"),
    "failed_starts": Field("starts in a row that failed"),
    "black_box": Field("path of the file that says, on its host, how this instance ended"),
    "totals": Field(f"the runs of each kind of job, at most {MAX_READ} kinds; see below"),
    "totals_of": Field("the earlier instance since whose start `totals` count; empty: this one"),
    "is_over": Field("it stopped as requested, and the next instance has not started yet"),
}
JOB = {
    "id": Field("the id that the queue system gave the job"),
    "uuid": Field("the id that its producer gave it, by which people look for it"),
    "name": Field("the name of the job's handler or task"),
    "queue": Field("the queue that it came from"),
    "attempt": Field("1 in its first run"),
    "where": Field("the source line that it executes: `FILE:LINE FUNCTION`"),
    "note": Field("a text that the job has set"),
    "progress": Field("steps done, and all steps (0: not known)"),
    "started_at": Field("when this run started", EPOCH),
    "cpu": Field("processor time that the run has used", "seconds"),
    "deadline": Field("when it counts as hung (WARNING); 0: never", EPOCH),
    "hard_deadline": Field("when that is CRITICAL, because something should have ended it", EPOCH),
    "thread": Field("name of its thread, if the process has several"),
}
TOTALS = {
    "queue": Field("the queue"),
    "job": Field("the name of the jobs"),
    "outcomes": Field(
        f"runs by [outcome](reference.md#outcomes), at most {MAX_OUTCOMES}; an empty list is an "
        "empty object, as PHP writes it"
    ),
    "seconds": Field("sum of the durations", "seconds"),
    "buckets": Field(
        f"runs by duration: up to {', '.join(f'{bound:g}' for bound in BOUNDS)} seconds, and "
        "above. Each run counts once; zeros at the end may be left out"
    ),
}
FIELDS: Mapping[type[Any], Mapping[str, Field]] = {
    Heartbeat: RECORD,
    JobRecord: JOB,
    RunTotals: TOTALS,
}
WORDS = {
    str: "text", int: "whole number", float: "number", bool: "true or false",
    int | None: "whole number", float | None: "number",
    tuple[str, ...]: "list of texts", tuple[int, ...]: "list of whole numbers",
    tuple[JobRecord, ...]: "list of objects", tuple[RunTotals, ...] | None: "list of objects",
    dict[str, int]: "object of whole numbers",
}  # fmt: skip


# -- the page


def fields(record: type[Any]) -> str:
    """The table of a record's fields."""
    kinds, defaults = record.__annotations__, record._field_defaults  # type: ignore[attr-defined]
    check_complete(record)
    rows = [
        [
            f"`{name}`",
            "text or whole number" if name == "id" else WORDS[kinds[name]],
            field.unit,
            describe_default(defaults[name]) if name in defaults else "**required**",
            field.help,
        ]
        for name, field in FIELDS[record].items()
    ]
    return table(["field", "type", "unit", "default", "meaning"], rows)


def describe_default(value: object) -> str:
    """A default in JSON; None means that the value is not known."""
    if value is None:
        return "not known"
    return f"`{json.dumps(value)}`" if value != "" else '`""`'


def check_complete(record: type[Any]) -> None:
    """Raises if a field has no meaning, or a meaning no field."""
    missing = set(record.__annotations__) ^ set(FIELDS[record])
    if missing or list(record.__annotations__) != list(FIELDS[record]):
        raise KeyError(f"{record.__name__}: {sorted(missing) or 'another order'}")


def smallest() -> dict[str, Any]:
    """The smallest record."""
    return {
        "v": VERSION,
        "instance": "5f0c9a1be2",
        "host": "web1",
        "name": "mailer",
        "pid": 815,
        "state": "idle",
        "loop_at": 1795999620.5,
        "beat_at": 1795999621.0,
    }


def smallest_block() -> str:
    """The smallest record, as code."""
    return f"```json\n{json.dumps(smallest(), indent=4)}\n```"


BLOCKS: Blocks = {
    "smallest": smallest_block,
    "record": lambda: fields(Heartbeat),
    "job": lambda: fields(JobRecord),
    "totals": lambda: fields(RunTotals),
}


# -- the schema


def bounded(kind: str, limit: int = NUMBER_LIMIT) -> dict[str, Any]:
    """A number between limits."""
    return {"type": kind, "exclusiveMinimum": -limit, "exclusiveMaximum": limit}


COUNT = {"type": "integer", "minimum": 0, "exclusiveMaximum": MAX_COUNT}
NAME = {"type": "string", "maxLength": MAX_NAME}
TYPES: Mapping[Any, dict[str, Any]] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: bounded("integer"),
    float: bounded("number"),
    int | None: bounded("integer"),
    float | None: bounded("number"),
    tuple[str, ...]: {"type": "array", "items": {"type": "string"}},
    tuple[int, ...]: {"type": "array", "items": bounded("integer")},
    tuple[JobRecord, ...]: {
        "type": "array", "maxItems": heartbeats.MAX_JOBS, "items": {"$ref": "#/$defs/job"}
    },
    tuple[RunTotals, ...] | None: {
        "type": "array", "maxItems": MAX_READ, "items": {"$ref": "#/$defs/totals"}
    },
}  # fmt: skip
# Fields whose values have other limits than their types.
SPECIAL: Mapping[tuple[type[Any], str], dict[str, Any]] = {
    (Heartbeat, "v"): {"const": VERSION},
    (JobRecord, "id"): {"anyOf": [{"type": "string"}, bounded("integer")]},
    (RunTotals, "queue"): NAME,
    (RunTotals, "job"): NAME,
    (RunTotals, "outcomes"): {
        "anyOf": [
            {
                "type": "object", "maxProperties": MAX_OUTCOMES,
                "propertyNames": {"maxLength": MAX_NAME}, "additionalProperties": COUNT,
            },
            {"type": "array", "maxItems": 0},
        ]
    },
    (RunTotals, "seconds"): {"type": "number", "minimum": 0, "exclusiveMaximum": MAX_COUNT},
    (RunTotals, "buckets"): {"type": "array", "maxItems": len(BOUNDS) + 1, "items": COUNT},
}  # fmt: skip


def describe_object(record: type[Any]) -> dict[str, Any]:
    """The schema of a record. Unknown fields are allowed, and null is as good as nothing."""
    check_complete(record)
    required = [name for name in FIELDS[record] if name not in record._field_defaults]  # type: ignore[attr-defined]
    return {
        "type": "object",
        "required": required,
        "properties": dict(describe_properties(record, required)),
    }


def describe_properties(record: type[Any], required: list[str]) -> Iterator[tuple[str, Any]]:
    """Yield the schema of each field."""
    for name, field in FIELDS[record].items():
        about: dict[str, Any] = {"description": field.help}
        if field.unit:
            about["description"] += f" ({field.unit})"
        own = SPECIAL.get((record, name)) or TYPES[record.__annotations__[name]]
        if name in required:
            yield name, about | own
            continue
        default = record._field_defaults[name]  # type: ignore[attr-defined]
        yield name, about | {"default": default, "anyOf": [own, {"type": "null"}]}


def make_schema() -> str:
    """The JSON Schema of a record."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The record of one worker process, which beanwatch reads from Redis",
        **describe_object(Heartbeat),
        "$defs": {"job": describe_object(JobRecord), "totals": describe_object(RunTotals)},
    }
    return json.dumps(schema, indent=2) + "\n"
