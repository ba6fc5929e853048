"""Measure everything that takes minutes: `python -m bench.scale [PART ...]`.

The part `memory` takes half an hour, and runs only if it is named.
"""

import sys
import tempfile
from pathlib import Path

from bench.scale.commands import measure_passive, measure_workers
from bench.scale.disk import measure_disk
from bench.scale.failures import measure_failures
from bench.scale.servers import measure_memory, measure_rabbitmq, measure_servers

PARTS = {
    "workers": measure_workers,
    "passive": measure_passive,
    "servers": measure_servers,
    "rabbitmq": measure_rabbitmq,
    "failures": measure_failures,
    "disk": measure_disk,
}
LONG = {"memory": measure_memory}


def main(names: list[str]) -> None:
    """Print the tables of these parts, or of all."""
    with tempfile.TemporaryDirectory() as directory:
        for name in names or PARTS:
            here = Path(directory) / name
            here.mkdir()
            {**PARTS, **LONG}[name](here)


if __name__ == "__main__":
    main(sys.argv[1:])
