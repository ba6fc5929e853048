"""The registry of queue systems, by the scheme of a server's URL.

To add a system, add its line to MODULES.
"""

from functools import cache
from importlib import import_module

from beanwatch.queues.base import System

DEFAULT_SCHEME = "beanstalkd"
# Scheme: module with the `System` as SYSTEM. It is imported at the first use of the system.
MODULES = {
    DEFAULT_SCHEME: "beanwatch.queues.beanstalkd",
}


@cache
def find_system(scheme: str) -> System:
    """Return the queue system of a URL's scheme. Raises KeyError if it is not in MODULES."""
    found: System = import_module(MODULES[scheme]).SYSTEM
    return found


def all_systems() -> list[System]:
    """Return every queue system once, in the order of MODULES."""
    return list(dict.fromkeys(map(find_system, MODULES)))
