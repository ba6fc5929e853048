"""Each alert rule fires and ends in a real Prometheus, and Alertmanager tells a webhook of both."""

from pathlib import Path

import yaml

from tests.real import HttpSink, wait_until
from tests.real.prometheus import Alertmanager, MetricsPage, Prometheus
from tests.real.shipped_rules import configure_alertmanager, configure_prometheus, read_rules

PATIENCE = 90.0
FASTER = {
    r"(interval|for|keep_firing_for): \d+m": r"\1: 1s",
    r"\[10m\]": "[8s]",
    "offset 120s": "offset 1s",
}
# Series that are 0 while all is well, and this number in trouble. A critical alert hides a warning
# of the same name, and a server that is down hides its other alerts. So what has both severities,
# or is down, has names of its own.
GAUGES = {
    'server_draining{server="q1"}': 1,
    'server_missing_jobs{server="q1"}': 4,
    'server_problem{server="weak"}': 1,
    'server_problem{server="split"}': 2,
    'worker_group_missing{group="k8s.*"}': 1,
    'queue_jobs{server="q1",queue="a",state="ready"}': 1001,
    'queue_jobs{server="q1",queue="a",state="buried"}': 2,
    'queue_head_ready_age_seconds{server="q1",queue="late"}': 301,
    'queue_head_ready_age_seconds{server="q1",queue="later"}': 1801,
    'queue_consumer_state{server="q1",queue="a",state="no_consumer"}': 1,
    'queue_consumer_state{server="q1",queue="a",state="stalled"}': 1,
    'queue_consumer_state{server="q1",queue="a",state="saturated"}': 1,
    'collector_poll_age_seconds{server="silent"}': 121,
    **{f'worker_state{{worker="web1.{state}",state="{state}"}}': 1 for state in ("dead", "hung")},
}
# Counters that rise by this number at each scrape in trouble.
COUNTERS = {
    'server_restarts_total{server="q1"}': 1,
    'server_stat{server="q1",stat="rejected_puts"}': 6,
    'worker_restarts{worker="web1.dead"}': 1,
    **{
        f'fleet_job_runs_total{{server="q1",queue="{queue}",job="send",outcome="{outcome}"}}': runs
        for queue, outcomes in {
            "some": {"ok": 9, "retry": 1},
            "many": {"ok": 9, "buried": 9},
            "lost": {"ok": 1, "timeout": 1},
        }.items()
        for outcome, runs in outcomes.items()
    },
}


class Fleet:
    """The page of a fleet that is well, is in every trouble, or has only blocked workers left.

    Workers that are blocked are not told while a server is down.
    """

    def __init__(self) -> None:
        self.is_well, self.has_workers = True, True
        self._bad_scrapes = 0

    def page(self, _: int) -> str:
        self._bad_scrapes += not self.is_well
        values = {name: 0 if self.is_well else value for name, value in GAUGES.items()}
        values |= {name: step * self._bad_scrapes for name, step in COUNTERS.items()}
        values['server_up{server="down"}'] = int(self.is_well)
        values['collector_queues_success{server="q1"}'] = int(self.is_well)
        values['collector_queues_success{server="weak"}'] = 1 if self.is_well else 0.5
        values["workers_success"] = int(self.is_well)
        values["workers_live"] = int(self.has_workers)
        blocked = 'worker_state{worker="web1.blocked",state="blocked"}'
        values[blocked] = int(not self.has_workers)
        return "".join(f"beanwatch_{name} {value}\n" for name, value in values.items())


def told(sink: HttpSink, status: str) -> set[tuple[str, str]]:
    """The names and severities of the alerts that were sent with this status."""
    return {
        (alert["labels"]["alertname"], alert["labels"]["severity"])
        for request in sink.requests
        for alert in request.json()["alerts"]
        if alert["status"] == status
    }


def test_each_alert_is_told_when_it_fires_and_when_it_ends(tmp_path: Path) -> None:
    rules = tmp_path / "beanwatch.rules.yml"
    rules.write_text(read_rules(FASTER))
    (group,) = yaml.safe_load(rules.read_text())["groups"]
    every = {(r["alert"], r["labels"]["severity"]) for r in group["rules"] if "alert" in r}
    nobody = {("BeanwatchNoWorker", "critical"), ("BeanwatchWorkerBlocked", "warning")}
    fleet = Fleet()
    with HttpSink() as sink, MetricsPage(fleet.page) as page:
        routes = configure_alertmanager(sink.url)
        with Alertmanager(tmp_path / "alertmanager", routes) as alertmanager:
            config = configure_prometheus(rules, alertmanager.address, [page.address])
            with Prometheus(tmp_path / "prometheus", config) as prometheus:

                def wait_for(status: str, wanted: set[tuple[str, str]]) -> None:
                    def missing() -> set[tuple[str, str]]:
                        return wanted - told(sink, status)

                    wait_until(lambda: not missing(), PATIENCE, f"{status}: {missing()}")

                # Given a fleet that is well for longer than the rules look back, nothing is told
                wait_until(lambda: prometheus.query("beanwatch_server_up offset 9s"), PATIENCE)
                assert told(sink, "firing") == set()
                # When it is in every trouble, every alert is told
                fleet.is_well = False
                wait_for("firing", every - nobody)
                # When it is well again, each has ended
                fleet.is_well = True
                wait_for("resolved", every - nobody)
                # When no worker is left, and one comes back
                fleet.has_workers = False
                wait_for("firing", nobody)
                fleet.has_workers = True
                wait_for("resolved", nobody)
