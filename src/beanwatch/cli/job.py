"""`beanwatch job ID`: show the recorded runs of a job, and its present state; kick or delete it."""

import click

from beanwatch.cli.failures import run_step
from beanwatch.cli.lib.audit import Audit
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
from beanwatch.cli.lib.output import exit_1_on, print_error, print_json, print_line
from beanwatch.cli.lib.plan_runner import PAST, RunFlags, as_tree, is_confirmed
from beanwatch.config import Config
from beanwatch.fleet.job_actions import JobStep, RefusedError, plan_job
from beanwatch.fleet.job_story import StoryReader, find_job_servers
from beanwatch.net.redis_url import RedisError, open_redis
from beanwatch.queues.base import ServerError
from beanwatch.store.heartbeats import read_workers


@click.command("job")
@click.argument("ident", metavar="ID")
@click.argument(
    "action", required=False, type=click.Choice(["kick", "delete"]), metavar="[kick|delete]"
)
@redis_option("the ledger")
@click.option("--yes", "-y", is_flag=True, help="kick or delete without asking for confirmation")
@click.option("--dry-run", is_flag=True, help="only show what kick or delete would do")
@json_option
@server_option
@config_option
def command(
    ident: str,
    action: str | None,
    redis: str | None,
    yes: bool,
    dry_run: bool,
    as_json: bool,
    servers: tuple[str, ...],
    config_file: str | None,
) -> int:
    """Show each recorded run of a job, with its worker, outcome and reason, and its present state.

    ID is the id in the job's envelope, or the number that the server gave the job. With `kick` or
    `delete`, do this with the job, if it is buried.

    \b
    Examples:
      beanwatch job 6f1c2f0e-8a55-4b0c-9d1e-0a4f6f1d2c3b
      beanwatch job 4711 --server q1
      beanwatch job 4711 kick --server q1

    The exit code is 1 if nothing is known of the job, if a server could not be asked for it, or if
    it was not kicked or deleted.
    """
    if (yes or dry_run) and action is None:
        raise click.UsageError("--yes and --dry-run need an action: kick or delete")
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
    if not places and (action or not stories):
        names = ", ".join(dict.fromkeys(server.system.name for server in chosen))
        unknown = f"no run of job {ident} was recorded, and jobs cannot be looked up"
        failure = f"cannot {action} job {ident}" if action else unknown
        raise click.ClickException(
            f"{failure}: {names} has no action 'find' (see beanwatch queues systems)"
        )
    # A server can fail before the search, and also during it.
    failures = reader.troubles(stories)
    failures += [now.state for story in stories for now in story.nows if now.has_failed]
    if action and (stories or failures):
        with exit_1_on(RefusedError, ServerError, failure=f"cannot {action} job {ident}"):
            if failures:
                raise RefusedError(
                    f"it cannot be looked up on {failures[0]} (--server chooses the servers)"
                )
            job = plan_job(action, stories, places)
        return change(job, RunFlags(dry_run, yes, as_json), config.set_redis(redis))
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


def change(job: JobStep, flags: RunFlags, config: Config) -> int:
    """Ask for confirmation, kick or delete the job, and print what was done. Return the exit code.

    It is 1 if the server failed, or if the job is not buried any more.
    """
    action = job.step.action
    troubles: list[str] = []
    done = 0
    if not flags.dry_run:
        if not is_confirmed(f"{action.capitalize()} this job?", [str(job)], yes=flags.yes):
            return 1
        audit = Audit(config, f"job {action}", f"{action} {job}")
        audit.write("started", 1)
        done = run_step(job.step, troubles.append)
        audit.write("failed" if troubles else "done", done, "; ".join(troubles))
    if flags.as_json:
        (job_id,) = job.step.ids or ("",)
        tree = {"action": action, "dry_run": flags.dry_run, "job_id": job_id}
        print_json({**tree, **as_tree(job.step, done)})
    elif flags.dry_run:
        print_line(f"would {action} {job}")
    elif done:
        print_line(f"{job}, {PAST[action]}")
    elif not troubles:
        print_error(f"{job}: not {PAST[action]}, because it is not buried any more")
    return 0 if done or flags.dry_run else 1
