"""`beanwatch job ID`: what happened to a job, and where it is now."""

import click

from beanwatch.cli.lib.job_view import KEPT_WORDS, story_lines
from beanwatch.cli.lib.options import (
    QUERY_TIMEOUT,
    config_option,
    json_option,
    load_config,
    need_redis,
    pick_servers,
    redis_option,
    server_option,
)
from beanwatch.cli.lib.output import complain, print_json
from beanwatch.fleet.job_story import StoryReader, find_job_servers
from beanwatch.net.redis_url import RedisError, open_redis
from beanwatch.store.heartbeats import read_workers


@click.command("job")
@click.argument("ident", metavar="ID")
@redis_option("the ledger")
@json_option
@server_option
@config_option
def command(
    ident: str, redis: str | None, as_json: bool, servers: tuple[str, ...], config_file: str | None
) -> int:
    """Tell what happened to a job: each run, its worker, its outcome and the reason.

    ID is the id of the job's envelope, or the number that the server gave it.

    \b
    Examples:
      beanwatch job 6f1c2f0e-8a55-4b0c-9d1e-0a4f6f1d2c3b
      beanwatch job 4711 --server q1

    The exit code is 1 if nothing is known of it.
    """
    config = load_config(config_file)
    chosen = pick_servers(config, servers)
    url = need_redis(config, redis)
    places = find_job_servers(chosen, QUERY_TIMEOUT)
    if not places:
        names = ", ".join(dict.fromkeys(server.system.name for server in chosen))
        raise click.ClickException(
            f"jobs cannot be looked up on {names}: it has no action 'find' "
            "(see beanwatch queues systems)"
        )
    try:
        with open_redis(url, QUERY_TIMEOUT) as link:
            workers = read_workers(link.execute)
            reader = StoryReader(link.execute, places, workers, QUERY_TIMEOUT)
            stories = reader.read(ident)
    except RedisError as error:
        raise click.ClickException(f"{error} (--redis URL names another)") from None
    for place in places:
        if place.trouble:
            complain(place.trouble)
    if as_json:
        print_json([story.tree() for story in stories])
    else:
        for story in stories:
            for line in story_lines(story):
                click.echo(line)
    if not stories:
        is_number = ident.isascii() and ident.isdigit()
        anew = " A number is valid until its server is restarted: use the envelope's id."
        kept = KEPT_WORDS[config.worker.ledger] + anew * is_number
        complain(f"nothing is known of job {ident}. {kept}")
        return 1
    return 0
