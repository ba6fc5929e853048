"""Run every benchmark and write its output to bench/README.md: `python -m bench`."""

import os
import platform
import subprocess
import sys
import time

from tests.real import ROOT

PAGE = ROOT / "bench" / "README.md"
PARTS = {
    "worker": "Jobs a second",
    "overhead": "What the instrumentation of a job costs",
    "monitor": "What WorkerMonitor adds to a job of any Python program",
    "footprint": "Memory, and reading heartbeats",
    "collector": "The collector",
    "scale": "Many workers, servers, queues and failures",
    "metrics_page": "A scrape by Prometheus",
    "queues": "Queue systems besides beanstalkd: a poll of 1,000 queues",
    "checks": "The checks",
    "queues.checks": "A check on each queue system",
    "web": "The live page",
}
HEAD = """\
# Benchmarks

`make bench` writes this page. A ratio compares two things that were measured alternately in one
run, on the same cores. Compare the ratios with your own. Absolute times depend on the machine more
than on the program.

This run: Python {python}, {cores} cores, beanstalkd {beanstalkd}.
"""


def main() -> None:
    """Run the benchmarks, show their output, and write the page. SystemExit if one fails."""
    version = subprocess.run(["beanstalkd", "-v"], capture_output=True, text=True).stdout.split()
    sections = [
        HEAD.format(python=platform.python_version(), cores=os.cpu_count(), beanstalkd=version[-1])
    ]
    for module, title in PARTS.items():
        sys.stderr.write(f"bench: {title} (bench.{module}) ...\n")
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", f"bench.{module}"], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        if done.returncode:
            raise SystemExit(
                f"bench: bench.{module} exited with {done.returncode}; {PAGE.name} is unchanged"
            )
        sys.stderr.write(f"{done.stdout}bench: done in {time.monotonic() - started:.0f} s\n\n")
        sections.append(f"## {title}\n\n{as_markdown(done.stdout)}\n")
    PAGE.write_text("\n".join(sections))
    sys.stderr.write(f"bench: the results are in {PAGE.relative_to(ROOT)}\n")


def as_markdown(text: str) -> str:
    """Return Markdown tables unchanged, and other text as a code block, which keeps its columns."""
    text = text.strip("\n")  # not spaces: those of the first line align its columns
    return text if text.startswith("|") else f"```text\n{text}\n```"


if __name__ == "__main__":
    main()
