"""Words of messages, for people: numbers with their nouns, the command that installs a package.

This module imports nothing of the project, so checks start fast.
"""

import sys


def count(number: float, one: str, many: str = "") -> str:
    """Return a number with its noun: `1 job`, `2 jobs`. `many` is the plural (`one` and an s)."""
    shown = str(number) if isinstance(number, int) else f"{number:g}"
    return f"{shown} {one if number == 1 else many or one + 's'}"


def install_command(extra: str = "") -> str:
    """Return the command that installs beanwatch, or one of its extras, for this Python.

    It names the interpreter: the `pip` on a user's PATH may belong to another one, or be missing.
    """
    package = f"'beanwatch[{extra}]'" if extra else "beanwatch"
    return f"{sys.executable} -m pip install {package}"
