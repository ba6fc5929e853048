"""The queue systems, by the scheme of a server's URL. A new system is a new line here."""

from functools import cache
from importlib import import_module

from beanwatch.queues.base import System

DEFAULT_SCHEME = "beanstalkd"
# Scheme: the module that defines SYSTEM. It is imported when a server of this system is used.
MODULES = {
    DEFAULT_SCHEME: "beanwatch.queues.beanstalkd",
}


@cache
def find_system(scheme: str) -> System:
    """Return the system of a scheme. Raises KeyError for a scheme that is not in MODULES."""
    found: System = import_module(MODULES[scheme]).SYSTEM
    return found


def all_systems() -> list[System]:
    """Return every system, in the order of MODULES."""
    return list(dict.fromkeys(map(find_system, MODULES)))
