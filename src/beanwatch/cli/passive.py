"""`beanwatch passive`: run all checks in one process, and submit their results to Nagios."""

import os
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import chain

import click

from beanwatch.checks.lib.own_services import OwnServices, read_own_services
from beanwatch.checks.lib.passive import PassiveRound, ServiceResult
from beanwatch.checks.lib.services import (
    LIST_FILES,
    Service,
    answers_services,
    list_own,
    plan_services,
)
from beanwatch.cli.lib.absent_parts import PresentParts
from beanwatch.cli.lib.options import (
    DURATION,
    check_durations,
    config_option,
    load_config,
    pick_servers,
    server_option,
)
from beanwatch.cli.lib.output import print_line
from beanwatch.cli.lib.submit import SubmitError, submit_commands, submit_nsca, submit_stdout
from beanwatch.config import Config
from beanwatch.globs import escape_name
from beanwatch.queues.servers import Server
from beanwatch.words import count

COMMAND_FILES = ("/var/lib/nagios4/rw/nagios.cmd", "/var/spool/nagios/cmd/nagios.cmd")
DEFAULT_LISTS = (LIST_FILES["nagios"], LIST_FILES["icinga2"])


@click.command()
@click.option("--once", is_flag=True, help="run the checks once, then exit: 0 if submitted, else 1")
@click.option(
    "--to",
    type=click.Choice(["stdout", "nsca", "command-file"]),
    default="stdout",
    show_default=True,
    help="where to submit the results",
)
@click.option(
    "--monitor", metavar="HOST[:PORT]", help="for nsca: the monitoring server (port 5667)"
)
@click.option(
    "--nsca-config",
    metavar="FILE",
    default="/etc/send_nsca.cfg",
    show_default=True,
    help="for nsca: the configuration file of send_nsca",
)
@click.option(
    "--command-file",
    metavar="FILE",
    help=f"for command-file: the external command file of Nagios ({' or '.join(COMMAND_FILES)})",
)
@click.option(
    "--interval", type=DURATION, default=60.0, help="time between two runs of the checks (60s)"
)
@click.option(
    "-t", "--timeout", type=DURATION, default=10.0, help="longest wait for the servers (10s)"
)
@click.option(
    "--services",
    "list_file",
    metavar="FILE",
    help="report the services of this list, which `beanwatch install` writes (default: "
    f"{' or '.join(DEFAULT_LISTS)}, if it exists; else those of the configuration)",
)
@click.option(
    "--discover",
    is_flag=True,
    help="without a list: also report each queue and each kind of job by itself that exists at the "
    "first run; later ones belong to the catch-all services",
)
@server_option
@config_option
def command(
    once: bool,
    to: str,
    monitor: str | None,
    nsca_config: str,
    command_file: str | None,
    interval: float,
    timeout: float,
    list_file: str | None,
    discover: bool,
    servers: tuple[str, ...],
    config_file: str | None,
) -> int:
    """Run all checks in one process, and submit their results as passive results.

    These are the checks for which `beanwatch install nagios --passive` generates services. The
    list of these services is read before each run. A queue that is not in it belongs to the service
    `... of other queues` from the first run on.

    \b
    Examples:
      beanwatch passive --once
      beanwatch passive --to nsca --monitor monitoring.example.org
    """
    check_durations(interval=interval, timeout=timeout)
    config = load_config(config_file)
    picked = pick_servers(config, servers)
    submit: Callable[[Iterable[ServiceResult]], int]
    if to == "nsca":
        if not monitor:
            raise click.UsageError("--to nsca needs --monitor HOST")
        submit = lambda results: submit_nsca(results, monitor, nsca_config)  # noqa: E731
    elif to == "command-file":
        path = command_file or next(filter(os.path.exists, COMMAND_FILES), COMMAND_FILES[0])
        submit = lambda results: submit_commands(results, path)  # noqa: E731
    else:
        submit = submit_stdout
    planner = ServicePlanner(picked, list_file, discover)
    due = time.monotonic()
    parts = PresentParts()
    while True:
        present = parts.turn_off_absent(config)
        now = PassiveRound(present, picked, timeout)
        now.read()
        services, own = planner.plan(now, present)
        # First whether each server answers: the services of its queues depend on that.
        services = [*answers_services(services), *services]
        # Judge all before the first is submitted: a service that is not judged loses its past.
        results = list(now.judge(services, own))
        try:
            sent, code = submit(results), 0
        except SubmitError as error:
            print_line(f"beanwatch: {error}", err=True)
            code = 1
        else:
            if to != "stdout" and once:
                print_line(f"{count(sent, 'check result')} submitted")
        now.save(is_submitted=code == 0)
        if once:
            return code
        due = max(due + interval, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))


class ServicePlanner:
    """Plans the services of each round: those of the list, or else those of the configuration.

    Raises UsageError if `list_file` was named and cannot be read at the start.
    """

    def __init__(self, servers: Sequence[Server], list_file: str | None, discover: bool) -> None:
        self._servers, self._discover = servers, discover
        self._path = list_file or next(filter(os.path.exists, DEFAULT_LISTS), "")
        self._list: OwnServices | None = None
        if self._path:
            self._read()
            if self._list is None:
                raise click.UsageError(self._trouble)

    def _read(self) -> None:
        """Read the list again. If it cannot be read, keep the one that was read before."""
        self._trouble = ""
        try:
            self._list = read_own_services(self._path)
        except OSError as error:
            self._trouble = f"cannot read {self._path}: {error.strerror}"
        except (ValueError, RecursionError) as error:
            self._trouble = f"{self._path} is not a list of services: {error}"

    def plan(self, now: PassiveRound, config: Config) -> tuple[list[Service], OwnServices]:
        """Return the services, and what the catch-all services leave out."""
        if self._path:
            self._read()
            if self._trouble:
                print_line(f"beanwatch: {self._trouble}; using the list read before", err=True)
        if self._list is not None:
            return self._plan_listed(self._list, config)
        queues = now.first_queues() if self._discover else None
        kinds = now.first_kinds() if self._discover else ()
        services = plan_services(config, self._servers, queues, kinds)
        return services, list_own(services)

    def _plan_listed(self, found: OwnServices, config: Config) -> tuple[list[Service], OwnServices]:
        """Plan the services that the monitor has.

        What the configuration has named since the list was written is judged by the catch-all
        services.
        """
        named = set(chain.from_iterable(found.queues.values()))
        rules = [one for one in config.queues if one.name is None or escape_name(one.name) in named]
        workers = [one for one in config.expected_workers if one in found.workers]
        groups = [one for one in config.expected_groups if one.glob in found.workers]
        known = config._replace(
            queues=tuple(rules), expected_workers=tuple(workers), expected_groups=tuple(groups)
        )
        services = plan_services(known, self._servers, found.queues, found.jobs)
        return services, list_own(services)
