"""A real Prometheus with its Alertmanager."""

import http.server
import itertools
import json
import shutil
import subprocess
import threading
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import yaml

from tests.real.process import Server


class Sample(NamedTuple):
    """One series of a query's result, with its newest value."""

    labels: dict[str, str]
    value: float


class _Web(Server):
    """A server with a web page that says when it is ready."""

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def get(self, path: str, **query: str) -> Any:
        """Return what the API answers. Raises OSError if it cannot be reached or refuses."""
        url = f"{self.url}{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=30) as reply:
            return json.loads(reply.read())

    def ready(self) -> bool:
        try:
            urllib.request.urlopen(f"{self.url}/-/ready", timeout=5).close()
        except OSError:
            return False
        return True


class Prometheus(_Web):
    """A Prometheus that reads the file `config`, on a free port."""

    name = "prometheus"

    def __init__(self, directory: Path, config: Mapping[str, object]) -> None:
        super().__init__(directory)
        self.config = self.directory / "prometheus.yml"
        self.config.write_text(yaml.safe_dump(dict(config)))

    def argv(self) -> list[str | Path]:
        return [
            "prometheus",
            f"--config.file={self.config}",
            f"--storage.tsdb.path={self.directory / 'data'}",
            f"--web.listen-address={self.address}",
            "--log.level=warn",
        ]

    def query(self, promql: str) -> list[Sample]:
        """Return what the expression is now. Raises OSError if it is not valid."""
        found = self.get("/api/v1/query", query=promql)["data"]["result"]
        return [Sample(one["metric"], float(one["value"][1])) for one in found]

    def label_values(self, label: str, series: str) -> list[str]:
        """Return the values of a label, as Grafana's `label_values(series, label)`."""
        query = {"match[]": series}
        found: list[str] = self.get(f"/api/v1/label/{label}/values", **query)["data"]
        return found


class Alertmanager(_Web):
    """An Alertmanager that reads this configuration, on a free port."""

    name = "alertmanager"

    def __init__(self, directory: Path, config: Mapping[str, object]) -> None:
        super().__init__(directory)
        self.config = self.directory / "alertmanager.yml"
        self.config.write_text(yaml.safe_dump(dict(config)))

    def argv(self) -> list[str | Path]:
        return [
            "prometheus-alertmanager",
            f"--config.file={self.config}",
            f"--storage.path={self.directory / 'data'}",
            f"--web.listen-address={self.address}",
            "--cluster.listen-address=",  # alone
            "--log.level=warn",
        ]


class MetricsPage:
    """A page for Prometheus, on a free port. `text` makes it, from the number of the scrape."""

    def __init__(self, text: Callable[[int], str]) -> None:
        numbers = itertools.count(1)

        class Handler(http.server.BaseHTTPRequestHandler):
            timeout = 10

            def do_GET(self) -> None:
                body = text(next(numbers)).encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                return

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), daemon=True
        )

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def promtool(*arguments: str | Path, stdin: str = "") -> str:
    """Run promtool, and return what it printed. Raises AssertionError if it finds a fault."""
    argv = ["promtool", *map(str, arguments)]
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{shutil.which('promtool')}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr
