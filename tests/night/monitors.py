"""Nagios and Icinga 2 with what `beanwatch install` places, and with shorter times.

A minute is the fleet's `tick` here. Ten minutes, for which a restart is reported, are ten ticks.
Nothing else of the configuration is changed, except the address that mails go to.
"""

import contextlib
from pathlib import Path

from tests.night.fleet import Fleet
from tests.real import Nagios, Server
from tests.real.icinga import Icinga, edit


def install(fleet: Fleet, kind: str) -> Path:
    """Install the configuration of `kind` below the fleet's root. Return the plugins' directory."""
    argv = ["install", kind, "--dest", str(fleet.root), "--family", "debian"]
    fleet.beanwatch(*argv, *(() if fleet.is_small else ("--discover",)))
    for path in (fleet.root / "etc").rglob("*"):
        if path.suffix in (".cfg", ".conf"):  # what is installed for / is below the root here
            text = path.read_text()
            text = text.replace(" /etc/beanwatch/", f" {fleet.root}/etc/beanwatch/")
            path.write_text(text.replace('"/etc/beanwatch/', f'"{fleet.root}/etc/beanwatch/'))
    plugins = fleet.root / "usr/lib/nagios/plugins"
    fleet.checks.write_plugins(plugins)
    dummy = plugins / "check_dummy"
    if not dummy.exists():
        dummy.symlink_to("/usr/lib/nagios/plugins/check_dummy")
    return plugins


def restarted(fleet: Fleet) -> str:
    """Return the value of --restarted, which is ten minutes by day."""
    return f"{10 * fleet.tick:.0f}s"


def make_nagios(fleet: Fleet) -> Server:
    """Return a Nagios that has verified the generated configuration."""
    plugins = install(fleet, "nagios")
    objects = fleet.root / "etc/nagios4/conf.d"
    mail = f"--mail ops@example.org --smtp {fleet.smtp.address}"
    edit(objects / "beanwatch-contacts.cfg", {"--mail root@localhost": mail})
    changes = {
        f"$USER1$/{name} ": f"$USER1$/{name} --restarted {restarted(fleet)} "
        for name in ("check_queue_server", "check_worker_heartbeat")
    }
    edit(objects / "beanwatch-checks.cfg", changes)
    nagios = Nagios(
        fleet.directory / "nagios",
        [objects],
        macros={"USER1": str(plugins)},
        # The checks are spread over a tick, as Nagios does by itself by day.
        settings=f"interval_length={fleet.tick:.0f}\n"
        f"service_inter_check_delay_method={fleet.tick / fleet.services:.2f}\n",
    )
    nagios.verify()
    return nagios


def favor(monitor: Server) -> None:
    """Give the session of a running monitor the processor time of several, if this is allowed.

    Linux shares the processor between sessions. All of Nagios is one session, with all the checks
    it runs; beside the rest of a busy machine it would have the share of one check.
    """
    with contextlib.suppress(OSError):
        Path(f"/proc/{monitor.pid}/autogroup").write_text("-10")


def make_icinga(fleet: Fleet) -> Server:
    """Return an Icinga 2 that has verified the generated configuration."""
    plugins = install(fleet, "icinga2")
    objects = fleet.root / "etc/icinga2/conf.d/beanwatch"
    argument = f'\n  arguments["--restarted"] = "{restarted(fleet)}"\n'
    commands = {
        line: line + argument
        for line in (
            'command = [ PluginDir + "/check_queue_server" ]',
            'command = [ PluginDir + "/check_worker_heartbeat" ]',
        )
    }
    mail = (
        f'vars.beanwatch_mail = "ops@example.org"\n  vars.beanwatch_smtp = "{fleet.smtp.address}"'
    )
    icinga = Icinga(
        fleet.directory / "icinga2",
        objects,
        plugins,
        edits={
            "services.conf": {
                "= 60s": f"= {fleet.tick:.1f}s",
                "= 20s": f"= {fleet.tick / 3:.1f}s",
            },
            "users.conf": {'vars.beanwatch_mail = "root@localhost"': mail},
            "checks.conf": {**commands, "= 20s": f"= {fleet.tick / 3:.1f}s"},
        },
    )
    icinga.verify()
    return icinga


MONITORS = {"nagios": make_nagios, "icinga2": make_icinga}
