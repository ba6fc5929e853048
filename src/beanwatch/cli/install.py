"""`beanwatch install`: install plugins, configuration files or systemd units on this host."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import click

from beanwatch.checks.lib import icinga_files, nagios_files
from beanwatch.checks.lib.own_services import OwnServices
from beanwatch.checks.lib.redis_source import read_from
from beanwatch.checks.lib.services import (
    LIST_FILES,
    Service,
    list_own,
    plan_services,
    without_limits,
)
from beanwatch.checks.registry import CHECKS, find_check
from beanwatch.cli.lib.absent_parts import PresentParts
from beanwatch.cli.lib.directories import DIRECTORIES
from beanwatch.cli.lib.discovered import FORGET_AFTER, Discovered
from beanwatch.cli.lib.installer import MANIFEST, FileInstaller, FileToInstall, InstallResult
from beanwatch.cli.lib.options import (
    DURATION,
    config_option,
    load_config,
    pick_redis,
    pick_servers,
    server_option,
)
from beanwatch.cli.lib.output import print_error, print_line, print_status
from beanwatch.cli.lib.reload import Backup, ReloadError, put_into_service
from beanwatch.config import Config
from beanwatch.fleet.queue_actions import list_queue_names
from beanwatch.net.files import LockedError, locked
from beanwatch.net.redis_reader import RedisReader
from beanwatch.net.redis_url import RedisError
from beanwatch.queues.base import DEFAULT_TIMEOUT, ServerError
from beanwatch.queues.servers import Server
from beanwatch.quoting import QuoteError
from beanwatch.store.outcome_counts import KEPT_MINUTES, JobKind, read_outcomes
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
STATE_DIRECTORY = Path(MANIFEST).parent


class FileContext(NamedTuple):
    """The data from which the contents of generated files are made."""

    config: Config
    services: Sequence[Service]
    plugins: str  # the directory with the plugins
    passive: bool
    own: OwnServices = OwnServices()
    list_file: str = ""  # the path of the file with `own`; empty if a kind has no such file


Generate = Callable[[FileContext], Iterator[str]]


class InstallKind(NamedTuple):
    """The files that `beanwatch install KIND` installs. Directories are keys of DIRECTORIES."""

    next_step: str  # what the user must do afterwards
    shipped: tuple[tuple[str, str], ...]  # (path or glob in the package, directory)
    # The same, but for files to be edited: one that exists already is never overwritten.
    examples: tuple[tuple[str, str], ...] = ()
    generated: tuple[tuple[str, str, Generate], ...] = ()  # (name, directory, makes its lines)
    plugins: bool = False  # also link the checks into the directory of the plugins
    list_file: str = ""  # where to write the list of what has a service of its own
    # The commands that test the generated files on Debian and on Red Hat.
    validate: tuple[str, str] = ("", "")


KINDS: Mapping[str, InstallKind] = {
    "nagios": InstallKind(
        "edit beanwatch-contacts.cfg, then: nagios4 -v /etc/nagios4/nagios.cfg && "
        "systemctl reload nagios4 (Red Hat: nagios)",
        (
            ("checks/nagios/commands.cfg", "nagios"),
            ("checks/nagios/templates.cfg", "nagios"),
        ),
        examples=(
            ("checks/nagios/contacts.cfg", "nagios"),
            ("checks/nagios/beanwatch-teams.cfg.example", "nagios"),
        ),
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
                    context.services,
                    context.config,
                    passive=context.passive,
                    list_file=context.list_file,
                ),
            ),
        ),
        plugins=True,
        list_file=LIST_FILES["nagios"],
        validate=("nagios4 -v /etc/nagios4/nagios.cfg", "nagios -v /etc/nagios/nagios.cfg"),
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
                    context.services, context.plugins, context.config, context.list_file
                ),
            ),
        ),
        plugins=True,
        list_file=LIST_FILES["nrpe"],
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
        examples=(
            ("checks/icinga2/users.conf", "icinga2"),
            ("checks/icinga2/teams.conf.example", "icinga2"),
        ),
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
                    context.services,
                    context.config,
                    passive=context.passive,
                    list_file=context.list_file,
                ),
            ),
        ),
        plugins=True,
        list_file=LIST_FILES["icinga2"],
        validate=("icinga2 daemon -C",) * 2,
    ),
    "regenerate": InstallKind(
        "edit /etc/default/beanwatch-regenerate, then: systemctl daemon-reload && systemctl enable "
        "--now beanwatch-regenerate.timer; without systemd: edit /etc/cron.d/beanwatch-regenerate",
        (
            ("checks/regenerate/*.service", "systemd"),
            ("checks/regenerate/*.timer", "systemd"),
        ),
        examples=(
            ("checks/regenerate/beanwatch-regenerate", "default"),
            ("checks/regenerate/cron/*", "cron"),
        ),
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
    help="also generate services for the queues that exist on the servers now, and for the kinds "
    "of jobs that ran lately",
)
@click.option(
    "--passive",
    is_flag=True,
    help="for nagios and icinga2: generate passive services, for results of `beanwatch passive`",
)
@click.option(
    "--forget",
    type=DURATION,
    default=FORGET_AFTER,
    help="with --discover: keep the services of a queue or kind of job for this time after it was "
    "last found (7d)",
)
@click.option(
    "--reload",
    metavar="COMMAND",
    help="for nagios and icinga2: if a file changed, validate all files, restore the old ones if "
    "they are not valid, and else run this command, such as 'systemctl reload nagios4'",
)
@click.option(
    "--validate",
    metavar="COMMAND",
    help="with --reload: the command that validates the files (default: "
    "'nagios4 -v /etc/nagios4/nagios.cfg', or 'icinga2 daemon -C')",
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
    forget: float,
    reload: str | None,
    validate: str | None,
    servers: tuple[str, ...],
    config_file: str | None,
) -> int:
    """Install plugins, configuration files or systemd units in the directories of this host.

    Run it again to update the installed files. A file that somebody has changed is kept, and
    the new version is written next to it, with the suffix .beanwatch-new.

    \b
    Examples:
      beanwatch install nagios --dry-run --discover
      beanwatch install nagios --discover --reload 'systemctl reload nagios4'
      beanwatch install systemd --dest /tmp/preview
    """
    config = load_config(config_file)
    # Checks that name this file run in other directories.
    config = config._replace(file=config.file and os.path.abspath(config.file))
    picked = pick_servers(config, servers)
    index = 1 if (family or find_family()) == "redhat" else 0
    test = validate or KINDS[kind].validate[index]
    if reload and not test:
        raise click.UsageError(f"--reload is for nagios and icinga2 only, not for {kind}")
    state = Path(dest) / STATE_DIRECTORY
    seen = Discovered(state / f"discovered-{kind}.json", forget)
    present = PresentParts().turn_off_absent(config)
    queues, kinds = None, []
    if discover:
        queues = seen.queues({server.node: discover_queues(server) for server in picked})
        kinds = seen.kinds(discover_kinds(present))
    services = plan_services(present, picked, queues, kinds)
    own = list_own(services)
    list_file = KINDS[kind].list_file if own != OwnServices() else ""
    context = FileContext(config, services, DIRECTORIES["plugins"][index], passive, own, list_file)
    try:
        wanted = list(list_files(KINDS[kind], context, index))
    except QuoteError as error:
        raise click.UsageError(str(error)) from None
    if not reload or dry_run:
        code = install_files(wanted, Path(dest), dry_run=dry_run)
        for note in limit_notes(config, services) if KINDS[kind].generated else ():
            print_line(note, err=True)
        if not code:
            next_step = KINDS[kind].next_step
            prefix = "" if next_step.startswith("no ") else "would then: " if dry_run else "then: "
            print_line(f"{prefix}{next_step}")
    else:
        code = install_and_reload(wanted, Path(dest), kind, test, reload)
    if discover and not dry_run and not code:
        try:
            seen.save()
        except OSError as error:
            raise click.ClickException(f"cannot write below {state}: {error.strerror}") from None
    return code


def install_files(wanted: list[FileToInstall], dest: Path, *, dry_run: bool = False) -> int:
    """Install the files and print what was done. Return the exit code."""
    failed = False
    # Install all files before printing anything: a pipe that is closed early must not stop it.
    for result in list(FileInstaller(dest, dry_run=dry_run).install(wanted)):
        failed = failed or result.status == "failed"
        print_result(result, dry_run=dry_run)
    if failed:
        print_line(
            "beanwatch: some files were not installed (see `failed` above): run it as root, or "
            "install below another directory with --dest DIR",
            err=True,
        )
    return int(failed)


def install_and_reload(
    wanted: list[FileToInstall], dest: Path, kind: str, validate: str, reload: str
) -> int:
    """Install the files. If one changed, validate them, and reload or restore the old ones.

    Return the exit code. Raises ClickException if the files are not valid, if the reload failed, or
    if another run has not ended.
    """
    state = dest / STATE_DIRECTORY
    backup = Backup(state / f"backup-{kind}.json")
    try:
        state.mkdir(parents=True, exist_ok=True)
        with locked(str(state / "install.lock")):
            planned = list(FileInstaller(dest, dry_run=True).install(wanted))
            if all(r.status in ("same", "kept") for r in planned) and not backup.is_pending:
                print_line("nothing changed, so nothing was reloaded")
                return 0
            kept = [result.path for result in planned if result.status == "kept"]
            changing = [r.path for r in planned if r.status not in ("same", "kept")]
            backup.save([*changing, dest / MANIFEST], kept)
            if code := install_files(wanted, dest):
                backup.restore()
                return code
            put_into_service(backup, validate, reload)
    except LockedError:
        raise click.ClickException("another `beanwatch install` is running") from None
    except OSError as error:
        where = error.filename or state
        raise click.ClickException(f"cannot write {where}: {error.strerror}") from None
    except ReloadError as error:
        raise click.ClickException(str(error)) from None
    print_line(f"the files are valid ({validate}); reloaded ({reload})")
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
    if context.list_file:
        yield FileToInstall(context.list_file, context.own.to_json().encode())
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


def discover_kinds(config: Config) -> list[JobKind]:
    """Return the kinds of jobs that ran in the last two hours; none if Redis is off.

    Raises ClickException if Redis cannot be read, UsageError if its URL is wrong.
    """
    url = pick_redis(config, None)
    if url is None:
        return []
    try:
        with RedisReader(url, DEFAULT_TIMEOUT) as link:
            return sorted(read_from(link, partial(read_outcomes, minutes=KEPT_MINUTES)))
    except RedisError as error:
        raise click.ClickException(f"--discover: cannot list the kinds of jobs: {error}") from None


def limit_notes(config: Config, services: Sequence[Service]) -> Iterator[str]:
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
