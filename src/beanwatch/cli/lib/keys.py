"""Single keys from a terminal, without Enter."""

import os
import select
import sys
import termios
import tty
from typing import Any, Self


class Keys:
    """Reads keys inside its `with`; afterwards the terminal is restored, whatever happens.

    Where standard input is no terminal there are no keys, and `wait` only waits.
    """

    def __init__(self) -> None:
        self._descriptor = sys.stdin.fileno() if sys.stdin.isatty() else None
        self._saved: list[Any] = []

    def __enter__(self) -> Self:
        if self._descriptor is not None:
            self._saved = termios.tcgetattr(self._descriptor)
            tty.setcbreak(self._descriptor)  # Ctrl-C still interrupts
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor is not None:
            termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._saved)

    def wait(self, seconds: float) -> str:
        """The key that is pressed within that time, or an empty text."""
        watched = [] if self._descriptor is None else [self._descriptor]
        ready, _, _ = select.select(watched, [], [], max(0.0, seconds))
        if not ready or self._descriptor is None:
            return ""
        pressed = os.read(self._descriptor, 1)
        if not pressed:  # the terminal is gone
            self._descriptor = None
        return pressed.decode("ascii", "replace")
