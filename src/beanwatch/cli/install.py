"""`beanwatch install`: install plugins, configuration files or systemd units on this host."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from beanwatch.checks.lib.own_services import OwnServices
from beanwatch.checks.lib.services import Service, list_own, plan_services, without_limits
from beanwatch.checks.registry import find_check
from beanwatch.cli.lib.absent_parts import PresentParts
from beanwatch.cli.lib.directories import DIRECTORIES
from beanwatch.cli.lib.discovered import FORGET_AFTER, Discovered, discover_kinds, discover_queues
from beanwatch.cli.lib.install_kinds import (
    GRAFANA_FOR_PROMETHEUS,
    KINDS,
    FileContext,
    list_files,
)
from beanwatch.cli.lib.install_run import STATE_DIRECTORY, install_and_reload, install_files
from beanwatch.cli.lib.options import (
    DURATION,
    config_option,
    load_config,
    pick_servers,
    server_option,
)
from beanwatch.cli.lib.output import print_line
from beanwatch.config import Config
from beanwatch.globs import escape_name
from beanwatch.quoting import QuoteError
from beanwatch.words import count

MAX_NAMED = 3  # services that a note names


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
@click.option(
    "--datasource",
    type=click.Choice(["graphite", "prometheus"]),
    default="graphite",
    help="for grafana: install the dashboards for this data source (graphite); for prometheus, "
    "without alert rules: those of `beanwatch install prometheus` are the same alerts",
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
    datasource: str,
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
      beanwatch install grafana --datasource prometheus
    """
    config = load_config(config_file)
    # Checks that name this file run in other directories.
    config = config._replace(file=config.file and os.path.abspath(config.file))
    picked = pick_servers(config, servers)
    chosen = KINDS[kind]
    if datasource == "prometheus":
        if kind != "grafana":
            raise click.UsageError(f"--datasource is for grafana only, not for {kind}")
        chosen = GRAFANA_FOR_PROMETHEUS
    index = 1 if (family or find_family()) == "redhat" else 0
    test = validate or chosen.validate[index]
    if reload and not test:
        raise click.UsageError(f"--reload is for nagios and icinga2 only, not for {kind}")
    state = Path(dest) / STATE_DIRECTORY
    seen = Discovered(state / f"discovered-{kind}.json", forget)
    asked = PresentParts()
    asked.turn_off_absent(config)
    # A part that has died since an earlier run keeps its services.
    present = PresentParts(seen.parts(asked.answered)).turn_off_absent(config)
    queues, kinds = None, []
    if discover:
        names = seen.queues(discover_queues(picked))
        queues = {node: list(map(escape_name, found)) for node, found in names.items()}
        kinds = seen.kinds(discover_kinds(present))
    services = plan_services(present, picked, queues, kinds)
    own = list_own(services)
    list_file = chosen.list_file if own != OwnServices() else ""
    context = FileContext(config, services, DIRECTORIES["plugins"][index], passive, own, list_file)
    try:
        wanted = list(list_files(chosen, context, index))
    except QuoteError as error:
        raise click.UsageError(str(error)) from None
    if not reload or dry_run:
        code = install_files(wanted, Path(dest), dry_run=dry_run)
        for note in limit_notes(config, services) if chosen.generated else ():
            print_line(note, err=True)
        if not code:
            next_step = chosen.next_step
            prefix = "" if next_step.startswith("no ") else "would then: " if dry_run else "then: "
            print_line(f"{prefix}{next_step}")
    else:
        code = install_and_reload(wanted, Path(dest), kind, test, reload)
    if (discover or chosen.generated) and not dry_run and not code:
        try:
            seen.save()
        except OSError as error:
            raise click.ClickException(f"cannot write below {state}: {error.strerror}") from None
    return code


def find_family(root: Path = Path("/")) -> str:
    """Return the family of this host's distribution: "redhat", or "debian" for all others."""
    return "redhat" if (root / "etc/redhat-release").exists() else "debian"


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
