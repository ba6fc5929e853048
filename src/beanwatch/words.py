"""Numbers with their nouns, for people. This module imports nothing, so checks start fast."""


def count(number: float, one: str, many: str = "") -> str:
    """Return a number with its noun: `1 job`, `2 jobs`. `many` is the plural (`one` and an s)."""
    shown = str(number) if isinstance(number, int) else f"{number:g}"
    return f"{shown} {one if number == 1 else many or one + 's'}"
