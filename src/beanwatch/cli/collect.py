"""`beanwatch collect`: send metrics of servers and workers to Graphite, or serve them."""

import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import click

from beanwatch.cli.lib.absent_parts import has_redis
from beanwatch.cli.lib.collect_files import load_state, open_log, open_spool, open_state, state_path
from beanwatch.cli.lib.options import (
    COUNT,
    DURATION,
    PREFIX,
    apply_flags,
    check_durations,
    config_option,
    load_config,
    pick_redis,
    pick_servers,
    server_option,
)
from beanwatch.cli.lib.probes.storage_step import StepWatch
from beanwatch.collectors.collector import Collector, Extra
from beanwatch.collectors.deliver.carbon import CarbonConnection, Printer, parse_graphite
from beanwatch.collectors.deliver.delivery import Delivery, Transport
from beanwatch.collectors.deliver.outbox import Outbox
from beanwatch.collectors.poll.fleet_totals import FleetTotals
from beanwatch.collectors.poll.observer import FindRuns, Observer
from beanwatch.collectors.poll.points import GraphitePoints
from beanwatch.collectors.poll.poller import Poller, Publish
from beanwatch.collectors.poll.samples import ServerSamples
from beanwatch.collectors.poll.worker_series import PublishFleet, WorkerPoller
from beanwatch.collectors.serve.board import Board
from beanwatch.collectors.serve.pages import make_pages
from beanwatch.config import CollectConfig, Config
from beanwatch.net.address import Address, AddressError
from beanwatch.net.http_server import HttpServer, Page, describe_listen_error, parse_listen
from beanwatch.net.systemd import SystemdNotifier
from beanwatch.queues.selection import Selection
from beanwatch.queues.servers import Server, find_clash
from beanwatch.telemetry.logging.problems import ProblemLog
from beanwatch.telemetry.logging.setup import reopen

LONGEST_INTERVAL = 60.0  # seconds; half of the time after which points are late
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)


@click.command("collect")
@config_option
@server_option
@click.option(
    "--graphite",
    metavar="HOST:PORT",
    help="carbon's plaintext receiver (127.0.0.1:2003); - prints the lines instead",
)
@click.option(
    "--redis",
    metavar="URL",
    help="also send metrics of the workers whose heartbeats are in this Redis (default: the "
    "configured one); '' sends none",
)
@click.option("--prefix", type=PREFIX, help="first node of all metric paths (beanwatch)")
@click.option("--once", is_flag=True, help="poll every server once, then exit; for cron")
@click.option("--interval", type=DURATION, help="time between two polls of a server (10s)")
@click.option(
    "--queues-interval",
    type=DURATION,
    help="time between two polls of all queues (default: --interval)",
)
@click.option("--timeout", type=DURATION, help="longest wait for a server's reply (5s)")
@click.option("--include", multiple=True, metavar="GLOB", help="send metrics of these queues (all)")
@click.option("--exclude", multiple=True, metavar="GLOB", help="send no metrics of these queues")
@click.option(
    "--max-queues",
    type=COUNT,
    help="send separate series for this many queues, and one sum for the rest; 0: all (10000)",
)
@click.option(
    "--head-ages/--no-head-ages",
    default=None,
    help="also send for how long the first job of each queue has waited (on)",
)
@click.option(
    "--series",
    type=click.Choice(["all", "essential"]),
    help="send all numbers to Graphite, or eight of each queue, on a third less disk space (all)",
)
@click.option("--state", metavar="FILE", help="keep counters in this file between two runs")
@click.option("--spool", metavar="DIR", help="keep unsent points here while Graphite is down")
@click.option(
    "--listen",
    metavar="ADDRESS",
    help="serve /metrics for Prometheus, /livez and /readyz on this host:port, or on this port of "
    "the loopback interface; then Graphite gets metrics only if it is configured",
)
@click.option("--log-format", type=click.Choice(["json", "console"]), help="log format (json)")
@click.option(
    "--log-file", metavar="FILE", help="write the log here, not to stderr; SIGHUP reopens it"
)
def command(
    config_file: str | None,
    servers: tuple[str, ...],
    graphite: str | None,
    redis: str | None,
    prefix: str | None,
    once: bool,
    log_format: str | None,
    log_file: str | None,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    **flags: float | str | bool | None,
) -> int:
    """Send metrics of queue servers and workers to Graphite, or let Prometheus scrape them.

    It runs until SIGTERM or Ctrl-C.

    \b
    Examples:
      beanwatch collect --server q1.example.org --graphite graphite.example.org
      beanwatch collect --once --graphite -        print what would be sent
      beanwatch collect --listen 9137              let Prometheus scrape it

    With --once the exit code is 0 if every server answered and all points were sent, 2 if
    no server answered, else 1. The reason is on standard error.
    """
    config = load_config(config_file)
    collect = apply_flags(config.collect, include=include or None, exclude=exclude or None, **flags)
    collect = collect._replace(queues_interval=collect.queues_interval or collect.interval)
    config = config.set_redis(redis)._replace(
        prefix=prefix or config.prefix,
        graphite=apply_flags(config.graphite, address=graphite),
        log_format=log_format or config.log_format,
        log_file=log_file or config.log_file,
        collect=collect,
    )
    check_durations(interval=collect.interval, timeout=collect.timeout)
    if once:
        if flags["listen"]:
            raise click.UsageError(
                "--listen has no effect with --once: nothing stays to be scraped"
            )
        config = config._replace(collect=collect._replace(listen=""))
    elif collect.listen and graphite is None and "graphite.address" not in config.given:
        config = config._replace(graphite=config.graphite._replace(address=""))
    chosen = pick_servers(config, servers)
    if clash := find_clash(chosen):
        raise click.UsageError(clash)
    with ExitStack() as stack:
        return run(config, chosen, stack, once=once)


def run(config: Config, servers: Sequence[Server], stack: ExitStack, *, once: bool) -> int:
    """Make the collector from the configuration, and run it. Return the exit code.

    `stack` keeps the lock files open until the end. Raises UsageError if a setting is invalid.
    """
    collect = config.collect
    log = open_log(config, once=once)
    problems = ProblemLog(log)
    if collect.interval > LONGEST_INTERVAL and not once:
        log.warning(
            f"the interval should be at most {LONGEST_INTERVAL:g} s: after 2 minutes without a new "
            "point, the alert rules and check_metrics_fresh say that the collector is silent; to "
            "read queues less often, set collect.queues_interval"
        )
    state = open_state(state_path(collect.state, servers, once=once), stack)
    known = load_state(state, log)
    # With `-` points are only printed. They need no spool, and a running collector may lock it.
    spool = "" if config.graphite.address in ("-", "") else collect.spool
    outbox = Outbox(open_spool(spool, problems, stack), interval=collect.interval)
    totals = FleetTotals(servers, lambda text: problems.report("fleet totals", text))
    # With --once, the servers and the workers are read at the same time.
    find_runs = None if once else totals.queue_runs
    only_essential = collect.series == "essential"
    points = GraphitePoints(outbox, config.prefix, only_essential=only_essential)
    board = Board(max_age(collect), totals, zeros_for=zeros_for(collect))
    publish: list[Publish] = [points.publish] if config.graphite.address else []
    publish_fleet: list[PublishFleet] = [points.publish_fleet] if publish else []
    if collect.listen:
        publish.append(board.post)
        publish_fleet.append(board.post_fleet)
    pollers = []
    for server in servers:
        expected = config.expected_queues(server.node)
        selection = Selection(collect.include, collect.exclude, collect.max_queues, expected)
        observer = make_observer(server, known.get(server.node), selection, collect, find_runs)
        pollers.append(Poller(observer, selection, problems, publish))
    extras = pick_extras(config, publish_fleet, totals, problems, once=once)
    if not once and config.graphite.address not in ("-", ""):
        nodes = [server.node for server in servers]
        extras.append(StepWatch(config.graphite.url, config.prefix, nodes, collect, problems))
    collector = Collector(
        pollers,
        extras,
        outbox,
        Delivery(outbox, pick_transport(config.graphite.address, collect.listen), problems),
        log,
        interval=collect.interval,
        queues_interval=collect.queues_interval,
        targets=name_targets(config.graphite.address, collect.listen),
        state=state,
        notifier=SystemdNotifier(),
    )
    if once:
        # The timeouts add up: a poll reads the server, then its queues, then their first jobs.
        limit = collect.timeout * 2 + max(collect.timeout, collect.queues_interval)
        answered, well = collector.once(round(time.time()), limit)
        return 2 if not answered else 0 if well and answered == len(servers) else 1
    # Block the signals, and wait for them with sigtimedwait. A signal handler could interrupt the
    # main thread while that holds a lock which the handler needs. New threads inherit the mask.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    if collect.listen:
        nodes = [server.node for server in servers]
        stack.enter_context(
            listening(collect.listen, make_pages(board, nodes, collector.is_alive), problems)
        )
    collector.run(wait_for_signal)
    return 0


def name_targets(graphite: str, listen: str) -> list[str]:
    """Return where the numbers go, for the log: carbon, a page for Prometheus, or both.

    Raises UsageError if `listen` is no address.
    """
    page = f"http://{parse_page_address(listen)}/metrics" if listen else ""
    return list(filter(None, [f"graphite {graphite}" if graphite else "", page]))


def parse_page_address(text: str) -> Address:
    """Parse where the pages are served. Raises UsageError."""
    try:
        return parse_listen(text)
    except AddressError as error:
        raise click.UsageError(f"--listen: {error}") from None


def make_observer(
    server: Server,
    samples: ServerSamples | None,
    selection: Selection,
    collect: CollectConfig,
    find_runs: FindRuns | None,
) -> Observer:
    """Make the object that polls one server. `samples` are its counters from an earlier run."""
    return Observer(
        server,
        samples,
        selection,
        timeout=collect.timeout,
        sweep_timeout=collect.queues_interval,
        head_ages=collect.head_ages,
        find_runs=find_runs,
    )


def wait_for_signal(seconds: float) -> bool:
    """Sleep for `seconds`. Return True early if a signal asks to stop; SIGHUP reopens the log."""
    received = signal.sigtimedwait(SIGNALS, seconds)
    if received and received.si_signo == signal.SIGHUP:
        reopen()
        return False
    return received is not None


def max_age(collect: CollectConfig) -> float:
    """Return for how long (seconds) the page shows what was read: for three polls that time out."""
    return 3 * (max(collect.interval, collect.queues_interval) + collect.timeout)


def zeros_for(collect: CollectConfig) -> float:
    """Return for how long (seconds) the page shows a new kind of job without runs.

    It is the longest time that is likely between two scrapes: a minute, but less for who polls more
    often than every 10 s.
    """
    return min(60.0, 6 * collect.interval)


@contextmanager
def listening(text: str, pages: Mapping[str, Page], problems: ProblemLog) -> Iterator[HttpServer]:
    """Serve the pages on the address `text`. Raises UsageError if it is invalid.

    Raises ClickException if it is not free, or its host is not known. Both may pass by themselves,
    so the exit code must not be 2, after which systemd does not start the collector again.
    """
    address = parse_page_address(text)
    try:
        server = HttpServer(address, pages, lambda text: problems.report("listen", text))
    except OSError as error:
        raise click.ClickException(f"--listen: {describe_listen_error(address, error)}") from None
    try:
        yield server
    finally:
        server.close()


def pick_transport(address: str, listen: str = "") -> Transport:
    """Return the transport for points: a connection to carbon, or standard output for `-`.

    Raises UsageError if the address is invalid, or empty (off) and `listen` is empty too. With
    `listen` there are no points to send.
    """
    if not address and not listen:
        raise click.UsageError(
            "there is nowhere to send to, because graphite.address is empty; name carbon's address "
            "with --graphite HOST:PORT, or let Prometheus scrape with --listen"
        )
    if address in ("-", ""):
        return Printer(sys.stdout)
    try:
        return CarbonConnection(parse_graphite(address))
    except AddressError as error:
        raise click.UsageError(f"--graphite: {error}") from None


def pick_extras(
    config: Config,
    publish: Sequence[PublishFleet],
    totals: FleetTotals,
    problems: ProblemLog,
    *,
    once: bool,
) -> list[Extra]:
    """Return the poller for metrics of workers, or an empty list if Redis is off.

    With `once` the list is also empty if nobody has configured Redis and none answers: each run
    would fail. A collector that keeps running logs it once, and finds a Redis that starts later.
    """
    url = pick_redis(config, None)
    if url is None or (once and not has_redis(config)):
        return []
    poller = WorkerPoller(
        url,
        problems,
        publish,
        totals.update,
        expected=config.expected_workers,
        groups={group.glob: group.least for group in config.expected_groups},
        is_wanted=config.is_wanted("redis.url"),
        timeout=config.collect.timeout,
    )
    return [poller]
