"""Commands and checks that read the heartbeats of many workers, and many checks in one process."""

import subprocess
from pathlib import Path

from bench.footprint import fill
from bench.scale import BIN, cpu_of, print_table
from tests.real import Beanstalkd, Redis

WORKERS = (10, 100, 1_000, 5_000)
# Command -> the limit for 5,000 workers in seconds.
COMMANDS = {
    "check_worker_heartbeat": 0.5,
    "beanwatch workers list": 1.0,
    "beanwatch top --once": 1.0,
}
QUEUES = (10, 100, 250, 1_000)


def measure_workers(directory: Path) -> None:
    """Print what the commands that read all heartbeats cost."""
    found: dict[str, list[float]] = {command: [] for command in COMMANDS}
    with Beanstalkd(directory / "beanstalkd") as beanstalkd:
        environ = {"BEANWATCH_SERVERS": f"q1={beanstalkd.address}"}
        for number in WORKERS:
            with Redis(directory / f"redis-{number}") as redis:
                fill(redis, number)
                environ["BEANWATCH_REDIS_URL"] = redis.url
                for command in COMMANDS:
                    name, *arguments = command.split()
                    found[command].append(cpu_of([str(BIN / name), *arguments], environ))
    print_table(
        ("CPU seconds", *(f"{number:,} workers" for number in WORKERS), "limit"),
        (
            (f"`{command}`", *(f"{one:.2f}" for one in times), f"{COMMANDS[command]}")
            for command, times in found.items()
        ),
    )


def measure_passive(directory: Path) -> None:
    """Print what a round of `beanwatch passive` costs."""
    rows = []
    for number in QUEUES:
        here = directory / str(number)
        with Beanstalkd(here / "b") as beanstalkd, Redis(here / "r") as redis:
            with beanstalkd.client() as client:
                for queue in range(number):
                    client.use(f"queue.{queue:04}")
                    client.put("x")
            fill(redis, 100)
            environ = {
                "BEANWATCH_SERVERS": f"q1={beanstalkd.address}",
                "BEANWATCH_REDIS_URL": redis.url,
                "BEANWATCH_GRAPHITE_URL": "",
                "BEANWATCH_STATE_DIR": str(here / "state"),
            }
            argv = [str(BIN / "beanwatch"), "passive", "--once", "--discover"]
            done = subprocess.run(argv, env=environ, stdout=subprocess.PIPE, check=True)
            checks, seconds = done.stdout.count(b"\n"), cpu_of(argv, environ)
        rows.append((f"{checks:,}", f"{seconds:.2f}", f"{seconds / checks * 1000:.2f}"))
    print_table(("checks in one process of `passive`", "CPU seconds", "ms a check"), rows)
