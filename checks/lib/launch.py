"""The entry points of the checks. If a check cannot be imported, they print why and exit with 3.

pyproject.toml names `beanwatch.checks.lib.launch:queue_depth` as the entry point of
check_queue_depth, and likewise for each check.
"""

import gc
import os
from collections.abc import Callable
from functools import partial
from importlib import import_module

from beanwatch.words import install_command


def __getattr__(name: str) -> "Callable[[], None]":
    """Return the entry point of the check in the module `beanwatch.checks.<name>`."""
    if name.startswith("_"):  # Python asks every module for names such as __path__
        raise AttributeError(name)
    return partial(start, name)


def start(name: str) -> None:
    """Run a check, which ends the process. On an exception, print one line and exit with code 3."""
    gc.disable()  # the process ends after 30 ms; collecting garbage would cost 1 ms
    try:
        import_module(f"beanwatch.checks.{name}").main()
        reason = "the check returned without a result; please report it"
    except ImportError as error:
        reason = f"cannot start: {error}; install beanwatch again: {install_command()}"
    except KeyboardInterrupt:
        reason = "interrupted"
    except BaseException as error:  # also SystemExit: Nagios would read exit code 1 as WARNING
        reason = f"cannot start: {type(error).__name__}: {error}"
    line = f"{name.upper()} UNKNOWN - {' '.join(reason.replace('|', '/').split())}\n"
    os.write(1, line.encode("utf-8", "replace"))
    os._exit(3)
