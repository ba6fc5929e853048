"""Which tubes have series of their own."""

import re
from collections.abc import Callable, Iterable, Sequence
from fnmatch import translate

# Beanwatch's own: their life is that of a command, and they would make series without end.
INTERNAL = ("beanwatch.control.*", "beanwatch.reply.*")
OTHER = "_other"


def compile_globs(globs: Iterable[str]) -> Callable[[str], object]:
    """A function that is true for the names that any of the globs matches."""
    patterns = [translate(glob) for glob in globs]
    return re.compile("|".join(patterns) if patterns else r"(?!)").match


class Selection:
    """The tubes that `include` and `exclude` leave."""

    def __init__(self, include: Sequence[str] = ("*",), exclude: Sequence[str] = ()) -> None:
        self._include = compile_globs(include)
        self._exclude = compile_globs((*INTERNAL, *exclude))

    def wanted(self, names: Iterable[str]) -> list[str]:
        """Those of the names that are to be read, in their order."""
        include, exclude = self._include, self._exclude
        return [name for name in names if include(name) and not exclude(name)]
