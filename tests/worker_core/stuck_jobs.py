"""An application whose temporary files cannot be removed: the disk hangs."""

import time
from typing import Any

from beanwatch.worker import App, Context
from beanwatch.worker.core import loop
from beanwatch.worker.guard import host as safety

loop.CLEAN_UP_TIMEOUT = 1.0
safety._remove = lambda path: time.sleep(600)
app = App()


@app.job("leave")
def leave(ctx: Context, data: Any) -> None:
    (ctx.tmpdir / "file").touch()
