"""Choose which queues have their own series in Graphite, and name the nodes of these series."""

import re
from collections import Counter
from collections.abc import Callable, Container, Iterable, Sequence
from fnmatch import translate

from beanwatch.globs import GLOB, name_of
from beanwatch.queues.base import Chosen
from beanwatch.telemetry.nodes import node

# Queues that beanwatch creates for its own commands and their replies. Each exists only during
# one command, so its series would end after a few seconds.
INTERNAL = ("beanwatch.control.*", "beanwatch.reply.*")
OTHER = "_other"  # the node of the series that all queues without their own series share
# Characters of a node. With a hash and a suffix it must fit into the name of a file (255 bytes).
MAX_NODE = 200


def compile_globs(globs: Iterable[str]) -> Callable[[str], object]:
    """Return a function of a name. Its result is true if at least one of the globs matches."""
    patterns = []
    for glob in globs:
        name = name_of(glob)
        # A queue whose name has `[` matches that name, too.
        patterns += (
            [translate(glob), f"{re.escape(glob)}\\Z"] if name is None else [translate(glob)]
        )
    return re.compile("|".join(patterns) if patterns else r"(?!)").match


def find_prefixes(globs: Iterable[str]) -> list[str]:
    """Return the literal starts of the globs, without those that another one includes."""
    prefixes: list[str] = []
    for start in sorted({GLOB.split(glob, maxsplit=1)[0] for glob in globs}):
        if not any(start.startswith(prefix) for prefix in prefixes):
            prefixes.append(start)
    return prefixes


class Selection:
    """Selects queues by globs, and at most `max_queues` (0: all) of them for their own series.

    The expected queues, which the configuration names, come first and always get a series.
    Next come queues that had a series before, so that a new queue does not end an old series. The
    others follow in the server's order.
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
        self.key = repr((tuple(include), tuple(exclude), tuple(internal)))  # equal for equal globs
        self.expected = [name for name in expected if self.is_wanted(name)]

    def is_wanted(self, name: str) -> bool:
        """Return True if an `include` glob matches the queue's name and no `exclude` glob does."""
        return bool(self._include(name)) and not self._exclude(name)

    def choose(self, names: Iterable[str], before: Container[str]) -> Chosen:
        """Choose from the names of a server's queues, in the order that the class describes.

        `before` has the names of the queues that had their own series so far.
        """
        wanted = [name for name in names if self.is_wanted(name)]
        if not self._max_queues or len(wanted) <= self._max_queues:
            return Chosen(wanted)
        expected = set(self.expected)
        rank = {name: 0 if name in expected else 1 if name in before else 2 for name in wanted}
        wanted.sort(key=rank.__getitem__)  # stable: the server's order within a rank
        limit = max(self._max_queues, len(expected.intersection(wanted)))
        return Chosen(wanted[:limit], wanted[limit:])


def name_nodes(names: Iterable[str]) -> dict[str, str]:
    """Return a unique node for metric paths for each queue name.

    If several names would have the same node (`a.b` and `a/b`: `a_b`), a short hash of the name is
    appended to the node of each. A queue whose name equals such a node with its hash gets one too.
    A longer node than MAX_NODE is cut, and ends with a hash.
    """
    nodes = {name: node(name) for name in names}
    hashed = {name for name, used in nodes.items() if len(used) > MAX_NODE}
    nodes |= {name: f"{nodes[name][: MAX_NODE - 9]}_{_hash(name)}" for name in hashed}
    while True:
        owners = Counter((*nodes.values(), OTHER))
        shared = {name for name, used in nodes.items() if owners[used] > 1} - hashed
        if not shared:
            return nodes
        hashed |= shared
        nodes |= {name: f"{node(name)}_{_hash(name)}" for name in shared}


def _hash(name: str) -> str:
    from hashlib import blake2b  # imported here because it loads slowly and is rarely needed

    return blake2b(name.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
