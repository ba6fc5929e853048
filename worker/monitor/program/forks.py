"""Tells the monitors of a process when it forks, and when it ends."""

import atexit
import os
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Protocol


class Forking(Protocol):
    """An object that must act when its process forks."""

    def before_fork(self) -> bool:
        """Prepare; return True if `after_fork` must follow in the parent."""

    def after_fork(self) -> None:
        """Go on in the parent."""

    def after_fork_in_child(self) -> None:
        """Go on in the child."""


def watch_forks(one: Forking) -> None:
    """Call the methods of `one` at each fork, as long as it exists.

    The hooks themselves cannot be removed, so they hold no reference to it.
    """
    reference = weakref.ref(one)
    this_thread = threading.local()  # several threads may fork

    def before() -> None:
        found = reference()
        this_thread.is_prepared = found is not None and found.before_fork()

    def after_in_parent() -> None:
        found = reference()
        if found is not None and this_thread.is_prepared:
            found.after_fork()

    def after_in_child() -> None:
        if (found := reference()) is not None:
            found.after_fork_in_child()

    os.register_at_fork(
        before=before, after_in_parent=after_in_parent, after_in_child=after_in_child
    )


def call_at_exit(function: Callable[[], object]) -> None:
    """Call `function` when this process ends by itself, once for each call before that.

    Children of multiprocessing end without Python's atexit.
    """
    atexit.unregister(function)
    atexit.register(function)
    library = sys.modules.get("multiprocessing")  # loaded in any such child
    if library is not None and library.parent_process() is not None:
        library.util.Finalize(None, function, exitpriority=0)
