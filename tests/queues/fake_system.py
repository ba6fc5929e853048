"""A queue system with two fields and no action, which the test adds as a module of `queues/`.

Its "server" is a file: `fake://host/path` reads `/path`, a JSON object of queues and their fields.
"""

import json
from typing import TYPE_CHECKING

from beanwatch.queues.base import (
    Actions,
    Chosen,
    Problem,
    Reader,
    ReaderOptions,
    Reading,
    ServerError,
    System,
    Wanted,
)
from beanwatch.queues.model import QueueState, ServerState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from beanwatch.queues.servers import Server


class FakeReader(Reader):
    def __init__(self, server: "Server", options: ReaderOptions) -> None:
        self._server = server

    def read(self, wanted: Wanted, timeout: float | None = None) -> Reading:
        try:
            with open(f"/{self._server.url.path}", encoding="utf-8") as stream:
                found = json.load(stream)
        except (OSError, ValueError) as error:
            raise ServerError(f"{self._server}: {error}") from None
        state = ServerState(version="7", instance="one", native={"fake_number": 5})
        names = list(found) if wanted.names is None else wanted.names
        chosen = wanted.choose(names) if wanted.choose else Chosen(names)
        wanted_names = (*chosen.own, *chosen.rest)
        queues = {n: QueueState(n, **found[n]) for n in wanted_names if n in found}
        return Reading(state, queues, chosen=chosen)

    def problems(self, reading: Reading) -> "Iterable[Problem]":
        yield Problem("warning", "is only a fake")


class FakeActions(Actions):
    system = "fake"


def open_actions(server: "Server", timeout: float = 5.0) -> Actions:
    return FakeActions()


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
