"""The state file of a check: it keeps values between runs, such as since when a limit is broken."""

import json
import os
import stat
import time
import zlib
from collections.abc import Callable

from beanwatch.light_typing import Any
from beanwatch.queues.base import Memory

# Seconds. After a longer gap between two runs the stored values are dropped: nobody knows whether a
# limit was broken all the time.
MAX_GAP = 3600.0
# Keys contain names of queues, and clients of the server can create any number of queues.
MAX_ENTRIES = 100_000


def default_directory() -> str:
    """Return $BEANWATCH_STATE_DIR, or a directory for this user: plugins run as nagios or nrpe."""
    return os.environ.get("BEANWATCH_STATE_DIR") or f"/var/tmp/beanwatch-{os.geteuid()}"  # noqa: S108


class FileMemory(Memory):
    """A JSON file that holds the memory of one check. It is read at first use; `save` writes it.

    An OSError is not raised: `trouble` gets a text that says what failed, and the check goes on
    with nothing remembered. A corrupt file is replaced. `now` is seconds since the epoch.
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
        self._was_tried = False
        self._dropped = 0  # values for which there was no room

    @classmethod
    def for_arguments(cls, check: str, arguments: object, directory: str = "") -> "FileMemory":
        """Return the memory for a check with these arguments: each service gets its own file."""
        checksum = zlib.crc32(repr(arguments).encode("utf-8", "replace"))
        return cls(f"{check}-{checksum:08x}", directory)

    def recall(self, key: str) -> Any:
        """Return the value that the previous run stored, or None. It may be of any type."""
        if self._old is None:
            self._old = self._load()
        return self._old.get(key)

    def remember(self, key: str, value: Any) -> None:
        """Store a value for the next run. Above MAX_ENTRIES values, drop it."""
        if key in self._new or len(self._new) < MAX_ENTRIES:
            self._new[key] = value
        else:
            self._dropped += 1
            self.trouble = (
                f"{self._path} has room for {MAX_ENTRIES} values only, {self._dropped} were dropped"
            )

    def lasting(self, key: str, token: str = "") -> float:
        """Return how long, in seconds, every run has passed this token for this key; 0 at first."""
        since = self.now
        match self.recall(key):
            case [known, int() | float() as start] if known == token and start <= self.now:
                since = start
        self.remember(key, [token, since])
        return float(self.now - since)

    def keep(self, key: str) -> None:
        """Keep the value of the previous run, because this run could not read a new one."""
        known = self.recall(key)
        if known is not None:
            self.remember(key, known)

    def keep_all(self, scope: str) -> None:
        """Keep the values of a scope that this run has not stored, because it could not read them.

        They are dropped after MAX_GAP seconds in which no run could.
        """
        mark = f"unread {scope}"
        if mark in self._new or self.lasting(mark) > MAX_GAP:
            return
        for key in self._old or ():
            if key.startswith(f"{scope} ") and key not in self._new:
                self.keep(key)

    def scoped(self, scope: str) -> "ScopedMemory":
        """Return a view for a check or a server that shares this file; keys start with `scope`."""
        return ScopedMemory(self, scope)

    def save(self) -> None:
        """Write the values stored in this run and drop the rest. Without any, delete the file."""
        if not self._new and not os.path.lexists(self._path):
            return
        try:
            self._prepare()
            if self._new:
                self._write({"at": self.now, **self._new})
            else:
                self._remove()
        except OSError as error:
            self.trouble = f"cannot write {self._path}: {error.strerror}"

    def try_to_write(self) -> None:
        """Set `trouble` if the file cannot be written: write the values of the previous run again.

        Call it before a state is held back, because it would be held back for ever if no run could
        store since when. Only the first call writes.
        """
        if self._was_tried or self.trouble:
            return
        self._was_tried = True
        try:
            self._write(self._old or {})
        except OSError as error:
            self.trouble = f"cannot write {self._path}: {error.strerror}"

    def _write(self, values: dict[str, Any]) -> None:
        # Imported here, because the import takes 1 ms and most runs have nothing to store.
        from beanwatch.net.files import LockedError, locked, write_private

        try:
            with locked(f"{self._path}.lock"):
                write_private(self._path, json.dumps(values).encode())
        except LockedError:
            pass  # Another run holds the lock. Do not wait: its values are as good as ours.

    def _remove(self) -> None:
        try:
            os.unlink(self._path)
        except FileNotFoundError:  # another run has deleted it
            pass

    def _load(self) -> dict[str, Any]:
        from beanwatch.net.files import read_private

        try:
            self._prepare()
            content = read_private(self._path) or b"{}"
            old = json.loads(content)
            at = old["at"]
        except OSError as error:
            self.trouble = f"cannot read {self._path}: {error.strerror}"
            return {}
        except (ValueError, TypeError, KeyError, RecursionError):
            return {}
        is_recent = isinstance(at, int | float) and -MAX_GAP < self.now - at < MAX_GAP
        return old if is_recent else {}

    def _prepare(self) -> None:
        """Make the directory. Raise PermissionError if it exists and others could write to it."""
        try:
            os.mkdir(self._directory, 0o700)
        except FileExistsError:
            found = os.lstat(self._directory)
            if stat.S_ISLNK(found.st_mode) and found.st_uid == 0:  # systemd's, for a DynamicUser
                found = os.stat(self._directory)
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
                reason = f"{self._directory} is not a directory of this user"
                raise PermissionError(0, reason) from None
            if found.st_mode & 0o022:
                raise PermissionError(0, f"other users can write to {self._directory}") from None


class ScopedMemory(Memory):
    """A view of a FileMemory for one check or server; its keys are separate from all others."""

    def __init__(self, memory: FileMemory, scope: str) -> None:
        self._memory, self._scope = memory, scope

    @property
    def trouble(self) -> str:
        """The text that says why the file cannot be used; empty if it can."""
        return self._memory.trouble

    def try_to_write(self) -> None:
        """Set `trouble` if the file cannot be written; see `FileMemory.try_to_write`."""
        self._memory.try_to_write()

    def recall(self, key: str) -> Any:
        """Return the value that the previous run stored, or None. It may be of any type."""
        return self._memory.recall(f"{self._scope} {key}")

    def remember(self, key: str, value: Any) -> None:
        """Store a value for the next run."""
        self._memory.remember(f"{self._scope} {key}", value)

    def lasting(self, key: str, token: str = "") -> float:
        """Return how long, in seconds, every run has passed this token for this key; 0 at first."""
        return self._memory.lasting(f"{self._scope} {key}", token)

    def keep(self, key: str) -> None:
        """Keep the value of the previous run, because this run could not read a new one."""
        self._memory.keep(f"{self._scope} {key}")

    def scoped(self, scope: str) -> "ScopedMemory":
        """Return a view of a part of this view."""
        return self._memory.scoped(f"{self._scope} {scope}")

    def keep_all(self, scope: str) -> None:
        """Keep the values of a scope; see `FileMemory.keep_all`."""
        self._memory.keep_all(f"{self._scope} {scope}")

    def save(self) -> None:
        """Do nothing: the caller that made the FileMemory saves it."""
