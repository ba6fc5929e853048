"""quietly: nothing that fails in an adapter reaches the framework, its worker or its jobs."""

import functools
import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")
_log = logging.getLogger("beanwatch")  # the framework's own log shows it
_told: set[str] = set()


def complain(text: str) -> None:
    """Log why something is not watched."""
    _log.error("beanwatch: this worker is not watched: %s", text)


def quietly(function: Callable[_P, _T]) -> Callable[_P, _T | None]:
    """Return a function that logs an exception instead of raising it, and then returns None.

    Each function logs once, as it may be called for every job.
    """

    @functools.wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _T | None:
        try:
            return function(*args, **kwargs)
        except Exception:
            name = function.__qualname__
            if name not in _told:
                _told.add(name)
                _log.exception("beanwatch: %s failed; jobs run on", name)
            return None

    return call
