"""A real gearmand, with the jobs and workers of the command line tool `gearman`."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.real.process import Server, spawn, stop_process


class Gearmand(Server):
    """A gearmand on a free port. It keeps its jobs in memory."""

    name = "gearmand"

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"gearman://{self.address}"

    def argv(self) -> list[str]:
        log = str(self.directory / "gearmand.own.log")
        return ["gearmand", "--listen=127.0.0.1", f"--port={self.port}", f"--log-file={log}"]

    def put(self, function: str, body: str = "x", *options: str) -> None:
        """Put a background job."""
        self._run("gearman", "-h", "127.0.0.1", "-b", "-f", function, *options, body)

    def admin(self, option: str) -> str:
        """Return what gearadmin prints."""
        return self._run("gearadmin", "-h", "127.0.0.1", option)

    @contextmanager
    def worker(self, *functions: str, command: tuple[str, ...] = ("cat",)) -> Iterator[None]:
        """Run `gearman -w`, which starts the command for each job."""
        options = [word for name in functions for word in ("-f", name)]
        argv = ["gearman", "-h", "127.0.0.1", "-p", str(self.port), "-w", *options, "--", *command]
        process = spawn(argv, log=self.directory / "worker.log")
        try:
            yield
        finally:
            stop_process(process)

    def _run(self, tool: str, *argv: str) -> str:
        port = ["-p", str(self.port)]
        done = subprocess.run([tool, *port, *argv], capture_output=True, timeout=30, check=True)
        return done.stdout.decode("utf-8", "backslashreplace")
