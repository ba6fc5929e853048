"""The view from which a page makes its data, and the declaration of a page."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from beanwatch.config import Config
from beanwatch.web.look_ups import Found, LookUp
from beanwatch.web.runner import Runner
from beanwatch.web.snapshot import Snapshot
from beanwatch.web.sources import Sources

NOTHING = Found(None)


class View(NamedTuple):
    """A snapshot, and what the viewer asks for: the query of the address.

    `found` is the result of the page's look-up, if it has one. `runner` has the actions.
    """

    now: Snapshot
    query: Mapping[str, str]
    config: Config
    found: Found = NOTHING
    runner: Runner | None = None

    def text(self, name: str) -> str:
        """Return a value of the query; "" if it is missing."""
        return self.query.get(name, "")


class NotFoundError(Exception):
    """There is no such queue, worker or failure; the text says so."""

    status, heading = 404, "Not found"


class NotReadError(NotFoundError):
    """Nobody can say whether there is one: what would tell was not read. The text says why."""

    status, heading = 503, "Not known now"


class Page(NamedTuple):
    """A page: its path, its template, and the function that makes its data.

    `look_up` says what the page needs beyond the snapshot; it is read at most once at a time for
    all viewers. `group` is the path of the entry in the menu that stands for it.
    """

    path: str
    template: str
    data: Callable[[View], dict[str, Any]]
    look_up: Callable[[View, Sources], LookUp | None] | None = None
    group: str = ""
