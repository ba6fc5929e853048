"""Fixtures for queues in Redis: servers by layout, and the programs of their frameworks."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from beanwatch.config import ServerConfig
from beanwatch.queues.base import ReaderOptions, Reading, Wanted
from beanwatch.queues.servers import Server, resolve_servers
from tests.real import ROOT, Redis
from tests.real.process import spawn, stop_process

APPS = Path(__file__).parent / "apps"
FRAMEWORKS = ROOT / ".frameworks" / "bin"
# The settings that each layout needs.
SETTINGS: dict[str, dict[str, Any]] = {
    "list": {"queues": ("mail", "images"), "failed": "{queue}:failed"},
    "stream": {"queues": ("orders", "audit"), "group": "shop"},
    "rq": {},
    "sidekiq": {},
    "celery": {"queues": ("celery", "mail")},
    "laravel": {"queues": ("default", "mail"), "prefix": "laravel_database_"},
}
LAYOUTS = tuple(SETTINGS)
App = Callable[..., str]


def make_server(layout: str, url: str, **settings: Any) -> Server:
    """A server as the configuration would make it."""
    config = ServerConfig(url, layout=layout, **{**SETTINGS[layout], **settings})
    (server,) = resolve_servers({"jobs": config}, ["jobs"])
    return server


def read(
    server: Server, /, *, timeout: float = 5.0, is_lasting: bool = True, **wanted: Any
) -> Reading:
    """One reading of a server, with a reader of its own."""
    options = ReaderOptions(timeout, is_lasting=is_lasting)
    with closing(server.system.open_reader(server, options)) as reader:
        return reader.read(Wanted(**wanted))


def read_problems(server: Server) -> list[str]:
    """The texts of the problems of a server."""
    with closing(server.system.open_reader(server, ReaderOptions())) as reader:
        reading = reader.read(Wanted(problems=True))
        return [f"{one.severity}: {one.text}" for one in reader.problems(reading)]


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs an installed program with the configuration of one server, `jobs`, and no more."""

    def run(server: Server, program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        lines = ['redis.url = ""', "[servers.jobs]"]
        plain = ServerConfig()
        for key, value in server.config._asdict().items():
            if value != getattr(plain, key):
                lines.append(f"{key} = {json.dumps(value)}")
        config = tmp_path / "beanwatch.toml"
        config.write_text("\n".join(lines) + "\n")
        return subprocess.run(
            [ROOT / ".venv" / "bin" / program, *map(str, arguments)],
            env={
                **os.environ,
                "BEANWATCH_CONFIG": str(config),
                "BEANWATCH_STATE_DIR": str(tmp_path / "state"),
            },
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


@pytest.fixture
def app(redis_server: Redis) -> App:
    """Runs a program of a framework with the Redis of the test, and returns what it printed."""

    def run(*command: object, env: dict[str, str] | None = None) -> str:
        done = subprocess.run(
            list(map(str, command)),
            cwd=APPS,
            env={**os.environ, **app_environment(redis_server), **(env or {})},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def app_environment(server: Redis) -> dict[str, str]:
    """The environment variables that the programs in apps/ read."""
    return {"REDIS_URL": server.url, "REDIS_PORT": str(server.port)}


@pytest.fixture
def start(redis_server: Redis, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Starts a worker of a framework with the Redis of the test; it is stopped at the end."""
    started: list[Any] = []

    def start(*command: object, env: dict[str, str] | None = None) -> Any:
        process = spawn(
            list(map(str, command)),
            log=tmp_path / f"worker{len(started)}.log",
            env={**app_environment(redis_server), **(env or {})},
            cwd=APPS,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        stop_process(process)
