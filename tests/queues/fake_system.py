"""Queue systems that the tests add as a module of `queues/`. Each server is a file.

`fake://host/path` reads `/path`, a JSON object of queues and their fields. A queue may have `jobs`
(lists of `[id, kind, error, body]`) that are buried, and a `problem`. The entry SERVER has fields
of the server, and `hangs`: the seconds before it answers.
"""

import json
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from beanwatch.queues.base import (
    ACTIONS,
    Actions,
    Chosen,
    Job,
    Problem,
    Reader,
    ReaderOptions,
    Reading,
    ServerError,
    System,
    Wanted,
)
from beanwatch.queues.model import QUEUE_FIELDS, QueueState, ServerState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from beanwatch.queues.servers import Server

SERVER = "#server"
EXTRAS = ("jobs", "problem")


def load(server: "Server") -> dict[str, Any]:
    try:
        with open(f"/{server.url.path}", encoding="utf-8") as stream:
            found: dict[str, Any] = json.load(stream)
    except (OSError, ValueError) as error:
        raise ServerError(f"{server}: {error}") from None
    return found


class FakeReader(Reader):
    def __init__(self, server: "Server", options: ReaderOptions) -> None:
        self._server = server
        self._problems: dict[str, str] = {}

    def read(self, wanted: Wanted, timeout: float | None = None) -> Reading:
        found = load(self._server)
        fields = found.pop(SERVER, {})
        time.sleep(fields.pop("hangs", 0))
        state = ServerState(version="7", instance="one", native={"fake_number": 5})
        names = list(found) if wanted.names is None else wanted.names
        chosen = wanted.choose(names) if wanted.choose else Chosen(names)
        wanted_names = (*chosen.own, *chosen.rest)
        queues = {}
        for name in wanted_names:
            if name in found:
                values = {k: v for k, v in found[name].items() if k not in EXTRAS}
                queues[name] = QueueState(name, **values)
        self._problems = {n: found[n]["problem"] for n in queues if "problem" in found[n]}
        return Reading(state._replace(**fields), queues, chosen=chosen)

    def problems(self, reading: Reading) -> "Iterable[Problem]":
        yield Problem("warning", "is only a fake")
        for queue, text in self._problems.items():
            yield Problem("critical", text, "queue-consumers", queue)


class FakeActions(Actions):
    system = "fake"

    def __init__(self, server: "Server | None" = None) -> None:
        self._server = server


class FullActions(FakeActions):
    system = "full"

    def peek(self, queue: str, state: str) -> Job | None:
        return next(iter(self.list_jobs(queue, state, 1)), None)

    def list_jobs(self, queue: str, state: str, count: int) -> list[Job]:
        assert self._server
        jobs = load(self._server)[queue].get("jobs", []) if state == "buried" else []
        return [
            Job(ident, queue, state, body.encode(), facts={"class": kind, "error": error})
            for ident, kind, error, body in jobs[:count]
        ]

    def kick_jobs(self, queue: str, ids: Sequence[str]) -> Iterator[int]:
        assert self._server
        found = load(self._server)
        jobs = found[queue]["jobs"]
        found[queue]["jobs"] = kept = [job for job in jobs if job[0] not in ids]
        with open(f"/{self._server.url.path}", "w", encoding="utf-8") as stream:
            json.dump(found, stream)
        yield len(jobs) - len(kept)

    delete_jobs = kick_jobs


def open_actions(server: "Server", timeout: float = 5.0) -> Actions:
    return FakeActions()


def open_full_actions(server: "Server", timeout: float = 5.0) -> Actions:
    return FullActions(server)


SYSTEM = System(
    name="fake",
    default_port=7,
    queue_fields=frozenset(("ready", "reserved")),
    server_fields=frozenset(("version", "instance")),
    actions=frozenset(),
    consumers="nothing",
    absent_is_empty=False,
    open_reader=FakeReader,
    open_actions=open_actions,
)
FULL = SYSTEM._replace(
    name="full",
    queue_fields=frozenset(QUEUE_FIELDS) - {"idle_consumers"},
    actions=frozenset(ACTIONS) - {"find", "kick", "empty", "pause", "move", "put"},
    consumers="workers that poll the queue",
    open_actions=open_full_actions,
    has_queue_problems=True,
    job_fact="class",
)
# Its failed jobs belong to no queue, and its address names no host.
DEAD = SYSTEM._replace(
    name="dead",
    server_fields=frozenset(("version", "buried")),
    consumers="unknown: it keeps no list of its workers",
    has_host=False,
)
