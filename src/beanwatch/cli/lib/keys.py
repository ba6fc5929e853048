"""Read single keys from a terminal, without waiting for Enter."""

import os
import re
import select
import sys
import termios
import tty
from typing import Any, Self

MAX_READ = 1024  # bytes
# What a terminal sends for a key without a character (ECMA-48): ESC [ 5 ~, ESC O A, or only ESC.
ESCAPE_SEQUENCE = re.compile(rb"\x1b(?:[\[O][0-9;]*[A-Za-z~])?")
NAMED_KEYS = {
    **{b"\x1b" + kind + b"A": "up" for kind in (b"[", b"O")},
    **{b"\x1b" + kind + b"B": "down" for kind in (b"[", b"O")},
    b"\x1b[5~": "page up",
    b"\x1b[6~": "page down",
    b"\x1b": "escape",
}


class Keys:
    """Reads single keys inside a `with` block. At its end, the terminal's settings are restored.

    A key is a character, or one of NAMED_KEYS. If standard input is not a terminal, `wait` only
    waits.
    """

    def __init__(self) -> None:
        self._descriptor = sys.stdin.fileno() if sys.stdin.isatty() else None
        self._saved: list[Any] = []
        self._pending = b""  # bytes that were read, and not yet returned

    def __enter__(self) -> Self:
        if self._descriptor is not None:
            self._saved = termios.tcgetattr(self._descriptor)
            tty.setcbreak(self._descriptor)  # Ctrl-C still interrupts
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor is not None:
            termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._saved)

    def wait(self, seconds: float) -> str:
        """Wait for a key, up to `seconds`. Return its character or name, "" if none was pressed."""
        if self._pending:
            return self._take_key()
        watched = [] if self._descriptor is None else [self._descriptor]
        ready, _, _ = select.select(watched, [], [], max(0.0, seconds))
        if not ready or self._descriptor is None:
            return ""
        self._pending = os.read(self._descriptor, MAX_READ)
        if not self._pending:  # the terminal was closed
            self._descriptor = None
            return ""
        return self._take_key()

    def _take_key(self) -> str:
        """Return the first pending key. A sequence of an unknown key is skipped."""
        escape = ESCAPE_SEQUENCE.match(self._pending)
        taken = escape[0] if escape else self._pending[:1]
        self._pending = self._pending[len(taken) :]
        return NAMED_KEYS.get(taken, "") if escape else taken.decode("ascii", "replace")
