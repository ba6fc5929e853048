"""What many workers, servers and queues cost, and how the cost grows: `python -m bench.scale`.

All times are CPU time, user and system, of the process that is measured: its own only.
"""

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.footprint import fill
from tests.real import ROOT, Beanstalkd, Redis

BIN = ROOT / ".venv" / "bin"
ROUNDS = 3
WORKERS = (10, 100, 1_000, 5_000)
# Command -> the limit for 5,000 workers in seconds.
COMMANDS = {
    "check_worker_heartbeat": 0.5,
    "beanwatch workers list": 1.0,
    "beanwatch top --once": 1.0,
}


def cpu_of(argv: list[str], environ: dict[str, str]) -> float:
    """Run a command, and return its CPU time in seconds. Raises CalledProcessError."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(argv, env={**os.environ, **environ}, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure_workers(directory: Path) -> None:
    """Print what the commands that read all heartbeats cost."""
    print(
        "| command, CPU seconds | " + " | ".join(f"{n:,} workers" for n in WORKERS) + " | limit |"
    )
    print("|---|" + "---|" * (len(WORKERS) + 1))
    found: dict[str, list[float]] = {command: [] for command in COMMANDS}
    with Beanstalkd(directory / "beanstalkd") as beanstalkd:
        environ = {"BEANWATCH_SERVERS": f"q1={beanstalkd.address}"}
        for number in WORKERS:
            with Redis(directory / f"redis-{number}") as redis:
                fill(redis, number)
                environ["BEANWATCH_REDIS_URL"] = redis.url
                for command in COMMANDS:
                    name, *arguments = command.split()
                    argv = [str(BIN / name), *arguments]
                    found[command].append(min(cpu_of(argv, environ) for _ in range(ROUNDS)))
    for command, times in found.items():
        cells = " | ".join(f"{one:.2f}" for one in times)
        print(f"| `{command}` | {cells} | {COMMANDS[command]} |")
    sys.stdout.flush()


def main() -> None:
    """Measure everything."""
    with tempfile.TemporaryDirectory() as name:
        measure_workers(Path(name))


if __name__ == "__main__":
    main()
