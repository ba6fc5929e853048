"""An RQ application: `rq worker` runs its functions, `python rq_app.py ...` uses RQ's own API."""

import datetime
import json
import os
import sys
import time

import redis
import rq


def send(number: int = 0) -> int:
    return number


def fail(number: int = 0) -> None:
    raise RuntimeError(f"smtp refused {number}")


def hang(number: int = 0) -> None:
    time.sleep(600)


def main(action: str, name: str, *rest: str) -> None:
    connection = redis.Redis.from_url(os.environ["REDIS_URL"])
    queue = rq.Queue(name, connection=connection)
    failed = queue.failed_job_registry
    if action == "put":
        for number in range(int(rest[1])):
            queue.enqueue(f"rq_app.{rest[0]}", number, failure_ttl=int((*rest, "3600")[2]))
    elif action == "later":
        queue.enqueue_in(datetime.timedelta(seconds=int(rest[0])), "rq_app.send")
    elif action == "work":
        rq.SimpleWorker([queue], connection=connection).work(burst=True)
    elif action == "numbers":
        numbers = {
            "ready": queue.count,
            "reserved": queue.started_job_registry.get_job_count(cleanup=False),
            "delayed": queue.scheduled_job_registry.count,
            "buried": failed.count,
            "consumers": rq.Worker.count(queue=queue),
        }
        print(json.dumps(numbers))
    elif action == "job":
        job = rq.job.Job.fetch(rest[0], connection=connection)
        times = [job.started_at, job.ended_at, job.exc_info]
        print(json.dumps({"status": job.get_status(), "done": times, "n": job.args}, default=str))


if __name__ == "__main__":
    main(*sys.argv[1:])
