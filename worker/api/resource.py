"""Opens and closes the resources that jobs share, such as database connections."""

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from beanwatch.worker.api.app import Resource
from beanwatch.worker.monitor.internal_errors import InternalErrors


class Resources:
    """The open resources of one worker.

    It opens a resource at first use, and closes it when it was unused for `max_idle` seconds, and
    at the worker's exit. `known` has the registrations by name.
    """

    def __init__(
        self,
        known: Mapping[str, Resource],
        errors: InternalErrors,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._known = known
        self._errors = errors
        self._clock = clock
        self._open: dict[str, tuple[AbstractContextManager[Any], Any]] = {}
        self._used_at: dict[str, float] = {}

    def get(self, name: str) -> Any:
        """Return a resource, and open it first if needed. Raises LookupError for an unknown name.

        Also raises whatever the application's function raises while it opens the resource.
        """
        if name not in self._open:
            if name not in self._known:
                known = ", ".join(self._known) or "none"
                raise LookupError(f"no resource {name!r} is registered; known: {known}")
            manager = self._known[name].make()
            self._open[name] = (manager, manager.__enter__())
        self._used_at[name] = self._clock()
        return self._open[name][1]

    def before_job(self) -> None:
        """Close each resource that was unused for its `max_idle` seconds or longer."""
        if self._open:
            now = self._clock()
            for name in list(self._open):
                if now - self._used_at[name] >= self._known[name].max_idle:
                    self._close(name)

    def after_job(self) -> None:
        """Restart the idle time of all open resources: the job may have used any of them."""
        for name in self._open:
            self._used_at[name] = self._clock()

    def close(self) -> None:
        """Close all resources, the most recently opened one first. Raises nothing."""
        for name in reversed(list(self._open)):
            self._close(name)

    def _close(self, name: str) -> None:
        manager, _ = self._open.pop(name)
        try:
            manager.__exit__(None, None, None)
        except BaseException as error:  # a stale connection may fail even to close
            self._errors.report(f"closing the resource {name}", error)
