"""Run every measurement and write what it printed to bench/README.md: `python -m bench`."""

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
    "footprint": "Memory, and reading heartbeats",
    "collector": "The collector",
    "checks": "The checks",
}
HEAD = """\
# Benchmarks

Written by `make bench`. Ratios are of two things that were measured in turns within one run, on the
same cores: compare these with yours. Where seconds stand, they depend on the machine more than on
the program.

This run: Python {python}, {cores} cores, beanstalkd {beanstalkd}.
"""


def main() -> None:
    """Measure, show, and write the page when all went well."""
    version = subprocess.run(["beanstalkd", "-v"], capture_output=True, text=True).stdout.split()
    sections = [
        HEAD.format(python=platform.python_version(), cores=os.cpu_count(), beanstalkd=version[-1])
    ]
    for module, title in PARTS.items():
        sys.stderr.write(f"bench: {title} (bench/{module}.py) ...\n")
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", f"bench.{module}"], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        if done.returncode:
            raise SystemExit(f"bench/{module}.py failed")
        sys.stderr.write(f"{done.stdout}bench: done in {time.monotonic() - started:.0f} s\n\n")
        sections.append(f"## {title}\n\n{as_markdown(done.stdout)}\n")
    PAGE.write_text("\n".join(sections))
    sys.stderr.write(f"bench: written to {PAGE.relative_to(ROOT)}\n")


def as_markdown(text: str) -> str:
    """Tables of Markdown as they are, others as text in columns."""
    text = text.strip("\n")  # the spaces of the first line are its columns
    return text if text.startswith("|") else f"```text\n{text}\n```"


if __name__ == "__main__":
    main()
