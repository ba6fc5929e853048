"""The entry points: a check that cannot even be imported says so on one line, and exits 3.

In pyproject.toml the entry point of check `queue_depth` is
`beanwatch.checks.lib.launch:queue_depth`, and so on.
"""

import gc
import os
from collections.abc import Callable
from functools import partial
from importlib import import_module


def __getattr__(name: str) -> "Callable[[], None]":
    """The entry point of the check in module `beanwatch.checks.<name>`."""
    if name.startswith("_"):  # Python itself asks modules for some of these
        raise AttributeError(name)
    return partial(start, name)


def start(name: str) -> None:
    """Run a check and end the process. Every exception becomes one line and exit code 3."""
    gc.disable()  # a process of 30 ms has nothing to collect; collecting costs it 1 ms
    try:
        import_module(f"beanwatch.checks.{name}").main()
        reason = "it ended without a result"
    except ImportError as error:
        reason = f"cannot start: {error}; install it again: pip install beanwatch"
    except KeyboardInterrupt:
        reason = "interrupted"
    except BaseException as error:  # whatever it is, Nagios must read UNKNOWN and not exit code 1
        reason = f"cannot start: {type(error).__name__}: {error}"
    line = f"{name.upper()} UNKNOWN - {' '.join(reason.replace('|', '/').split())}\n"
    os.write(1, line.encode("utf-8", "replace"))
    os._exit(3)
