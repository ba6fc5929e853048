"""The choice of queues that have series of their own, and the nodes of their series."""

import re
from collections import Counter
from collections.abc import Callable, Container, Iterable, Sequence
from fnmatch import translate

from beanwatch.queues.base import Chosen
from beanwatch.telemetry.nodes import node

# Beanwatch's own queues. Each lasts as long as one command, so each would leave a dead series.
INTERNAL = ("beanwatch.control.*", "beanwatch.reply.*")
OTHER = "_other"  # the node of the series that the other queues share


def compile_globs(globs: Iterable[str]) -> Callable[[str], object]:
    """Return a function that is true for a name that any of the globs matches."""
    patterns = [translate(glob) for glob in globs]
    return re.compile("|".join(patterns) if patterns else r"(?!)").match


class Selection:
    """Filters queues by globs, and gives at most `max_queues` (0: all) of them their own series.

    All expected queues get one, since the configuration names each. Next are queues that had one
    before, so that a new queue does not end an old series. Last are the others, in the server's
    order.
    """

    def __init__(
        self,
        include: Sequence[str] = ("*",),
        exclude: Sequence[str] = (),
        max_queues: int = 0,
        expected: Iterable[str] = (),
        internal: Sequence[str] = INTERNAL,
    ) -> None:
        self._include = compile_globs(include)
        self._exclude = compile_globs((*internal, *exclude))
        self._max_queues = max_queues
        self.expected = [name for name in expected if self.is_wanted(name)]

    def is_wanted(self, name: str) -> bool:
        """True if `include` matches this queue and `exclude` does not."""
        return bool(self._include(name)) and not self._exclude(name)

    def choose(self, names: Iterable[str], before: Container[str]) -> Chosen:
        """Choose from the names of a server; the queues in `before` already had a series."""
        wanted = [name for name in names if self.is_wanted(name)]
        if not self._max_queues or len(wanted) <= self._max_queues:
            return Chosen(wanted)
        expected = set(self.expected)
        rank = {name: 0 if name in expected else 1 if name in before else 2 for name in wanted}
        wanted.sort(key=rank.__getitem__)  # stable: the server's order within a rank
        limit = max(self._max_queues, len(expected.intersection(wanted)))
        return Chosen(wanted[:limit], wanted[limit:])


def name_nodes(names: Iterable[str]) -> dict[str, str]:
    """Return the node of each queue in metric paths, a different one for each.

    If several names would make the same node, a short hash of the name is appended to each. A
    name that equals such a node with its hash gets a hash as well.
    """
    nodes = {name: node(name) for name in names}
    hashed: set[str] = set()
    while True:
        owners = Counter((*nodes.values(), OTHER))
        shared = {name for name, used in nodes.items() if owners[used] > 1} - hashed
        if not shared:
            return nodes
        hashed |= shared
        nodes |= {name: f"{node(name)}_{_hash(name)}" for name in shared}


def _hash(name: str) -> str:
    from hashlib import blake2b  # imported here: few need it, and it takes time to load

    return blake2b(name.encode(), digest_size=4).hexdigest()
