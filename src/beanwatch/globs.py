"""Globs of names, as in a shell: `*`, `?` and `[...]`. A name may contain these characters, too.

Every check imports this module when it starts, so it imports no other module of beanwatch.
"""

import re
from fnmatch import fnmatchcase

GLOB = re.compile(r"[*?\[]")  # the characters that make a name a glob
MAX_NAME = 255  # bytes; the longest name of a queue that any queue system allows
_ESCAPED = re.compile(r"\[([*?\[-])\]")


def name_of(glob: str) -> str | None:
    """Return the only name that a glob matches; None if it may match several names.

    `email` and `email[*]` stand for one name each, `email*` and `email.[ab]` do not.
    """
    if not GLOB.search(glob):
        return glob
    return None if GLOB.search(_ESCAPED.sub("", glob)) else _ESCAPED.sub(r"\1", glob)


def escape_name(name: str) -> str:
    """Return a glob that matches this name only, and that no command takes for an option."""
    glob = GLOB.sub(r"[\g<0>]", name) if GLOB.search(name) else name
    return f"[-]{glob[1:]}" if glob.startswith("-") else glob


def matches(name: str, glob: str) -> bool:
    """Return True if the glob matches the name, or if both are the same text."""
    only = name_of(glob)
    return name == only if only is not None else name == glob or fnmatchcase(name, glob)


def is_queue_glob(text: str) -> bool:
    """Return True if the text can be the name of a queue, or a glob that matches such names.

    Queue systems differ in the characters that they allow. Only those are refused that are not
    printable, such as control characters: no configuration file of a monitoring system can hold
    them.
    """
    if not text or not text.isprintable():
        return False
    name = name_of(text)
    return len((text if name is None else name).encode()) <= MAX_NAME


def fits(text: str, wanted: str) -> bool:
    """Return True if a text contains what a person typed, or matches it if that is a glob.

    Capital letters do not matter. An empty `wanted` fits every text.
    """
    wanted = wanted.strip().lower()
    if GLOB.search(wanted):
        return fnmatchcase(text.lower(), wanted)
    return wanted in text.lower()
