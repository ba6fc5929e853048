"""An application whose job ends when the test says so."""

import time
from pathlib import Path
from typing import Any

from beanwatch.worker import App, Context

app = App(version="telemetry")


@app.job("gate", timeout=300)
def gate(ctx: Context, data: dict[str, Any]) -> None:
    ctx.note("at the gate")
    ctx.progress(12, 34)
    while not Path(data["file"]).exists():
        time.sleep(0.01)
