"""Measure a check on each queue system as a process: `python -m bench.queues.checks`.

The aim is at most 2.5 times the CPU time of a minimal nagiosplugin script. Client libraries that
take longer than that to import are measured, too.
"""

import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from bench.checks import MINIMAL, measure
from bench.queues.databases import fill
from tests.real import ROOT, Beanstalkd, Redis
from tests.real.gearman import Gearmand
from tests.real.moto import KEYS, REGION, Moto
from tests.real.rabbitmq import RabbitMQ
from tests.real.sql_servers import MariaDB, PostgreSQL

ROUNDS = 25
LIBRARIES = ("pymysql", "psycopg.pq", "botocore.auth", "botocore.session")
NOTE = """
A check on PostgreSQL or SQS takes longer than the aim of 2.5, because of the client library. Each
module of psycopg imports all of psycopg, and each module of botocore imports urllib3 and
http.client: the rows `import` show it, with Python's own start. psycopg2 would take a sixth of
psycopg's time, but gets no new features, and advises against its wheels in production. A signature
and a search for credentials of our own would replace what botocore is for. Where many such services
run, use `beanwatch passive`: one process reads all servers, and imports once.
"""


def start_servers(root: Path, stack: ExitStack) -> Iterator[tuple[str, str]]:
    """Start a server of each system. Yield the system and its table in the configuration."""
    beanstalkd = stack.enter_context(Beanstalkd(root / "beanstalkd"))
    yield "beanstalkd", f'url = "{beanstalkd.address}"'
    gearmand = stack.enter_context(Gearmand(root / "gearmand"))
    yield "Gearman", f'url = "{gearmand.url}"'
    redis = stack.enter_context(Redis(root / "redis"))
    yield "Redis, RQ", f'url = "{redis.url}"\nlayout = "rq"'
    rabbitmq = stack.enter_context(RabbitMQ(root / "rabbitmq"))
    yield "RabbitMQ", f'url = "{rabbitmq.add_vhost("bench").url}"'
    for kind in (MariaDB, PostgreSQL):
        database = fill(stack.enter_context(kind(root / kind.name)).database())
        yield f"Laravel's jobs in {kind.name}", f'url = "{database.admin_url}"\nlayout = "laravel"'
    moto = stack.enter_context(Moto(root / "moto"))
    moto.client().create_queue(QueueName="bench")
    yield "SQS (moto)", f'url = "sqs://{REGION}"\nendpoint_url = "{moto.url}"'


def main() -> None:
    """Measure check_queue_depth on all systems alternately, and print a table."""
    check = ROOT / ".venv" / "bin" / "check_queue_depth"
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        root = Path(name)
        env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"} | KEYS
        env |= {"BEANWATCH_STATE_DIR": f"{root}/state", "PYTHONPYCACHEPREFIX": f"{root}/pyc"}
        minimal = root / "minimal.py"
        minimal.write_text(MINIMAL)
        rows: dict[str, list[str | Path]] = {"minimal nagiosplugin": [sys.executable, minimal]}
        for system, table in start_servers(root, stack):
            config = root / f"{len(rows)}.toml"
            config.write_text(f'[servers.bench]\n{table}\n[redis]\nurl = ""\n')
            rows[system] = [check, "--config", config]
        for library in LIBRARIES:
            rows[f"`import {library}`"] = [sys.executable, "-c", f"import {library}"]
        times: dict[str, list[float]] = {row: [] for row in rows}
        for argv in rows.values():
            measure(argv, env)  # compiles the bytecode
        for _ in range(ROUNDS):
            for row, argv in rows.items():
                times[row].append(measure(argv, env)[0])
    base = statistics.median(times["minimal nagiosplugin"])
    print("| check_queue_depth on | CPU ms | times a minimal nagiosplugin |\n|---|---|---|")
    for row, found in times.items():
        print(f"| {row} | {statistics.median(found):.0f} | {statistics.median(found) / base:.2f} |")
    print(NOTE, end="")


if __name__ == "__main__":
    main()
