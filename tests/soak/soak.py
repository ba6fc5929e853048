"""Workers killed at random while jobs flow, and the accounts compared afterwards."""

import os
import random
import signal
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

from beanwatch.net.redis_reader import RedisReader
from beanwatch.net.redis_url import parse_redis_url
from beanwatch.outcomes import OUTCOMES
from beanwatch.store.ledger import LedgerEntry, read_job
from beanwatch.worker import FollowUp, Producer
from beanwatch.worker.api.envelope import derive_id
from tests.real import Beanstalkd, Redis, wait_until
from tests.soak.kinds import own_worker

QUEUES = ("soak.first", "soak.second")
DELETED = tuple(outcome.name for outcome in OUTCOMES if outcome.is_deleted)
BURIED = tuple(outcome.name for outcome in OUTCOMES if outcome.may_be_buried)


class Plan(NamedTuple):
    """`seconds`: how long jobs are put and workers killed; then the rest is drained."""

    workers: int
    jobs: int
    seconds: float
    kills_per_second: float


class Account(NamedTuple):
    """What each party says: the producer, the handlers, the ledger, beanstalkd."""

    expected: set[str]
    begun: dict[tuple[str, int], list[int]]  # id, beanstalkd's id: the attempts that began
    recorded: dict[str, list[LedgerEntry]]
    buried: set[int]
    put: int
    kills: int


class Fleet:
    """Keeps workers running as a supervisor does."""

    def __init__(self, directory: Path, size: int, server: Beanstalkd, redis: Redis) -> None:
        self.runs = directory / "runs"
        self.runs.mkdir()
        options = ["--server", server.address, "--redis", redis.url, "--ledger", "all"]
        options += [word for queue in QUEUES for word in ("--queue", queue)]
        self.workers = [
            own_worker("app", f"w{number}", directory, *options, runs=self.runs)
            for number in range(size)
        ]
        for worker in self.workers:
            worker.start()

    def kill_one(self) -> None:
        """Mostly as the kernel does when memory is short, sometimes as a deploy does."""
        number = signal.SIGKILL if random.random() < 0.9 else signal.SIGTERM
        os.kill(random.choice(self.workers).pid, number)

    def mend(self) -> bool:
        """Start again what has ended; return True."""
        for worker in self.workers:
            if worker.has_ended:
                worker.start()
        return True

    def stop(self) -> list[int | None]:
        for worker in self.workers:
            os.kill(worker.pid, signal.SIGTERM)
        for worker in self.workers:
            worker.stop()
        return [worker.last_exit for worker in self.workers]


def put_one(producer: Producer, number: int, expected: set[str]) -> None:
    """A job of one kind or the other, some with a follow-up."""
    ident = f"soak-{number}"
    job = random.choices(("step", "flaky", "doomed"), (85, 12, 3))[0]
    follow_up = FollowUp(QUEUES[1], "step") if random.random() < 0.25 else None
    producer.put(QUEUES[0], job, id=ident, success=follow_up, failure=follow_up, ttr=30)
    expected.add(ident)
    if follow_up:
        expected.add(derive_id(ident, "failure" if job == "doomed" else "success"))


def soak(directory: Path, plan: Plan) -> Account:
    """Run the plan to its end and gather the accounts."""
    expected: set[str] = set()
    kills = 0
    with (
        Beanstalkd(directory / "beanstalkd") as server,
        Redis(directory / "redis") as redis,
        Producer(server.address) as producer,
    ):
        fleet = Fleet(directory, plan.workers, server, redis)
        try:
            began = time.monotonic()
            put = 0
            while (passed := time.monotonic() - began) < plan.seconds or put < plan.jobs:
                due = min(plan.jobs, int(plan.jobs * passed / plan.seconds))
                while put < due:
                    put_one(producer, put, expected)
                    put += 1
                while kills < passed * plan.kills_per_second:
                    fleet.kill_one()
                    kills += 1
                fleet.mend()
                time.sleep(0.05)
            fleet.mend()
            wait_until(lambda: fleet.mend() and not waiting(server), 600, "the queue is drained")
            codes = fleet.stop()
        finally:
            for worker in fleet.workers:
                worker.kill()
        assert set(codes) <= {0, -signal.SIGTERM}, codes  # some were only just starting
        with RedisReader(parse_redis_url(redis.url), 60) as link:
            recorded = {ident: read_job(link.execute, ident) for ident in expected}
        return Account(
            expected=expected,
            begun=read_begun(fleet.runs),
            recorded=recorded,
            buried=read_buried(server),
            put=server.stats()["total-jobs"],
            kills=kills,
        )


def waiting(server: Beanstalkd) -> int:
    """Jobs that are neither deleted nor buried."""
    stats = server.stats()
    return sum(stats[f"current-jobs-{state}"] for state in ("ready", "reserved", "delayed"))


def read_buried(server: Beanstalkd) -> set[int]:
    found = set()
    for queue in QUEUES:
        with server.client(use=queue) as client:
            while server.stats_tube(queue).get("current-jobs-buried"):
                job = client.peek_buried()
                client.delete(job)
                found.add(job.id)
    return found


def read_begun(runs: Path) -> dict[tuple[str, int], list[int]]:
    begun: dict[tuple[str, int], list[int]] = defaultdict(list)
    for file in runs.iterdir():
        for line in file.read_text().splitlines():
            ident, job_id, attempt = line.split()
            begun[ident, int(job_id)].append(int(attempt))
    return begun


def audit(account: Account) -> list[str]:
    """What does not add up: one line each, none if all is well."""
    finals: Counter[str] = Counter()
    lost = [ident for ident in sorted(account.expected) if not account.recorded[ident]]
    wrong = [f"{ident}: no entry: lost, or not recorded" for ident in lost]
    for ident, entries in account.recorded.items():
        by_number: dict[int, list[LedgerEntry]] = defaultdict(list)
        for entry in entries:
            by_number[int(entry.job_id)].append(entry)
        for job_id, runs in by_number.items():
            attempts = [run.attempt for run in runs]
            if attempts != sorted(set(attempts)):
                wrong.append(f"{ident} job {job_id}: attempts {attempts}")
            begun = account.begun.get((ident, job_id), [])
            if begun and max(begun) > attempts[-1]:
                wrong.append(f"{ident} job {job_id}: a run {max(begun)} is not recorded")
            # A run ended the job or led to the next one; what led to a next one is no end.
            last = runs[-1].outcome
            finals[last] += 1
            if last in DELETED and job_id in account.buried:
                wrong.append(f"{ident} job {job_id}: recorded {last}, but it is buried")
            elif last in BURIED and job_id not in account.buried:
                wrong.append(f"{ident} job {job_id}: recorded {last}, but it is not buried")
            # A worker that is killed while it waits for the confirmation knows no end.
            elif last not in (*DELETED, *BURIED, "lost"):
                wrong.append(f"{ident} job {job_id}: no end, the last run was {last}")
    for ident, job_id in account.begun:
        if not any(int(entry.job_id) == job_id for entry in account.recorded.get(ident, ())):
            wrong.append(f"{ident} job {job_id}: ran, but no entry tells of it")
    if sum(finals.values()) != account.put:
        wrong.append(f"{account.put} jobs were put, {sum(finals.values())} have an end")
    return wrong


def report(account: Account) -> str:
    """Return the figures of an account in words."""
    entries = [entry for runs in account.recorded.values() for entry in runs]
    again = sum(entry.attempt > 1 for entry in entries)
    outcomes = dict(Counter(entry.outcome for entry in entries))
    return (
        f"fifty workers of beanwatch: {account.put} jobs put, {account.kills} kills; entries by "
        f"outcome: {outcomes}; {again} of runs beyond the first"
    )
