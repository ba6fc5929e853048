"""Names services of Nagios and Icinga, so that no two queues share one."""

from collections import Counter
from collections.abc import Mapping, Sequence

from beanwatch.globs import name_of
from beanwatch.light_typing import TypeVar
from beanwatch.quoting import nagios_name

Key = TypeVar("Key")

EVERY_QUEUE = "*"


def label_queues(globs: Sequence[str]) -> dict[str, str]:
    """Return the part of a service's name that stands for a queue, for each glob and EVERY_QUEUE.

    If two queues would have the same label, those get a hash whose names Nagios does not allow. So
    a label depends on no order, and a queue that comes later takes no other's services.
    """
    rest = "other queues" if globs else "all queues"
    names = {glob: name_of(glob) or glob for glob in globs}
    labels = {glob: nagios_name(name) for glob, name in names.items()}
    owners = Counter([*labels.values(), "other queues", "all queues"])
    for glob, name in names.items():
        is_changed = labels[glob] != name or name in ("other queues", "all queues")
        if owners[labels[glob]] > 1 and is_changed:
            labels[glob] = nagios_name(name, with_hash=True)
    return {**number_duplicates(labels), EVERY_QUEUE: rest}


def number_duplicates(names: Mapping[Key, str], separator: str = " ") -> dict[Key, str]:
    """Make the values unique: append ` 2`, ` 3` ... to a value that occurred before."""
    taken: set[str] = set()
    result: dict[Key, str] = {}
    for key, name in names.items():
        number, candidate = 1, name
        while candidate in taken:
            number += 1
            candidate = f"{name}{separator}{number}"
        taken.add(candidate)
        result[key] = candidate
    return result
