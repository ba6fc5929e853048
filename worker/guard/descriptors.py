"""Detects that a job has closed the worker's own file descriptors, which ends the worker.

A handler that closes all descriptors (as daemons do: `os.closerange(3, 256)`) also closes those of
the worker. The numbers may soon belong to other files, so the worker must not use them any more.
"""

import os
from collections.abc import Callable, Iterable

from beanwatch.worker.core.job import RunningJob

_Identity = tuple[int, int, int]


class OwnDescriptors:
    """Knows descriptors that stay open while the worker lives.

    `on_loss` is called with the running job, if any, when one of them was closed. It must not
    return.
    """

    def __init__(self) -> None:
        self.on_loss: Callable[[RunningJob | None], None] = lambda _job: None
        # Opened early, so it has a low number: a loop that closes descriptors reaches it.
        self._first = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._known: dict[int, _Identity] = {}
        self.watch([self._first])

    def watch(self, descriptors: Iterable[int]) -> None:
        """Add open descriptors, which must stay open."""
        self._known |= {descriptor: _identify(descriptor) for descriptor in descriptors}

    def check_after_job(self, job: RunningJob) -> None:
        """Call `on_loss` if the first descriptor is closed. This takes 0.2 us."""
        try:
            os.get_inheritable(self._first)
        except OSError:
            self.on_loss(job)

    def check(self, job: RunningJob | None) -> None:
        """Call `on_loss` if a descriptor is closed, or its number belongs to another file."""
        try:
            are_ours = all(_identify(number) == known for number, known in self._known.items())
        except OSError:
            are_ours = False
        if not are_ours:
            self.on_loss(job)


def _identify(descriptor: int) -> _Identity:
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino, found.st_rdev
