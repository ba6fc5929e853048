"""`beanwatch queues peek`: show the first jobs of queues, and why jobs failed."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import click

from beanwatch.cli.lib.absent_parts import has_redis
from beanwatch.cli.lib.options import COUNT, QUERY_TIMEOUT, pick_redis, redis_option
from beanwatch.cli.lib.output import exit_1_on, print_error, print_json, print_line
from beanwatch.cli.lib.queue_options import QUEUE_GLOB, add_query_options, load_targets
from beanwatch.config import Config
from beanwatch.fleet.first_jobs import Reason, count_reasons, find_error, peek_queue
from beanwatch.fleet.queue_actions import Target, has_action
from beanwatch.net.redis_url import RedisError, open_redis
from beanwatch.queues.base import Job, ServerError
from beanwatch.words import count

DEFAULT_EXCERPT = 200  # bytes of a job's body that `peek` shows
MAX_PEEKED = 1000  # jobs of each state that `peek` shows
MAX_FACT = 500  # characters
MAX_REASONS = 5  # reasons of buried jobs that `peek` shows for a queue


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
    facts.pop("error", "")
    error = _cut(find_error(str(job.facts.get("error", ""))))
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
