"""beanwatch's commands as processes. Some are restarted when they end, as systemd would do."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.real import spawn, stop_process

BIN = Path(sys.executable).parent

# Exit codes after which a worker is not restarted: told to stop, wrong usage, duplicate id.
_NO_RESTART = (0, 2, 12)


class ProgramError(Exception):
    """A beanwatch command failed. The text has the command, its exit code and its stderr."""


class Program:
    """A beanwatch command that runs until it is stopped. Its output goes to `log`."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str | Path],
        directory: Path,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.log = directory / f"{name}.log"
        self.restarts = 0
        self.last_exit: int | None = None
        self._argv = [BIN / argv[0], *argv[1:]]
        self._directory, self._env = directory, env
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    def start(self) -> None:
        self._process = spawn(self._argv, log=self.log, env=self._env, cwd=self._directory)

    def stop(self, timeout: float = 20.0) -> None:
        """Send SIGTERM, and wait until the program ends. A worker finishes its job first."""
        if self._process:
            self.last_exit = stop_process(self._process, timeout)
            self._process = None

    def kill(self) -> None:
        """Send SIGKILL, as the kernel does when memory runs out. It is not restarted."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    @property
    def has_ended(self) -> bool:
        """True if the program was started and ended by itself."""
        return self._process is not None and self._process.poll() is not None

    def supervise(self) -> None:
        """Start the program again if it ended by itself, as systemd does with Restart=."""
        if self._process is None or (code := self._process.poll()) is None:
            return
        self.last_exit = code
        if code not in _NO_RESTART:
            self.restarts += 1
            self.start()


def run(argv: Sequence[str | Path], timeout: float = 20.0) -> str:
    """Run a beanwatch command, and return its output. Raises ProgramError if it fails."""
    done = subprocess.run(
        [BIN / argv[0], *argv[1:]], capture_output=True, text=True, timeout=timeout, check=False
    )
    if done.returncode:
        command = " ".join(map(str, argv))
        raise ProgramError(
            f"`{command}` failed with exit code {done.returncode}: {done.stderr.strip()}"
        )
    return done.stdout.strip()
