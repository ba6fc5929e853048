"""Put and take jobs with Procrastinate or PgQueuer. argv: their name, a DSN; stdin: JSON steps.

It runs in `.frameworks`, which has both, and prints a JSON list with the result of each step.
"""

import asyncio
import json
import sys
from datetime import UTC, datetime, timedelta
from typing import Any


async def run_procrastinate(dsn: str, steps: list[list[Any]]) -> list[Any]:
    import procrastinate
    from procrastinate.jobs import Status

    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=dsn))

    @app.task(name="work")
    def work(**arguments: object) -> None:
        if "error" in arguments:
            raise RuntimeError(arguments["error"])

    results: list[Any] = []
    async with app.open_async():
        jobs = app.job_manager
        workers: list[int] = []
        for name, *arguments in steps:
            match name:
                case "migrate":
                    await app.schema_manager.apply_schema_async()
                    results.append(True)
                case "put":  # queue, arguments, seconds
                    queue, data, seconds = arguments
                    at = datetime.now(UTC) + timedelta(seconds=seconds) if seconds else None
                    task = work.configure(queue=queue, schedule_at=at)
                    results.append(await task.defer_async(**data))
                case "worker":  # register one, which sends a heartbeat
                    workers.append(await jobs.register_worker())
                    results.append(workers[-1])
                case "take":  # queue
                    job = await jobs.fetch_job([arguments[0]], workers[-1])
                    results.append(job and job.id)
                case "work":  # queue: run all jobs
                    await app.run_worker_async(
                        queues=[arguments[0]], wait=False, install_signal_handlers=False
                    )
                    results.append(True)
                case "finish":  # job id, status
                    await jobs.finish_job_by_id_async(arguments[0], Status(arguments[1]), False)
                    results.append(True)
                case "counts":  # queue
                    found = await jobs.list_queues_async(queue=arguments[0])
                    results.append(list(found))
    return results


async def run_pgqueuer(dsn: str, steps: list[list[Any]]) -> list[Any]:
    import psycopg
    from pgqueuer import PgQueuer
    from pgqueuer.db import PsycopgDriver
    from pgqueuer.queries import Queries
    from pgqueuer.types import QueueExecutionMode

    results: list[Any] = []
    connection = await psycopg.AsyncConnection.connect(dsn, autocommit=True)
    async with connection:
        driver = PsycopgDriver(connection)
        queries = Queries(driver)
        for name, *arguments in steps:
            match name:
                case "migrate":
                    await queries.install()
                    results.append(True)
                case "put":  # queue, body, seconds
                    queue, body, seconds = arguments
                    after = timedelta(seconds=seconds) if seconds else None
                    ids = await queries.enqueue(queue, body.encode(), execute_after=after)
                    results.append(ids[0])
                case "work":  # queue, message: run all jobs, which fail if there is a message
                    queue, error = arguments
                    manager = PgQueuer(driver)

                    @manager.entrypoint(queue, on_failure="hold")
                    async def work(job: Any, error: str = error) -> None:
                        if error:
                            raise RuntimeError(error)

                    await manager.run(mode=QueueExecutionMode.drain)
                    results.append(True)
                case "sizes":
                    found = await queries.queue_size()
                    results.append([[one.entrypoint, one.status, one.count] for one in found])
    return results


if __name__ == "__main__":
    runner = {"procrastinate": run_procrastinate, "pgqueuer": run_pgqueuer}[sys.argv[1]]
    print(json.dumps(asyncio.run(runner(sys.argv[2], json.load(sys.stdin)))))
