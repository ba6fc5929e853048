"""Makes servers of beanwatch's configuration from real databases, and jobs in them."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from beanwatch.config import ServerConfig
from beanwatch.queues.base import Reader, ReaderOptions, Reading, Wanted
from beanwatch.queues.model import QueueState
from beanwatch.queues.servers import Server, resolve_servers
from tests.real import ROOT
from tests.real.sql_servers import PASSWORD, Database

HERE = Path(__file__).parent
EVERYTHING = Wanted(heads=("ready", "buried"), problems=True)
FACTS = ("ready", "reserved", "delayed", "buried")
Step = Sequence[object]


def server_of(url: str, layout: str = "laravel", **settings: Any) -> Server:
    """Return the server `app` with this URL."""
    (server,) = resolve_servers({"app": ServerConfig(url, layout=layout, **settings)}, ["app"])
    return server


def reader_of(server: Server, timeout: float = 10.0) -> Reader:
    return server.system.open_reader(server, ReaderOptions(timeout))


def read(server: Server, wanted: Wanted = EVERYTHING) -> Reading:
    reader = reader_of(server)
    try:
        return reader.read(wanted)
    finally:
        reader.close()


def read_queues(server: Server, wanted: Wanted = EVERYTHING) -> Mapping[str, QueueState]:
    reading = read(server, wanted)
    assert reading.trouble == ""
    assert not reading.implausible
    assert reading.queues is not None
    return reading.queues


def counts(queue: QueueState) -> tuple[int | None, ...]:
    """Ready, reserved, delayed and buried jobs."""
    return tuple(getattr(queue, field) for field in FACTS)


def grant(database: Database, *tables: str) -> None:
    """Let the role `monitor` read these tables, and nothing else."""
    if database.server.scheme == "postgresql":
        database.run(f"GRANT SELECT ON {', '.join(tables)} TO monitor")
    else:
        database.run(
            *(f"GRANT SELECT ON {database.name}.{t} TO monitor@'127.0.0.1'" for t in tables)
        )


def password_file(directory: Path, text: str = PASSWORD) -> str:
    path = directory / "password"
    path.write_text(f"{text}\n")
    path.chmod(0o600)
    return str(path)


def laravel(database: Database, *steps: Step) -> list[Any]:
    """Run steps of laravel.php, with Laravel's own queue."""
    is_postgresql = database.server.scheme == "postgresql"
    settings = {
        "driver": "pgsql" if is_postgresql else "mysql",
        "charset": "utf8" if is_postgresql else "utf8mb4",
        "host": "127.0.0.1",
        "port": database.server.port,
        "database": database.name,
        "username": "root",
        "password": "",
    }
    return _run(["php", str(HERE / "laravel.php"), json.dumps(settings)], steps)


def framework(name: str, database: Database, *steps: Step) -> list[Any]:
    """Run steps of frameworks.py, with Procrastinate or PgQueuer."""
    python = ROOT / ".frameworks" / "bin" / "python"
    dsn = f"host=127.0.0.1 port={database.server.port} user=root dbname={database.name}"
    return _run([str(python), str(HERE / "frameworks.py"), name, dsn], steps)


def _run(command: list[str], steps: Sequence[Step]) -> list[Any]:
    text = json.dumps(steps)
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    found: list[Any] = json.loads(done.stdout)
    return found
