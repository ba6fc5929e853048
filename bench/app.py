"""The beanwatch application to measure: its one job does nothing."""

import os
from typing import Any

from beanwatch.worker import App
from bench.stopwatch import Stopwatch

app = App()
tick = Stopwatch(int(os.environ.get("BENCH_JOBS", "1000")))


@app.job("bench.nothing")
def nothing(ctx: Any, data: dict[str, Any]) -> None:
    """Count the job. The handler does nothing else."""
    tick()
