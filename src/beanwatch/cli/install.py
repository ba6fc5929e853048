"""`beanwatch install`: plugins, configuration and units, placed where this system expects them."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import click

from beanwatch import config as configuration
from beanwatch.checks.lib import icinga_files, nagios_files
from beanwatch.checks.lib.services import Service, plan_services
from beanwatch.checks.registry import CHECKS
from beanwatch.cli.lib.directories import DIRECTORIES
from beanwatch.cli.lib.options import config_option, load_config, pick_servers, server_option
from beanwatch.cli.lib.placing import Placer, Step, Wanted
from beanwatch.fleet.queue_actions import list_queue_names
from beanwatch.queues.base import DEFAULT_TIMEOUT, ServerError
from beanwatch.queues.servers import Server

PLUGINS = (*(check.program for check in CHECKS), "beanwatch_kick_buried", "beanwatch_notify")
COLORS = {"new": "green", "linked": "green", "updated": "green", "kept": "yellow", "failed": "red"}


class Site(NamedTuple):
    """Everything that generated files are made of."""

    config: configuration.Config
    services: Sequence[Service]
    plugins: str
    passive: bool


Generate = Callable[[Site], Iterator[str]]


class Kind(NamedTuple):
    """One kind of installation; directories are by family, Debian's and Red Hat's.

    `pieces` are (file or glob in the package, directory). `examples` are placed once and
    then left alone. `generated` are (file, directory, function that makes its text). `then` is the
    next step for the person.
    """

    then: str
    pieces: tuple[tuple[str, str], ...]
    examples: tuple[tuple[str, str], ...] = ()
    generated: tuple[tuple[str, str, Generate], ...] = ()
    plugins: bool = False


KINDS: Mapping[str, Kind] = {
    "nagios": Kind(
        "edit beanwatch-contacts.cfg, then: nagios4 -v /etc/nagios4/nagios.cfg && "
        "systemctl reload nagios4 (Red Hat: nagios)",
        (
            ("checks/nagios/commands.cfg", "nagios"),
            ("checks/nagios/templates.cfg", "nagios"),
        ),
        examples=(("checks/nagios/contacts.cfg", "nagios"),),
        generated=(
            (
                "beanwatch-checks.cfg",
                "nagios",
                lambda site: nagios_files.nagios_checks(site.config),
            ),
            (
                "beanwatch-services.cfg",
                "nagios",
                lambda site: nagios_files.nagios_services(
                    site.services, site.config, passive=site.passive
                ),
            ),
        ),
        plugins=True,
    ),
    "nrpe": Kind(
        "systemctl reload nagios-nrpe-server (Red Hat: nrpe); test: check_nrpe -H 127.0.0.1 "
        "-c beanwatch_queue_server",
        (),
        generated=(
            (
                "beanwatch-checks.cfg",
                "nrpe",
                lambda site: nagios_files.nrpe_checks(site.plugins, site.config),
            ),
            (
                "beanwatch-services.cfg",
                "nrpe",
                lambda site: nagios_files.nrpe_services(site.services, site.plugins, site.config),
            ),
        ),
        plugins=True,
    ),
    "nsca": Kind(
        "edit /etc/default/beanwatch-passive, then: systemctl enable --now beanwatch-passive; on "
        "the monitoring server: beanwatch install nagios --passive (or icinga2)",
        (("checks/nsca/beanwatch-passive.service", "systemd"),),
        examples=(("checks/nsca/beanwatch-passive", "default"),),
    ),
    "icinga2": Kind(
        "edit users.conf, then: icinga2 daemon -C && systemctl reload icinga2",
        (
            ("checks/icinga2/commands.conf", "icinga2"),
            ("checks/icinga2/services.conf", "icinga2"),
        ),
        examples=(("checks/icinga2/users.conf", "icinga2"),),
        generated=(
            (
                "checks.conf",
                "icinga2",
                lambda site: icinga_files.icinga_checks(site.config),
            ),
            (
                "hosts.conf",
                "icinga2",
                lambda site: icinga_files.icinga_hosts(
                    site.services, site.config, passive=site.passive
                ),
            ),
        ),
        plugins=True,
    ),
    "systemd": Kind(
        "systemctl daemon-reload && systemctl enable --now beanwatch-collect; for workers: "
        "beanwatch-worker@NAME (see the head of its unit)",
        (("collectors/systemd/*", "systemd"), ("worker/systemd/*", "systemd")),
    ),
    "supervisor": Kind(
        "edit beanwatch-workers.conf, then: supervisorctl reread && supervisorctl update",
        (),
        examples=(("worker/supervisor/*", "supervisor"),),
    ),
    "cron": Kind("no further step: cron picks it up", (("collectors/cron/*", "cron"),)),
    "graphite": Kind(
        "put the sections of /etc/beanwatch/graphite/*.conf in front of those of carbon's files of "
        "the same names, and restart carbon-cache; StatsD: node stats.js "
        "/etc/beanwatch/statsd/beanwatch.js",
        (("collectors/graphite/*", "graphite"), ("worker/statsd/*", "statsd")),
    ),
    "grafana": Kind(
        "edit datasources/beanwatch.yaml, or leave it out for your own (grafana/README.md), then: "
        "systemctl restart grafana-server",
        (
            ("grafana/dashboards/*.json", "dashboards"),
            ("grafana/provisioning/dashboards/*.yaml", "provisioning"),
            ("grafana/alerting/*.yaml", "alerting"),
        ),
        examples=(("grafana/provisioning/datasources/*.yaml", "datasources"),),
    ),
}


@click.command()
@click.argument("kind", type=click.Choice(list(KINDS)))
@click.option("--dest", metavar="DIR", default="/", help="below this directory (default: /)")
@click.option("--dry-run", is_flag=True, help="show what would be done, and do nothing")
@click.option("--family", type=click.Choice(["debian", "redhat"]), help="whose directories")
@click.option("--discover", is_flag=True, help="services for the queues that are there now, too")
@click.option(
    "--passive", is_flag=True, help="nagios, icinga2: services that `beanwatch passive` reports"
)
@server_option
@config_option
def command(
    kind: str,
    dest: str,
    dry_run: bool,
    family: str | None,
    discover: bool,
    passive: bool,
    servers: tuple[str, ...],
    config_file: str | None,
) -> int:
    """Place plugins, configuration or units where this system expects them.

    Running it again updates what it placed. A file that somebody has changed is left alone,
    and the new one put beside it.

    \b
    Examples:
      beanwatch install nagios --dry-run --discover
      beanwatch install systemd --dest /tmp/look
    """
    config = load_config(config_file)
    config = config._replace(file=config.file and os.path.abspath(config.file))  # read elsewhere
    picked = pick_servers(config, servers)
    index = 1 if (family or find_family()) == "redhat" else 0
    queues = {server.node: discover_queues(server) for server in picked} if discover else None
    services = plan_services(config, picked, queues)
    site = Site(config, services, DIRECTORIES["plugins"][index], passive)
    wanted = list(collect(KINDS[kind], site, index))
    failed = False
    # Everything is placed before anything is printed: a pipe that closes early must not stop it.
    for step in list(Placer(Path(dest), dry_run=dry_run).place(wanted)):
        failed = failed or step.word == "failed"
        click.echo(describe(step))
    if failed:
        click.echo("beanwatch: not all was placed: run it as root, or name --dest DIR", err=True)
        return 1
    then = KINDS[kind].then
    prefix = "" if then.startswith("no ") else "would then: " if dry_run else "then: "
    click.echo(f"{prefix}{then}")
    return 0


def collect(kind: Kind, site: Site, index: int) -> Iterator[Wanted]:
    """Every file of one kind, and its place."""
    if kind.plugins:
        scripts = Path(sys.executable).parent
        for name in PLUGINS:
            yield Wanted(f"{site.plugins}/{name}", link=str(scripts / name))
    for pieces, keep in ((kind.pieces, False), (kind.examples, True)):
        for pattern, directory in pieces:
            for name, content in shipped(pattern):
                path = f"{DIRECTORIES[directory][index]}/{prefixed(name)}"
                if index and directory == "supervisor":
                    path = path.removesuffix(".conf") + ".ini"  # Red Hat's reads no others
                here = DIRECTORIES["plugins"][0].encode()
                content = content.replace(here, site.plugins.encode())
                yield Wanted(path, content, keep=keep)
    for name, directory, generate in kind.generated:
        head = "# Written by `beanwatch install`; change beanwatch.toml and run it again.\n\n"
        head = head.replace("#", "//") if name.endswith(".conf") else head
        content = (head + "\n".join(generate(site))).encode()
        yield Wanted(f"{DIRECTORIES[directory][index]}/{prefixed(name)}", content)


def shipped(pattern: str) -> Iterator[tuple[str, bytes]]:
    """The package's files that match, by name."""
    directory, _, glob = pattern.rpartition("/")
    found = files("beanwatch").joinpath(*directory.split("/"))
    if not found.is_dir():
        return
    for item in sorted(found.iterdir(), key=lambda item: item.name):
        if item.is_file() and fnmatchcase(item.name, glob):
            yield item.name, item.read_bytes()


def prefixed(name: str) -> str:
    """Files in directories that others share carry our name; Icinga's have a directory."""
    shared = name.endswith(".cfg") and not name.startswith("beanwatch")
    return f"beanwatch-{name}" if shared else name


def find_family(root: Path = Path("/")) -> str:
    """Whose directories this system has."""
    return "redhat" if (root / "etc/redhat-release").exists() else "debian"


def discover_queues(server: Server) -> list[str]:
    """The queues that are there now, without those of beanwatch itself."""
    try:
        return list_queue_names(server, DEFAULT_TIMEOUT)
    except ServerError as error:
        raise click.ClickException(f"--discover: {error}") from None


def describe(step: Step) -> str:
    """One line."""
    word = click.style(f"{step.word:8}", fg=COLORS.get(step.word))
    return f"{word} {step.path}{f' ({step.why})' if step.why else ''}"
