"""Makes and removes the temporary directories of jobs, and measures the room on their disk.

A disk can hang: a network file system whose server is away stops each call that uses it. So what
touches the disk between jobs runs in a thread, and the caller waits for a limited time.
"""

import errno
import fcntl
import os
import re
import shutil
import stat
import subprocess
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeVar

from beanwatch.net.address import BackgroundCall
from beanwatch.store.black_box import FILE_NAME, directory_name
from beanwatch.worker.guard.black_box import BlackBox, BlackBoxRecord, read_black_box

OPEN_TIMEOUT = 10.0  # seconds to make the directory at the start
SWEEP_TIMEOUT = 10.0  # seconds to remove what killed instances left; then it goes on in a thread
CLOSE_TIMEOUT = 2.0  # seconds to remove the directory at the end
_RM_TIMEOUT = 600.0  # seconds for `rm -rf`, which runs in a thread
_RESTORE_TIMEOUT = 5.0  # seconds to wait for another thread that makes the directory again
_STEP = 0.05  # seconds between two looks whether a waiting caller must stop

T = TypeVar("T")


class Room(NamedTuple):
    """The free room on a disk. `inodes` is None for a file system that does not count them."""

    free: int  # bytes
    inodes: int | None = None
    all_inodes: int = 0


class TemporaryRoot:
    """Manages the temporary directory of one worker process, and the directories of jobs in it.

    The process keeps the directory locked while it lives. So `sweep` can tell the directory of a
    killed process from that of a live one, even if both have the same worker id. If something
    removes the directory, such as tmpreaper, it is made again.

    The constructor raises OSError if `root` is "" and this host has no temporary directory.
    """

    def __init__(self, root: str, worker: str, instance: str) -> None:
        self._root = Path(root or tempfile.gettempdir()).absolute()  # a job may chdir
        self._start_directory = -1
        self._stem = directory_name(worker, "")
        self.path = self._root / directory_name(worker, instance)
        self.black_box_path = self.path / FILE_NAME
        self._lock = -1
        self._black_box: BlackBox | None = None
        self._restoring = threading.Lock()
        self._make_failed = False
        self._removal: BackgroundCall[None] | None = None  # the last one, if it did not end in time

    @property
    def descriptors(self) -> tuple[int, ...]:
        """The descriptors that stay open from `open` to `close`."""
        return (self._start_directory,)

    def open(self) -> BlackBox:
        """Make the directory and lock it. Returns a new black box in it. Raises OSError."""
        return _within(OPEN_TIMEOUT, self._open, self.path)

    def sweep(self) -> dict[str, BlackBoxRecord | None]:
        """Remove the directories that killed instances of this worker left. Raises OSError.

        Returns the content of their black boxes, by instance. After SWEEP_TIMEOUT the removal goes
        on in a thread.
        """
        found = _within(OPEN_TIMEOUT, self._find_left_over, self._root)
        with suppress(OSError):
            _within(SWEEP_TIMEOUT, lambda: list(map(_remove_as_far_as_possible, found)), self._root)
        stem = len(self._stem)
        return {path.name[stem:]: record for path, record in found.items()}

    def share_black_box(self) -> None:
        """Let every user of this host read the black box: a check may run as another user.

        The names of the other files in the directory stay hidden. Raises OSError, also if the disk
        does not respond within CLOSE_TIMEOUT.
        """
        _within(CLOSE_TIMEOUT, self._share_black_box, self.path)

    def find_runs(self, server: str, job_id: int) -> set[int]:
        """Return the deliveries of a job that other workers of this host and user began to run.

        Their black boxes name them. `server` and the deliveries are `Run.server` and `Run.attempt`.
        Returns an empty set if the disk does not respond within OPEN_TIMEOUT.
        """
        with suppress(OSError):
            return _within(OPEN_TIMEOUT, lambda: self._find_runs(server, job_id), self._root)
        return set()

    def make(self, job_id: int) -> Path:
        """Make a new directory for a job and return its path. Raises OSError."""
        try:
            try:
                return self._make(job_id)
            except FileNotFoundError:
                self._restore()
                return self._make(job_id)
        except OSError:
            self._make_failed = True  # `measure` finds out whether the next job would fail too
            raise

    def remove(
        self,
        path: Path,
        timeout: float,
        must_stop: Callable[[], bool] = lambda: False,
    ) -> str:
        """Remove a job's directory. Returns "", or the path that remains and the reason.

        Waits for `timeout` seconds, and no longer than until `must_stop()`. After that the removal
        goes on in a thread, and `still_removing` is true until it has ended.
        """
        removal = _start(lambda: self._remove(path))
        try:
            waited = 0.0
            while True:
                try:
                    removal.wait(_STEP)
                    break
                except TimeoutError:
                    waited += _STEP
                    if waited >= timeout or must_stop():
                        self._removal = removal
                        return f"{path}: it was not removed within {waited:.1f} s"
        except FileNotFoundError:
            return ""  # the handler removed it
        except OSError as error:
            return f"{error.filename}: {error.strerror}"
        return ""

    @property
    def still_removing(self) -> bool:
        """Return True while a removal that did not end in time goes on: the disk may hang."""
        return self._removal is not None and self._removal.is_running

    def close(self) -> None:
        """Remove the directory and everything in it, and unlock it; wait for CLOSE_TIMEOUT only."""
        if self._lock >= 0:
            with suppress(OSError):
                _within(CLOSE_TIMEOUT, lambda: _remove_as_far_as_possible(self.path), self.path)
            os.close(self._lock)
            os.close(self._start_directory)
            self._lock = -1

    def measure(self) -> Room:
        """Return the free room on the disk of the temporary directory. It may hang with the disk.

        Makes the directory again if it was removed. Raises OSError if jobs cannot have temporary
        directories: this one cannot be made again, or the last `make` failed and would fail again.
        """
        self._restore()
        if self._make_failed:
            os.rmdir(self._make(0))
            self._make_failed = False
        found = os.statvfs(self._root)
        inodes = found.f_favail if found.f_files else None
        return Room(found.f_bavail * found.f_frsize, inodes, found.f_files)

    def _make(self, job_id: int) -> Path:
        return Path(tempfile.mkdtemp(prefix=f"{job_id}-", dir=self.path))

    def _open(self) -> BlackBox:
        self.path.mkdir(mode=0o700)
        try:
            self._start_directory = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
        except PermissionError:  # under `sudo -u` in a directory of root
            self._start_directory = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
        self._lock = _lock(self.path)
        os.register_at_fork(after_in_child=self._close_in_child)
        self._black_box = BlackBox(self.black_box_path)
        return self._black_box

    def _close_in_child(self) -> None:
        """Close the copy of the lock in a forked child: it may live longer than this process."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _share_black_box(self) -> None:
        self.black_box_path.chmod(0o644)
        self.path.chmod(0o711)

    def _restore(self) -> None:
        """Make the directory and the black box again if they were removed. Raises OSError."""
        box = self.black_box_path
        if self._black_box is None or (self._owns_directory() and os.path.lexists(box)):
            return
        if not self._restoring.acquire(timeout=_RESTORE_TIMEOUT):
            raise OSError(errno.EBUSY, "another thread makes it again", str(self.path))
        try:
            if not self._owns_directory():
                self.path.mkdir(mode=0o700, parents=True)
                old, self._lock = self._lock, _lock(self.path)
                os.close(old)
            if not os.path.lexists(box):
                self._black_box.move_to(box)
        finally:
            self._restoring.release()

    def _owns_directory(self) -> bool:
        """Return True if the path still is the directory that this process made and locked."""
        try:
            found = os.lstat(self.path)
        except FileNotFoundError:
            return False
        return os.path.samestat(found, os.fstat(self._lock))

    def _find_left_over(self) -> dict[Path, BlackBoxRecord | None]:
        pattern = re.compile(re.escape(self._stem) + "[0-9a-f]+")
        return {
            path: read_black_box(path / FILE_NAME)
            for path in self._root.iterdir()
            if pattern.fullmatch(path.name) and path != self.path and _is_left_over(path)
        }

    def _find_runs(self, server: str, job_id: int) -> set[int]:
        found = set()
        for path in self._root.glob("beanwatch-*"):
            with suppress(OSError):  # it may be removed meanwhile
                box = read_black_box(path / FILE_NAME) if _is_own(path) else None
                run = box and box.run
                if run and (run.server, run.job_id) == (server, job_id):
                    found.add(run.attempt)
        return found

    def _remove(self, path: Path) -> None:
        os.fchdir(self._start_directory)  # the job may have made the directory the current one
        _remove(path)


def _start(function: Callable[[], T]) -> BackgroundCall[T]:
    """Start `function` in a thread. Raises OSError if the system allows no more threads."""
    try:
        return BackgroundCall(function, "beanwatch-disk")
    except RuntimeError as error:
        raise OSError(errno.EAGAIN, str(error)) from None


def _within(timeout: float, function: Callable[[], T], path: Path) -> T:
    """Return the result of `function`, which uses `path`. Raises OSError, also after `timeout`."""
    try:
        return _start(function).wait(timeout)
    except TimeoutError:
        reason = f"the disk did not respond within {timeout:g} s"
        raise OSError(errno.ETIMEDOUT, reason, str(path)) from None


def _lock(path: Path) -> int:
    """Lock a directory and return its descriptor. Raises OSError, also if somebody locked it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise OSError(error.errno, f"it cannot be locked: {error.strerror}", str(path)) from None
    return descriptor


def _remove(path: Path) -> None:
    """Remove a directory and everything in it. Raises OSError."""
    try:
        shutil.rmtree(path)
        return
    except RecursionError:  # an archive may nest directories deeper than Python's stack
        pass
    except OSError as error:
        if error.errno != errno.EMFILE:  # too many open files: rmtree keeps each level open
            raise
    argv = ["rm", "-rf", "--", str(path)]
    try:
        done = subprocess.run(argv, stderr=subprocess.DEVNULL, check=False, timeout=_RM_TIMEOUT)
    except subprocess.TimeoutExpired:
        reason = f"it was not removed within {_RM_TIMEOUT:g} s"
        raise OSError(errno.ETIMEDOUT, reason, str(path)) from None
    if done.returncode:
        raise OSError(errno.ENOTEMPTY, "rm -rf failed to remove it", str(path))


def _remove_as_far_as_possible(path: Path) -> None:
    try:
        _remove(path)
    except OSError:
        with suppress(RecursionError):
            shutil.rmtree(path, ignore_errors=True)


def _is_own(path: Path) -> bool:
    """Return True for a directory of this user, not a link to one. Raises OSError."""
    found = path.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()


def _is_left_over(path: Path) -> bool:
    """Return True for a directory of this user that no live process has locked."""
    try:
        if not _is_own(path):
            return False
        os.close(_lock(path))
    except OSError:
        return False
    return True
