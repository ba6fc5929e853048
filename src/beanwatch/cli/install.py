"""`beanwatch install`: install plugins, configuration files or systemd units on this host."""

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
from beanwatch.checks.lib.services import Service, plan_services, without_limits
from beanwatch.checks.registry import CHECKS, find_check
from beanwatch.cli.lib.absent_parts import PresentParts
from beanwatch.cli.lib.directories import DIRECTORIES
from beanwatch.cli.lib.installer import FileInstaller, FileToInstall, InstallResult
from beanwatch.cli.lib.options import config_option, load_config, pick_servers, server_option
from beanwatch.cli.lib.output import print_error, print_line, print_status
from beanwatch.fleet.queue_actions import list_queue_names
from beanwatch.queues.base import DEFAULT_TIMEOUT, ServerError
from beanwatch.queues.servers import Server
from beanwatch.quoting import QuoteError
from beanwatch.words import count

PLUGINS = (*(check.program for check in CHECKS), "beanwatch_kick_buried", "beanwatch_notify")
COLORS = {"new": "green", "linked": "green", "updated": "green", "kept": "yellow", "failed": "red"}

# What `--dry-run` prints for each status.
WOULD = {
    "new": "would create",
    "linked": "would link",
    "updated": "would update",
    "kept": "would keep",
}
MAX_NAMED = 3  # services that a note names


class FileContext(NamedTuple):
    """The data from which the contents of generated files are made."""

    config: configuration.Config
    services: Sequence[Service]
    plugins: str  # the directory with the plugins
    passive: bool


Generate = Callable[[FileContext], Iterator[str]]


class InstallKind(NamedTuple):
    """The files that `beanwatch install KIND` installs. Directories are keys of DIRECTORIES."""

    next_step: str  # what the user must do afterwards
    shipped: tuple[tuple[str, str], ...]  # (path or glob in the package, directory)
    # The same, but for files to be edited: one that exists already is never overwritten.
    examples: tuple[tuple[str, str], ...] = ()
    generated: tuple[tuple[str, str, Generate], ...] = ()  # (name, directory, makes its lines)
    plugins: bool = False  # also link the checks into the directory of the plugins


KINDS: Mapping[str, InstallKind] = {
    "nagios": InstallKind(
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
                lambda context: nagios_files.nagios_checks(context.config),
            ),
            (
                "beanwatch-services.cfg",
                "nagios",
                lambda context: nagios_files.nagios_services(
                    context.services, context.config, passive=context.passive
                ),
            ),
        ),
        plugins=True,
    ),
    "nrpe": InstallKind(
        "systemctl reload nagios-nrpe-server (Red Hat: nrpe); test: check_nrpe -H 127.0.0.1 "
        "-c beanwatch_queue_server",
        (),
        generated=(
            (
                "beanwatch-checks.cfg",
                "nrpe",
                lambda context: nagios_files.nrpe_checks(context.plugins, context.config),
            ),
            (
                "beanwatch-services.cfg",
                "nrpe",
                lambda context: nagios_files.nrpe_services(
                    context.services, context.plugins, context.config
                ),
            ),
        ),
        plugins=True,
    ),
    "nsca": InstallKind(
        "edit /etc/default/beanwatch-passive, then: systemctl enable --now beanwatch-passive; on "
        "the monitoring server: beanwatch install nagios --passive (or icinga2)",
        (("checks/nsca/beanwatch-passive.service", "systemd"),),
        examples=(("checks/nsca/beanwatch-passive", "default"),),
    ),
    "icinga2": InstallKind(
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
                lambda context: icinga_files.icinga_checks(context.config),
            ),
            (
                "hosts.conf",
                "icinga2",
                lambda context: icinga_files.icinga_hosts(
                    context.services, context.config, passive=context.passive
                ),
            ),
        ),
        plugins=True,
    ),
    "systemd": InstallKind(
        "systemctl daemon-reload && systemctl enable --now beanwatch-collect; for workers: "
        "beanwatch-worker@NAME (see the comments in its unit file)",
        (("collectors/systemd/*", "systemd"), ("worker/systemd/*", "systemd")),
    ),
    "supervisor": InstallKind(
        "edit beanwatch-workers.conf, then: supervisorctl reread && supervisorctl update",
        (),
        examples=(("worker/supervisor/*", "supervisor"),),
    ),
    "cron": InstallKind(
        "no further step: cron reads the new file by itself", (("collectors/cron/*", "cron"),)
    ),
    "graphite": InstallKind(
        "insert each file of /etc/beanwatch/graphite/*.conf at the top of carbon's file with the "
        "same name, and restart carbon-cache; start StatsD with: node stats.js "
        "/etc/beanwatch/statsd/beanwatch.js",
        (("collectors/graphite/*", "graphite"), ("worker/statsd/*", "statsd")),
    ),
    "grafana": InstallKind(
        "edit datasources/beanwatch.yaml, or delete it if Grafana has a data source for Graphite "
        "already (grafana/README.md), then: "
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
@click.option(
    "--dest", metavar="DIR", default="/", help="install below this directory (default: /)"
)
@click.option("--dry-run", is_flag=True, help="only show what would be done")
@click.option(
    "--family",
    type=click.Choice(["debian", "redhat"]),
    help="use the directories of this family of distributions (default: that of this host)",
)
@click.option(
    "--discover",
    is_flag=True,
    help="also generate services for the queues that exist on the servers now",
)
@click.option(
    "--passive",
    is_flag=True,
    help="for nagios and icinga2: generate passive services, for results of `beanwatch passive`",
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
    """Install plugins, configuration files or systemd units in the directories of this host.

    Run it again to update the installed files. A file that somebody has changed is kept, and
    the new version is written next to it, with the suffix .beanwatch-new.

    \b
    Examples:
      beanwatch install nagios --dry-run --discover
      beanwatch install systemd --dest /tmp/preview
    """
    config = load_config(config_file)
    # Checks that name this file run in other directories.
    config = config._replace(file=config.file and os.path.abspath(config.file))
    picked = pick_servers(config, servers)
    index = 1 if (family or find_family()) == "redhat" else 0
    queues = {server.node: discover_queues(server) for server in picked} if discover else None
    services = plan_services(PresentParts().turn_off_absent(config), picked, queues)
    context = FileContext(config, services, DIRECTORIES["plugins"][index], passive)
    try:
        wanted = list(list_files(KINDS[kind], context, index))
    except QuoteError as error:
        raise click.UsageError(str(error)) from None
    failed = False
    # Install all files before printing anything: a pipe that is closed early must not stop it.
    for result in list(FileInstaller(Path(dest), dry_run=dry_run).install(wanted)):
        failed = failed or result.status == "failed"
        print_result(result, dry_run=dry_run)
    if KINDS[kind].generated:
        for note in limit_notes(config, services):
            print_line(note, err=True)
    if failed:
        print_line(
            "beanwatch: some files were not installed (see `failed` above): run it as root, or "
            "install below another directory with --dest DIR",
            err=True,
        )
        return 1
    next_step = KINDS[kind].next_step
    prefix = "" if next_step.startswith("no ") else "would then: " if dry_run else "then: "
    print_line(f"{prefix}{next_step}")
    return 0


def list_files(kind: InstallKind, context: FileContext, index: int) -> Iterator[FileToInstall]:
    """Yield every file of one kind. `index` is 0 for the directories of Debian, 1 for Red Hat."""
    if kind.plugins:
        scripts = Path(sys.executable).parent
        for name in PLUGINS:
            yield FileToInstall(f"{context.plugins}/{name}", link=str(scripts / name))
    for sources, is_example in ((kind.shipped, False), (kind.examples, True)):
        for pattern, directory in sources:
            for name, content in read_package_files(pattern):
                path = f"{DIRECTORIES[directory][index]}/{add_prefix(name)}"
                if index and directory == "supervisor":
                    path = path.removesuffix(".conf") + ".ini"  # Red Hat's supervisor reads *.ini
                default = DIRECTORIES["plugins"][0].encode()
                content = content.replace(default, context.plugins.encode())
                yield FileToInstall(path, content, is_example=is_example)
    for name, directory, generate in kind.generated:
        head = "# Written by `beanwatch install`; change beanwatch.toml and run it again.\n\n"
        head = head.replace("#", "//") if name.endswith(".conf") else head
        content = (head + "\n".join(generate(context))).encode()
        yield FileToInstall(f"{DIRECTORIES[directory][index]}/{add_prefix(name)}", content)


def read_package_files(pattern: str) -> Iterator[tuple[str, bytes]]:
    """Yield (name, content) of the files in the package that match a path with a glob, sorted."""
    directory, _, glob = pattern.rpartition("/")
    found = files("beanwatch").joinpath(*directory.split("/"))
    if not found.is_dir():
        return
    for item in sorted(found.iterdir(), key=lambda item: item.name):
        if item.is_file() and fnmatchcase(item.name, glob):
            yield item.name, item.read_bytes()


def add_prefix(name: str) -> str:
    """Return the file name, with the prefix `beanwatch-` for Nagios's files (*.cfg).

    Their directory has files of other software, too. Other files need no prefix: they have a
    directory of their own, or `beanwatch` is in the name already.
    """
    shared = name.endswith(".cfg") and not name.startswith("beanwatch")
    return f"beanwatch-{name}" if shared else name


def find_family(root: Path = Path("/")) -> str:
    """Return the family of this host's distribution: "redhat", or "debian" for all others."""
    return "redhat" if (root / "etc/redhat-release").exists() else "debian"


def discover_queues(server: Server) -> list[str]:
    """Return the names of a server's queues, without beanwatch's internal ones.

    Prints a line if the server lists a name that no queue can have. Raises ClickException if the
    server cannot be read.
    """
    try:
        return list_queue_names(server, DEFAULT_TIMEOUT, print_error)
    except ServerError as error:
        raise click.ClickException(f"--discover: cannot list the queues of {error}") from None


def limit_notes(config: configuration.Config, services: Sequence[Service]) -> Iterator[str]:
    """Yield a line if there are services that are always OK, because no limits are set for them."""
    found = without_limits(config, services)
    if found:
        key = find_check(found[0].check).config_key
        names = ", ".join(one.name for one in found[:MAX_NAMED])
        more = f" and {len(found) - MAX_NAMED} more" if len(found) > MAX_NAMED else ""
        yield (
            f"note: no limits are set for {count(len(found), 'service')}, so the result is always "
            f'OK: {names}{more}; set limits in [checks.{key}] or [queues."GLOB".{key}]'
        )


def print_result(result: InstallResult, *, dry_run: bool = False) -> None:
    """Print one line: the status of a file in color, its path, and the reason if there is one.

    With `dry_run`, it says what would be done.
    """
    word = WOULD.get(result.status, result.status) if dry_run else result.status
    reason = f" ({result.reason})" if result.reason else ""
    print_status(
        f"{word:{13 if dry_run else 8}}", COLORS.get(result.status), f"{result.path}{reason}"
    )
