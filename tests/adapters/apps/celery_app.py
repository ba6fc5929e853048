"""A Celery application. As a program it puts jobs: `[function, arguments, options]` per line."""

import json
import os
import sys

import tasks
from celery import Celery
from celery.exceptions import Ignore, Reject
from celery.worker import state

from beanwatch.worker.adapters import celery as adapter

app = Celery("shop", broker=os.environ["BROKER_URL"])
app.conf.update(
    task_default_queue="mail",
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    broker_transport_options={"visibility_timeout": 3600, **tasks.BROKER_OPTIONS},
)
app.conf.update(json.loads(os.environ.get("OPTIONS", "{}")))
if tasks.IS_WATCHED:
    adapter.MAX_IDLE = float(os.environ.get("MAX_IDLE", adapter.MAX_IDLE))
    adapter.watch(app)

for name in ("quick", "fail", "busy", "hang", "hold_lock", "die"):
    app.task(name=name)(getattr(tasks, name))
for name, function in (("late", tasks.busy), ("work", tasks.work)):
    app.task(name=name, acks_late=True, reject_on_worker_lost=True)(function)


@app.task(name="again", bind=True, max_retries=1)
def again(self) -> None:
    self.retry(exc=RuntimeError("the printer is busy"), countdown=0.1)


@app.task(name="ignore")
def ignore() -> None:
    raise Ignore


@app.task(name="reject")
def reject() -> None:
    raise Reject("no such printer", requeue=False)


@app.task(name="give_up")
def give_up() -> None:
    """Let the worker end as Celery does by itself if it has too many open files."""
    state.should_terminate = 1


@app.task(name="leave")
def leave() -> None:
    sys.exit(3)


if __name__ == "__main__":
    for line in sys.stdin:
        function, arguments, options = json.loads(line)
        if function == "revoke":
            app.control.revoke(*arguments, **options)
            print(json.dumps(None), flush=True)
        elif function == "unknown":
            print(json.dumps(app.send_task(*arguments).id), flush=True)
        else:
            print(json.dumps(app.tasks[function].apply_async(arguments, **options).id), flush=True)
