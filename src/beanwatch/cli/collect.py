"""`beanwatch collect`: send beanstalkd's numbers to Graphite."""

import sys
import threading

import click

from beanwatch.cli.options import (
    DURATION,
    config_option,
    load_config,
    override,
    pick_servers,
    server_option,
)
from beanwatch.collectors import paths
from beanwatch.collectors.address import AddressError
from beanwatch.collectors.carbon import Carbon, GraphiteError, parse_graphite
from beanwatch.collectors.points import make_batch
from beanwatch.collectors.protocol import Link, ServerError
from beanwatch.collectors.schedule import Schedule
from beanwatch.collectors.selection import Selection
from beanwatch.collectors.servers import Server
from beanwatch.collectors.stats import numbers
from beanwatch.collectors.sweep import read
from beanwatch.config import CollectConfig, Config


@click.command("collect")
@config_option
@server_option
@click.option("--graphite", metavar="HOST:PORT", help="carbon's plaintext port")
@click.option("--prefix", help="first node of all paths")
@click.option("--once", is_flag=True, help="poll every server once and exit")
@click.option("--interval", type=DURATION, help="seconds between two polls (default 10)")
def command(
    config_file: str | None,
    servers: tuple[str, ...],
    graphite: str | None,
    prefix: str | None,
    once: bool,
    interval: float | None,
) -> int:
    """Send beanstalkd's numbers to Graphite.

    \b
    Example:
      beanwatch collect --server q1.example.org --graphite graphite.example.org:2003
    """
    config = load_config(config_file)
    collect = override(config.collect, interval=interval)
    try:
        address = parse_graphite(graphite or config.graphite.address or "127.0.0.1:2003")
    except AddressError as error:
        raise click.UsageError(str(error)) from None
    carbon = Carbon(address)
    config = config._replace(collect=collect, prefix=prefix or config.prefix)
    chosen = pick_servers(config, servers)
    if once:
        return poll_all(config, chosen, carbon)
    schedule = Schedule(collect.interval)
    stop = threading.Event()
    while schedule.wait(stop.wait):
        poll_all(config, chosen, carbon)
    return 0


def poll_all(config: Config, servers: list[Server], carbon: Carbon) -> int:
    good = sum(poll(config.prefix, config.collect, server, carbon) for server in servers)
    return 0 if good == len(servers) else 1 if good else 2


def poll(prefix: str, collect: CollectConfig, server: Server, carbon: Carbon) -> bool:
    import time

    stamp = round(time.time())
    selection = Selection(collect.include, collect.exclude)
    series = []
    try:
        with Link(server.address, collect.timeout) as link:
            reading = read(link, selection.wanted)
        series.append((f"{prefix}.server.{server.node}", numbers(reading.server) | {"up": 1}))
        for name, stats in (reading.tubes or {}).items():
            series.append((f"{prefix}.tube.{server.node}.{paths.node(name)}", numbers(stats)))
        series.append((f"{prefix}.collector.{server.node}", {"success": 1}))
        up = True
    except ServerError as error:
        print(f"beanwatch: {error}", file=sys.stderr)  # noqa: T201
        series.append((f"{prefix}.server.{server.node}", {"up": 0}))
        series.append((f"{prefix}.collector.{server.node}", {"success": 0}))
        up = False
    try:
        carbon.send_message(make_batch(server.node, stamp, series).lines)
    except GraphiteError as error:
        print(f"beanwatch: {error}", file=sys.stderr)  # noqa: T201
        return False
    return up
