"""A real Graphite: carbon-cache and graphite-web, from the venv that `make setup` creates."""

import json
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from tests.real.process import ROOT, Server, StartupError, free_port, ports_of
from tests.real.waiting import wait_until

VENV = ROOT / ".graphite"

# Storage rules for tests and the demo: one point per second, kept for an hour.
EVERY_SECOND = """\
[carbon]
pattern = ^carbon\\.
retentions = 10s:1h

[all]
pattern = .*
retentions = 1s:1h
"""
# The rules for aggregation: the shipped ones, and for all other series one that needs no minimum
# number of points.
SHIPPED_AGGREGATION = ROOT / "collectors" / "graphite" / "storage-aggregation.conf"
KEEP_ANY_POINT = """
[all]
pattern = .*
xFilesFactor = 0
aggregationMethod = average
"""

_CARBON_CONF = """\
[cache]
STORAGE_DIR = {root}/storage
LOCAL_DATA_DIR = {root}/storage/whisper
CONF_DIR = {root}/conf
LOG_DIR = {root}/log
PID_DIR = {root}
LINE_RECEIVER_INTERFACE = 127.0.0.1
LINE_RECEIVER_PORT = {line}
PICKLE_RECEIVER_INTERFACE = 127.0.0.1
PICKLE_RECEIVER_PORT = {pickle}
CACHE_QUERY_INTERFACE = 127.0.0.1
CACHE_QUERY_PORT = {query}
MAX_CREATES_PER_MINUTE = inf
MAX_UPDATES_PER_SECOND = 5000
WHISPER_SPARSE_CREATE = True
MAX_CACHE_SIZE = inf
LOG_UPDATES = False
LOG_CREATES = False
CARBON_METRIC_INTERVAL = 0
ENABLE_TAGS = False
"""

_SETTINGS = """\
from graphite.settings import *

SECRET_KEY = "only on loopback, only for an hour"
ALLOWED_HOSTS = ["*"]
TIME_ZONE = "UTC"
STORAGE_DIR = "{root}/storage"
WHISPER_DIR = "{root}/storage/whisper"
STANDARD_DIRS = [WHISPER_DIR]
LOG_DIR = "{root}/log"
LOG_FILE_INFO = LOG_FILE_EXCEPTION = LOG_FILE_CACHE = LOG_FILE_RENDERING = "-"
INDEX_FILE = "{root}/storage/index"
CARBONLINK_HOSTS = ["127.0.0.1:{query}"]
CARBONLINK_TIMEOUT = 2.0
DEFAULT_CACHE_DURATION = 0
FIND_CACHE_DURATION = 0
MEMCACHE_HOSTS = []
DATABASES = {{
    "default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": "{root}/storage/graphite.db"}}
}}
"""


class _Carbon(Server):
    name = "carbon"

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.pickle_port = 0
        self.query_port = 0

    def choose_ports(self) -> None:
        self.port, self.pickle_port, self.query_port = free_port(), free_port(), free_port()
        ports = {"line": self.port, "pickle": self.pickle_port, "query": self.query_port}
        conf = self.directory / "conf" / "carbon.conf"
        conf.write_text(_CARBON_CONF.format(root=self.directory, **ports))

    def argv(self) -> list[str | Path]:
        # A carbon that was killed leaves its pid file, and then refuses to start.
        (self.directory / "carbon.pid").unlink(missing_ok=True)
        return [
            VENV / "bin" / "carbon-cache.py",
            "--nodaemon",
            f"--config={self.directory}/conf/carbon.conf",
            f"--pidfile={self.directory}/carbon.pid",
            f"--logdir={self.directory}/log",
            "start",
        ]

    def environment(self) -> dict[str, str]:
        return {"GRAPHITE_ROOT": str(self.directory)}

    def ready(self) -> bool:
        return {self.port, self.pickle_port, self.query_port} <= ports_of(self.pid)


class _Web(Server):
    name = "graphite-web"

    def environment(self) -> dict[str, str]:
        return {
            "GRAPHITE_ROOT": str(self.directory),
            "GRAPHITE_CONF_DIR": f"{self.directory}/conf",
            "GRAPHITE_STORAGE_DIR": f"{self.directory}/storage",
            "DJANGO_SETTINGS_MODULE": "beanwatch_test_settings",
            "PYTHONPATH": f"{self.directory}/conf",
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def argv(self) -> list[str | Path]:
        return [
            VENV / "bin" / "gunicorn",
            "--no-control-socket",
            f"--bind=127.0.0.1:{self.port}",
            "--workers=1",
            "--threads=4",
            "graphite.wsgi:application",
        ]

    def ready(self) -> bool:
        if not super().ready():
            return False
        url = f"http://127.0.0.1:{self.port}/metrics/find?query=*"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return bool(answer.status == 200)


class Graphite:
    """carbon-cache and graphite-web on free ports.

    `storage_schemas` and `storage_aggregation` are the text or the path of these Graphite files.
    """

    def __init__(
        self,
        directory: Path,
        *,
        storage_schemas: str | Path = EVERY_SECOND,
        storage_aggregation: str | Path = SHIPPED_AGGREGATION,
    ) -> None:
        self.directory = Path(directory)
        for name in ("conf", "storage/whisper", "log"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        rules = {
            "storage-schemas.conf": _text(storage_schemas),
            "storage-aggregation.conf": _text(storage_aggregation) + KEEP_ANY_POINT,
        }
        for name, text in rules.items():
            (self.directory / "conf" / name).write_text(text)
        self._carbon = _Carbon(self.directory)
        self._web = _Web(self.directory)

    @property
    def carbon(self) -> str:
        return f"127.0.0.1:{self._carbon.port}"

    @property
    def carbon_pickle(self) -> str:
        return f"127.0.0.1:{self._carbon.pickle_port}"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._web.port}"

    def start(self) -> None:
        if not (VENV / "bin" / "gunicorn").exists():
            raise StartupError(f"cannot start Graphite: it is not in {VENV}; run: make setup")
        self.start_carbon()
        settings = self.directory / "conf" / "beanwatch_test_settings.py"
        settings.write_text(_SETTINGS.format(root=self.directory, query=self._carbon.query_port))
        migration = subprocess.run(
            [VENV / "bin" / "django-admin", "migrate", "--run-syncdb"],
            env=self._web.environment(),
            capture_output=True,
            text=True,
            timeout=120,
        )
        if migration.returncode:
            raise StartupError(
                f"cannot create the database of graphite-web:\n{migration.stderr[-2000:]}"
            )
        self._web.start()

    def stop(self) -> None:
        self._web.stop()
        self._carbon.stop()

    def start_carbon(self) -> None:
        self._carbon.start()

    def stop_carbon(self) -> None:
        self._carbon.stop()

    def kill_carbon(self) -> None:
        self._carbon.kill()

    def freeze_carbon(self) -> None:
        self._carbon.freeze()

    def thaw_carbon(self) -> None:
        self._carbon.thaw()

    def send(self, path: str, value: float, timestamp: float | None = None) -> None:
        """Send a point by the plaintext protocol. `timestamp`: seconds since 1970, default now."""
        when = time.time() if timestamp is None else timestamp
        with socket.create_connection(("127.0.0.1", self._carbon.port), timeout=5) as carbon:
            carbon.sendall(f"{path} {value} {when:.0f}\n".encode())

    def render(self, target: str | Sequence[str], since: str = "-5min") -> list[dict[str, Any]]:
        """Return the series of one or more targets, as dicts.

        `target` is the name, `datapoints` a list of (value or None, seconds since 1970).
        """
        answer: list[dict[str, Any]] = json.loads(self._render(target, since, format="json"))
        return answer

    def values(self, target: str, since: str = "-5min") -> list[float]:
        """Return the known values of a target, oldest first. Gaps are left out."""
        series = self.render(target, since)
        return [value for one in series for value, _ in one["datapoints"] if value is not None]

    def latest(self, target: str, since: str = "-5min", timeout: float = 15.0) -> float:
        """Wait until the target has a value, and return the newest. Raises WaitError."""
        values = wait_until(
            lambda: self.values(target, since), timeout, f"{target} arrives in Graphite"
        )
        return values[-1]

    def find(self, query: str) -> list[str]:
        """Return the paths that match, sorted. The query `a.*` lists the nodes below `a`."""
        answer = self._get("/metrics/expand", {"query": query, "groupByExpr": "0"})
        return sorted(json.loads(answer)["results"])

    def png(
        self, target: str | Sequence[str], path: Path, since: str = "-5min", **options: Any
    ) -> Path:
        """Draw a graph into the file `path`, and return it.

        `options` are parameters of the render API (title, width ...). Raises ValueError if
        graphite-web returns no PNG.
        """
        picture = self._render(target, since, format="png", **options)
        if not picture.startswith(b"\x89PNG"):
            raise ValueError(f"graphite-web returned no PNG, but {picture[:200]!r}")
        path.write_bytes(picture)
        return path

    def _render(self, target: str | Sequence[str], since: str, **options: Any) -> bytes:
        targets = [target] if isinstance(target, str) else list(target)
        return self._get("/render", {"target": targets, "from": since, "noCache": "1", **options})

    def _get(self, path: str, query: dict[str, Any]) -> bytes:
        url = f"{self.url}{path}?{urllib.parse.urlencode(query, doseq=True)}"
        try:
            with urllib.request.urlopen(url, timeout=20) as answer:
                content: bytes = answer.read()
                return content
        except urllib.error.HTTPError as error:
            error.close()  # otherwise the garbage collector closes its socket, with a warning
            raise

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()


def _text(rules: str | Path) -> str:
    return rules.read_text() if isinstance(rules, Path) else rules
