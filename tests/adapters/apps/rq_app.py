"""Puts RQ jobs: reads `[function, arguments, options]` per line, and answers with the job's id."""

import json
import os
import pkgutil
import signal
import sys

import redis
import rq
import tasks

from beanwatch.worker.adapters.rq import SimpleWorker, Worker

queue = rq.Queue("mail", connection=redis.Redis.from_url(os.environ["BROKER_URL"]))


class NamedWorker(Worker if tasks.IS_WATCHED else rq.Worker):
    monitor_name = os.environ["WORKER_NAME"]


class NamedSimpleWorker(SimpleWorker if tasks.IS_WATCHED else rq.SimpleWorker):
    monitor_name = os.environ["WORKER_NAME"]


def stop_in(owner: type, name: str) -> None:
    """Let this process be told to stop during the first call of a method."""
    method = getattr(owner, name)

    def stop(*args, **options):
        setattr(owner, name, method)
        os.kill(os.getpid(), signal.SIGTERM)
        return method(*args, **options)

    setattr(owner, name, stop)


if "STOP_IN" in os.environ:
    owner, name = os.environ["STOP_IN"].split()
    stop_in(pkgutil.resolve_name(owner), name)


if __name__ == "__main__":
    for line in sys.stdin:
        function, arguments, options = json.loads(line)
        if function in ("suspend", "resume"):
            getattr(rq.suspension, function)(queue.connection)
            print(json.dumps(None), flush=True)
            continue
        if "repeat" in options:
            options["repeat"] = rq.Repeat(**options["repeat"])
        if "retry" in options:
            options["retry"] = rq.Retry(**options["retry"])
        job = queue.enqueue(f"tasks.{function}", args=arguments, **options)
        print(json.dumps(job.id), flush=True)
