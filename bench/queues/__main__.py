"""Measure each queue system: `python -m bench.queues`.

IronMQ is not here: there is no maintained client to compare with.
"""

import tempfile
from pathlib import Path

from bench.queues import QUEUES
from bench.queues.databases import measure_databases
from bench.queues.redis import measure_redis
from bench.queues.simple import measure_gearman, measure_rabbitmq, measure_sqs

PARTS = (measure_gearman, measure_rabbitmq, measure_redis, measure_databases, measure_sqs)


def main() -> None:
    """Print a table."""
    print(f"| {QUEUES:,} queues | a poll, ms | bare calls, ms | times | times the CPU |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        for part in PARTS:
            for pair in part(Path(name) / part.__name__):
                print(pair.row(), flush=True)


if __name__ == "__main__":
    main()
