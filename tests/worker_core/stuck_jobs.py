"""An application whose temporary files stay, as the disk hangs when its job ends.

With STUCK_LOG in the environment, the log hangs as soon as a run has ended. STUCK_LIMIT is the time
for the removal of temporary files, and STUCK_END the time for the rest of the end, in seconds.
"""

import os
import time
from pathlib import Path
from typing import Any

from beanwatch.worker import App, Context
from beanwatch.worker.core import loop
from beanwatch.worker.guard import guard
from beanwatch.worker.monitor.sinks.log_sink import LogSink

loop.CLEAN_UP_TIMEOUT = float(os.environ.get("STUCK_LIMIT", 60))
loop.END_TIMEOUT = float(os.environ.get("STUCK_END", 30))
guard.END_TIMEOUT_AT_SHUTDOWN = 2.5
if "STUCK_LOG" in os.environ:
    LogSink.on_finished = lambda self, run: time.sleep(600)  # type: ignore[method-assign]
app = App()


@app.job("leave")
def leave(ctx: Context, data: Any) -> None:
    (ctx.tmpdir / "file").touch()
    while not Path(data["until"]).exists():
        time.sleep(0.01)


@app.job("ok")
def ok(ctx: Context, data: Any) -> None:
    pass
