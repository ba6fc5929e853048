"""A deploy: all workers are told to restart while jobs arrive."""

import time
from pathlib import Path

from tests.real import Redis, wait_until
from tests.worker_core.conftest import QUEUE, Broker, RunningWorker, StartWorker

NAMES = ("w1", "w2", "w3", "w4", "w5")
SPREAD = 20  # seconds; a start takes one to three on a slow host


def test_a_deploy_interrupts_no_job_and_there_are_workers_at_every_moment(
    start_worker: StartWorker, broker: Broker, redis_server: Redis, tmp_path: Path
) -> None:
    done = tmp_path / "done"

    def start(name: str) -> RunningWorker:
        return start_worker("--restart-spread", SPREAD, name=name)

    with redis_server.client() as redis:
        redis.set("{beanwatch}:version", "1")
        fleet = {name: start(name) for name in NAMES}
        for worker in fleet.values():
            worker.wait_for("idle")
        redis.set("{beanwatch}:version", "2")
    put: list[int] = []
    watching: list[int] = []
    old = dict(fleet)

    def all_are_new() -> bool:
        put.append(broker.put("sleep", {"seconds": 0.05, "file": str(done)}))
        watching.append(broker.server.stats_tube(QUEUE)["current-watching"])
        for name, worker in fleet.items():
            if worker.process.poll() is not None:  # a supervisor would do this
                assert worker.process.returncode == 10
                fleet[name] = start(name)
        time.sleep(0.02)
        heirs = [worker for name, worker in fleet.items() if worker is not old[name]]
        return len(heirs) == len(NAMES) and all(w.beat().pid == w.process.pid for w in heirs)

    wait_until(all_are_new, 90, "every worker started anew")
    wait_until(lambda: len(done.read_text().splitlines()) >= len(put), 30, "all jobs are done")
    assert min(watching) >= 1
    assert sorted(int(line.split()[0]) for line in done.read_text().splitlines()) == sorted(put)
