"""A Celery application: `celery -A celery_app worker` runs it, `python celery_app.py ...` puts."""

import os
import sys
import time

from celery import Celery

app = Celery("celery_app", broker=os.environ["REDIS_URL"])
app.conf.broker_transport_options = {
    "global_keyprefix": os.environ.get("REDIS_PREFIX", ""),
    "queue_order_strategy": "priority",
}
app.conf.worker_prefetch_multiplier = 1
app.conf.task_acks_late = True


@app.task(name="mail.send")
def send(seconds: float = 0) -> None:
    time.sleep(seconds)


if __name__ == "__main__":
    action, queue, *rest = sys.argv[1:]
    if action == "put":
        count, priority = int(rest[0]), int(rest[1])
        for _ in range(count):
            send.apply_async((float(rest[2]),), queue=queue, priority=priority)
    if action == "size":
        with app.connection_for_read() as connection:
            print(connection.default_channel._size(queue))
