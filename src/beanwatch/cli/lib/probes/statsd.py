"""StatsD: does a worker's counter arrive in Graphite, and under the name that is looked for?"""

import random
import socket
import time
from collections.abc import Iterator

from beanwatch.cli.lib.probes.finding import TIMEOUT, Chain, Finding
from beanwatch.cli.lib.probes.render import await_value
from beanwatch.collectors.deliver.carbon import CarbonConnection, GraphiteError, parse_graphite
from beanwatch.net.address import Address, AddressError, parse_address
from beanwatch.queues.servers import short_host
from beanwatch.telemetry.nodes import node

STATSD_PORT = 8125


def probe_statsd(chain: Chain) -> Iterator[Finding]:
    """Send a counter, and see under which name it arrives in Graphite."""
    scheme, _, rest = chain.metrics.partition("://")
    stem = f"{chain.prefix}.doctor.{node(short_host())}"
    if not chain.metrics:
        yield Finding(
            "worker metrics",
            "unused",
            "not configured: no series of jobs and workers",
            "set metrics under [worker]: statsd://HOST:8125 or graphite://HOST:2003",
        )
        return
    if scheme == "graphite":
        yield from _probe_direct(rest, f"{stem}.workers")
        return
    part = f"{scheme} {rest}"
    stem = f"{stem}.statsd"
    value = random.randrange(1, 1_000_000)
    try:
        if scheme != "statsd":
            raise AddressError(f"{chain.metrics!r}: expected statsd:// or graphite://")
        send_counter(parse_address(rest, STATSD_PORT), stem, value)
    except (OSError, AddressError) as error:
        yield Finding(
            part,
            "failed",
            "nobody listens there" if isinstance(error, ConnectionRefusedError) else str(error),
            "start the StatsD daemon, or correct metrics under [worker]",
        )
        return
    if not chain.url:
        yield Finding(
            part,
            "warning",
            "a counter was sent; whether it arrived cannot be seen without the render API",
            "set url under [graphite]",
        )
        return
    ours = f"{stem}.count"
    others = [f"stats.counters.{stem}.count", f"stats_counts.{stem}", f"*.{stem}.count", stem]
    try:
        arrived = await_value(chain.url, [ours, *others], value, chain.wait)
    except GraphiteError:
        yield Finding(part, "unused", "a counter was sent; the render API is not there: see above")
        return
    if arrived == ours:
        yield Finding(part, "ok", f"a counter arrived as {ours}")
    elif arrived:
        yield Finding(
            part,
            "failed",
            f"a counter arrived as {arrived}, where no dashboard looks: it should be {ours}",
            "give the daemon the configuration that `beanwatch install graphite` places in "
            "/etc/beanwatch/statsd (legacyNamespace false, empty prefixes)",
        )
    else:
        yield Finding(
            part,
            "failed",
            f"a counter did not arrive in Graphite within {chain.wait:g} s",
            "is the daemon there (nothing tells a UDP sender), does it send to this Graphite, "
            "and how long is its flushInterval?",
        )


def _probe_direct(address: str, path: str) -> Iterator[Finding]:
    part = f"worker metrics {address}"
    try:
        carbon = CarbonConnection(parse_graphite(address), TIMEOUT)
        carbon.send(f"{path} 1 {time.time():.0f}\n".encode())
        carbon.close_confirmed(TIMEOUT)
        yield Finding(part, "ok", "carbon takes the workers' series")
    except (GraphiteError, AddressError) as error:
        yield Finding(part, "failed", str(error), "start carbon, or correct metrics under [worker]")


def send_counter(address: Address, name: str, value: int) -> None:
    """Count in StatsD. Raises OSError, which for a closed port comes at the second datagram."""
    (family, kind, _, _, where), *_ = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_DGRAM
    )
    with socket.socket(family, kind) as sock:
        sock.settimeout(TIMEOUT)
        sock.connect(where)
        sock.send(f"{name}:{value}|c".encode())
        time.sleep(0.05)  # for the kernel's refusal to come back
        sock.send(f"{name}:0|c".encode())
