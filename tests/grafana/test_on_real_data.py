"""Dashboards and alert rules against what a real fleet sent to a real Graphite."""

import contextlib
import json
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import greenstalk
import pytest

from tests.grafana import boards
from tests.grafana.boards import Json, Query
from tests.grafana.evaluate import evaluate
from tests.grafana.lively import FLOW, WORKERS, LiveFleet, WorkerSpec, vanish
from tests.real import Beanstalkd, Graphite, wait_until
from tests.real.full_disk import fill_disk, lose_jobs

# More than one node, so that nothing may count the nodes from the front.
PREFIX = "acme.queues"
FOREIGN = WorkerSpec("sms-1", "q2", ("sms.send",), metrics="foreign")
GENTLE = tuple(job._replace(rate=min(job.rate, 2), fails=0.0) for job in FLOW)
PATIENCE = 90.0


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[LiveFleet]:
    with LiveFleet(tmp_path, prefix=PREFIX, workers=(*WORKERS, FOREIGN)) as fleet:
        yield fleet


def choices(**chosen: str) -> dict[str, str]:
    """The values of the variables: everything, unless chosen."""
    usual = dict.fromkeys(("server", "host", "worker", "queues"), "*")
    return {**usual, "prefix": PREFIX, "worker_prefix": PREFIX, **chosen}


def wait_for_data(fleet: LiveFleet, queries: Sequence[Query], values: dict[str, str]) -> None:
    """Until each query has given a point."""
    missing = list(queries)

    def all_have_data() -> bool:
        missing[:] = [
            query
            for query in missing
            if not fleet.graphite.values(boards.put_in(query.text, values))
        ]
        if missing:
            raise LookupError("; ".join(f"{query.where}: {query.text}" for query in missing))
        return True

    wait_until(all_have_data, PATIENCE, "data for every query")


def test_every_target_and_every_variable_finds_data(fleet: LiveFleet) -> None:
    # Given a fleet at work, with dots in the names of queues, and a queue that is gone
    vanish(fleet)
    fleet.produce()
    found = [boards.dashboard(name) for name in boards.NAMES]
    queries = [query for board in found for query in boards.targets(board)]
    everywhere = choices(queue="email_regular")
    # When all servers and queues are chosen, or one of them, or some: then there is data
    wait_for_data(fleet, queries, everywhere)
    # (of one worker only where it sends series of its own, as those do that use no StatsD)
    one = {"server": "q2", "host": "app1", "worker": "images-1", "queues": "images"}
    wait_for_data(fleet, queries, {**everywhere, **one, "queue": "images"})
    some = {"server": "{q1,q2}", "worker": "{images-1,images-2}", "queues": "email_*"}
    wait_for_data(fleet, queries, {**everywhere, **some})
    # And where there is nothing, nothing is drawn, and nothing fails
    nobody = {**everywhere, "prefix": "nobody", "worker_prefix": "nobody"}
    for query in queries:
        assert fleet.graphite.values(boards.put_in(query.text, nobody)) == [], query
    # And each variable has values
    for board in found:
        for query in boards.variable_queries(board):
            assert fleet.graphite.find(boards.put_in(query.text, everywhere)), query
    # And what came through a StatsD with prefixes of its own is where the variable says
    foreign = choices(worker_prefix=f"stats.*.{PREFIX}", queue="sms_send", server="q2")
    # (but for a column of single workers, which leaves out the node `all` of StatsD)
    sent = [query for query in queries if "$worker_prefix" in query.text]
    wait_for_data(fleet, [query for query in sent if "exclude(" not in query.text], foreign)


class Alerts:
    """The rules, moved to another prefix as the README says.

    Points are 1 s apart here and not 10 s, so that windows and silences are a tenth as long.
    """

    def __init__(self, fleet: LiveFleet) -> None:
        self.fleet = fleet
        self.fired: set[str] = set()
        text = json.dumps(boards.rules())
        text = text.replace("(beanwatch.", f"({PREFIX}.").replace("'120s'", "'12s'")
        self.rules: dict[str, Json] = {
            rule["uid"].removeprefix("beanwatch-"): rule for rule in json.loads(text)
        }
        for rule in self.rules.values():
            rule["data"][0]["relativeTimeRange"]["from"] //= 10

    def firing(self, uids: Iterable[str] = ()) -> set[tuple[str, str]]:
        """Every rule that fires, of these or of all, and for what."""
        return {
            (uid, name)
            for uid in uids or self.rules
            for name in evaluate(self.rules[uid], self.fleet.graphite)
        }

    def wait(self, **expected: str) -> None:
        """Until each of the rules has fired for its name, in any order."""
        left = {(uid.replace("_", "-"), name) for uid, name in expected.items()}
        self.fired |= {uid for uid, _ in left}

        def all_fired() -> bool:
            self.fleet.keep_workers()
            left.difference_update(self.firing({uid for uid, _ in left}))
            if left:
                raise LookupError(f"not yet: {sorted(left)}")
            return True

        wait_until(all_fired, PATIENCE, "alerts")

    def lower(self, uid: str, limit: float) -> None:
        """Lower the limit of a rule that would take half an hour to fire."""
        (condition,) = self.rules[uid]["data"][2]["model"]["conditions"]
        condition["evaluator"]["params"] = [limit]

    def judges(self, uid: str) -> bool:
        """True if the rule sees a series at all."""
        rule: Json = json.loads(json.dumps(self.rules[uid]))
        (condition,) = rule["data"][2]["model"]["conditions"]
        condition["evaluator"] = {"type": "gt", "params": [-1e9]}
        return bool(evaluate(rule, self.fleet.graphite))


def test_every_rule_is_quiet_when_all_is_well_and_fires_when_it_is_not(fleet: LiveFleet) -> None:
    alerts = Alerts(fleet)
    q1, q2 = fleet.servers["q1"], fleet.servers["q2"]

    # Given a fleet that does well, and a queue that is gone
    vanish(fleet)
    fleet.produce(GENTLE)
    # When each rule has something to judge, except where only a failure makes a series
    judging = alerts.rules.keys() - {"failures-warning", "failures-critical", "jobs-lost"}
    wait_until(lambda: all(map(alerts.judges, judging)), PATIENCE, "every rule sees a series")

    # Then no rule fires
    def quiet() -> bool:
        if firing := alerts.firing():
            raise LookupError(f"firing: {firing}")
        return True

    wait_until(quiet, PATIENCE, "all rules are quiet")

    alerts.lower("head-age-warning", 2)
    alerts.lower("head-age-critical", 4)
    with q2.client() as idler, q1.client() as producer:
        # When jobs fail and are buried in the end; when one hangs, so that its worker ends itself
        fleet.burst("q1", "email.digest", "email.send", 60, fail=True)
        fleet.put("q2", "email.priority", "email.send", hang=60)
        # When nobody watches a queue, one who watches takes nothing, one who takes is too slow
        fleet.burst("q2", "webhooks", "email.send", 1001)
        idler.watch("stuck")
        fleet.burst("q2", "stuck", "email.send", 3)
        fleet.burst("q1", "reports", "report.build", 20, seconds=3)
        # When a worker is killed, and when a job is refused
        fleet.kill_worker("images-2")
        with contextlib.suppress(greenstalk.JobTooBigError):
            producer.put("x" * 70_000)
        # Then each is an alert
        alerts.wait(
            failures_warning="email_digest.email_send",
            failures_critical="email_digest.email_send",
            buried="q1.email_digest",
            worker_hung="app2.mail-2",
            worker_hung_long="app2.mail-2",
            worker_restarted="app2.mail-2",
            jobs_lost="email_priority.email_send",
            consumers_no_consumer="q2.webhooks",
            consumers_stalled="q2.stuck",
            consumers_saturated="q1.reports",
            backlog="q2.webhooks",
            head_age_warning="q2.webhooks",
            head_age_critical="q2.webhooks",
            worker_dead="app2.images-2",
            rejected_puts="q1",
        )

    # When a server drains, and another is gone
    os.kill(q2.pid, signal.SIGUSR1)
    q1.stop()
    alerts.wait(server_draining="q2", server_down="q1", worker_blocked="app1.mail-1")

    # When it is back
    q1.start()
    alerts.wait(server_restarted="q1")

    # When no worker is left
    for name in fleet.workers:
        fleet.kill_worker(name)
    alerts.wait(no_worker="workers", workers_missing="app1_bulk-_")

    # When a server shows problems, and its queues cannot be read; when Redis is away
    for path in (
        "server.q9.problem 2",
        "collector.q9.queues_success 0",
        "collector.q8.queues_success 0.5",
    ):
        name, _, value = path.partition(" ")
        fleet.graphite.send(f"{PREFIX}.{name}", float(value))
    fleet.redis.stop()
    alerts.wait(
        server_problem_warning="q9",
        server_problem_critical="q9",
        queues_not_read="q9",
        queues_partly_read="q8",
        heartbeats_not_read="workers",
    )

    # When the collector ends
    fleet.stop_collector()
    alerts.wait(collector_silent_warning="q1", collector_silent_critical="q2")

    # And so is every rule but one: that has a test of its own, as it needs a full disk
    assert alerts.fired == alerts.rules.keys() - {"missing-jobs"}


def test_a_job_that_the_server_lost_fires_the_rule_of_missing_jobs(
    graphite: Graphite, prefix: str, small_disk: Path, tmp_path: Path, run: Callable[..., Any]
) -> None:
    rules = json.dumps(boards.rules()).replace("(beanwatch.", f"({prefix}.")
    (missing,) = (r for r in json.loads(rules) if r["uid"] == "beanwatch-missing-jobs")
    args = ["-b", str(small_disk), "-s", "16384"]
    with Beanstalkd(tmp_path / "server", args=args) as server:

        def collect() -> None:
            config = tmp_path / "beanwatch.toml"
            config.write_text(f'prefix = "{prefix}"\n[servers]\nq9 = "{server.address}"\n')
            argv = ("--graphite", graphite.carbon, "--state", tmp_path / "state")
            done = run("beanwatch", "collect", "--once", "--config", config, *argv)
            assert done.code == 0, done.stderr

        with server.client(use="t", watch="t") as client:
            # Given a server whose disk is full, and no job lost
            fill_disk(client)
            collect()
            path = f"{prefix}.server.q9.missing_jobs"
            wait_until(lambda: graphite.values(path), PATIENCE, "the first point")
            assert evaluate(missing, graphite) == {}
            # When it loses track of one
            assert lose_jobs(client, 5) > 0
            collect()
        # Then that is an alert
        wait_until(lambda: "q9" in evaluate(missing, graphite), PATIENCE, "the rule fires")
