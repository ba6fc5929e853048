"""The Nagios objects of the demo: one host and its services, made from the shipped templates."""

from collections.abc import Iterable
from pathlib import Path

from beanwatch.checks.lib.nagios_files import nagios_checks
from beanwatch.config.reader import load
from tests.real import ROOT

SHIPPED = [ROOT / "checks" / "nagios" / name for name in ("commands.cfg", "templates.cfg")]

QUEUE_SERVER = "queue server"
DEPTH = "depth"
BURIED = "buried"
CONSUMERS = "consumers"
WORKERS = "workers"

# Nagios counts intervals in seconds here, not in minutes. `--restarted` is some seconds instead of
# ten minutes, so that the demo need not wait for the warning to end. Some retry intervals are
# longer, so that a worker that hangs has restarted before its service alerts.


def contact(mailbox: Path) -> str:
    """Return the contact whose notifications are written to the mailbox."""
    return f"""\
define contact {{
    use           beanwatch-contact
    contact_name  viewer
    _NOTIFY       --file {mailbox}
}}

define contactgroup {{
    contactgroup_name  beanwatch
    members            viewer
}}
"""


def write_objects(
    directory: Path, config: Path, mailbox: Path, objects: Iterable[str]
) -> list[Path]:
    """Write these objects, their contact and the checks into files.

    Return the files and the shipped ones, for Nagios to load.
    """
    checks, own = directory / "checks.cfg", directory / "own.cfg"
    checks.write_text("\n".join(nagios_checks(load(str(config)))))
    own.write_text("\n".join([contact(mailbox), *objects]))
    return [*SHIPPED, checks, own]


def queue1(config: Path) -> str:
    """Return the host with beanstalkd, and its services."""
    return f"""\
define host {{
    use                 beanwatch-host
    host_name           queue1
    address             127.0.0.1
    _BEANWATCH_SERVER         queue1
    _BEANWATCH_OPTIONS  -t 10 --config {config}
}}

define service {{
    use                  beanwatch-queue-server
    host_name            queue1
    service_description  {QUEUE_SERVER}
    check_command        check_queue_server!--restarted 2s
}}

define service {{
    use                  beanwatch-queue-depth
    host_name            queue1
    service_description  {DEPTH}
    check_command        check_queue_depth!*
}}

define service {{
    use                  beanwatch-queue-buried
    host_name            queue1
    service_description  {BURIED}
    check_command        check_queue_buried!*
}}

define service {{
    use                  beanwatch-queue-consumers
    host_name            queue1
    service_description  {CONSUMERS}
    check_command        check_queue_consumers!*
    retry_interval       5
}}

define service {{
    use                  beanwatch-worker-heartbeat
    host_name            queue1
    service_description  {WORKERS}
    check_command        check_worker_heartbeat!*!--restarted 15s
    retry_interval       3
}}
"""
