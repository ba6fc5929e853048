"""`beanwatch queues list|show|peek`: the actions that change nothing."""

import json
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

import click
from rich.console import Console

from beanwatch.cli.lib.options import COUNT, load_config, pick_servers
from beanwatch.cli.lib.queue_options import STATES, TIMEOUT, common, pass_targets
from beanwatch.cli.lib.queue_plan import Target
from beanwatch.cli.lib.queue_view import SORTS, queue_table, sort_queues
from beanwatch.cli.top import pick_redis
from beanwatch.collectors.poll.observer import Observer
from beanwatch.config import Config
from beanwatch.fleet.overview import Lookout
from beanwatch.net.redis_url import Execute, RedisError, open_redis
from beanwatch.queues.beanstalkd.actions import find_still_buried
from beanwatch.queues.beanstalkd.connection import Link, ServerError
from beanwatch.queues.beanstalkd.stats import read_jobs
from beanwatch.queues.selection import INTERNAL, Selection
from beanwatch.store.ledger import find_buried

EXCERPT = 200  # bytes of a body that peek shows
REASONS = 5  # that peek shows
LOOKED_UP = 1000  # buried jobs whose reasons are counted


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
    """One line a queue: jobs, consumers, age of the head of its queue, state."""
    chosen = pick_servers(load_config(config_file), servers)
    selection = Selection((queue_glob,), internal=() if internal else INTERNAL)
    lookout = Lookout([Observer(one, selection=selection) for one in chosen], TIMEOUT * 2)
    seen = lookout.look()
    lookout.close()
    rows = sort_queues(seen.queues, order)
    if as_json:
        print_json([row._asdict() | {"wrong": row.wrong} for row in rows])
    else:
        console = Console()
        if not console.is_terminal:
            console.width = 200
        console.print(queue_table(rows, several=len(chosen) > 1))
    troubles = [row.trouble for row in seen.servers if row.trouble]
    for trouble in troubles:
        click.echo(f"beanwatch: {trouble}", err=True)
    return 1 if troubles else 0


@click.command("show")
@click.argument("queue_glob", default="*")
@common
def show(config_file: str | None, servers: tuple[str, ...], queue_glob: str, as_json: bool) -> None:
    """Every field of `stats-tube`."""
    _, targets = pass_targets(config_file, servers, queue_glob)
    if as_json:
        print_json([{"server": one.server.node, **one.stats} for one in targets])
        return
    for target in targets:
        click.echo(f"{target.server.node} {target.queue}")
        for key, value in target.stats.items():
            if key != "name":
                click.echo(f"  {key:24} {value}")


@click.command("peek")
@click.argument("queue_glob")
@click.option("--bytes", "limit", type=COUNT, default=EXCERPT, help="of the body to show (200)")
@click.option("--redis", metavar="URL", help="Redis with the ledger")
@common
def peek(
    config_file: str | None,
    servers: tuple[str, ...],
    queue_glob: str,
    limit: int,
    redis: str | None,
    as_json: bool,
) -> None:
    """The next ready, delayed and buried job: its stats and the start of its body.

    Of buried jobs also why, as far as the workers recorded it.
    """
    config, targets = pass_targets(config_file, servers, queue_glob)
    try:
        found = [job for target in targets for job in peek_target(target, limit)]
        if any(job["state"] == "buried" for job in found):
            add_reasons(found, targets, config, redis)
    except ServerError as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        print_json(found)
        return
    for job in found:
        body, reasons = job.pop("body"), job.pop("reasons", [])
        click.echo(f"{job.pop('server')} {job['queue']}: next {job['state']} job")
        click.echo("  " + " ".join(f"{key}={value}" for key, value in job.items()))
        click.echo(f"  {body}{' ...' if job['size'] > limit else ''}")
        for reason in reasons[:REASONS]:
            jobs = "1 job" if reason["jobs"] == 1 else f"{reason['jobs']} jobs"
            click.echo(f"  buried for: {reason['reason']} ({jobs}, such as {reason['job_id']})")
        if len(reasons) > REASONS:
            click.echo(f"  and for {len(reasons) - REASONS} other reasons")


def peek_target(target: Target, limit: int) -> list[dict[str, Any]]:
    """The heads of a queue's jobs by state. Raises ServerError."""
    heads = []
    with Link(target.server.address, TIMEOUT) as link:
        for state in STATES:
            if not target.stats.get(f"current-jobs-{state}"):
                continue
            _, reply, _ = link.ask(
                [b"use " + target.queue.encode(), b"peek-" + state.encode(), b"use default"]
            )
            if reply.word != b"FOUND":
                continue
            (job,) = read_jobs(link, [reply.args[0]])
            job["queue"] = job.pop("tube", target.queue)
            text = reply.body[:limit].decode("utf-8", "backslashreplace")
            size = len(reply.body)
            body = printable(text)
            heads.append({"server": target.server.node, **job, "size": size, "body": body})
    return heads


def add_reasons(
    found: list[dict[str, Any]], targets: Sequence[Target], config: Config, redis: str | None
) -> None:
    """Add to the buried jobs' heads why their queues' jobs are buried, most often first.

    Without a Redis that is named nothing is known.
    """
    url = pick_redis(config, redis or config.redis.url)
    if url is None:
        return
    reasons: dict[tuple[str, str], list[dict[str, Any]]] = {}
    try:
        with open_redis(url, TIMEOUT) as ledger:
            for target in targets:
                if target.stats.get("current-jobs-buried"):
                    counted = count_reasons(target, ledger.execute)
                    reasons[target.server.node, target.queue] = counted
    except (RedisError, ServerError) as error:
        click.echo(f"beanwatch: why they are buried is not known: {error}", err=True)
    for head in found:
        if head["state"] == "buried":
            head["reasons"] = reasons.get((head["server"], head["queue"]), [])


def count_reasons(target: Target, execute: Execute) -> list[dict[str, Any]]:
    """The reasons of the jobs that were buried last and still are: how many, and one of them."""
    noted = find_buried(execute, target.life, target.queue)
    noted = sorted(noted, key=lambda one: one.buried_at)[-LOOKED_UP:]
    with Link(target.server.address, TIMEOUT) as link:
        still = set(find_still_buried(link, target.queue, [one.job_id for one in noted]))
    noted = [one for one in noted if one.job_id in still]
    counts = Counter((one.job, one.reason) for one in noted)
    last = {(one.job, one.reason): one.job_id for one in noted}
    return [
        {"reason": printable(f"{job}: {reason}"), "jobs": jobs, "job_id": last[job, reason]}
        for (job, reason), jobs in counts.most_common()
    ]


def printable(text: str) -> str:
    """Text without control characters, which must not reach a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def print_json(tree: Any) -> None:
    """Print for programs."""
    json.dump(tree, sys.stdout, indent=2)
    sys.stdout.write("\n")
