"""The workers to compare with: RQ, dramatiq, huey and Celery.

Each function enqueues `jobs` jobs, and then runs one worker process that runs one job at a time.

    python -c 'import bench.peers; bench.peers.main("rq", 2000, "redis://127.0.0.1:6379/0")'

Do not run it as `__main__`, because the workers import the job by the name of its module. Results
are switched off where possible, as a beanstalkd job has no result either.
"""

import os
import sys
from collections.abc import Callable
from typing import Any

from bench.stopwatch import PAYLOAD, Stopwatch

tick: Callable[[], None] = Stopwatch(0)


def job(payload: dict[str, Any]) -> None:
    """Count the job. It does nothing else."""
    tick()


def run_rq(jobs: int, url: str) -> None:
    """Run RQ's SimpleWorker, which does not fork for each job."""
    from redis import Redis
    from rq import Queue, SimpleWorker

    connection = Redis.from_url(url)
    queue = Queue(connection=connection)
    for _ in range(jobs):
        queue.enqueue(job, PAYLOAD, result_ttl=0)
    SimpleWorker([queue], connection=connection).work(burst=True, logging_level="ERROR")


def run_dramatiq(jobs: int, url: str) -> None:
    """Run dramatiq with one thread. It prefetches 1,000 jobs, as its default of 2 would slow it."""
    os.environ["dramatiq_queue_prefetch"] = "1000"  # noqa: SIM112
    import dramatiq
    from dramatiq.brokers.redis import RedisBroker

    broker = RedisBroker(url=url)
    dramatiq.set_broker(broker)
    actor = dramatiq.actor(job)
    for _ in range(jobs):
        actor.send(PAYLOAD)
    worker = dramatiq.Worker(broker, worker_threads=1)
    worker.start()
    broker.join(actor.queue_name, timeout=600_000)


def run_huey(jobs: int, url: str) -> None:
    """Run huey with one worker thread and blocking pops, without results."""
    from huey import RedisHuey

    huey = RedisHuey(url=url, results=False)
    task = huey.task()(job)
    for _ in range(jobs):
        task(PAYLOAD)
    huey.create_consumer(workers=1, periodic=False).run()


def run_celery(jobs: int, url: str) -> None:
    """Run Celery's solo pool, without results, gossip or heartbeats."""
    from celery import Celery

    app = Celery("bench", broker=url)
    app.conf.update(task_ignore_result=True, worker_hijack_root_logger=False)
    task = app.task(job)
    for _ in range(jobs):
        task.delay(PAYLOAD)
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=ERROR"]
    app.worker_main(["worker", "--pool=solo", *quiet])


PEERS = {"rq": run_rq, "dramatiq": run_dramatiq, "huey": run_huey, "celery": run_celery}


def main(peer: str, jobs: int, url: str) -> None:
    """Run one of PEERS. The last job ends the process; SystemExit if the worker ends before."""
    global tick
    tick = Stopwatch(jobs)
    PEERS[peer](jobs, url)
    sys.exit(f"{peer} ended before its last job")
