"""`beanwatch job ID`: show the recorded runs of a job, and its present state."""

import click

from beanwatch.cli.lib.job_view import RECORDING_HINTS, story_lines
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
from beanwatch.cli.lib.output import print_error, print_json, print_line
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
    """Show each recorded run of a job, with its worker, outcome and reason, and its present state.

    ID is the id in the job's envelope, or the number that the server gave the job.

    \b
    Examples:
      beanwatch job 6f1c2f0e-8a55-4b0c-9d1e-0a4f6f1d2c3b
      beanwatch job 4711 --server q1

    The exit code is 1 if nothing is known of the job, or if a server could not be asked for it.
    """
    config = load_config(config_file)
    chosen = pick_servers(config, servers)
    url = need_redis(config, redis)
    places = find_job_servers(chosen, QUERY_TIMEOUT)
    try:
        with open_redis(url, QUERY_TIMEOUT) as link:
            workers = read_workers(link.execute)
            reader = StoryReader(link.execute, places, workers, QUERY_TIMEOUT)
            stories = reader.read(ident)
    except RedisError as error:
        raise click.ClickException(
            f"cannot read the recorded runs: {error} (--redis URL chooses another Redis)"
        ) from None
    if not stories and not places:
        names = ", ".join(dict.fromkeys(server.system.name for server in chosen))
        raise click.ClickException(
            f"no run of job {ident} was recorded, and jobs cannot be looked up: {names} has no "
            "action 'find' (see beanwatch queues systems)"
        )
    # A server can fail before the search, and also during it.
    failures = reader.troubles(stories)
    failures += [now.state for story in stories for now in story.nows if now.has_failed]
    for failure in dict.fromkeys(failures):
        print_error(f"cannot look up the job on {failure}")
    for rejected in reader.rejected:
        print_error(f"the record of one run cannot be read: {rejected}")
    if as_json:
        print_json([story.tree() for story in stories])
    else:
        for story in stories:
            for line in story_lines(story):
                print_line(line)
    if not stories:
        is_number = ident.isascii() and ident.isdigit()
        number_hint = (
            " Numbers are valid only until the server is restarted: use the id in the envelope."
        )
        hint = RECORDING_HINTS[config.worker.ledger] + number_hint * is_number
        print_error(f"nothing is known of job {ident}. {hint}")
    return 0 if stories and not failures else 1
