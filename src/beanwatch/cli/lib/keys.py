"""Read single keys from a terminal, without waiting for Enter."""

import os
import select
import sys
import termios
import tty
from typing import Any, Self


class Keys:
    """Reads single keys inside a `with` block. At its end, the terminal's settings are restored.

    If standard input is not a terminal, `wait` only waits.
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
        """Wait for a key, up to `seconds`. Return its character, or "" if none was pressed."""
        watched = [] if self._descriptor is None else [self._descriptor]
        ready, _, _ = select.select(watched, [], [], max(0.0, seconds))
        if not ready or self._descriptor is None:
            return ""
        pressed = os.read(self._descriptor, 1)
        if not pressed:  # the terminal was closed
            self._descriptor = None
        return pressed.decode("ascii", "replace")
