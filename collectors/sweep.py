"""Read one server: its stats, and those of the tubes that are wanted."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from beanwatch.collectors.protocol import Link
from beanwatch.collectors.stats import Stats, read_server, read_tube_names, read_tubes


class Reading(NamedTuple):
    """What one poll found. `tubes` is None when it was no turn for them."""

    server: Stats
    tubes: dict[str, Stats] | None = None


def read(link: Link, choose: Callable[[Sequence[str]], list[str]] | None) -> Reading:
    """Ask a server for everything. `choose` picks tubes of their list; None leaves them out.

    Raises ServerError.
    """
    server = read_server(link)
    if choose is None:
        return Reading(server)
    tubes = dict(read_tubes(link, choose(read_tube_names(link))))
    if default := tubes.get("default"):
        take_off_own(default)
    return Reading(server, tubes)


def take_off_own(default: Stats) -> None:
    """Every connection uses and watches the tube `default`, ours too: it does not count."""
    for field in ("current-using", "current-watching"):
        count = default.get(field)
        if isinstance(count, int) and count > 0:
            default[field] = count - 1
