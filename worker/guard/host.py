"""Removes temporary files, kills child processes, and reads memory use and free disk."""

import errno
import fcntl
import os
import re
import shutil
import signal
import stat
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from beanwatch.worker.guard.black_box import BlackBox, BlackBoxRecord, read_black_box

_BLACK_BOX_NAME = "job"
_PAGE_SIZE = os.sysconf("SC_PAGE_SIZE")


class TemporaryRoot:
    """Manages the temporary directory of one worker process, and the directories of jobs in it.

    The process keeps the directory locked while it lives. So `sweep` can tell the directory of a
    killed process from that of a live one, even if both have the same worker id.
    """

    def __init__(self, root: str, worker: str, instance: str) -> None:
        self._root = Path(root or tempfile.gettempdir()).absolute()  # a job may chdir
        self._start_directory = -1
        self._stem = f"beanwatch-{worker}-"
        self.path = self._root / f"{self._stem}{instance}"
        self._lock = -1

    def open(self) -> BlackBox:
        """Make the directory and lock it. Returns a new black box in it. Raises OSError."""
        self.path.mkdir(mode=0o700)
        self._start_directory = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
        self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        return BlackBox(self.path / _BLACK_BOX_NAME)

    def sweep(self) -> dict[str, BlackBoxRecord | None]:
        """Remove the directories that killed instances of this worker left. Raises OSError.

        Returns the content of their black boxes, by instance.
        """
        found = {}
        pattern = re.compile(re.escape(self._stem) + "([0-9a-f]+)")
        for path in self._root.iterdir():
            name = pattern.fullmatch(path.name)
            if name and path != self.path and _is_left_over(path):
                found[name[1]] = read_black_box(path / _BLACK_BOX_NAME)
                _remove_as_far_as_possible(path)
        return found

    def find_runs(self, server: str, job_id: int) -> set[int]:
        """Return the deliveries of a job that other workers of this host and user began to run.

        Their black boxes name them. `server` and the deliveries are as in BlackBoxRecord.
        """
        found = set()
        with suppress(OSError):
            for path in self._root.glob("beanwatch-*"):
                box = read_black_box(path / _BLACK_BOX_NAME) if _is_own(path) else None
                if box is not None and (box.server, box.job_id) == (server, job_id):
                    found.add(box.delivery)
        return found

    def make(self, job_id: int) -> Path:
        """Make a new directory for a job and return its path. Raises OSError."""
        return Path(tempfile.mkdtemp(prefix=f"{job_id}-", dir=self.path))

    def remove(self, path: Path) -> str:
        """Remove a job's directory. Returns "", or the path that remains and the reason."""
        try:
            os.fchdir(self._start_directory)  # the job may have made the directory the current one
            _remove(path)
        except FileNotFoundError:
            return ""  # the handler removed it
        except OSError as error:
            return f"{error.filename}: {error.strerror}"
        return ""

    def close(self) -> None:
        """Remove the directory and everything in it, and unlock it."""
        if self._lock >= 0:
            _remove_as_far_as_possible(self.path)
            os.close(self._lock)
            os.close(self._start_directory)
            self._lock = -1

    def free(self) -> int:
        """Return the free bytes on the disk of the temporary directory. Raises OSError."""
        found = os.statvfs(self._root)
        return found.f_bavail * found.f_frsize


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
        done = subprocess.run(argv, stderr=subprocess.DEVNULL, check=False, timeout=60)
    except subprocess.TimeoutExpired:
        raise OSError(errno.ETIMEDOUT, "it was not removed within 60 s", str(path)) from None
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
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def read_rss() -> int:
    """Return the resident memory of this process in bytes; 0 without /proc."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[1]) * _PAGE_SIZE
    except (OSError, ValueError, IndexError):
        return 0


def find_descendants(pid: int) -> list[int]:
    """Return the pids of all descendants of a process, parents before their children."""
    found: list[int] = []
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return found
    for task in tasks:
        try:
            with open(f"/proc/{pid}/task/{task}/children", "rb") as children:
                ids = [int(child) for child in children.read().split()]
        except OSError:
            continue
        for child in ids:
            found += [child, *find_descendants(child)]
    return found


def kill_descendants() -> int:
    """Kill all descendants of this process, which handlers started. Returns their number."""
    killed = find_descendants(os.getpid())
    for pid in killed:
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            pass  # it ended by itself
    return len(killed)
