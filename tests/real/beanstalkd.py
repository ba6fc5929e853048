"""The real beanstalkd, from Debian's package."""

import shutil
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import greenstalk

from tests.real.process import Server


class Beanstalkd(Server):
    """A beanstalkd on a free port, or on a Unix socket, with or without a binlog."""

    name = "beanstalkd"

    def __init__(
        self,
        directory: Path,
        *,
        binlog: bool = False,
        unix: bool = False,
        args: Sequence[str] = (),
    ) -> None:
        super().__init__(directory)
        self.binlog = self.directory / "binlog" if binlog else None
        if self.binlog:
            self.binlog.mkdir(exist_ok=True)
        # The path of a socket may have at most 108 bytes, and a test's directory may be longer.
        self._socket_directory = Path(tempfile.mkdtemp(prefix="beanstalkd-")) if unix else None
        self._args = list(args)

    @property
    def socket_path(self) -> Path | None:
        return self._socket_directory and self._socket_directory / "socket"

    @property
    def address(self) -> str:
        return f"unix:{self.socket_path}" if self.socket_path else f"127.0.0.1:{self.port}"

    def argv(self) -> list[str]:
        if self.socket_path:
            self.socket_path.unlink(missing_ok=True)
            listen = ["-l", f"unix:{self.socket_path}"]
        else:
            listen = ["-l", "127.0.0.1", "-p", str(self.port)]
        binlog = ["-b", str(self.binlog)] if self.binlog else []
        return ["beanstalkd", *listen, *binlog, *self._args]

    def ready(self) -> bool:
        if not self.socket_path:
            return super().ready()
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(self.socket_path))
        return True

    def client(self, **options: Any) -> greenstalk.Client[str]:
        address = str(self.socket_path) if self.socket_path else ("127.0.0.1", self.port)
        return greenstalk.Client(address, **options)

    def stats(self) -> dict[str, Any]:
        with self.client() as client:
            stats = dict(client.stats())
        # greenstalk parses an id without letters (one in 1,800) as a number, and drops zeros.
        return stats | {"id": f"{stats['id']:0>16}"}

    def stats_tube(self, name: str) -> dict[str, Any]:
        """Return the statistics of a tube, or an empty dict if the tube does not exist."""
        with self.client() as client:
            try:
                return dict(client.stats_tube(name))
            except greenstalk.NotFoundError:
                return {}

    def __exit__(self, *exc: object) -> None:
        super().__exit__(*exc)
        if self._socket_directory:
            shutil.rmtree(self._socket_directory, ignore_errors=True)
