"""What a check remembers between its runs: since when a value is out of its limits."""

import json
import os
import stat
import time
import zlib
from collections.abc import Callable
from typing import Any

# Longer without a look, and what was wrong then need not have been wrong since.
MAX_GAP = 3600.0


def default_directory() -> str:
    """Where every user has a place of their own: plugins run as nagios, nrpe or icinga."""
    return os.environ.get("BEANWATCH_STATE_DIR") or f"/var/tmp/beanwatch-{os.geteuid()}"  # noqa: S108


class Memory:
    """A small file of one check with its arguments, read at first use and written by `save`.

    Never in the way of a check: a file that cannot be used is reported in `trouble`, and
    the check judges the moment. A corrupt one is as good as none, and is replaced.
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
    def of(cls, check: str, arguments: object, directory: str = "") -> "Memory":
        """The memory of a check with these arguments: two services never share one."""
        return cls(
            f"{check}-{zlib.crc32(repr(arguments).encode('utf-8', 'replace')):08x}", directory
        )

    def recall(self, key: str) -> Any:
        """What the run before remembered under this key, or None."""
        if self._old is None:
            self._old = self._load()
        return self._old.get(key)

    def remember(self, key: str, value: Any) -> None:
        """For the next run. What is not remembered anew is forgotten."""
        self._new[key] = value

    def scoped(self, scope: str) -> "Scope":
        """The part of one of several checks that share this memory; the owner saves it."""
        return Scope(self, scope)

    def lasting(self, key: str, is_so: bool) -> float:
        """For how many seconds this has been so at every look, 0 if it is not."""
        since = self.recall(key)
        if not is_so:
            return 0.0
        if not isinstance(since, int | float) or since > self.now:
            since = self.now
        self.remember(key, since)
        return float(self.now - since)

    def save(self) -> None:
        """Write what was remembered, if anything was or had been."""
        if not self._new and not (self._old or {}).keys() - {"at"}:
            return
        # Here, because most runs have nothing to remember and can do without its millisecond.
        from beanwatch.net.files import LockedError, locked, write_private

        content = json.dumps({"at": self.now, **self._new}).encode()
        try:
            self._prepare()
            # Two runs at once: the second one's view is as good, so it does not wait.
            with locked(f"{self._path}.lock"):
                write_private(self._path, content)
        except LockedError:
            return
        except OSError as error:
            self.trouble = f"{self._path}: {error.strerror}"

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
        recent = isinstance(at, int | float) and -MAX_GAP < self.now - at < MAX_GAP
        return old if recent else {}

    def _prepare(self) -> None:
        """Make the directory, and refuse one that somebody else could write to."""
        try:
            os.mkdir(self._directory, 0o700)
        except FileExistsError:
            found = os.lstat(self._directory)
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
                raise PermissionError(0, f"{self._directory} is not a directory of ours") from None
            if found.st_mode & 0o022:
                raise PermissionError(0, f"{self._directory} is open to others") from None


class Scope:
    """A Memory whose keys are one check's own."""

    def __init__(self, memory: Memory, scope: str) -> None:
        self._memory, self._scope = memory, scope
        self.now = memory.now

    @property
    def trouble(self) -> str:
        """That of the whole."""
        return self._memory.trouble

    def recall(self, key: str) -> Any:
        """As Memory does."""
        return self._memory.recall(f"{self._scope} {key}")

    def remember(self, key: str, value: Any) -> None:
        """As Memory does."""
        self._memory.remember(f"{self._scope} {key}", value)

    def lasting(self, key: str, is_so: bool) -> float:
        """As Memory does."""
        return self._memory.lasting(f"{self._scope} {key}", is_so)

    def save(self) -> None:
        """Left to the owner."""
