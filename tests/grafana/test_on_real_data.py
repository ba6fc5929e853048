"""Dashboards and alert rules against what a real fleet sent to a real Graphite."""

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import greenstalk
import pytest

from tests.grafana import boards
from tests.grafana.boards import Json, Query
from tests.grafana.evaluate import evaluate
from tests.grafana.lively import FLOW, HANDS, Hand, Lively, vanish
from tests.real import wait_until

# More than one node, so that nothing may count the nodes from the front.
PREFIX = "acme.queues"
FOREIGN = Hand("sms-1", "q2", ("sms.send",), metrics="foreign")
GENTLE = tuple(job._replace(rate=min(job.rate, 2), fails=0.0) for job in FLOW)
PATIENCE = 90.0


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Lively]:
    with Lively(tmp_path, prefix=PREFIX, hands=(*HANDS, FOREIGN)) as fleet:
        yield fleet


def choices(**chosen: str) -> dict[str, str]:
    """The variables' values: all of everything, unless chosen."""
    usual = dict.fromkeys(("server", "host", "worker", "tubes"), "*")
    return {**usual, "prefix": PREFIX, "worker_prefix": PREFIX, **chosen}


def without_data(fleet: Lively, queries: list[Query], values: dict[str, str]) -> list[str]:
    """Where a query gives not one point."""
    return [
        f"{query.where}: {query.text}"
        for query in queries
        if not fleet.graphite.values(boards.put_in(query.text, values))
    ]


def test_every_target_and_every_variable_finds_data(fleet: Lively) -> None:
    # Given a fleet at work, with dots in the names of tubes, and a tube that is gone
    vanish(fleet)
    fleet.produce()
    found = {name: boards.dashboard(name) for name in boards.NAMES}
    everywhere = choices(tube="email_regular")
    # When the servers and tubes are all chosen, or one of them, or two
    for values in (
        everywhere,
        {**everywhere, "server": "q1", "host": "app1", "worker": "mail-1"},
        {**everywhere, "server": "{q1,q2}", "worker": "{mail-1,mail-2}", "tubes": "email_*"},
    ):
        for board in found.values():
            queries = list(boards.targets(board))
            # Then each query has something to show
            wait_until(
                lambda queries=queries, values=values: (
                    without_data(fleet, queries, values) == [] or _report(fleet, queries, values)
                ),
                PATIENCE,
                board["title"],
            )
    # And each variable has values, which hold the names as the paths do
    for board in found.values():
        for query in boards.variable_queries(board):
            names = fleet.graphite.find(boards.put_in(query.text, everywhere))
            assert names, query
    # And a StatsD with prefixes of its own is found where the variable says
    foreign = choices(
        worker_prefix=f"stats.*.{PREFIX}", worker="sms-1", tube="sms_send", server="q2"
    )
    queries = [
        query
        for board in found.values()
        for query in boards.targets(board)
        if "$worker_prefix" in query.text
    ]
    assert queries
    wait_until(
        lambda: without_data(fleet, queries, foreign) == [] or _report(fleet, queries, foreign),
        PATIENCE,
        "the foreign StatsD's series",
    )


def _report(fleet: Lively, queries: list[Query], values: dict[str, str]) -> bool:
    raise LookupError("; ".join(without_data(fleet, queries, values)))


class Alerts:
    """The rules, moved to another prefix as the README says.

    Points are 1 s apart here and not 10, so what counts as new is a tenth as long.
    """

    def __init__(self, fleet: Lively) -> None:
        self.fleet = fleet
        text = json.dumps(boards.rules())
        self.rules: dict[str, Json] = {
            rule["uid"].removeprefix("beanwatch-"): rule
            for rule in json.loads(text.replace("(beanwatch.", f"({PREFIX}."))
        }
        for rule in self.rules.values():
            rule["data"][0]["relativeTimeRange"]["from"] //= 10

    def firing(self, uid: str, later: float = 0.0) -> dict[str, float]:
        return evaluate(self.rules[uid], self.fleet.graphite, later)

    def all_firing(self) -> dict[str, dict[str, float]]:
        firing = {uid: self.firing(uid) for uid in self.rules}
        return {uid: alerts for uid, alerts in firing.items() if alerts}

    def wait(self, uid: str, name: str, later: float = 0.0) -> None:
        """Until the rule fires for this name."""

        def fires() -> bool:
            self.fleet.keep_workers()
            firing = self.firing(uid, later)
            if name not in firing:
                raise LookupError(f"firing: {firing}")
            return True

        wait_until(fires, PATIENCE, f"{uid} fires for {name}")

    def lower(self, uid: str, limit: float) -> None:
        """What takes half an hour is tried with a lower limit."""
        (condition,) = self.rules[uid]["data"][2]["model"]["conditions"]
        condition["evaluator"]["params"] = [limit]


def test_every_rule_is_quiet_when_all_is_well_and_fires_when_it_is_not(fleet: Lively) -> None:
    alerts = Alerts(fleet)
    q1, q2 = fleet.servers["q1"], fleet.servers["q2"]
    fired: list[str] = []

    def fires(uid: str, name: str, later: float = 0.0) -> None:
        alerts.wait(uid, name, later)
        fired.append(uid)

    # Given a fleet that does well, and a tube that is gone
    vanish(fleet)
    fleet.produce(GENTLE)
    for uid in alerts.rules:
        # Each rule has something to judge, except where only a failure makes a series
        if uid not in ("failures-warning", "failures-critical", "jobs-lost"):
            wait_until(lambda uid=uid: judges(alerts, uid), PATIENCE, uid)
    # Then no rule fires
    wait_until(lambda: quiet(alerts), PATIENCE, "all rules are quiet")

    # When jobs fail, each is buried in the end
    fleet.burst("q1", "email.digest", "email.send", 60, fail=True)
    fires("failures-warning", "email_digest.email_send")
    fires("failures-critical", "email_digest.email_send")
    fires("buried", "q1.email_digest")

    # When a tube is filled that nobody watches
    fleet.burst("q2", "webhooks", "email.send", 1001)
    fires("consumers-no-watcher", "q2.webhooks")
    fires("backlog", "q2.webhooks")
    alerts.lower("head-age-warning", 2)
    alerts.lower("head-age-critical", 4)
    fires("head-age-warning", "q2.webhooks")
    fires("head-age-critical", "q2.webhooks")

    # When a tube is watched by one who takes nothing
    with q2.client() as idler:
        idler.watch("stuck")
        fleet.burst("q2", "stuck", "email.send", 3)
        fires("consumers-stalled", "q2.stuck")

    # When the only worker of a tube has more to do than it can
    fleet.burst("q1", "reports", "report.build", 20, seconds=3)
    fires("consumers-saturated", "q1.reports")

    # When a job hangs, its worker is hung, ends itself, and is started again
    fleet.put("q1", "email.priority", "email.send", hang=60)
    fires("worker-hung", "app1.mail-1")
    fires("worker-restarted", "app1.mail-1")
    fires("jobs-lost", "email_priority.email_send")

    # When a worker is killed
    fleet.kill_worker("images-2")
    fires("worker-dead", "app1.images-2")

    # When jobs are refused
    with q1.client() as producer, contextlib.suppress(greenstalk.JobTooBigError):
        producer.put("x" * 70_000)
    fires("rejected-puts", "q1")

    # When a job is in limbo, which takes a full disk: this series alone is made up
    fleet.graphite.send(f"{PREFIX}.server.q9.drift", 1)
    fires("drift", "q9")

    # When a server drains, is restarted, or is gone
    os.kill(q2.pid, signal.SIGUSR1)
    fires("server-draining", "q2")
    q1.restart()
    fires("server-restarted", "q1")
    q2.stop()
    fires("server-down", "q2")
    fires("worker-blocked", "app1.mail-2")

    # When no worker is left
    for name in fleet.hands:
        fleet.kill_worker(name)
    fires("no-worker", "workers")

    # When the collector ends, and two minutes go by
    assert alerts.firing("collector-silent-warning") == {}
    fleet.stop_collector()
    fires("collector-silent-warning", "q1", later=150)
    fires("collector-silent-critical", "q1", later=150)

    assert sorted(fired) == sorted(alerts.rules)


def judges(alerts: Alerts, uid: str) -> bool:
    """True if the rule sees a series at all."""
    rule: Json = json.loads(json.dumps(alerts.rules[uid]))
    (condition,) = rule["data"][2]["model"]["conditions"]
    condition["evaluator"] = {"type": "gt", "params": [-1e9]}
    return bool(evaluate(rule, alerts.fleet.graphite))


def quiet(alerts: Alerts) -> bool:
    if firing := alerts.all_firing():
        raise LookupError(f"firing: {firing}")
    return True
