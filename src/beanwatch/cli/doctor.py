"""`beanwatch doctor`: tests the whole chain, and says what to do about each failure."""

import os
import pwd
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import click

from beanwatch.cli.lib.config_problems import find_problems
from beanwatch.cli.lib.directories import DIRECTORIES
from beanwatch.cli.lib.options import (
    DURATION,
    PREFIX,
    config_option,
    json_option,
    load_config,
    need_redis,
    pick_servers,
    redis_option,
    server_option,
)
from beanwatch.cli.lib.output import print_json, printable
from beanwatch.cli.lib.probes.checks import CHECKS, probe_check
from beanwatch.cli.lib.probes.finding import Chain, Finding
from beanwatch.cli.lib.probes.graphite import probe_freshness, probe_graphite
from beanwatch.cli.lib.probes.runner import Probe, run_all, waiting
from beanwatch.cli.lib.probes.servers import (
    probe_heartbeats,
    probe_redis,
    probe_server,
    server_part,
)
from beanwatch.cli.lib.probes.statsd import probe_statsd
from beanwatch.config import DEFAULT_FILE, Config, ConfigError, GraphiteConfig, find_strays

COLOURS = {
    "ok": "green",
    "warning": "yellow",
    "critical": "red",
    "failed": "red",
    "unused": "bright_black",
}
DEFAULT_CARBON = "127.0.0.1:2003"
# The users that run the checks on Debian and on Red Hat; the first that exists is taken.
MONITORS = ("nagios", "icinga", "nrpe")
QUEUE_SERVER = "a queue server"
# What a check cannot do without; the others need a queue server.
NEEDS = {
    "check_queue_server": "",
    "check_worker_heartbeat": "redis",
    "check_job_failures": "redis",
    "check_metrics_fresh": "graphite render",
}
NARROW = 72  # columns; with fewer there is no room for a table
SLACK = 20.0  # seconds on top of the wait for a point: to connect and ask, or for a check


@click.command("doctor")
@config_option
@server_option
@redis_option("the heartbeats")
@click.option("--graphite", metavar="HOST:PORT", help="carbon's plaintext port")
@click.option("--graphite-url", metavar="URL", help="Graphite's render API: http://host")
@click.option("--metrics", metavar="URL", help="where workers send: statsd:// or graphite://")
@click.option("--prefix", type=PREFIX, help="first node of all paths")
@click.option(
    "--user", help=f"run the checks as this user (default, as root: {' or '.join(MONITORS)})"
)
@click.option(
    "--wait", type=DURATION, default=30.0, help="how long a point may take to Graphite (30s)"
)
@json_option
def command(
    config_file: str | None,
    servers: tuple[str, ...],
    redis: str | None,
    graphite: str | None,
    graphite_url: str | None,
    metrics: str | None,
    prefix: str | None,
    user: str | None,
    wait: float,
    as_json: bool,
) -> int:
    """Test the whole chain, and say what to do about each failure; exit 1 if there is one.

    Two points, or a point and a counter, are sent under PREFIX.doctor; nothing else changes.

    \b
    Example:
      beanwatch doctor --config /etc/beanwatch/beanwatch.toml
    """
    config = load_config(config_file)
    config = config._replace(
        prefix=prefix or config.prefix,
        redis=config.redis._replace(url=redis or config.redis.url),
        graphite=GraphiteConfig(
            graphite or config.graphite.address, graphite_url or config.graphite.url
        ),
        worker=config.worker._replace(metrics=metrics or config.worker.metrics),
    )
    problems = list(probe_configuration(config))
    if any(problem.state == "failed" for problem in problems):
        return report(problems, as_json)
    if user is None:
        user = find_monitor()
    elif user:
        check_user(user)
    chain = make_chain(config, servers, user, wait)
    links = list_links(config, chain)
    checks = {f"check_{check}": partial(probe_check, chain, check) for check in CHECKS}
    with waiting([*links, *checks]) as finished:
        found = problems + run_all(links, wait + SLACK, finished)
        there = {
            check: probe for check, probe in checks.items() if not missing(check, chain, found)
        }
        found += run_all(there, wait + SLACK, finished)
    found += [
        Finding(check, "unused", f"skipped: it needs {missing(check, chain, found)}, see above")
        for check in checks
        if check not in there
    ]
    return report(found, as_json)


def make_chain(config: Config, servers: tuple[str, ...], user: str, wait: float) -> Chain:
    """Everything that the probes need: the configuration, with the flags over it."""
    chosen = pick_servers(config, servers)
    environ = {
        "BEANWATCH_CONFIG": config.file and os.path.abspath(config.file),  # they run elsewhere
        "BEANWATCH_PREFIX": config.prefix,
        "BEANWATCH_REDIS_URL": config.redis.url,
        "BEANWATCH_GRAPHITE_URL": config.graphite.url,
        "BEANWATCH_SERVERS": ",".join(f"{s.node}={s}" for s in chosen if servers),
    }
    return Chain(
        servers=chosen,
        prefix=config.prefix,
        redis=need_redis(config, None),
        carbon=config.graphite.address or DEFAULT_CARBON,
        url=config.graphite.url,
        metrics=config.worker.metrics,
        expected=config.expected_workers,
        # Where `beanwatch install` places plugins, else where pip does.
        plugins=[*map(Path, DIRECTORIES["plugins"]), Path(sys.prefix) / "bin"],
        user=user,
        environ={name: value for name, value in environ.items() if value},
        wait=wait,
    )


def find_monitor() -> str:
    """The user that runs the checks here, if we may become it; empty for ourselves."""
    if os.geteuid() != 0:
        return ""
    users = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in MONITORS if name in users), "")


def check_user(user: str) -> None:
    """Exit 2 if there is no such user, or if we may not become it."""
    try:
        uid = pwd.getpwnam(user).pw_uid
    except KeyError:
        raise click.UsageError(f"--user {user}: no such user") from None
    if os.geteuid() not in (0, uid):
        raise click.UsageError(f"--user {user}: only root can run the checks as another user")


def probe_configuration(config: Config) -> Iterator[Finding]:
    """The mistakes that `beanwatch config check` finds."""
    problems = list(find_problems(config))
    try:
        config.redis.read_password()
    except ConfigError as error:
        problems.append(str(error))
    for problem in problems:
        yield Finding("configuration", "failed", problem, f"edit {config.file or 'it'}")
    for stray in find_strays():
        yield Finding("configuration", "warning", stray, "correct its name, or unset it")
    if not problems:
        text = config.file or f"{DEFAULT_FILE} is not there: defaults for one host"
        yield Finding("configuration", "ok", text)


def list_links(config: Config, chain: Chain) -> dict[str, Probe]:
    """The probes, in the order of the screen, by the names that are shown while they run."""
    redis = partial(probe_redis, chain.redis)
    graphite = partial(probe_graphite, chain)
    return {
        **{server_part(server): partial(probe_server, server) for server in chain.servers},
        "redis": redis if config.redis.url else partial(lenient, redis, "redis"),
        "graphite": graphite
        if config.graphite.address
        else partial(lenient, graphite, "graphite carbon"),
        "statsd": partial(probe_statsd, chain),
        "heartbeats": partial(probe_heartbeats, chain.redis, chain.expected),
        "freshness": partial(probe_freshness, chain),
    }


def missing(check: str, chain: Chain, found: Sequence[Finding]) -> str:
    """The thing that a check needs and that is not usable, or "".

    It has a finding of its own. Without this, each check would report it once more.
    """
    need = NEEDS.get(check, QUEUE_SERVER)
    parts = tuple(map(server_part, chain.servers)) if need == QUEUE_SERVER else (need,)
    usable = any(f.part.startswith(parts) and f.state in ("ok", "warning") for f in found)
    return "" if usable or not need else need


def lenient(probe: Probe, part: str) -> Iterator[Finding]:
    """A server that is not configured, and not at the default address, is no failure."""
    for finding in probe():
        if finding.state == "failed" and finding.part == part:
            text = f"not configured, and not at the default address: {finding.text}"
            yield finding._replace(state="unused", text=text)
        else:
            yield finding


def report(findings: Sequence[Finding], as_json: bool) -> int:
    """Print all findings and the verdict; 1 if anything failed."""
    counts = {state: sum(f.state == state for f in findings) for state in COLOURS}
    if as_json:
        tree = {
            "ok": not counts["failed"],
            "counts": counts,
            "findings": [f._asdict() for f in findings],
        }
        print_json(tree)
    else:
        if sys.stdout.isatty() and shutil.get_terminal_size().columns >= NARROW:
            print_table(findings)
        else:
            for line in lines(findings):
                click.echo(printable(line))
        click.echo(", ".join(f"{number} {state}" for state, number in counts.items() if number))
    return 1 if counts["failed"] else 0


def lines(findings: Iterable[Finding]) -> Iterator[str]:
    """Plain text: a line for each finding, and one for its cure."""
    for finding in findings:
        yield f"{finding.state:8} {finding.part}: {finding.text}"
        if finding.cure:
            yield f"{'':8} -> {finding.cure}"


def print_table(findings: Iterable[Finding]) -> None:
    """The same for a terminal, where long lines wrap within their column."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(ratio=1)
    for finding in findings:
        text = Text(printable(finding.text))
        if finding.cure:
            text.append(f"\n-> {finding.cure}", style="italic")
        state = Text(finding.state, style=COLOURS[finding.state])
        table.add_row(state, Text(finding.part), text)
    Console().print(table)
