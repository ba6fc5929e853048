"""Graphite: does a point that carbon takes come back, and do the collector's arrive?"""

import random
import time
from collections.abc import Callable, Iterator

from beanwatch.cli.lib.probes.finding import TIMEOUT, Chain, Finding
from beanwatch.cli.lib.probes.render import await_value, render, without_user
from beanwatch.collectors.deliver.carbon import CarbonConnection, GraphiteError, parse_graphite
from beanwatch.net.address import AddressError
from beanwatch.queues.servers import short_host
from beanwatch.telemetry.nodes import node
from beanwatch.telemetry.series import collector

FRESH = 120.0  # seconds; older points are a warning of check_metrics_fresh too


def probe_graphite(chain: Chain) -> Iterator[Finding]:
    """Send a point to carbon, and read it back from the render API."""
    path = f"{chain.prefix}.doctor.{node(short_host())}.graphite"
    value = random.randrange(1, 1_000_000)
    sent = False
    try:
        carbon = CarbonConnection(parse_graphite(chain.carbon), TIMEOUT)
        carbon.send(f"{path} {value} {time.time():.0f}\n".encode())
        carbon.close_confirmed(
            TIMEOUT
        )  # what is no carbon answers, or never says that it has read all
        sent = True
        yield Finding("graphite carbon", "ok", f"{chain.carbon}: took a point")
    except (GraphiteError, AddressError) as error:
        yield Finding(
            "graphite carbon",
            "failed",
            str(error),
            "start carbon-cache or the relay, or correct address under [graphite]: the port "
            "is LINE_RECEIVER_PORT in carbon.conf",
        )
    if not chain.url:
        yield Finding(
            "graphite render",
            "unused",
            "not configured: nobody can say whether the series are fresh",
            "set url under [graphite], or $BEANWATCH_GRAPHITE_URL",
        )
        return
    try:
        if not sent:
            render(chain.url, [path])
            yield Finding("graphite render", "ok", f"{without_user(chain.url)}: answers")
        elif await_value(chain.url, [path], value, chain.wait):
            yield Finding(
                "graphite render", "ok", f"{without_user(chain.url)}: the point came back"
            )
        else:
            yield Finding(
                "graphite render",
                "failed",
                f"{without_user(chain.url)}: {path} did not arrive within {chain.wait:g} s",
                "carbon makes 50 new series a minute unless MAX_CREATES_PER_MINUTE says more; "
                "graphite-web reads carbon's memory only if CARBONLINK_HOSTS names it; clocks",
            )
    except GraphiteError as error:
        yield Finding(
            "graphite render",
            "failed",
            str(error),
            "start graphite-web, or correct url under [graphite]: it is the address that Grafana "
            "has as its data source, without /render",
        )


def probe_freshness(chain: Chain, *, now: Callable[[], float] = time.time) -> Iterator[Finding]:
    """Does the collector run: how old is its newest point?"""
    if not chain.url:
        yield Finding("freshness", "unused", "the render API is not configured")
        return
    for server in chain.servers:
        part = f"freshness {server.node}"
        path = collector(chain.prefix, server.node, "success")
        try:
            found = render(chain.url, [path], "-1h")
        except GraphiteError:
            yield Finding(part, "unused", "the render API is not there: see above")
            continue
        newest = max((at for series in found for _, at in series.points), default=0)
        if not newest:
            yield Finding(
                part,
                "failed",
                f"{path}: no point within an hour",
                "start the collector: systemctl start beanwatch-collect, or: beanwatch collect; "
                "if it runs: is its --prefix this one, and its --graphite this Graphite?",
            )
        elif now() - newest > FRESH:
            yield Finding(
                part,
                "failed",
                f"{path}: the newest point is {now() - newest:.0f} s old",
                "is the collector running? journalctl -u beanwatch-collect",
            )
        else:
            yield Finding(part, "ok", f"the newest point is {max(0, now() - newest):.0f} s old")
