"""An application whose hooks and resources raise, and whose sinks and ticks fail on demand."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from beanwatch.worker import App, Context
from beanwatch.worker.monitor.sinks.log_sink import LogSink
from beanwatch.worker.monitor.sinks.outcome_counter import OutcomeCounter
from beanwatch.worker.telemetry.host_watch import HostWatch
from beanwatch.worker.telemetry.reporter import Reporter

app = App()
FAULTS = os.environ.get("FAULTS", "").split()


def fail(*_: object) -> None:
    raise RuntimeError("a fault of the test")


if "sinks" in FAULTS:
    for method in ("on_finished", "tick", "close"):
        setattr(OutcomeCounter, method, fail)
if "tick" in FAULTS:
    HostWatch.tick = fail  # type: ignore[method-assign]
    Reporter.begin = lambda self: None  # type: ignore[method-assign]
if "pulse" in FAULTS:
    tick = LogSink.tick

    def hang_once_told(self: LogSink) -> None:
        while Path(os.environ["HANG"]).exists():
            time.sleep(0.05)

    LogSink.tick = hang_once_told  # type: ignore[method-assign]


@app.before_job
def before(ctx: Context) -> None:
    if ctx.job == "before":
        raise RuntimeError("the hook before the job")


@app.after_job
def after(ctx: Context, error: BaseException | None) -> None:
    if ctx.job == "after":
        raise SystemExit("the hook after the job")


@app.resource("bad", max_idle=0)
@contextmanager
def bad() -> Iterator[None]:
    yield
    raise RuntimeError("it cannot be closed")


@app.job("before", max_attempts=1)
@app.job("after")
@app.job("ok")
def ok(ctx: Context, data: Any) -> None:
    pass


@app.job("resource")
def use_resource(ctx: Context, data: Any) -> None:
    ctx.resource("bad")


@app.job("puts-at-its-end")
def puts_at_its_end(ctx: Context, data: Any) -> None:
    """Leaves a thread behind that puts until it is refused."""
    started = threading.Event()

    def put() -> None:
        while True:
            started.set()
            try:
                ctx.put("next", "ok")
            except Exception as error:
                with Path(data["file"]).open("a") as file:
                    file.write(f"{type(error).__name__}\n")
                return

    threading.Thread(target=put, daemon=True).start()
    started.wait()
