"""The table of what `beanwatch install KIND` installs, and the contents of these files."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from beanwatch.checks.lib import icinga_files, nagios_files
from beanwatch.checks.lib.own_services import OwnServices
from beanwatch.checks.lib.services import LIST_FILES, Service
from beanwatch.checks.registry import CHECKS
from beanwatch.cli.lib.directories import DIRECTORIES
from beanwatch.cli.lib.installer import FileToInstall
from beanwatch.config import Config

PLUGINS = (*(check.program for check in CHECKS), "beanwatch_kick_buried", "beanwatch_notify")


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
        "beanwatch-worker@NAME (see the comments in its unit file); for the live page: "
        "beanwatch-web",
        (
            ("collectors/systemd/*", "systemd"),
            ("worker/systemd/*", "systemd"),
            ("web/systemd/*", "systemd"),
        ),
    ),
    "supervisor": InstallKind(
        "edit beanwatch-workers.conf, then: supervisorctl reread && supervisorctl update",
        (),
        examples=(("worker/supervisor/*", "supervisor"),),
    ),
    "php": InstallKind(
        "require /usr/share/beanwatch/php/beanwatch.php in a worker (its first lines say how), or "
        "edit beanwatch-php-workers.conf, then: supervisorctl reread && supervisorctl update",
        (
            ("worker/php/beanwatch.php", "php"),
            ("worker/php/src/*.php", "php_src"),
            ("worker/php/pheanstalk/*.php", "php_pheanstalk"),
        ),
        examples=(
            ("worker/php/example-*.php", "php"),
            ("worker/php/supervisor/*", "supervisor"),
        ),
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
    "prometheus": InstallKind(
        "copy the parts of /etc/beanwatch/prometheus/prometheus.yml into "
        "/etc/prometheus/prometheus.yml, and those of alertmanager.yml into Alertmanager's "
        "configuration, then: promtool check config /etc/prometheus/prometheus.yml && "
        "systemctl reload prometheus prometheus-alertmanager; the collector must run with --listen",
        (("grafana/prometheus/*.rules.yml", "prometheus"),),
        examples=(("grafana/prometheus/examples/*.yml", "prometheus_examples"),),
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
# What `--datasource prometheus` installs in place of the kind "grafana": no alert rules, because
# those of `beanwatch install prometheus` are the same alerts.
GRAFANA_FOR_PROMETHEUS = InstallKind(
    "add a data source for Prometheus to Grafana if it has none, then: systemctl restart "
    "grafana-server",
    (
        ("grafana/prometheus/dashboards/*.json", "dashboards"),
        ("grafana/provisioning/dashboards/*.yaml", "provisioning"),
    ),
)


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
    generated = []
    for name, directory, generate in kind.generated:
        head = "# Written by `beanwatch install`; change beanwatch.toml and run it again.\n\n"
        head = head.replace("#", "//") if name.endswith(".conf") else head
        content = (head + "\n".join(generate(context))).encode()
        path = f"{DIRECTORIES[directory][index]}/{add_prefix(name)}"
        generated.append(FileToInstall(path, content))
    yield from generated
    if context.list_file:
        # The catch-all services leave out what it names: so not what has no service in use yet.
        listed = context.list_file.encode()
        services = tuple(one.path for one in generated if listed in one.content)
        yield FileToInstall(context.list_file, context.own.to_json().encode(), follows=services)


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
