"""Resources that jobs share and that go stale when unused, such as database connections."""

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from beanwatch.worker.api.app import Resource
from beanwatch.worker.core.internal_errors import InternalErrors


class Resources:
    """Opens resources at first use, and closes them when unused for too long and at the end."""

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
        """The resource, opened if it is not. Raises LookupError for an unknown name."""
        if name not in self._open:
            if name not in self._known:
                known = ", ".join(self._known) or "none"
                raise LookupError(f"no resource {name!r} is registered; known: {known}")
            manager = self._known[name].make()
            self._open[name] = (manager, manager.__enter__())
        self._used_at[name] = self._clock()
        return self._open[name][1]

    def before_job(self) -> None:
        """Close the resources that have been idle for their `max_idle` or longer."""
        if self._open:
            now = self._clock()
            for name in list(self._open):
                if now - self._used_at[name] >= self._known[name].max_idle:
                    self._close(name)

    def after_job(self) -> None:
        """Count the job's time as use of all open resources."""
        for name in self._open:
            self._used_at[name] = self._clock()

    def close(self) -> None:
        """Close all resources, the last opened first."""
        for name in reversed(list(self._open)):
            self._close(name)

    def _close(self, name: str) -> None:
        manager, _ = self._open.pop(name)
        try:
            manager.__exit__(None, None, None)
        except BaseException as error:  # a stale connection may fail even to close
            self._errors.report(f"closing the resource {name}", error)
