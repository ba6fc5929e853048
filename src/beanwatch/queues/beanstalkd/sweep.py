"""Read one server: its stats, those of its tubes, and the jobs at their heads."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from beanwatch.queues.beanstalkd.connection import Link, ServerError
from beanwatch.queues.beanstalkd.heads import Heads, Peek, read_heads
from beanwatch.queues.beanstalkd.stats import (
    LIST_TUBES,
    STATS,
    Stats,
    ask_gently,
    body_of,
    count_of,
    parse_list,
    parse_stats,
    read_server,
    read_tubes,
    stats_tube,
    take_off_own,
)
from beanwatch.queues.beanstalkd.tube_stats import parse_tube
from beanwatch.queues.selection import Chosen


class Reading(NamedTuple):
    """What one poll found. `tubes` is None when it was no turn for them, or they gave trouble.

    `heard` says of each tube when its stats came, by the link's clock (seconds): a sweep may take
    long, and a server may stall in it. `trouble` says why something is missing; what is there is
    good all the same.
    """

    server: Stats
    tubes: dict[str, Stats] | None = None
    heard: Mapping[str, float] = MappingProxyType({})
    chosen: Chosen = Chosen(())
    heads: Heads = Heads({})
    trouble: str = ""


def read(
    link: Link,
    choose: Callable[[Sequence[str]], Chosen] | None,
    known: Iterable[str] = (),
    order: Callable[[list[Peek]], list[Peek]] | None = None,
    sweep_timeout: float | None = None,
) -> Reading:
    """Ask a server for everything. Raises ServerError.

    The link's timeout holds for the stats and the heads, `sweep_timeout` for the tubes, which
    may be many. `choose` picks the tubes of the server's list; None leaves them out this time.
    `known` are tubes that were there the last time: these are asked for before the list has
    come, so that a far server costs one round trip. `order` says which heads to ask for first;
    None leaves them out.
    """
    link.extend()
    if choose is None:
        return Reading(read_server(link))
    known = list(known)
    replies = ask_gently(link, [STATS, LIST_TUBES, *map(stats_tube, known)])
    server = parse_stats(body_of(link, STATS, next(replies)))
    try:
        link.extend(sweep_timeout)
        chosen = choose(parse_list(body_of(link, LIST_TUBES, next(replies))))
        found: dict[str, Stats] = {}
        heard: dict[str, float] = {}
        for name, reply in zip(known, replies, strict=False):
            # Any other word is as good as NOT_FOUND: the server's list has these names or not.
            if reply.word == b"OK":
                found[name], heard[name] = parse_tube(reply.body), link.heard
        wanted = [*chosen.own, *chosen.rest]
        new = [name for name in wanted if name not in found]
        for name, stats in read_tubes(link, new, parse_tube):
            found[name], heard[name] = stats, link.heard
        tubes = {name: found[name] for name in wanted if name in found}
    except ServerError as error:
        return Reading(server, trouble=f"queues: {error}")
    if "default" in tubes:
        take_off_own(tubes["default"])
    if order is None:
        return Reading(server, tubes, heard, chosen)
    peeks = order(wanted_heads(chosen.own, tubes))
    try:
        link.extend()
        heads = read_heads(link, peeks, count_of(server, "max-job-size"))
    except ServerError as error:
        return Reading(server, tubes, heard, chosen, Heads({}, peeks), f"head ages: {error}")
    return Reading(server, tubes, heard, chosen, heads)


def wanted_heads(names: Sequence[str], tubes: dict[str, Stats]) -> list[Peek]:
    """The heads of the queues that have jobs."""
    return [
        Peek(name, queue)
        for name in names
        for queue in ("ready", "buried")
        if tubes.get(name, {}).get(f"current-jobs-{queue}")
    ]
