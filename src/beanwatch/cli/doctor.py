"""`beanwatch doctor`: test all servers and checks, and say how to fix each failure."""

import os
import pwd
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import click

from beanwatch.checks.lib.services import name_or_address
from beanwatch.cli.lib.config_problems import find_problems, find_writer_problems
from beanwatch.cli.lib.directories import DIRECTORIES
from beanwatch.cli.lib.options import (
    DURATION,
    PREFIX,
    apply_flags,
    config_option,
    json_option,
    load_config,
    pick_redis,
    pick_servers,
    redis_option,
    server_option,
)
from beanwatch.cli.lib.output import print_json, print_line
from beanwatch.cli.lib.probes.checks import CHECK_NAMES, probe_check
from beanwatch.cli.lib.probes.finding import COSTS, Finding, ProbeSettings
from beanwatch.cli.lib.probes.graphite import probe_freshness, probe_graphite
from beanwatch.cli.lib.probes.installed import probe_files, probe_php, probe_units
from beanwatch.cli.lib.probes.notifications import probe_notifications
from beanwatch.cli.lib.probes.pages import probe_history, probe_listen, probe_live_page
from beanwatch.cli.lib.probes.runner import Probe, run_all, show_progress
from beanwatch.cli.lib.probes.servers import (
    probe_heartbeats,
    probe_redis,
    probe_server,
    server_part,
)
from beanwatch.cli.lib.probes.statsd import probe_statsd
from beanwatch.cli.web import DEFAULT_LISTEN
from beanwatch.config import Config, ConfigError
from beanwatch.config.mistakes import find_unknown_variables
from beanwatch.config.reader import describe_missing_file
from beanwatch.config.secrets import read_redis_password
from beanwatch.quoting import terminal_text

COLOURS = {
    "ok": "green",
    "warning": "yellow",
    "critical": "red",
    "failed": "red",
    "unused": "bright_black",
}
# The users as which monitoring systems run checks on Debian and Red Hat. The first that exists is
# used.
MONITORS = ("nagios", "icinga", "nrpe")
GRAFANA = "/etc/grafana"
QUEUE_SERVER = "a queue server"
# The server without which a check cannot run. Checks that are not listed need a queue server.
NEEDS = {
    "check_queue_server": "",
    "check_redis": "redis",
    "check_worker_heartbeat": "redis",
    "check_job_failures": "redis",
    "check_metrics_fresh": "graphite render",
}
# The key of the configuration that names each part.
PARTS = {
    "redis": "redis.url",
    "graphite carbon": "graphite.address",
    "graphite render": "graphite.url",
}
MIN_TABLE_WIDTH = 72  # characters; a narrower terminal has no room for a table
EXTRA_TIME = 20.0  # seconds; a probe takes them in addition to `--wait`, to connect and to query


@click.command("doctor")
@config_option
@server_option
@redis_option("the heartbeats")
@click.option("--graphite", metavar="HOST:PORT", help="carbon's plaintext receiver")
@click.option("--graphite-url", metavar="URL", help="Graphite's render API: http://host")
@click.option(
    "--metrics",
    metavar="URL",
    help="where workers send metrics: statsd://host:8125 or graphite://host:2003",
)
@click.option("--prefix", type=PREFIX, help="first node of all metric paths (beanwatch)")
@click.option(
    "--user",
    help=f"run the checks as this user (default: if started by root, {' or '.join(MONITORS)})",
)
@click.option(
    "--wait",
    type=DURATION,
    default=30.0,
    help="longest wait until Graphite returns the test metric (30s)",
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
    """Test all servers and checks, and say how to fix each failure.

    This tests the configuration, the queue servers, Redis, Graphite, StatsD, the heartbeats of
    the workers, the collector, the pages that they and `beanwatch web` serve, what `beanwatch
    install` has installed (units, rules, dashboards, PHP), the targets of alerts, and every check.
    To do so, it sends test metrics whose paths begin with PREFIX.doctor; it changes nothing else,
    and sends no alert. The exit code is 1 if a test failed, or if a check reports CRITICAL.

    \b
    Example:
      beanwatch doctor --config /etc/beanwatch/beanwatch.toml
    """
    config = load_config(config_file)
    flags = {"graphite.address": graphite, "graphite.url": graphite_url}
    given = {key for key, value in flags.items() if value is not None}
    config = config.set_redis(redis)
    config = config._replace(
        prefix=prefix or config.prefix,
        graphite=apply_flags(config.graphite, address=graphite, url=graphite_url),
        given=config.given | given,
        worker=config.worker._replace(metrics=metrics or config.worker.metrics),
    )
    problems = list(probe_configuration(config))
    if any(problem.state == "failed" for problem in problems):
        return report(problems, as_json)
    if user is None:
        user = find_monitor()
    elif user:
        check_user(user)
    settings = make_settings(config, servers, user, wait)
    probes = list_probes(config, settings)
    checks = {f"check_{check}": partial(probe_check, settings, check) for check in CHECK_NAMES}
    with show_progress([*probes, *checks]) as finished:
        found = problems + run_all(probes, wait + EXTRA_TIME, finished)
        needs = {check: find_missing(check, settings, found) for check in checks}
        possible = {check: probe for check, probe in checks.items() if not needs[check]}
        found += run_all(possible, wait + EXTRA_TIME, finished)
    found += [
        Finding(check, "unused", f"skipped: it needs {need}, which is not available (see above)")
        for check, need in needs.items()
        if need
    ]
    return report(found, as_json)


def make_settings(
    config: Config, servers: tuple[str, ...], user: str, wait: float
) -> ProbeSettings:
    """Return the settings of all probes, from the configuration and the command's flags."""
    chosen = pick_servers(config, servers)
    names = {server.node: name_or_address(config, server) for server in chosen}
    unnamed = [server for server in chosen if names[server.node] not in config.servers]
    names |= {server.node: server.node for server in unnamed}
    environ = {
        "BEANWATCH_CONFIG": config.file and os.path.abspath(config.file),  # checks run in /
        "BEANWATCH_PREFIX": config.prefix,
        "BEANWATCH_SERVERS": ",".join(f"{s.node}={s}" for s in unnamed if servers),
    }
    environ = {name: value for name, value in environ.items() if value}
    # An empty URL is passed on, too: it turns a part off.
    environ |= {
        "BEANWATCH_REDIS_URL": config.redis.url,
        "BEANWATCH_GRAPHITE_URL": config.graphite.url,
    }
    return ProbeSettings(
        servers=chosen,
        prefix=config.prefix,
        redis=pick_redis(config, None),
        carbon=config.graphite.address,
        url=config.graphite.url,
        metrics=config.worker.metrics,
        collect=config.collect,
        expected=config.expected_workers,
        groups=config.expected_groups,
        # Where `beanwatch install` links the checks, and then where pip installs them.
        plugins=[*map(Path, DIRECTORIES["plugins"]), Path(sys.prefix) / "bin"],
        user=user,
        environ=environ,
        names=names,
        has_chosen=bool(servers),
        wait=wait,
    )


def find_monitor() -> str:
    """Return the user as which the monitoring system runs checks on this host.

    Return "" (run them as the current user) if there is none, or if this process is not root.
    """
    if os.geteuid() != 0:
        return ""
    users = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in MONITORS if name in users), "")


def check_user(user: str) -> None:
    """Raise UsageError if the user does not exist, or if this process cannot become that user."""
    try:
        uid = pwd.getpwnam(user).pw_uid
    except KeyError:
        raise click.UsageError(f"--user {user}: there is no such user") from None
    if os.geteuid() not in (0, uid):
        raise click.UsageError(f"--user {user}: only root can run the checks as another user")


def probe_configuration(config: Config) -> Iterator[Finding]:
    """Report the errors in the configuration that `beanwatch config check` finds."""
    problems = list(find_problems(config))
    try:
        read_redis_password(config.redis)
    except ConfigError as error:
        problems.append(str(error))
    for problem in problems:
        yield Finding(
            "configuration", "failed", problem, f"edit {config.file or 'the configuration'}"
        )
    for problem in find_writer_problems(config):
        cure = "let only root, or the user of these programs, own and write to it"
        yield Finding("configuration", "warning", problem, cure)
    for message in find_unknown_variables():
        yield Finding("configuration", "warning", message, "correct its name, or unset it")
    if not problems:
        yield Finding("configuration", "ok", config.file or describe_missing_file())


def list_probes(config: Config, settings: ProbeSettings) -> dict[str, Probe]:
    """Return the probes of servers, by the names that the progress display shows.

    Their findings are printed in this order.
    """
    redis = partial(probe_redis, settings.redis)
    graphite = partial(probe_graphite, settings)
    assumed = [part for part, key in PARTS.items() if not config.is_wanted(key)]
    return {
        **{server_part(server): partial(probe_server, server) for server in settings.servers},
        "redis": partial(excuse_assumed, redis, assumed),
        "graphite": partial(excuse_assumed, graphite, assumed),
        "statsd": partial(probe_statsd, settings),
        "heartbeats": partial(probe_heartbeats, settings.redis, settings.expected, settings.groups),
        "freshness": partial(probe_freshness, settings),
        "collect.listen": partial(
            probe_listen, "collect.listen", config.collect.listen, "the collector"
        ),
        "worker.listen": partial(probe_listen, "worker.listen", config.worker.listen, "a worker"),
        "live page": partial(probe_live_page, DEFAULT_LISTEN),
        "web.history": partial(probe_history, config.web.history),
        "prometheus rules": partial(
            probe_files,
            "prometheus rules",
            Path(DIRECTORIES["prometheus"][0]),
            Path(DIRECTORIES["prometheus"][0]),
            "beanwatch*.rules.yml",
            "if this Prometheus is to alert: beanwatch install prometheus",
        ),
        "grafana dashboards": partial(
            probe_files,
            "grafana dashboards",
            Path(GRAFANA),
            Path(DIRECTORIES["dashboards"][0]),
            "beanwatch-*.json",
            "if this Grafana is to show them: beanwatch install grafana",
        ),
        "units": probe_units,
        "notifications": partial(
            probe_notifications, [*DIRECTORIES["nagios"], DIRECTORIES["icinga2"][0]], settings.user
        ),
        "php": partial(probe_php, Path(DIRECTORIES["php"][0])),
    }


def find_missing(check: str, settings: ProbeSettings, found: Sequence[Finding]) -> str:
    """Return the name of the server that a check needs and that does not work; "" if it works.

    The caller skips such a check, which would only repeat the server's finding in `found`.
    """
    need = NEEDS.get(check, QUEUE_SERVER)
    parts = tuple(map(server_part, settings.servers)) if need == QUEUE_SERVER else (need,)
    usable = any(f.part.startswith(parts) and f.state in ("ok", "warning") for f in found)
    return "" if usable or not need else need


def excuse_assumed(probe: Probe, assumed: Sequence[str]) -> Iterator[Finding]:
    """Run the probe of a server. If nobody has configured it, report a failure as `unused`.

    `assumed` are the parts that were looked for at a default address: the site may not have them.
    """
    for finding in probe():
        if finding.state == "failed" and finding.part in assumed:
            text = f"not configured, and not found at the default address: {finding.text}"
            cost = f"without it: {COSTS[finding.part]}"
            yield finding._replace(state="unused", text=f"{text}; {cost}")
        else:
            yield finding


def report(findings: Sequence[Finding], as_json: bool) -> int:
    """Print all findings, and how many there are of each state.

    Return the exit code: 1 if a test failed, or if a check reports CRITICAL; else 0.
    """
    is_wrong = any(finding.state in ("failed", "critical") for finding in findings)
    counts = {state: sum(f.state == state for f in findings) for state in COLOURS}
    if as_json:
        tree = {
            "ok": not is_wrong,
            "counts": counts,
            "findings": [f._asdict() for f in findings],
        }
        print_json(tree)
    else:
        if sys.stdout.isatty() and shutil.get_terminal_size().columns >= MIN_TABLE_WIDTH:
            print_table(findings)
        else:
            for line in format_lines(findings):
                print_line(line)
        print_line(", ".join(f"{number} {state}" for state, number in counts.items() if number))
    return int(is_wrong)


def format_lines(findings: Iterable[Finding]) -> Iterator[str]:
    """Yield plain text: a line for each finding, and another one that says how to fix it."""
    for finding in findings:
        yield f"{finding.state:8} {finding.part}: {finding.text}"
        if finding.cure:
            yield f"{'':8} -> {finding.cure}"


def print_table(findings: Iterable[Finding]) -> None:
    """Print the findings as a table for a terminal. Long texts wrap within their column."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(ratio=1)
    for finding in findings:
        text = Text(terminal_text(finding.text))
        if finding.cure:
            text.append(f"\n-> {terminal_text(finding.cure)}", style="italic")
        state = Text(finding.state, style=COLOURS[finding.state])
        table.add_row(state, Text(terminal_text(finding.part)), text)
    Console().print(table)
