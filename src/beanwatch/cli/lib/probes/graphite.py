"""Test Graphite: it must return a point that carbon got, and have new points of the collector."""

import random
import time
from collections.abc import Iterator
from contextlib import suppress

from beanwatch.cli.lib.probes.finding import PROBE_TIMEOUT, Finding, ProbeSettings, report_off
from beanwatch.cli.lib.probes.render import hide_password, render, wait_for_value
from beanwatch.cli.lib.probes.storage_step import CURE, find_step_problems
from beanwatch.collectors.deliver.carbon import CarbonConnection, GraphiteError, parse_graphite
from beanwatch.net.address import AddressError
from beanwatch.queues.servers import short_host
from beanwatch.telemetry.nodes import node
from beanwatch.telemetry.series import collector

MAX_AGE = 120.0  # seconds; check_metrics_fresh warns of older points as well


def probe_graphite(settings: ProbeSettings) -> Iterator[Finding]:
    """Send a test metric to carbon, and wait until the render API returns it."""
    path = f"{settings.prefix}.doctor.{node(short_host())}.graphite"
    shown_url = hide_password(settings.url)
    value = random.randrange(1, 1_000_000)
    sent = False
    if settings.carbon:
        finding = _send_test_metric(settings.carbon, path, value)
        sent = finding.state == "ok"
        yield finding
    else:
        yield report_off("graphite carbon", "graphite.address")
    if not settings.url:
        yield report_off("graphite render", "graphite.url")
        return
    try:
        if not sent:
            render(settings.url, [path])
            yield Finding("graphite render", "ok", f"{shown_url}: the render API answers")
        elif wait_for_value(settings.url, [path], value, settings.wait):
            yield Finding("graphite render", "ok", f"{shown_url}: returned the test metric")
        else:
            yield Finding(
                "graphite render",
                "failed",
                f"{shown_url}: did not return the test metric {path} within {settings.wait:g} s",
                "raise MAX_CREATES_PER_MINUTE in carbon.conf if carbon creates new series slowly; "
                "set CARBONLINK_HOSTS of graphite-web to carbon-cache; compare the hosts' clocks",
            )
    except GraphiteError as error:
        yield Finding(
            "graphite render",
            "failed",
            str(error),
            "start graphite-web, or correct url under [graphite]: it is the URL of Grafana's data "
            "source, without /render",
        )


def _send_test_metric(address: str, path: str, value: int) -> Finding:
    try:
        carbon = CarbonConnection(parse_graphite(address), PROBE_TIMEOUT)
        carbon.send(f"{path} {value} {time.time():.0f}\n".encode())
        # Another kind of server would send a reply, or not confirm that it read everything.
        carbon.close_confirmed(PROBE_TIMEOUT)
    except (GraphiteError, AddressError) as error:
        return Finding(
            "graphite carbon",
            "failed",
            f"cannot send a test metric: {error}",
            "start carbon-cache or the relay, or correct address under [graphite]: the port "
            "is LINE_RECEIVER_PORT in carbon.conf",
        )
    return Finding("graphite carbon", "ok", f"{address}: received a test metric")


def probe_freshness(settings: ProbeSettings) -> Iterator[Finding]:
    """Test that the collector is running, by the age of its newest point for each server.

    Also test that Graphite's step fits the collector's intervals.
    """
    if not settings.url:
        yield Finding("freshness", "unused", "skipped: the render API is off")
        return
    for server in settings.servers:
        part = f"freshness {server.node}"
        path = collector(settings.prefix, server.node, "success")
        try:
            found = render(settings.url, [path], "-1h")
        except GraphiteError:
            yield Finding(part, "unused", "skipped: the render API does not work (see above)")
            continue
        # By Graphite's clock, as that of this host may be wrong.
        ages = [series.end - at for series in found for _, at in series.points[-1:]]
        if not ages:
            yield Finding(
                part,
                "failed",
                f"{path}: Graphite has no point of the last hour",
                "start the collector: systemctl start beanwatch-collect, or: beanwatch collect; if "
                "it is running, check that its --prefix and --graphite are the same as here",
            )
        elif min(ages) > MAX_AGE:
            yield Finding(
                part,
                "failed",
                f"{path}: the newest point is {min(ages)} s old",
                "check that the collector is running: journalctl -u beanwatch-collect",
            )
        else:
            yield Finding(part, "ok", f"the newest point is {min(ages)} s old")
    nodes = [server.node for server in settings.servers]
    with suppress(GraphiteError):  # a render API that does not work is in another finding
        for problem in find_step_problems(settings.url, settings.prefix, nodes, settings.collect):
            yield Finding("storage step", "warning", problem, CURE)
