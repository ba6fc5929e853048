"""Measure everything: `python -m bench.scale [PART ...]`."""

import sys
import tempfile
from pathlib import Path

from bench.scale.commands import measure_passive, measure_workers
from bench.scale.disk import measure_disk
from bench.scale.failures import measure_failures
from bench.scale.servers import measure_rabbitmq, measure_servers

PARTS = {
    "workers": measure_workers,
    "passive": measure_passive,
    "servers": measure_servers,
    "rabbitmq": measure_rabbitmq,
    "failures": measure_failures,
    "disk": measure_disk,
}


def main(names: list[str]) -> None:
    """Print the tables of these parts, or of all."""
    with tempfile.TemporaryDirectory() as directory:
        for name in names or PARTS:
            here = Path(directory) / name
            here.mkdir()
            PARTS[name](here)


if __name__ == "__main__":
    main(sys.argv[1:])
