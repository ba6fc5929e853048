"""The registry of queue systems, by the scheme of a server's URL.

To add a system, add its line to MODULES. Where one server can hold several kinds of queues, as
Redis does, the line names the package of its layouts, and LAYOUTS names the modules in it.
"""

from functools import cache
from importlib import import_module

from beanwatch.queues.base import System

DEFAULT_SCHEME = "beanstalkd"
REDIS_SCHEMES = ("redis", "rediss", "redis+sentinel", "unix")
# Scheme: module with the `System` as SYSTEM. It is imported at the first use of the system.
MODULES = {
    DEFAULT_SCHEME: "beanwatch.queues.beanstalkd",
    "rabbitmq": "beanwatch.queues.rabbitmq",
    "rabbitmq+https": "beanwatch.queues.rabbitmq",
    **dict.fromkeys(REDIS_SCHEMES, "beanwatch.queues.redis"),
    "gearman": "beanwatch.queues.gearman",
    "sqs": "beanwatch.queues.sqs",
    "ironmq": "beanwatch.queues.ironmq",
    "ironmq+http": "beanwatch.queues.ironmq",
    "postgresql": "beanwatch.queues.sql",
    "mysql": "beanwatch.queues.sql",
}
# Scheme: the modules in its package, each with a `System`; `layout` in the configuration chooses.
LAYOUTS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(REDIS_SCHEMES, ("list", "stream", "rq", "sidekiq", "celery", "laravel")),
    "postgresql": ("laravel", "procrastinate", "pgqueuer"),
    "mysql": ("laravel",),
}
# Ports of schemes that share a system with another scheme, and have another port.
PORTS = {"mysql": 3306, "rabbitmq+https": 15671}


@cache
def find_system(scheme: str, layout: str = "") -> System:
    """Return the queue system of a URL's scheme and layout.

    `layout` is "" for a scheme without layouts. Raises KeyError if MODULES lacks the scheme, or
    LAYOUTS the layout.
    """
    module = MODULES[scheme]
    if layout or scheme in LAYOUTS:
        if layout not in LAYOUTS.get(scheme, ()):
            raise KeyError(layout)
        module = f"{module}.{layout}"
    found: System = import_module(module).SYSTEM
    return found


def find_port(scheme: str, layout: str = "") -> int:
    """Return the default port of a scheme. Raises KeyError as `find_system` does."""
    return PORTS.get(scheme) or find_system(scheme, layout).default_port


def all_systems() -> dict[System, list[str]]:
    """Return every queue system with its URL schemes, in the order of MODULES.

    Schemes of one system may differ in the default port. Then the first one's is returned.
    """
    named: dict[str, System] = {}
    found: dict[System, list[str]] = {}
    for scheme in MODULES:
        for layout in LAYOUTS.get(scheme, ("",)):
            system = find_system(scheme, layout)
            found.setdefault(named.setdefault(system.name, system), []).append(scheme)
    return found
