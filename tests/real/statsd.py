"""A real StatsD daemon (the npm package `statsd`). It shows which metric paths StatsD makes."""

import json
import socket
from pathlib import Path
from typing import Any

from tests.real.process import ROOT, Server, StartupError, free_port, ports_of

_PACKAGE = ROOT / ".statsd" / "node_modules" / "statsd"

# The configuration for the paths that beanwatch documents: no prefix, and the suffixes `count` and
# `rate` for counters.
PLAIN_PATHS: dict[str, Any] = {
    "flushInterval": 1000,
    "percentThreshold": [50, 95, 99],
    "calculatedTimerMetrics": ["count", "mean", "upper", "upper_percent"],
    "deleteIdleStats": True,
    "graphite": {
        "legacyNamespace": False,
        "globalPrefix": "",
        "prefixCounter": "",
        "prefixTimer": "",
        "prefixGauge": "",
        "prefixSet": "",
    },
}


class StatsD(Server):
    """A StatsD on a free port that sends to `carbon` ("host:port").

    `config` is a dict or the path of a StatsD configuration file. Its addresses and ports are
    replaced.
    """

    name = "statsd"

    def __init__(
        self, directory: Path, carbon: str, config: dict[str, Any] | Path | None = None
    ) -> None:
        super().__init__(directory)
        self._carbon = carbon
        self._config = PLAIN_PATHS if config is None else config
        self._management_port = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"statsd://{self.address}"

    def choose_ports(self) -> None:
        self.port = free_port(socket.SOCK_DGRAM)
        self._management_port = free_port()
        host, _, port = self._carbon.rpartition(":")
        ours = {
            "address": "127.0.0.1",
            "port": self.port,
            "mgmt_address": "127.0.0.1",
            "mgmt_port": self._management_port,
            "graphiteHost": host,
            "graphitePort": int(port),
            "backends": [str(_PACKAGE / "backends" / "graphite")],
        }
        # StatsD evaluates the whole file as one JavaScript expression.
        given = (
            self._config.read_text().strip().rstrip(";")
            if isinstance(self._config, Path)
            else json.dumps(self._config)
        )
        text = f"Object.assign({given}\n, {json.dumps(ours)})"
        (self.directory / "statsd.js").write_text(text)

    def argv(self) -> list[str | Path]:
        if not _PACKAGE.exists():
            raise StartupError(
                f"cannot start StatsD: it is not in {_PACKAGE}; run: make setup-test"
            )
        return ["node", _PACKAGE / "stats.js", self.directory / "statsd.js"]

    def ready(self) -> bool:
        return {self.port, self._management_port} <= ports_of(self.pid)
