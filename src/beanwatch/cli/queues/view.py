"""`beanwatch queues list|show|peek`: the actions that only read."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import click

from beanwatch.cli.lib.absent_parts import has_redis
from beanwatch.cli.lib.options import (
    COUNT,
    QUERY_TIMEOUT,
    load_config,
    pick_redis,
    pick_servers,
    redis_option,
)
from beanwatch.cli.lib.output import exit_1_on, print_error, print_json, print_line, print_table
from beanwatch.cli.lib.queue_options import (
    QUEUE_GLOB,
    add_query_options,
    describe_no_match,
    load_targets,
)
from beanwatch.cli.lib.queue_view import SORTS, queue_table, sort_queues
from beanwatch.cli.lib.tables import UNKNOWN
from beanwatch.collectors.poll.observer import Observer
from beanwatch.config import Config
from beanwatch.fleet.first_jobs import Reason, count_reasons, peek_queue
from beanwatch.fleet.overview import FleetObserver
from beanwatch.fleet.queue_actions import Target, has_action
from beanwatch.net.redis_url import RedisError, open_redis
from beanwatch.queues.base import Job, ServerError
from beanwatch.queues.model import QUEUE_FIELDS
from beanwatch.queues.selection import INTERNAL, Selection
from beanwatch.words import count

DEFAULT_EXCERPT = 200  # bytes of a job's body that `peek` shows
MAX_PEEKED = 1000  # jobs of each state that `peek` shows
MAX_FACT = 500  # characters
MAX_REASONS = 5  # reasons of buried jobs that `peek` shows for a queue
SHOWN_FIELDS = (*QUEUE_FIELDS, "pause_left")


@click.command("list")
@click.argument("queue_glob", type=QUEUE_GLOB, default="*")
@click.option(
    "--sort", "order", type=click.Choice(list(SORTS)), default="name", help="order (name)"
)
@click.option(
    "--internal",
    is_flag=True,
    help="also list the queues that beanwatch uses itself, for commands to workers and replies",
)
@add_query_options
def list_queues(
    config_file: str | None,
    servers: tuple[str, ...],
    queue_glob: str,
    order: str,
    internal: bool,
    as_json: bool,
) -> int:
    """List queues: their jobs by state, consumers, the age of the first ready job, and a state.

    The exit code is 1 if QUEUE_GLOB is given and matches no queue, or if a server did not
    answer or its queues could not be read. The reason is on standard error.
    """
    chosen = pick_servers(load_config(config_file), servers)
    selection = Selection((queue_glob,), internal=() if internal else INTERNAL)
    observers = [Observer(one, selection=selection, timeout=QUERY_TIMEOUT) for one in chosen]
    fleet = FleetObserver(observers, QUERY_TIMEOUT * 2)
    seen = fleet.observe()
    fleet.close()
    rows = sort_queues(seen.queues, order)
    has_no_match = not rows and queue_glob != "*"
    if as_json:
        print_json([row.tree() for row in rows])
    elif not has_no_match:
        print_table(queue_table(rows, several=len(chosen) > 1))
    troubles = [row.trouble for row in seen.servers if row.trouble]
    for trouble in troubles:
        print_error(f"the list is incomplete: {trouble}")
    # If no server's queues were read, nobody knows whether one matches.
    if has_no_match and any(not row.trouble for row in seen.servers):
        print_error(describe_no_match(queue_glob))
    return 1 if troubles or has_no_match else 0


@click.command("show")
@click.argument("queue_glob", type=QUEUE_GLOB, default="*")
@add_query_options
def show(config_file: str | None, servers: tuple[str, ...], queue_glob: str, as_json: bool) -> int:
    """Show every number of queues: first those of all queue systems, then those of this system.

    The exit code is 1 if no queue matches, or if a server could not be read.
    """
    unread: list[ServerError] = []
    _, targets = load_targets(
        config_file, servers, queue_glob, heads=("ready",), on_error=unread.append
    )
    for error in unread:
        print_error(f"cannot read the queues: {error}")
    if as_json:
        print_json([as_tree(target) for target in targets])
        return int(bool(unread))
    for target in targets:
        print_line(f"{target} ({target.server.system.name})")
        for field in SHOWN_FIELDS:
            print_line(f"  {field:24} {value_text(getattr(target.queue, field))}")
        for name, value in target.queue.native.items():
            print_line(f"  {name:24} {value_text(value)}")
    return int(bool(unread))


def as_tree(target: Target) -> dict[str, Any]:
    """Return a queue as a tree for JSON."""
    return {
        "server": target.server.node,
        "system": target.server.system.name,
        "queue": target.name,
        **{field: getattr(target.queue, field) for field in SHOWN_FIELDS},
        "native": dict(target.queue.native),
    }


def value_text(value: float | bool | None) -> str:
    """Format a number; booleans become yes or no, and None (unknown) becomes n/a."""
    if value is None:
        return UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else f"{value}"


@click.command("peek")
@click.argument("queue_glob", type=QUEUE_GLOB)
@click.option(
    "--bytes", "limit", type=COUNT, default=DEFAULT_EXCERPT, help="bytes of the body to show (200)"
)
@click.option(
    "--count",
    "jobs",
    metavar="COUNT",
    type=click.IntRange(1, MAX_PEEKED),
    default=1,
    help="jobs of each state to show (1); more need a queue system that can list jobs",
)
@redis_option("the ledger")
@add_query_options
def peek(
    config_file: str | None,
    servers: tuple[str, ...],
    queue_glob: str,
    limit: int,
    jobs: int,
    redis: str | None,
    as_json: bool,
) -> int:
    """Show the first ready, delayed and buried job of queues, with the start of its body.

    For buried jobs, also show why they failed, if the queue system knows it, or else the most
    frequent reasons that workers recorded in the ledger. The exit code is 1 if no queue matches,
    or if a server could not be read.
    """
    unread: list[ServerError] = []
    config, targets = load_targets(config_file, servers, queue_glob, on_error=unread.append)
    for error in unread:
        print_error(f"cannot read the queues: {error}")
    with exit_1_on(ServerError, failure="cannot read jobs"):
        found = [(one, job) for one in targets for job in peek_queue(one, QUERY_TIMEOUT, jobs)]
    # Only the workers of a system that finds jobs by their ids write to the ledger.
    recorded = (one for one, job in found if job.state == "buried" and has_action(one, "find"))
    buried = list({str(target): target for target in recorded}.values())
    reasons = find_reasons(buried, config, redis) if buried else {}
    if as_json:
        print_json([job_tree(one, job, limit, reasons.get(str(one))) for one, job in found])
        return int(bool(unread))
    shown: Counter[tuple[str, str]] = Counter()
    for target, job in found:
        place = shown[str(target), job.state]
        shown[str(target), job.state] += 1
        lines = job_lines(
            target, job, limit, () if place else reasons.get(str(target)) or (), place
        )
        for line in lines:
            print_line(line)
    return int(bool(unread))


def find_reasons(
    targets: Sequence[Target], config: Config, redis: str | None
) -> dict[str, list[Reason]]:
    """Return why jobs of each queue were buried, by the queue's text; {} if Redis is off or absent.

    If the ledger or a server cannot be read, print why, and return the reasons found before.
    """
    config = config.set_redis(redis)
    url = pick_redis(config, None)
    if url is None or not has_redis(config):
        return {}
    found: dict[str, list[Reason]] = {}
    try:
        with open_redis(url, QUERY_TIMEOUT) as link:
            for target in targets:
                found[str(target)] = count_reasons(target, link.execute, QUERY_TIMEOUT)
    except (RedisError, ServerError) as error:
        print_error(f"cannot show why jobs were buried: {error}")
    return found


def facts_of(target: Target, job: Job) -> dict[str, Any]:
    """Return the server's fields of a job, under their own names, and the body's size in bytes.

    A longer text than MAX_FACT characters is cut.
    """
    size = None if job.body is None else len(job.body)
    named = {"id": job.id, "queue": job.queue, "state": job.state}
    facts = {name: _cut(value) for name, value in job.facts.items()}
    return {"server": target.server.node, **named, **facts, "size": size}


def _cut(value: str | int | float) -> str | int | float:
    if not isinstance(value, str) or len(value) <= MAX_FACT:
        return value
    return f"{value[:MAX_FACT]} ..."


def excerpt(job: Job, limit: int) -> str | None:
    """Return the first `limit` bytes of the body as text. Bytes that are not UTF-8 are escaped."""
    return None if job.body is None else job.body[:limit].decode("utf-8", "backslashreplace")


def job_tree(
    target: Target, job: Job, limit: int, reasons: Sequence[Reason] | None
) -> dict[str, Any]:
    """Return a job as a tree for JSON. `reasons` is None if they are not known."""
    tree = {**facts_of(target, job), "body": excerpt(job, limit)}
    if job.state == "buried" and reasons is not None:
        tree["reasons"] = [
            {"reason": f"{one.job}: {one.reason}", "jobs": one.jobs, "job_id": one.job_id}
            for one in reasons
        ]
    return tree


def job_lines(
    target: Target, job: Job, limit: int, reasons: Sequence[Reason], place: int = 0
) -> Iterator[str]:
    """Yield the lines that show a job, and if it is buried, why jobs of its queue were buried.

    `place` is that of the job among those in its state, from 0 on.
    """
    facts = facts_of(target, job)
    error = facts.pop("error", "")
    which = f"{job.state} job {place + 1}" if place else f"first {job.state} job"
    yield f"{facts.pop('server')} {target.name}: {which}"
    yield "  " + " ".join(f"{key}={value}" for key, value in facts.items())
    body = excerpt(job, limit)
    if body is not None and job.body is not None:
        yield f"  {body}{' ...' if len(job.body) > limit else ''}"
    if error:
        yield f"  failed because: {error}"
    if job.state != "buried":
        return
    for one in reasons[:MAX_REASONS]:
        jobs = count(one.jobs, "job")
        yield f"  buried because: {one.job}: {one.reason} ({jobs}, the last is {one.job_id})"
    if len(reasons) > MAX_REASONS:
        yield f"  and because of {count(len(reasons) - MAX_REASONS, 'more reason')}"
