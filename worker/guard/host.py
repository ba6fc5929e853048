"""What keeps a worker from harming its host: temporary files, child processes, disk, memory."""

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

from beanwatch.worker.guard.black_box import BlackBox, LastJob, read_black_box

_BLACK_BOX = "job"
_PAGE = os.sysconf("SC_PAGE_SIZE")


class TemporaryRoot:
    """The directory of one worker process, with a directory for each job that asks for one.

    It is locked as long as the process lives, so that a sweep can tell what a killed
    process left from what a live one uses, whoever gave them their names.
    """

    def __init__(self, root: str, worker: str, instance: str) -> None:
        self._root = Path(root or tempfile.gettempdir()).absolute()  # jobs may change directory
        self._home = -1
        self._stem = f"beanwatch-{worker}-"
        self.path = self._root / f"{self._stem}{instance}"
        self._lock = -1

    def open(self) -> BlackBox:
        """Make and lock it; the black box in it. Raises OSError."""
        self.path.mkdir(mode=0o700)
        self._home = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
        self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        return BlackBox(self.path / _BLACK_BOX)

    def sweep(self) -> dict[str, LastJob | None]:
        """Remove what killed instances left: their names, and the job that each had in hand."""
        found = {}
        pattern = re.compile(re.escape(self._stem) + "([0-9a-f]+)")
        for path in self._root.iterdir():
            name = pattern.fullmatch(path.name)
            if name and path != self.path and _is_left_over(path):
                found[name[1]] = read_black_box(path / _BLACK_BOX)
                _remove_what_can_be(path)
        return found

    def make(self, job_id: int) -> Path:
        """A new directory for a job."""
        return Path(tempfile.mkdtemp(prefix=f"{job_id}-", dir=self.path))

    def remove(self, path: Path) -> str:
        """Remove a job's directory; what could not be removed, in words, or ""."""
        try:
            os.fchdir(self._home)  # the job may stand in what is removed now
            _remove(path)
        except FileNotFoundError:
            return ""  # the handler did it
        except OSError as error:
            return f"{error.filename}: {error.strerror}"
        return ""

    def close(self) -> None:
        """Remove it all."""
        if self._lock >= 0:
            _remove_what_can_be(self.path)
            os.close(self._lock)
            os.close(self._home)
            self._lock = -1

    def free(self) -> int:
        """Bytes that are free where the directories are."""
        found = os.statvfs(self._root)
        return found.f_bavail * found.f_frsize


def _remove(path: Path) -> None:
    """Remove a directory with all that is in it. Raises OSError."""
    try:
        shutil.rmtree(path)
        return
    except RecursionError:  # an archive may hold directories deeper than Python can follow
        pass
    except OSError as error:
        if error.errno != errno.EMFILE:  # it holds each level open
            raise
    argv = ["rm", "-rf", "--", str(path)]
    try:
        done = subprocess.run(argv, stderr=subprocess.DEVNULL, check=False, timeout=60)
    except subprocess.TimeoutExpired:
        raise OSError(errno.ETIMEDOUT, "it takes too long to empty", str(path)) from None
    if done.returncode:
        raise OSError(errno.ENOTEMPTY, "it cannot be emptied", str(path))


def _remove_what_can_be(path: Path) -> None:
    try:
        _remove(path)
    except OSError:
        with suppress(RecursionError):
            shutil.rmtree(path, ignore_errors=True)


def _is_left_over(path: Path) -> bool:
    """A directory of ours that no live process has locked."""
    try:
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
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
    """Bytes of memory that this process has resident; 0 where there is no /proc."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[1]) * _PAGE
    except (OSError, ValueError, IndexError):
        return 0


def find_descendants(pid: int) -> list[int]:
    """All processes below one, parents first."""
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
    """Kill every process that the handler started and that is still below us; how many."""
    killed = find_descendants(os.getpid())
    for pid in killed:
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            pass  # it ended by itself
    return len(killed)
