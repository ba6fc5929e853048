"""Dashboards and alert rules against a real Prometheus that scrapes a real collector."""

import re
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.grafana import boards
from tests.grafana.boards import Query
from tests.grafana.scraped import JOB, QUEUE, ScrapedFleet
from tests.real import wait_until
from tests.real.prometheus import promtool

PATIENCE = 90.0
BOARDS = [boards.dashboard(name, "prometheus") for name in boards.NAMES]
EVERYTHING = {
    **dict.fromkeys(("server", "queues", "host", "worker"), ".*"),
    "queue": QUEUE,
    **boards.TIMES,
}


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[ScrapedFleet]:
    with ScrapedFleet(tmp_path) as fleet:
        yield fleet


def wait_for_data(fleet: ScrapedFleet, queries: Sequence[Query], values: dict[str, str]) -> None:
    """Until each query has had data once, while jobs run."""
    left = dict.fromkeys(queries, fleet.prometheus.query)

    def all_had_data() -> bool:
        fleet.refill(QUEUE, 100)
        for query in list(left):
            if left[query](boards.put_in(query.text, values)):
                del left[query]
        if left:
            raise LookupError("; ".join(f"{query.where}: {query.text}" for query in left))
        return True

    wait_until(all_had_data, PATIENCE, "data for every query")


def test_every_query_and_every_variable_finds_data(fleet: ScrapedFleet) -> None:
    # Given a fleet at work, a buried job, and restarts of the server and of the worker
    wait_until(lambda: fleet.prometheus.query("beanwatch_worker_state"), PATIENCE, "a worker")
    fleet.kill_worker()
    fleet.server.restart()
    fleet.start_worker()
    with fleet.server.client(use=QUEUE, watch="old") as client:
        client.use("old")
        client.put("x")
        client.bury(client.reserve())
    fleet.put(QUEUE, fail=True)
    # When all servers and queues are chosen, or a single one, then each query finds data
    queries = [query for board in BOARDS for query in boards.targets(board)]
    wait_for_data(fleet, queries, EVERYTHING)
    one = {"server": "q1", "queues": "email[.].*", "host": "web1", "worker": "(mail-1|mail-2)"}
    wait_for_data(fleet, queries, {**EVERYTHING, **one})
    # And where there is nothing, nothing is drawn, and nothing fails
    nobody = dict.fromkeys(("server", "queues", "host", "worker", "queue"), "nobody")
    for query in queries:
        if {"server", "worker"} & set(re.findall(r"\$(\w+)", query.text)):
            text = boards.put_in(query.text, {**EVERYTHING, **nobody})
            assert fleet.prometheus.query(text) == [], query
    # And each variable has values
    found = {
        (query.where, value)
        for board in BOARDS
        for query in boards.variable_queries(board)
        for value in values_of(fleet, board, query)
    }
    assert {("server", "q1"), ("queue", QUEUE), ("host", "web1"), ("worker", "mail-1")} <= found
    # And the label `job` is the kind of job, and not the name of the scrape
    runs = fleet.prometheus.query("beanwatch_fleet_job_runs_total")
    assert {sample.labels["job"] for sample in runs} == {JOB}


def values_of(fleet: ScrapedFleet, board: boards.Json, query: Query) -> list[str]:
    """The values of a variable: those of a label, or the part of each that a pattern matches."""
    call = re.fullmatch(r"label_values\((.*), (\w+)\)", boards.put_in(query.text, EVERYTHING))
    assert call, query
    found = fleet.prometheus.label_values(call[2], call[1])
    pattern = boards.variables(board)[query.where].get("regex")
    if not pattern:
        return found
    return [part[1] for value in found if (part := re.search(pattern.strip("/"), value))]


def test_promtool_finds_no_fault_in_the_page_of_a_collector_at_work(fleet: ScrapedFleet) -> None:
    fleet.put(QUEUE, 3)
    wait_until(lambda: fleet.prometheus.query("beanwatch_worker_state"), PATIENCE, "a worker")
    with urllib.request.urlopen(f"http://{fleet.page}/metrics", timeout=10) as reply:
        text = reply.read().decode()
    assert "beanwatch_queue_jobs" in text
    assert promtool("check", "metrics", stdin=text) == ""


def test_an_alert_reaches_its_receiver_and_ends_when_its_cause_does(fleet: ScrapedFleet) -> None:
    def firing() -> set[str]:
        query = 'ALERTS{alertstate="firing"}'
        return {sample.labels["alertname"] for sample in fleet.prometheus.query(query)}

    def wait_for(status: str, alert: str, receiver: str) -> None:
        wanted = (receiver, f"Beanwatch{alert}")
        wait_until(lambda: wanted in fleet.alerts(status), PATIENCE, f"{status}: {alert}")

    # Given a fleet that does well, no alert fires
    well = "beanwatch_server_up == 1 and on () beanwatch_worker_state"
    wait_until(lambda: fleet.prometheus.query(well), PATIENCE, well)
    jobs = {"BeanwatchFailures", "BeanwatchJobsLost"}  # of the page of runs, half of which fail
    assert firing() <= jobs
    # When jobs are in a queue that nobody watches, and somebody takes them later
    fleet.put("orders")
    wait_for("firing", "ConsumersNoConsumer", "on-call")
    with fleet.server.client(watch="orders") as client:
        client.delete(client.reserve())
    wait_for("resolved", "ConsumersNoConsumer", "on-call")
    # When a job is buried, which is a warning
    with fleet.server.client(use="orders", watch="orders") as client:
        job = client.put("x")
        client.bury(client.reserve())
        wait_for("firing", "Buried", "mail")
        client.delete(job)
    wait_for("resolved", "Buried", "mail")
    # When a worker is killed, and started again
    fleet.kill_worker()
    wait_for("firing", "WorkerDead", "on-call")
    fleet.start_worker()
    wait_for("resolved", "WorkerDead", "on-call")
    # When the server is away, and back
    fleet.server.stop()
    wait_for("firing", "ServerDown", "on-call")
    fleet.server.start()
    wait_for("resolved", "ServerDown", "on-call")
    # Then everybody was told the text and where to look
    alerts = [alert for request in fleet.sink.requests for alert in request.json()["alerts"]]
    (text,) = {
        alert["annotations"]["summary"]
        for alert in alerts
        if alert["labels"]["alertname"] == "BeanwatchServerDown"
    }
    assert text == "The collector cannot read server q1"
    assert all("/runbook/#" in alert["annotations"]["runbook_url"] for alert in alerts)
