"""`beanwatch put QUEUE JOB [DATA-JSON]`: put one job into a queue."""

import difflib
import math
import sys
from contextlib import closing

import click
import msgspec

from beanwatch.cli.lib.options import (
    COUNT,
    DURATION,
    config_option,
    json_option,
    load_config,
    pick_job_server,
)
from beanwatch.cli.lib.output import print_json, print_line
from beanwatch.config import Config
from beanwatch.fleet.queue_actions import list_queue_names
from beanwatch.queues.base import ReaderOptions, ServerError, Wanted
from beanwatch.queues.servers import Server
from beanwatch.worker.api.envelope import DEFAULT_PRIORITY, DEFAULT_TTR, EnvelopeError
from beanwatch.worker.api.producer import Producer, PutError

LOOK_TIMEOUT = 2.0  # seconds to find out whether a consumer watches the queue
# The arguments and flags by the fields of an envelope that they set.
FLAGS = {
    "queue": "QUEUE",
    "job": "JOB",
    "priority": "--priority",
    "delay": "--delay",
    "ttr": "--ttr",
}


@click.command("put")
@click.argument("queue")
@click.argument("job")
@click.argument("data", metavar="[DATA-JSON]", default="{}")
@click.option(
    "--priority",
    type=COUNT,
    default=DEFAULT_PRIORITY,
    help="jobs with a smaller number run first (65536)",
)
@click.option(
    "--delay", type=DURATION, default=0.0, help="time before a worker can reserve the job (0s)"
)
@click.option(
    "--ttr",
    type=DURATION,
    default=float(DEFAULT_TTR),
    help="time to run: beanstalkd releases the job if its worker is silent for so long (60s)",
)
@click.option("--server", metavar="NAME|ADDRESS", help="beanstalkd that gets the job")
@json_option
@config_option
def command(
    queue: str,
    job: str,
    data: str,
    priority: int,
    delay: float,
    ttr: float,
    server: str | None,
    as_json: bool,
    config_file: str | None,
) -> None:
    """Put one job into a queue, in the envelope format that beanwatch's workers read.

    JOB is the name under which the application registered the handler. DATA-JSON is the data
    for the handler (default: {}); - reads it from standard input. The delay and the time to
    run are rounded up to whole seconds. If no consumer watches the queue, a warning on standard
    error says so; the exit code is still 0.

    \b
    Example:
      beanwatch put email.regular email.send '{"to": "a@example.org"}' --delay 5m
    """
    config = load_config(config_file)
    chosen = pick_job_server(config, server)
    address = chosen.address
    body = read_data(data)
    with Producer(str(address)) as producer:
        try:
            put = producer.put(
                queue, job, body, priority=priority, delay=math.ceil(delay), ttr=math.ceil(ttr)
            )
        except EnvelopeError as error:
            flag = FLAGS.get(error.field)
            raise click.UsageError(f"{flag}: {error.fault}" if flag else str(error)) from None
        except PutError as error:
            raise click.ClickException(str(error)) from None
    if as_json:
        print_json({"job_id": put.job_id, "id": put.id, "queue": queue, "server": str(address)})
    else:
        print_line(f"put job {put.job_id} into {queue} on {address}, envelope id {put.id}")
    if not is_watched(chosen, queue):
        hint = suggest_queue(chosen, queue, config)
        print_line(f"beanwatch: warning: nobody watches {queue}{hint}", err=True)


def is_watched(server: Server, queue: str) -> bool:
    """Return False if the server says that no consumer watches the queue; True if it is not known.

    Every connection watches the default queue, so nothing is known of that one.
    """
    try:
        with closing(server.system.open_reader(server, ReaderOptions(LOOK_TIMEOUT))) as reader:
            reading = reader.read(Wanted(server=False, names=[queue]), LOOK_TIMEOUT)
    except ServerError:
        return True
    found = (reading.queues or {}).get(queue)
    return found is None or found.is_default or found.consumers != 0


def suggest_queue(server: Server, queue: str, config: Config) -> str:
    """Return `; did you mean NAME?` if a queue with a similar name is watched, else "".

    Such a queue exists on the server, or the configuration names it.
    """
    try:
        names = set(list_queue_names(server, LOOK_TIMEOUT))
    except ServerError:
        names = set()
    named = set(config.expected_queues(server.node))
    names |= named
    similar = difflib.get_close_matches(queue, sorted(names - {queue}), 3)
    good = [name for name in similar if name in named or is_watched(server, name)]
    return f"; did you mean {good[0]}?" if good else ""


def read_data(text: str) -> msgspec.Raw:
    """Return the JSON text unchanged, or that on standard input if `text` is `-`.

    Raises UsageError if it is not valid JSON.
    """
    try:
        source = sys.stdin.buffer.read() if text == "-" else text.encode()
        msgspec.json.decode(source)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise click.UsageError(f"DATA-JSON is not valid JSON: {error}") from None
    return msgspec.Raw(source)
