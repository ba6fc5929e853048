"""ForkSlots: numbers for the children of a process that forks, so that each has an id of its own.

A child that takes the place of an ended one gets its number, so that ids do not grow without end,
and that its record tells how the one before ended.
"""

import fcntl
import os
import tempfile

MAX_SLOTS = 1000


class NoSlotError(Exception):
    """Raised if all numbers are taken."""


class ForkSlots:
    """Hands out numbers from 1 to the children of the process that makes this object.

    A number is a lock on one byte of a file that the children inherit. The kernel releases the lock
    when its process ends, however it ends, or closes the file. Such locks (lockf) belong to a
    process: a child of the child does not share them.
    """

    def __init__(self) -> None:
        self._fd, path = tempfile.mkstemp(prefix="beanwatch-")
        os.unlink(path)

    def close(self) -> None:
        """Give back the number of this process. Children keep theirs."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def claim(self) -> int:
        """Return the lowest number that no living process has. Raises NoSlotError, OSError."""
        for slot in range(1, MAX_SLOTS + 1):
            if self.take(slot):
                return slot
        raise NoSlotError(f"{MAX_SLOTS} processes are watched already")

    @staticmethod
    def claim_from(slots: "ForkSlots | None", wanted: int | None) -> int:
        """Return the number `wanted`, or the lowest one that is free. Raises as `claim`."""
        if slots is None:
            raise NoSlotError("its parent was not watched")
        if wanted is not None and slots.take(wanted):
            return wanted
        return slots.claim()

    def take(self, slot: int) -> bool:
        """Take a number for this process. Return False if another one has it. Raises OSError."""
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, slot, os.SEEK_SET)
        except (BlockingIOError, PermissionError):
            return False
        return True
