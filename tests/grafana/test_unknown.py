"""Panels of a queue system that can tell little: what is unknown has no value, and is never 0."""

import time
from pathlib import Path

from beanwatch.grafana.generator.lib import queries, states
from beanwatch.grafana.generator.lib.patterns import Patterns
from tests.grafana import boards
from tests.real import Graphite, wait_until
from tests.real.prometheus import MetricsPage, Prometheus

# Such a server answers, and of a queue it tells the ready and the reserved jobs, and the puts.
KNOWN = {
    "collector.s1.success": 1,
    "collector.s1.points": 4,
    "server.s1.up": 1,
    "queue.s1.orders.ready": 3,
    "queue.s1.orders.reserved": 1,
    "queue.s1.orders.put_rate": 2,
}
SHOWN = {
    "fleet": {
        "Servers down": [0],
        "Servers silent": [0],
        "Ready": [3],
        "Put": [2],
        "Reserved": [1],
        "Put and deleted": [2],
        "Queues now: Ready": [3],
        "Queues now: Put": [2],
        "Queues now: Reserved": [1],
        "Ready jobs: longest queues": [3],
        "Servers now: State": [1],
        "Servers now: Ready": [3],
        "Servers now: Reserved": [1],
        "Servers now: Put": [2],
        "Polls": [1],
        "Points per poll": [4],
    },
    "queue": {
        "Ready": [3],
        "Put": [2],
        "Put and deleted": [2],
        "Jobs by state": [1, 3],
        "The queue on each server now: Ready": [3],
        "The queue on each server now: Reserved": [1],
        "The queue on each server now: Put": [2],
    },
    "server": {"Servers down": [0], "Answers": [1], "Jobs by state": [1, 3], "Put": [2]},
    "worker": {},
}
# The same server, as Prometheus gets it.
PAGE = """\
beanwatch_collector_poll_age_seconds{{{s1}}} 1
beanwatch_collector_poll_success{{{s1}}} 1
beanwatch_server_up{{{s1}}} 1
beanwatch_queue_jobs{{{s1},queue="orders",state="ready"}} 3
beanwatch_queue_jobs{{{s1},queue="orders",state="reserved"}} 1
beanwatch_queue_puts_total{{{s1},queue="orders"}} {puts}
"""
# Queues and the series that each has, with the time to drain that is shown.
DRAINED = {
    "grows": ({"s1": {"put_rate": 2, "delete_rate": 1}}, states.NEVER_DRAINED),
    "shrinks": ({"s1": {"put_rate": 1, "delete_rate": 2, "drain_seconds": 30}}, 30),
    "grows_on_one": (
        {
            "s1": {"put_rate": 1, "delete_rate": 2, "drain_seconds": 30},
            "s2": {"put_rate": 2, "delete_rate": 1},
        },
        states.NEVER_DRAINED,
    ),
    "unknown": ({"s1": {"delete_rate": 1}}, None),
    "known_on_one": (
        {"s1": {"delete_rate": 1}, "s2": {"put_rate": 1, "delete_rate": 2, "drain_seconds": 30}},
        30,
    ),
}
CHOICES = {"server": "*", "queue": "orders", "queues": "*", "host": "*", "worker": "*"}


def test_what_a_system_cannot_tell_has_no_value(graphite: Graphite, prefix: str) -> None:
    for path, value in KNOWN.items():
        for age in range(60):  # more than any moving window of the panels needs
            graphite.send(f"{prefix}.{path}", value, time.time() - age)
    *_, last = KNOWN
    wait_until(lambda: graphite.values(f"{prefix}.{last}"))
    values = {**CHOICES, "prefix": prefix, "worker_prefix": prefix}
    for name, expected in SHOWN.items():
        shown: dict[str, list[float]] = {}
        for panel in boards.panels(boards.dashboard(name)):
            for label, target in boards.labelled(panel):
                series = graphite.render(boards.put_in(target, values))
                known = [[v for v, _ in one["datapoints"] if v is not None] for one in series]
                if newest := [one[-1] for one in known if one]:
                    shown[label] = sorted({*shown.get(label, []), *newest})
        assert shown == expected


def test_what_a_system_cannot_tell_prometheus_has_no_value_for(tmp_path: Path) -> None:
    def page(scrapes: int) -> str:
        return PAGE.format(s1='system="few",server="s1"', puts=2 * scrapes)

    scrape = {"job_name": "beanwatch", "scrape_interval": "1s", "scrape_timeout": "1s"}
    with MetricsPage(page) as few:
        config = {"scrape_configs": [{**scrape, "static_configs": [{"targets": [few.address]}]}]}
        with Prometheus(tmp_path, config) as prometheus:
            rates = "rate(beanwatch_queue_puts_total[10s]) > 1.9"
            wait_until(lambda: prometheus.query(rates), timeout=60)
            values = {**dict.fromkeys(CHOICES, ".*"), "queue": "orders", **boards.TIMES}
            for name, expected in SHOWN.items():
                shown: dict[str, list[float]] = {}
                for panel in boards.panels(boards.dashboard(name, "prometheus")):
                    for label, query in boards.labelled(panel):
                        found = prometheus.query(boards.put_in(query, values))
                        if newest := [round(sample.value) for sample in found]:
                            shown[label] = sorted({*shown.get(label, []), *newest})
                # Prometheus computes the rate of the counter, and knows no points.
                shown.pop("The queue on each server now: Total put", None)
                assert shown == {k: v for k, v in expected.items() if k != "Points per poll"}


def test_a_queue_is_never_drained_only_where_its_rates_are_known(
    graphite: Graphite, prefix: str
) -> None:
    for queue, (servers, _) in DRAINED.items():
        for server, measures in servers.items():
            for measure, value in measures.items():
                graphite.send(f"{prefix}.queue.{server}.{queue}.{measure}", value)
    wait_until(lambda: graphite.values(f"{prefix}.queue.s2.known_on_one.drain_seconds"))
    query = queries.time_to_drain(Patterns(prefix, servers="*")).graphite
    shown = {
        one["target"]: max(value for value, _ in one["datapoints"] if value is not None)
        for one in graphite.render(query)
    }
    assert shown == {queue: time for queue, (_, time) in DRAINED.items() if time is not None}


def test_the_jobs_of_a_server_are_its_own_number_or_those_of_its_queues(
    graphite: Graphite, prefix: str
) -> None:
    for path, value in {
        "server.whole.ready": 9,  # some of its queues are excluded
        "queue.whole.orders.ready": 3,
        "queue.table.orders.ready": 3,
        "queue.table.mail.ready": 4,
    }.items():
        graphite.send(f"{prefix}.{path}", value)
    wait_until(lambda: graphite.values(f"{prefix}.queue.table.mail.ready"))
    query = queries.jobs_on_servers(Patterns(prefix, servers="*"), "ready").graphite
    shown = {
        one["target"]: max(value for value, _ in one["datapoints"] if value is not None)
        for one in graphite.render(query)
    }
    assert shown == {"whole": 9, "table": 7}
