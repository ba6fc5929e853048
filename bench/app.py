"""The beanwatch application to measure: its one job does nothing."""

import os
from typing import Any

from beanwatch.worker import App
from beanwatch.worker.guard.status_file import StatusFile
from beanwatch.worker.monitor.sinks.run_counter import RunCounter
from bench.stopwatch import Stopwatch

app = App()
if os.environ.get("BENCH_PLAIN"):  # what does it cost to count the runs by kind of job?
    RunCounter.on_finished = lambda self, run: None  # type: ignore[method-assign]
    StatusFile.start_job = lambda self, hard_deadline: None  # type: ignore[method-assign]
tick = Stopwatch(int(os.environ.get("BENCH_JOBS", "1000")))


@app.job("bench.nothing")
def nothing(ctx: Any, data: dict[str, Any]) -> None:
    """Count the job. The handler does nothing else."""
    tick()
