"""Which queues have series of their own, which share one, and the nodes of their series."""

import re
from collections import Counter
from collections.abc import Callable, Container, Iterable, Sequence
from fnmatch import translate

from beanwatch.queues.base import Chosen
from beanwatch.telemetry.nodes import node

# Beanwatch's own: they live as long as a command, and would make series without end.
INTERNAL = ("beanwatch.control.*", "beanwatch.reply.*")
OTHER = "_other"


def compile_globs(globs: Iterable[str]) -> Callable[[str], object]:
    """A function that is true for the names that any of the globs matches."""
    patterns = [translate(glob) for glob in globs]
    return re.compile("|".join(patterns) if patterns else r"(?!)").match


class Selection:
    """The queues that `include` and `exclude` leave, at most `max_queues` (0: any) on their own.

    Expected queues come first, all of them: somebody named each. Then those that had a series
    before, so that none loses it to a newcomer; then the others as the server lists them.
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
        """True if the filters leave this queue."""
        return bool(self._include(name)) and not self._exclude(name)

    def choose(self, names: Iterable[str], before: Container[str]) -> Chosen:
        """Share out the names of a server; `before` are those that had a series already."""
        wanted = [name for name in names if self.is_wanted(name)]
        if not self._max_queues or len(wanted) <= self._max_queues:
            return Chosen(wanted)
        expected = set(self.expected)
        rank = {name: 0 if name in expected else 1 if name in before else 2 for name in wanted}
        wanted.sort(key=rank.__getitem__)  # stable: the server's order within a rank
        most = max(self._max_queues, len(expected.intersection(wanted)))
        return Chosen(wanted[:most], wanted[most:])


def name_nodes(names: Iterable[str]) -> dict[str, str]:
    """The node of each queue in metric paths. No two queues share one.

    Where several names would make one node, each of them gets a short hash of its name; so does a
    name that is like another's node with its hash.
    """
    nodes = {name: node(name) for name in names}
    hashed: set[str] = set()
    while True:
        owners = Counter((*nodes.values(), OTHER))
        shared = {name for name, made in nodes.items() if owners[made] > 1} - hashed
        if not shared:
            return nodes
        hashed |= shared
        nodes |= {name: f"{node(name)}_{_hash(name)}" for name in shared}


def _hash(name: str) -> str:
    from hashlib import blake2b  # few need it, and it takes time to load

    return blake2b(name.encode(), digest_size=4).hexdigest()
