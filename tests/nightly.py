"""Run the suite again and again, alternately alone and beside busy loops, and count the results.

python -m tests.nightly 8 .venv/bin/pytest -n 6
"""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

BUSY = (sys.executable, "-c", "while True: pass")
LOOPS = 2  # busy ones: as many as the cores of a small machine


@contextmanager
def busy(loops: int) -> Iterator[None]:
    """Keep as many processes busy while the context lasts."""
    processes = [subprocess.Popen(BUSY) for _ in range(loops)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def main(runs: int, command: Sequence[str]) -> int:
    """Run the command so often, and print a line after each run. Return 1 if one failed, else 0."""
    red = 0
    for number in range(1, runs + 1):
        loops = 0 if number % 2 else LOOPS
        beside = f"beside {loops} busy loops" if loops else "alone"
        started = time.monotonic()
        with busy(loops):
            code = subprocess.run(command).returncode
        seconds = time.monotonic() - started
        red += code != 0
        result = f"red (exit code {code})" if code else "green"
        print(f"run {number} of {runs}, {beside}: {result}, {seconds:.0f} s", flush=True)
    print(f"{runs - red} of {runs} runs were green")
    return 1 if red else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
