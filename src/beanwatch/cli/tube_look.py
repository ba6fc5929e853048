"""`beanwatch tubes list|show|peek`: the actions that change nothing."""

import json
import sys
from typing import Any

import click
from rich.console import Console

from beanwatch.cli.options import COUNT, load_config, pick_servers
from beanwatch.cli.tube_options import QUEUES, TIMEOUT, common, pass_targets
from beanwatch.cli.tube_plan import Target
from beanwatch.cli.tube_view import SORTS, sort_tubes, tube_table
from beanwatch.collectors.observer import Observer
from beanwatch.collectors.overview import Lookout
from beanwatch.collectors.protocol import Link, ServerError
from beanwatch.collectors.selection import INTERNAL, Selection
from beanwatch.collectors.stats import read_jobs

EXCERPT = 200  # bytes of a body that peek shows


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
@common
def peek(
    config_file: str | None, servers: tuple[str, ...], tube_glob: str, limit: int, as_json: bool
) -> None:
    """The next ready, delayed and buried job: its stats and the start of its body."""
    _, targets = pass_targets(config_file, servers, tube_glob)
    try:
        found = [job for target in targets for job in peek_target(target, limit)]
    except ServerError as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        print_json(found)
        return
    for job in found:
        body = job.pop("body")
        click.echo(f"{job.pop('server')} {job['tube']}: next {job['state']} job")
        click.echo("  " + " ".join(f"{key}={value}" for key, value in job.items()))
        click.echo(f"  {body}{' ...' if job['size'] > limit else ''}")


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
            # A body may hold anything: control characters must not reach the terminal.
            text = reply.body[:limit].decode("utf-8", "backslashreplace")
            safe = "".join(
                c if c.isprintable() else c.encode("unicode_escape").decode() for c in text
            )
            size = len(reply.body)
            heads.append({"server": target.server.node, **job, "size": size, "body": safe})
    return heads


def print_json(tree: Any) -> None:
    """Print for programs."""
    json.dump(tree, sys.stdout, indent=2)
    sys.stdout.write("\n")
