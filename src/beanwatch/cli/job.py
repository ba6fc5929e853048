"""`beanwatch job ID`: what happened to a job, and where it is now."""

import json
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import click

from beanwatch.cli.lib.job_view import KEPT_WORDS, Now, Story, say_rejected, story_lines
from beanwatch.cli.lib.options import config_option, load_config, pick_servers, server_option
from beanwatch.cli.top import pick_redis
from beanwatch.net.redis_url import DEFAULT_URL, Execute, RedisError, open_redis
from beanwatch.queues.beanstalkd.connection import Link, ServerError
from beanwatch.queues.beanstalkd.stats import Stats, read_jobs, read_server
from beanwatch.queues.servers import Server
from beanwatch.store.heartbeats import Worker, read_workers
from beanwatch.store.ledger import read_job, read_job_by_id
from beanwatch.worker.api.envelope import Envelope, EnvelopeError, decode

TIMEOUT = 5.0


class Place(NamedTuple):
    """One beanstalkd: the `id` of its `stats`, or why it cannot be asked."""

    server: Server
    id: str = ""
    trouble: str = ""


@click.command("job")
@click.argument("ident", metavar="ID")
@click.option("--redis", metavar="URL", help="Redis with the ledger")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@server_option
@config_option
def command(
    ident: str, redis: str | None, as_json: bool, servers: tuple[str, ...], config_file: str | None
) -> int:
    """Tell what happened to a job: each run, its worker, its outcome and the reason.

    ID is the id of the job's envelope, or the number that beanstalkd gave it.

    \b
    Examples:
      beanwatch job 6f1c2f0e-8a55-4b0c-9d1e-0a4f6f1d2c3b
      beanwatch job 4711 --server q1

    The exit code is 1 if nothing is known of it.
    """
    config = load_config(config_file)
    chosen = pick_servers(config, servers)
    url = pick_redis(config, redis or config.redis.url or DEFAULT_URL)
    try:
        if url is None:
            raise click.UsageError("--redis URL: name the Redis with the ledger")
        places = [find_place(server) for server in chosen]  # each may take its time
        with open_redis(url, TIMEOUT) as client:
            workers = read_workers(client.execute)
            if ident.isascii() and ident.isdigit():
                stories = tell_by_number(client.execute, places, int(ident), workers)
            else:
                stories = tell_by_id(client.execute, places, ident, workers)
    except RedisError as error:
        raise click.ClickException(f"{error} (--redis URL names another)") from None
    for place in places:
        if place.trouble:
            click.echo(f"beanwatch: {place.trouble}", err=True)
    if as_json:
        json.dump([as_tree(story) for story in stories], sys.stdout, indent=2)
        sys.stdout.write("\n")
    else:
        for story in stories:
            for line in story_lines(story):
                click.echo(line)
    if not stories:
        is_number = ident.isascii() and ident.isdigit()
        anew = " A number is good until beanstalkd is started anew: ask by the job's own id."
        kept = KEPT_WORDS[config.worker.ledger] + anew * is_number
        click.echo(f"beanwatch: nothing is known of job {ident}. {kept}", err=True)
        return 1
    return 0


def tell_by_id(
    execute: Execute, places: Sequence[Place], ident: str, workers: Sequence[Worker]
) -> list[Story]:
    """The story of the job whose envelope has this id."""
    entries = read_job(execute, ident, say_rejected)
    numbers = dict.fromkeys((entry.server, entry.job_id) for entry in entries)
    nows = [look(places, server, job_id, workers) for server, job_id in numbers]
    holders = [one.id for one in workers if one.heartbeat and one.heartbeat.job_uuid == ident]
    for now in nows:
        holders = [holder for holder in holders if holder != now.holder]
    nows += [Now("", 0, "it is being run", holder=holder) for holder in holders]
    return [Story(ident, entries, nows)] if entries or nows else []


def tell_by_number(
    execute: Execute, places: Sequence[Place], job_id: int, workers: Sequence[Worker]
) -> list[Story]:
    """The stories of the jobs that have this number, one a server at most."""
    stories = []
    for place in places:
        if place.trouble:
            continue
        entries = read_job_by_id(execute, place.id, job_id, say_rejected)
        now = look([place], place.id, job_id, workers)
        if entries:
            stories.append(Story(entries[-1].uuid, entries, [now]))
        elif now.stats:
            envelope = peek(place.server, job_id)
            # It may have run before beanstalkd was restarted, under the same envelope.
            ident = envelope.id or "" if envelope else ""
            entries = read_job(execute, ident, say_rejected) if ident else []
            stories.append(Story(ident, entries, [now], envelope.job if envelope else ""))
    return stories


def find_place(server: Server) -> Place:
    """A server and its `id`, by which the ledger knows it."""
    try:
        with Link(server.address, TIMEOUT) as link:
            return Place(server, str(read_server(link)["id"]))
    except (ServerError, KeyError) as error:
        return Place(server, trouble=str(error))


def look(places: Sequence[Place], server: str, job_id: int, workers: Sequence[Worker]) -> Now:
    """Where a job is now, and who holds it."""
    place = next((place for place in places if place.id == server), None)
    if place is None:
        why = "on a beanstalkd that is not asked here, or was restarted since"
        return Now("", job_id, why)
    address = str(place.server.address)
    try:
        with Link(place.server.address, TIMEOUT) as link:
            (stats,) = read_jobs(link, [b"%d" % job_id])
    except ServerError as error:
        return Now(address, job_id, str(error))
    if not stats:
        return Now(address, job_id, "no longer in beanstalkd: it was deleted")
    holder = ""
    if stats.get("state") == "reserved":
        holder = next((one.id for one in workers if _holds(one, stats, job_id)), "")
    return Now(address, job_id, str(stats.get("state")), dict(stats), holder)


def _holds(worker: Worker, stats: Stats, job_id: int) -> bool:
    beat = worker.heartbeat
    return beat is not None and beat.job_id == job_id and beat.queue == stats.get("tube")


def peek(server: Server, job_id: int) -> Envelope | None:
    """The envelope of a job that is in beanstalkd, None if it is gone or has none."""
    try:
        with Link(server.address, TIMEOUT) as link:
            return decode(link.ask_one(b"peek %d" % job_id).body)
    except (ServerError, EnvelopeError):
        return None


def as_tree(story: Story) -> dict[str, Any]:
    """The story for programs."""
    return {
        "id": story.id,
        "runs": [entry._asdict() for entry in story.entries],
        "now": [now._asdict() for now in story.nows],
    }
