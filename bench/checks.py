"""Measure each check as a process, compared with Python, a nagiosplugin script and a C plugin.

    .venv/bin/python -m bench.checks

A Nagios with 1,000 services starts 1,000 such processes a minute. A check should take at most 1.25
times the CPU time of a minimal nagiosplugin script. The programs run alternately, so that a busy
machine slows all of them alike. CPU time is shown beside wall-clock time, because other programs
disturb it less. Bytecode is compiled first, as pip does when it installs a package.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.real import ROOT, Beanstalkd, HttpSink, Redis

ROUNDS = 40
MINIMAL = """\
import argparse
import nagiosplugin

class Nothing(nagiosplugin.Resource):
    def probe(self):
        return nagiosplugin.Metric("nothing", 1, context="nothing")

@nagiosplugin.guarded
def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("-w", default="")
    parser.add_argument("-c", default="")
    parser.add_argument("-t", type=int, default=10)
    options = parser.parse_args()
    context = nagiosplugin.ScalarContext("nothing", options.w, options.c)
    nagiosplugin.Check(Nothing(), context).main(timeout=options.t)

main()
"""


def measure(argv: Sequence[str | Path], env: dict[str, str]) -> tuple[float, float]:
    """Run the program once. Return its CPU time and its wall-clock time, in milliseconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    # Without a timeout, because with one Python polls, and its pauses (4, 8, 16, 32 ms) add up.
    subprocess.run(argv, env=env, stdout=subprocess.DEVNULL)
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu * 1e3, wall * 1e3


def main() -> None:
    """Measure, and print a table of medians and of best values, the least disturbed ones."""
    bin_ = ROOT / ".venv" / "bin"
    with tempfile.TemporaryDirectory() as name, HttpSink() as web:
        root = Path(name)
        minimal = root / "minimal.py"
        minimal.write_text(MINIMAL)
        config = root / "beanwatch.toml"
        env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        env |= {
            "PYTHONPYCACHEPREFIX": str(root / "pyc"),
            "BEANWATCH_STATE_DIR": str(root / "state"),
        }
        with (
            Beanstalkd(root / "beanstalkd") as server,
            Redis(root / "redis") as redis,
            server.client(watch="served"),
        ):
            with server.client(use="images") as client:
                client.put("x")
            config.write_text(
                f'[servers]\nq1 = "{server.address}"\n[redis]\nurl = "{redis.url}"\n'
                '[queues."*".depth]\nwarning = 1000\n'
            )
            at, queue = ("--server", server.address), ("-Q", "images")
            rows: dict[str, list[str | Path]] = {
                "python -c pass": [sys.executable, "-c", "pass"],
                "check_tcp (C)": [
                    *("/usr/lib/nagios/plugins/check_tcp", "-H", "127.0.0.1"),
                    *("-p", str(server.port)),
                ],
                "minimal nagiosplugin": [sys.executable, minimal],
                "check_queue_server": [bin_ / "check_queue_server", *at],
                **{
                    f"check_queue_{what}": [bin_ / f"check_queue_{what}", *at, *queue]
                    for what in ("depth", "buried", "age")
                },
                "check_queue_consumers": [bin_ / "check_queue_consumers", *at, "-Q", "served"],
                # No consumer watches this one: so the check also asks Redis for dead workers.
                "the same, CRITICAL": [bin_ / "check_queue_consumers", *at, *queue],
                "check_worker_heartbeat": [bin_ / "check_worker_heartbeat", "--redis", redis.url],
                "check_job_failures": [bin_ / "check_job_failures", "--redis", redis.url],
                "check_metrics_fresh": [bin_ / "check_metrics_fresh", "--graphite-url", web.url],
                "check_queue_depth --config": [
                    bin_ / "check_queue_depth",
                    "--config",
                    config,
                    *queue,
                ],
            }
            times: dict[str, list[tuple[float, float]]] = {row: [] for row in rows}
            for argv in rows.values():
                measure(argv, env)  # compiles the bytecode
            for _ in range(ROUNDS):
                for row, argv in rows.items():
                    times[row].append(measure(argv, env))
    minimal_times = [cpu for cpu, _ in times["minimal nagiosplugin"]]
    base, base_best = statistics.median(minimal_times), min(minimal_times)
    print(f"{'':28}{'CPU ms':>8}{'best':>8}{'wall ms':>9}{'times minimal':>15}{'best':>7}")
    for row, found in times.items():
        cpu = statistics.median(c for c, _ in found)
        wall = statistics.median(w for _, w in found)
        best = min(c for c, _ in found)
        ratios = f"{cpu / base:15.2f}{best / base_best:7.2f}"
        print(f"{row:28}{cpu:8.1f}{best:8.1f}{wall:9.1f}{ratios}")


if __name__ == "__main__":
    main()
