"""Test that metrics of workers arrive in Graphite, directly or through StatsD."""

import random
import socket
import time
from collections.abc import Iterator

from beanwatch.cli.lib.probes.finding import PROBE_TIMEOUT, Finding, ProbeSettings, report_off
from beanwatch.cli.lib.probes.render import wait_for_value
from beanwatch.collectors.deliver.carbon import CarbonConnection, GraphiteError, parse_graphite
from beanwatch.net.address import Address, AddressError, parse_address, resolve
from beanwatch.net.errors import socket_reason
from beanwatch.queues.servers import short_host
from beanwatch.telemetry.nodes import node

STATSD_PORT = 8125


def probe_statsd(settings: ProbeSettings) -> Iterator[Finding]:
    """Send a test counter to StatsD, and test that it arrives in Graphite in the right series."""
    scheme, _, rest = settings.metrics.partition("://")
    stem = f"{settings.prefix}.doctor.{node(short_host())}"
    if not settings.metrics:
        off = report_off("worker metrics", "worker.metrics")
        yield off._replace(cure=f"{off.cure}: statsd://HOST:8125 or graphite://HOST:2003")
        return
    if scheme == "graphite":
        yield from _probe_direct(rest, f"{stem}.workers")
        return
    part = f"{scheme} {rest}"
    stem = f"{stem}.statsd"
    value = random.randrange(1, 1_000_000)
    try:
        if scheme != "statsd":
            raise AddressError(f"{settings.metrics!r}: expected statsd:// or graphite://")
        send_counter(parse_address(rest, STATSD_PORT), stem, value)
    except (OSError, AddressError) as error:
        reason = socket_reason(error, PROBE_TIMEOUT) if isinstance(error, OSError) else str(error)
        if isinstance(error, ConnectionRefusedError):
            reason = "nothing listens on this port"
        yield Finding(
            part,
            "failed",
            f"cannot send a test counter: {reason}",
            "start the StatsD daemon, or correct metrics under [worker]",
        )
        return
    if not settings.url:
        yield Finding(
            part,
            "warning",
            "sent a test counter, but cannot see whether it arrived: no render API is configured",
            "set url under [graphite]",
        )
        return
    ours = f"{stem}.count"
    others = [f"stats.counters.{stem}.count", f"stats_counts.{stem}", f"*.{stem}.count", stem]
    try:
        arrived = wait_for_value(settings.url, [ours, *others], value, settings.wait)
    except GraphiteError:
        yield Finding(
            part,
            "unused",
            "sent a test counter, but cannot see whether it arrived: the render API does not work "
            "(see above)",
        )
        return
    if arrived == ours:
        yield Finding(part, "ok", f"the test counter arrived in the series {ours}")
    elif arrived:
        yield Finding(
            part,
            "failed",
            f"the test counter arrived in the series {arrived}, but dashboards read {ours}",
            "start StatsD with the configuration that `beanwatch install graphite` installs in "
            "/etc/beanwatch/statsd (legacyNamespace false, empty prefixes)",
        )
    else:
        yield Finding(
            part,
            "failed",
            f"the test counter did not arrive in Graphite within {settings.wait:g} s",
            "check that StatsD is running (a sender of UDP gets no error), that it sends to this "
            "Graphite, and that its flushInterval is short",
        )


def _probe_direct(address: str, path: str) -> Iterator[Finding]:
    part = f"worker metrics {address}"
    try:
        carbon = CarbonConnection(parse_graphite(address), PROBE_TIMEOUT)
        carbon.send(f"{path} 1 {time.time():.0f}\n".encode())
        carbon.close_confirmed(PROBE_TIMEOUT)
        yield Finding(part, "ok", "carbon received a test metric")
    except (GraphiteError, AddressError) as error:
        yield Finding(
            part,
            "failed",
            f"cannot send a test metric: {error}",
            "start carbon, or correct metrics under [worker]",
        )


def send_counter(address: Address, name: str, value: int) -> None:
    """Add `value` to the counter `name` in StatsD, by UDP. Raises OSError.

    If the port is closed, the kernel reports it only at the second datagram, so this sends two.
    """
    family, where = resolve(address.host, address.port, PROBE_TIMEOUT)[0]
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(PROBE_TIMEOUT)
        sock.connect(where)
        sock.send(f"{name}:{value}|c".encode())
        time.sleep(0.05)  # until the reply that the port is closed has arrived
        sock.send(f"{name}:0|c".encode())
