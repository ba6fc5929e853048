"""Hold: the commands `wait` and `resume` for a worker of a framework."""

import threading
from collections.abc import Callable

from beanwatch.worker import CommandRequest


class Hold:
    """Keeps a worker from taking jobs, until a command or a time releases it.

    `hold` and `release` are called in the thread of a command or of a timer; a worker without them
    looks at `reason`. That says who sent the command, and is "" while the worker is not held.
    """

    def __init__(
        self,
        hold: Callable[[str], object] | None = None,
        release: Callable[[], object] | None = None,
    ) -> None:
        self._hold, self._release = hold, release
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self.reason = ""

    def wait(self, request: CommandRequest) -> None:
        """Carry out `wait`."""
        with self._lock:
            before, self.reason = self.reason, f"told to wait by {request.origin}"
            try:
                if self._hold is not None:
                    self._hold(self.reason)
            except BaseException:
                self.reason = before  # a worker that takes jobs is not shown as waiting
                raise
            self._end_timer()
            if request.seconds is not None:
                self._timer = threading.Timer(request.seconds, self.resume)
                self._timer.daemon = True
                self._timer.start()

    def resume(self, request: CommandRequest | None = None) -> None:
        """Carry out `resume`, or end the time of a `wait`."""
        with self._lock:
            self._end_timer()
            if self.reason:
                self.reason = ""
                if self._release is not None:
                    self._release()

    def _end_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
