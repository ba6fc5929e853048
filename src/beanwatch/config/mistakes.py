"""Find the user's mistakes in the configuration: the line, the unknown key, the right spelling.

Only error messages and the commands that examine the configuration need this module.
"""

import difflib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import tomli

from beanwatch.config.keys import GENERAL, OTHER_VARIABLES, TABLES, variable_of


def find_unknown_variables(environ: Mapping[str, str] = os.environ) -> Iterator[str]:
    """Yield a message for each environment variable BEANWATCH_* that beanwatch does not know.

    Such a variable is usually misspelled, and would be ignored without a message.
    """
    known = {variable_of(key) for key in (*GENERAL, *OTHER_VARIABLES)}
    known |= {variable_of(name, key) for name, spec in TABLES.items() for key in spec}
    for variable in sorted(environ):
        if re.fullmatch(r"BEANWATCH_SERVER_.+_PASSWORD", variable):  # any server may have one
            continue
        if variable.startswith("BEANWATCH_") and variable not in known:
            yield f"environment variable ${variable} has no effect{suggest(variable, known)}"


def suggest(word: str, known: Iterable[str]) -> str:
    """Return the text that suggests the known word that is most like `word`; "" if none is."""
    similar = difflib.get_close_matches(word, known, 1)
    return f"; did you mean {similar[0]!r}?" if similar else ""


def find_line(source: str, path: tuple[str, ...]) -> int:
    """Return the number of the line (from 1) in the TOML text that sets the key or table `path`.

    Return 0 if there is no such line.
    """
    table: tuple[str, ...] = ()
    for number, line in enumerate(source.splitlines(), 1):
        stripped = line.strip()
        is_header = stripped.startswith("[")
        try:
            # A table header is valid TOML by itself. A value may span several lines, so replace
            # it by 0, and the line with its key is valid as well.
            tree = tomli.loads(stripped if is_header else stripped.partition("=")[0] + "= 0")
        except tomli.TOMLDecodeError:
            continue
        found = _leaf(tree)
        if is_header:
            table = found
        elif not found:
            continue
        else:
            found = table + found
        if found[: len(path)] == path:
            return number
    return 0


def _leaf(tree: Any) -> tuple[str, ...]:
    path: tuple[str, ...] = ()
    while isinstance(tree, dict | list) and tree:
        if isinstance(tree, list):
            tree = tree[0]
            continue
        key = next(iter(tree))
        path += (key,)
        tree = tree[key]
    return path
