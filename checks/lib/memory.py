"""The file in which a check remembers things between its runs: since when a value is wrong."""

import json
import os
import stat
import time
import zlib
from collections.abc import Callable
from typing import Any

from beanwatch.queues.base import Memory

# Seconds without a run. After more of them nobody can say that a value was wrong all the time.
MAX_GAP = 3600.0
# Names of queues are part of keys, and the server decides how many there are.
MAX_ENTRIES = 100_000


def default_directory() -> str:
    """A place of each user's own: plugins run as nagios, nrpe or icinga."""
    return os.environ.get("BEANWATCH_STATE_DIR") or f"/var/tmp/beanwatch-{os.geteuid()}"  # noqa: S108


class FileMemory(Memory):
    """A small file of one check with its arguments, read at first use and written by `save`.

    A check goes on without it: a file that cannot be used is reported in `trouble`, and the check
    judges the current value only. A corrupt file counts as none, and is replaced.
    """

    def __init__(
        self, name: str, directory: str = "", *, clock: Callable[[], float] = time.time
    ) -> None:
        self.trouble = ""
        self.now = clock()
        self._directory = directory or default_directory()
        self._path = f"{self._directory}/{name}.json"
        self._old: dict[str, Any] | None = None
        self._new: dict[str, Any] = {}

    @classmethod
    def for_arguments(cls, check: str, arguments: object, directory: str = "") -> "FileMemory":
        """The memory of a check with these arguments, so that two services never share one."""
        checksum = zlib.crc32(repr(arguments).encode("utf-8", "replace"))
        return cls(f"{check}-{checksum:08x}", directory)

    def recall(self, key: str) -> Any:
        """As Memory does."""
        if self._old is None:
            self._old = self._load()
        return self._old.get(key)

    def remember(self, key: str, value: Any) -> None:
        """As Memory does."""
        if len(self._new) < MAX_ENTRIES:
            self._new[key] = value

    def lasting(self, key: str, token: str = "") -> float:
        """As Memory does."""
        since = self.now
        match self.recall(key):
            case [known, int() | float() as start] if known == token and start <= self.now:
                since = start
        self.remember(key, [token, since])
        return float(self.now - since)

    def keep(self, key: str) -> None:
        """As Memory does."""
        known = self.recall(key)
        if known is not None:
            self.remember(key, known)

    def scoped(self, scope: str) -> "ScopedMemory":
        """The part of one of several checks that share this memory; the owner saves it."""
        return ScopedMemory(self, scope)

    def save(self) -> None:
        """Write what was remembered. What was not is forgotten: then there is no file."""
        if not self._new and not os.path.lexists(self._path):
            return
        # Imported here, because most runs have nothing to remember and can save its millisecond.
        from beanwatch.net.files import LockedError, locked, write_private

        content = json.dumps({"at": self.now, **self._new}).encode()
        try:
            self._prepare()
            if not self._new:
                self._remove()
                return
            # Of two runs at once the second one does not wait: what the first one saw is as good.
            with locked(f"{self._path}.lock"):
                write_private(self._path, content)
        except LockedError:
            return
        except OSError as error:
            self.trouble = f"{self._path}: {error.strerror}"

    def _remove(self) -> None:
        try:
            os.unlink(self._path)
        except FileNotFoundError:  # another run has done so
            pass

    def _load(self) -> dict[str, Any]:
        from beanwatch.net.files import read_private

        try:
            self._prepare()
            content = read_private(self._path) or b"{}"
            old = json.loads(content)
            at = old["at"]
        except OSError as error:
            self.trouble = f"{self._path}: {error.strerror}"
            return {}
        except (ValueError, TypeError, KeyError, RecursionError):
            return {}
        is_recent = isinstance(at, int | float) and -MAX_GAP < self.now - at < MAX_GAP
        return old if is_recent else {}

    def _prepare(self) -> None:
        """Make the directory, and refuse one that somebody else could write to."""
        try:
            os.mkdir(self._directory, 0o700)
        except FileExistsError:
            found = os.lstat(self._directory)
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
                raise PermissionError(0, f"{self._directory} is not a directory of ours") from None
            if found.st_mode & 0o022:
                raise PermissionError(0, f"other users can write to {self._directory}") from None


class ScopedMemory(Memory):
    """A FileMemory whose keys are one check's own."""

    def __init__(self, memory: FileMemory, scope: str) -> None:
        self._memory, self._scope = memory, scope

    @property
    def trouble(self) -> str:
        """As FileMemory.trouble."""
        return self._memory.trouble

    def recall(self, key: str) -> Any:
        """As Memory does."""
        return self._memory.recall(f"{self._scope} {key}")

    def remember(self, key: str, value: Any) -> None:
        """As Memory does."""
        self._memory.remember(f"{self._scope} {key}", value)

    def lasting(self, key: str, token: str = "") -> float:
        """As Memory does."""
        return self._memory.lasting(f"{self._scope} {key}", token)

    def keep(self, key: str) -> None:
        """As Memory does."""
        self._memory.keep(f"{self._scope} {key}")

    def save(self) -> None:
        """Left to the owner."""
