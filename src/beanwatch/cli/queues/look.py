"""`beanwatch queues list|show|peek`: the actions that change nothing."""

from collections.abc import Iterator, Sequence
from typing import Any

import click

from beanwatch.cli.lib.options import (
    COUNT,
    QUERY_TIMEOUT,
    load_config,
    pick_redis,
    pick_servers,
    redis_option,
)
from beanwatch.cli.lib.output import complain, exit_on, print_json, print_table, printable
from beanwatch.cli.lib.queue_options import common, no_queue, pass_targets
from beanwatch.cli.lib.queue_view import SORTS, queue_table, sort_queues
from beanwatch.cli.lib.tables import UNKNOWN
from beanwatch.collectors.poll.observer import Observer
from beanwatch.config import Config
from beanwatch.fleet.first_jobs import Reason, count_reasons, peek_queue
from beanwatch.fleet.overview import FleetObserver
from beanwatch.fleet.queue_actions import Target
from beanwatch.net.redis_url import RedisError, open_redis
from beanwatch.queues.base import Job, ServerError
from beanwatch.queues.model import QUEUE_FIELDS
from beanwatch.queues.selection import INTERNAL, Selection

EXCERPT = 200  # bytes of a body that peek shows
MAX_REASONS = 5  # that peek shows
SHOWN_FIELDS = (*QUEUE_FIELDS, "pause_left")


@click.command("list")
@click.argument("queue_glob", default="*")
@click.option("--sort", "order", type=click.Choice(list(SORTS)), default="name", help="by (name)")
@click.option("--internal", is_flag=True, help="also beanwatch's own: control and reply queues")
@common
def list_queues(
    config_file: str | None,
    servers: tuple[str, ...],
    queue_glob: str,
    order: str,
    internal: bool,
    as_json: bool,
) -> int:
    """One line a queue: jobs, consumers, how long the first ready job has waited, state."""
    chosen = pick_servers(load_config(config_file), servers)
    selection = Selection((queue_glob,), internal=() if internal else INTERNAL)
    observers = [Observer(one, selection=selection, timeout=QUERY_TIMEOUT) for one in chosen]
    fleet = FleetObserver(observers, QUERY_TIMEOUT * 2)
    seen = fleet.observe()
    fleet.close()
    rows = sort_queues(seen.queues, order)
    is_missed = not rows and queue_glob != "*"
    if as_json:
        print_json([row.tree() for row in rows])
    elif not is_missed:
        print_table(queue_table(rows, several=len(chosen) > 1))
    troubles = [row.trouble for row in seen.servers if row.trouble]
    for trouble in troubles:
        complain(trouble)
    if is_missed and any(row.up for row in seen.servers):
        complain(no_queue(queue_glob))
    return 1 if troubles or is_missed else 0


@click.command("show")
@click.argument("queue_glob", default="*")
@common
def show(config_file: str | None, servers: tuple[str, ...], queue_glob: str, as_json: bool) -> None:
    """Every number of a queue, and below them those that only its system has."""
    _, targets = pass_targets(config_file, servers, queue_glob, heads=("ready",))
    if as_json:
        print_json([as_tree(target) for target in targets])
        return
    for target in targets:
        click.echo(f"{printable(str(target))} ({target.server.system.name})")
        for field in SHOWN_FIELDS:
            click.echo(f"  {field:24} {value_text(getattr(target.queue, field))}")
        for name, value in target.queue.native.items():
            click.echo(f"  {name:24} {value_text(value)}")


def as_tree(target: Target) -> dict[str, Any]:
    """A queue for JSON."""
    return {
        "server": target.server.node,
        "system": target.server.system.name,
        "queue": target.name,
        **{field: getattr(target.queue, field) for field in SHOWN_FIELDS},
        "native": dict(target.queue.native),
    }


def value_text(value: float | bool | None) -> str:
    """A number as it is; yes or no; n/a for what is not known."""
    if value is None:
        return UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else f"{value}"


@click.command("peek")
@click.argument("queue_glob")
@click.option("--bytes", "limit", type=COUNT, default=EXCERPT, help="of the body to show (200)")
@redis_option("the ledger")
@common
def peek(
    config_file: str | None,
    servers: tuple[str, ...],
    queue_glob: str,
    limit: int,
    redis: str | None,
    as_json: bool,
) -> None:
    """The next ready, delayed and buried job: its facts and the start of its body.

    Of buried jobs also why, as far as the workers recorded it.
    """
    config, targets = pass_targets(config_file, servers, queue_glob)
    with exit_on(ServerError):
        found = [(one, job) for one in targets for job in peek_queue(one, QUERY_TIMEOUT)]
    buried = [target for target, job in found if job.state == "buried"]
    reasons = find_reasons(buried, config, redis) if buried else {}
    if as_json:
        print_json([job_tree(one, job, limit, reasons.get(str(one))) for one, job in found])
        return
    for target, job in found:
        for line in job_lines(target, job, limit, reasons.get(str(target)) or ()):
            click.echo(printable(line))


def find_reasons(
    targets: Sequence[Target], config: Config, redis: str | None
) -> dict[str, list[Reason]]:
    """Why the jobs of these queues are buried; {} where no Redis is named."""
    url = pick_redis(config, redis)
    if url is None:
        return {}
    found: dict[str, list[Reason]] = {}
    try:
        with open_redis(url, QUERY_TIMEOUT) as link:
            for target in targets:
                found[str(target)] = count_reasons(target, link.execute, QUERY_TIMEOUT)
    except (RedisError, ServerError) as error:
        complain(f"why they are buried is not known: {error}")
    return found


def facts_of(target: Target, job: Job) -> dict[str, Any]:
    """All that the server says of a job, under its own names, and how large its body is."""
    size = None if job.body is None else len(job.body)
    named = {"id": job.id, "queue": job.queue, "state": job.state}
    return {"server": target.server.node, **named, **job.facts, "size": size}


def excerpt(job: Job, limit: int) -> str | None:
    """The start of the body as text; bytes that are no UTF-8 are escaped."""
    return None if job.body is None else job.body[:limit].decode("utf-8", "backslashreplace")


def job_tree(
    target: Target, job: Job, limit: int, reasons: Sequence[Reason] | None
) -> dict[str, Any]:
    """A job for JSON."""
    tree = {**facts_of(target, job), "body": excerpt(job, limit)}
    if job.state == "buried" and reasons is not None:
        tree["reasons"] = [
            {"reason": f"{one.job}: {one.reason}", "jobs": one.jobs, "job_id": one.job_id}
            for one in reasons
        ]
    return tree


def job_lines(target: Target, job: Job, limit: int, reasons: Sequence[Reason]) -> Iterator[str]:
    """A job for a terminal."""
    facts = facts_of(target, job)
    yield f"{facts.pop('server')} {job.queue}: next {job.state} job"
    yield "  " + " ".join(f"{key}={value}" for key, value in facts.items())
    body = excerpt(job, limit)
    if body is not None and job.body is not None:
        yield f"  {body}{' ...' if len(job.body) > limit else ''}"
    if job.state != "buried":
        return
    for one in reasons[:MAX_REASONS]:
        jobs = "1 job" if one.jobs == 1 else f"{one.jobs} jobs"
        yield f"  buried for: {one.job}: {one.reason} ({jobs}, such as {one.job_id})"
    if len(reasons) > MAX_REASONS:
        yield f"  and for {len(reasons) - MAX_REASONS} other reasons"
