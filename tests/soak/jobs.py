"""The jobs of the soak: each notes that it has begun, then works, fails or asks for a retry."""

import os
import random
import time
from typing import Any

from beanwatch.worker import App, Bury, Context, Retry
from tests.adapters.apps import tasks

app = App(version="soak")
worker_app = App(version="soak")  # of the soak of all kinds


@app.before_job
def note(ctx: Context) -> None:
    """The truth that the ledger is compared with: one short write, whole or not there at all."""
    path = os.path.join(os.environ["SOAK_RUNS"], str(os.getpid()))
    line = f"{ctx.envelope.id} {ctx.job_id} {ctx.attempt}\n".encode()
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, line)
    finally:
        os.close(file)


def work() -> None:
    """Short, so that kills fall into every part of a run."""
    time.sleep(random.uniform(0, 0.01))


@app.job("step")
def step(ctx: Context, data: Any) -> None:
    work()


@app.job("flaky")
def flaky(ctx: Context, data: Any) -> None:
    work()
    if ctx.attempt == 1:
        raise Retry(random.randrange(2), "not at the first time")


@app.job("doomed")
def doomed(ctx: Context, data: Any) -> None:
    work()
    raise Bury("as it should be")


@worker_app.job("work")
def do_work(ctx: Context, data: Any) -> None:
    tasks.work(**data)
