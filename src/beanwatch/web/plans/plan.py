"""A plan: what an action of the page would do, and to how many."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from beanwatch.config import Config
from beanwatch.web.snapshot import Snapshot
from beanwatch.web.sources import Sources


class PlanError(Exception):
    """An action is impossible as it was asked for; the text says why."""


class Progress(NamedTuple):
    """A part of an action that was carried out: how many more are done, and a text about it."""

    done: int
    text: str = ""


class Plan(NamedTuple):
    """An action that was not carried out yet. `run` does it, and yields after each part.

    `title` says what it does, `jobs` to how many (`noun`, in the singular). `warning` says what may
    surprise.
    """

    title: str
    jobs: int
    noun: str
    run: Callable[[], Iterator[Progress]]
    warning: str = ""
    is_dangerous: bool = False
    # What exactly it acts on, if it was chosen by a glob. Then it runs only on these.
    names: tuple[str, ...] = ()


class Context(NamedTuple):
    """The sources of plans. `who` is the person who acts."""

    sources: Sources
    config: Config
    now: Snapshot
    who: str = ""
