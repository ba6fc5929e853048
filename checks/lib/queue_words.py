"""Words about queues in the texts of the checks: what a queue system can tell, and its names."""

from beanwatch.globs import escape_name
from beanwatch.light_typing import TYPE_CHECKING
from beanwatch.queues.base import System
from beanwatch.quoting import shell_word
from beanwatch.words import count

if TYPE_CHECKING:
    from beanwatch.queues.servers import Server

# How the texts of alerts name the fields of `QueueState`.
FIELD_NAMES = {
    "ready": "the number of ready jobs",
    "buried": "the number of buried jobs",
    "consumers": "the number of consumers",
    "head_ready_age": "the wait of the next job",
}


def queue_argument(name: str) -> str:
    """Return a queue's name as an argument for a command that an alert proposes to a person.

    `?` replaces `|`, which an output of a plugin cannot contain.
    """
    return shell_word(escape_name(name).replace("|", "?"))


def explain_missing(server: "Server", field: str) -> str:
    """Return a text for a field that this server does not report, with the reason if it has one."""
    reason = server.why_unknown(field)
    if field == "consumers" and field not in server.system.queue_fields:
        _, _, reason = server.system.consumers.partition(": ")
    text = f"{server.system.name} does not report {FIELD_NAMES.get(field, field)}"
    return f"{text}: {reason}" if reason else text


def describe_no_consumer(system: System) -> str:
    """Return `no consumer watches it`, in the words of the queue system."""
    unit = system.consumers.partition(" (")[0]
    if "watch" in unit:
        return "no consumer watches it"
    return "no consumer" if unit.startswith("consumers") else f"no consumer: there are no {unit}"


def describe_dead_letters(ready: int) -> str:
    """Return the text for a queue of failed jobs. They wait for a person, so this is no problem."""
    wait = "waits" if ready == 1 else "wait"
    return f"{count(ready, 'job')} ready, which {wait} for a person: this is a queue of failed jobs"
