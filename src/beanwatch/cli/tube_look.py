"""`beanwatch tubes list|show|peek`: the actions that change nothing."""

import json
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

import click
from rich.console import Console

from beanwatch.cli.options import COUNT, load_config, pick_servers
from beanwatch.cli.top import pick_redis
from beanwatch.cli.tube_options import QUEUES, TIMEOUT, common, pass_targets
from beanwatch.cli.tube_plan import Target
from beanwatch.cli.tube_view import SORTS, sort_tubes, tube_table
from beanwatch.collectors.heartbeats import Execute
from beanwatch.collectors.ledger import find_buried
from beanwatch.collectors.observer import Observer
from beanwatch.collectors.overview import Lookout
from beanwatch.collectors.protocol import Link, ServerError
from beanwatch.collectors.redis_link import RedisError, RedisLink
from beanwatch.collectors.selection import INTERNAL, Selection
from beanwatch.collectors.stats import read_jobs
from beanwatch.collectors.tube_actions import find_still_buried
from beanwatch.config import Config

EXCERPT = 200  # bytes of a body that peek shows
REASONS = 5  # that peek shows
LOOKED_UP = 1000  # buried jobs whose reasons are counted


@click.command("list")
@click.argument("tube_glob", default="*")
@click.option("--sort", "order", type=click.Choice(list(SORTS)), default="name", help="by (name)")
@click.option("--internal", is_flag=True, help="also beanwatch's own: control and reply tubes")
@common
def list_tubes(
    config_file: str | None,
    servers: tuple[str, ...],
    tube_glob: str,
    order: str,
    internal: bool,
    as_json: bool,
) -> int:
    """One line a tube: jobs, consumers, age of the head of its queue, state."""
    chosen = pick_servers(load_config(config_file), servers)
    selection = Selection((tube_glob,), internal=() if internal else INTERNAL)
    lookout = Lookout([Observer(one, selection=selection) for one in chosen], TIMEOUT * 2)
    seen = lookout.look()
    lookout.close()
    rows = sort_tubes(seen.tubes, order)
    if as_json:
        print_json([row._asdict() | {"wrong": row.wrong} for row in rows])
    else:
        console = Console()
        if not console.is_terminal:
            console.width = 200
        console.print(tube_table(rows, several=len(chosen) > 1))
    troubles = [row.trouble for row in seen.servers if row.trouble]
    for trouble in troubles:
        click.echo(f"beanwatch: {trouble}", err=True)
    return 1 if troubles else 0


@click.command("show")
@click.argument("tube_glob", default="*")
@common
def show(config_file: str | None, servers: tuple[str, ...], tube_glob: str, as_json: bool) -> None:
    """Every field of `stats-tube`."""
    _, targets = pass_targets(config_file, servers, tube_glob)
    if as_json:
        print_json([{"server": one.server.node, **one.stats} for one in targets])
        return
    for target in targets:
        click.echo(f"{target.server.node} {target.tube}")
        for key, value in target.stats.items():
            if key != "name":
                click.echo(f"  {key:24} {value}")


@click.command("peek")
@click.argument("tube_glob")
@click.option("--bytes", "limit", type=COUNT, default=EXCERPT, help="of the body to show (200)")
@click.option("--redis", metavar="URL", help="Redis with the ledger")
@common
def peek(
    config_file: str | None,
    servers: tuple[str, ...],
    tube_glob: str,
    limit: int,
    redis: str | None,
    as_json: bool,
) -> None:
    """The next ready, delayed and buried job: its stats and the start of its body.

    Of buried jobs also why, as far as the workers recorded it.
    """
    config, targets = pass_targets(config_file, servers, tube_glob)
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
        click.echo(f"{job.pop('server')} {job['tube']}: next {job['state']} job")
        click.echo("  " + " ".join(f"{key}={value}" for key, value in job.items()))
        click.echo(f"  {body}{' ...' if job['size'] > limit else ''}")
        for reason in reasons[:REASONS]:
            jobs = "1 job" if reason["jobs"] == 1 else f"{reason['jobs']} jobs"
            click.echo(f"  buried for: {reason['reason']} ({jobs}, such as {reason['job_id']})")
        if len(reasons) > REASONS:
            click.echo(f"  and for {len(reasons) - REASONS} other reasons")


def peek_target(target: Target, limit: int) -> list[dict[str, Any]]:
    """The heads of a tube's queues. Raises ServerError."""
    heads = []
    with Link(target.server.address, TIMEOUT) as link:
        for queue in QUEUES:
            if not target.stats.get(f"current-jobs-{queue}"):
                continue
            _, reply, _ = link.ask(
                [b"use " + target.tube.encode(), b"peek-" + queue.encode(), b"use default"]
            )
            if reply.word != b"FOUND":
                continue
            (job,) = read_jobs(link, [reply.args[0]])
            text = reply.body[:limit].decode("utf-8", "backslashreplace")
            size = len(reply.body)
            body = printable(text)
            heads.append({"server": target.server.node, **job, "size": size, "body": body})
    return heads


def add_reasons(
    found: list[dict[str, Any]], targets: Sequence[Target], config: Config, redis: str | None
) -> None:
    """Add to the buried jobs' heads why their tubes' jobs are buried, most often first.

    Without a Redis that is named nothing is known.
    """
    url = pick_redis(config, redis or config.redis.url)
    if url is None:
        return
    reasons: dict[tuple[str, str], list[dict[str, Any]]] = {}
    try:
        with RedisLink(url, TIMEOUT) as ledger:
            for target in targets:
                if target.stats.get("current-jobs-buried"):
                    counted = count_reasons(target, ledger.execute_anew)
                    reasons[target.server.node, target.tube] = counted
    except (RedisError, ServerError) as error:
        click.echo(f"beanwatch: why they are buried is not known: {error}", err=True)
    for head in found:
        if head["state"] == "buried":
            head["reasons"] = reasons.get((head["server"], head["tube"]), [])


def count_reasons(target: Target, execute: Execute) -> list[dict[str, Any]]:
    """The reasons of the jobs that were buried last and still are: how many, and one of them."""
    noted = find_buried(execute, target.life, target.tube)
    noted = sorted(noted, key=lambda one: one.buried_at)[-LOOKED_UP:]
    with Link(target.server.address, TIMEOUT) as link:
        still = set(find_still_buried(link, target.tube, [one.job_id for one in noted]))
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
