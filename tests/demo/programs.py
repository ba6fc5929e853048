"""beanwatch's own commands as processes, and a supervisor for those that must stay up."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.real import spawn, stop_process

BIN = Path(sys.executable).parent

# How a worker exits when nobody should start it again: told to stop, bad usage, duplicate.
_STAYS_DOWN = (0, 2, 12)


class ProgramError(Exception):
    """A command of ours failed; carries what it said."""


class Program:
    """A command of ours that runs until it is stopped."""

    def __init__(self, name: str, argv: Sequence[str | Path], directory: Path) -> None:
        self.name = name
        self.log = directory / f"{name}.log"
        self.restarts = 0
        self.last_exit: int | None = None
        self._argv = [BIN / argv[0], *argv[1:]]
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    def start(self) -> None:
        self._process = spawn(self._argv, log=self.log, cwd=self._directory)

    def stop(self) -> None:
        """A clean stop: what it does is finished first."""
        if self._process:
            stop_process(self._process, timeout=20)
            self._process = None

    def kill(self) -> None:
        """SIGKILL, as the kernel does when memory runs out; nobody starts it again."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def supervise(self) -> None:
        """What systemd's Restart= does: start again what ended by itself and should not have."""
        if self._process is None or (code := self._process.poll()) is None:
            return
        self.last_exit = code
        if code not in _STAYS_DOWN:
            self.restarts += 1
            self.start()


def run(argv: Sequence[str | Path], timeout: float = 20.0) -> str:
    """Run one of our commands to its end; its output. Raises when it fails."""
    done = subprocess.run(
        [BIN / argv[0], *argv[1:]], capture_output=True, text=True, timeout=timeout, check=False
    )
    if done.returncode:
        raise ProgramError(f"{argv[0]} exited {done.returncode}: {done.stderr.strip()}")
    return done.stdout.strip()
