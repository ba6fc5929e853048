"""What docs/scaling.md says about more than one machine: relays, several collectors, zones."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from beanwatch.collectors.deliver.carbon import CarbonConnection, parse_graphite
from tests.checks.site import Site
from tests.real import ROOT, Beanstalkd, Graphite, Redis, wait_until
from tests.real.graphite import VENV
from tests.real.icinga import Icinga
from tests.real.process import SYSTEM_PATH, Server, free_port, ports_of

Run = Callable[..., tuple[int, str, str]]
PAGE = ROOT / "docs" / "scaling.md"
CARBONS = 3


def shown(title: str) -> str:
    """The first block of code below a heading of the page."""
    _, _, text = PAGE.read_text().partition(f"\n### {title}\n")
    return text.partition("```")[2].partition("\n")[2].partition("```")[0]


class Relay(Server):
    """A carbon-relay with the settings of the page."""

    name = "carbon-relay"

    def __init__(self, directory: Path, carbons: list[Graphite]) -> None:
        super().__init__(directory)
        self._carbons = carbons

    def choose_ports(self) -> None:
        self.port = free_port()
        nodes = [
            f"{one.carbon_pickle}:{name}" for one, name in zip(self._carbons, "abc", strict=True)
        ]
        text = shown("Several carbons behind a relay").replace("LINE_RECEIVER_PORT = 2003", "")
        text = re.sub("DESTINATIONS = .*", f"DESTINATIONS = {', '.join(nodes)}", text)
        text += f"LINE_RECEIVER_PORT = {self.port}\nPICKLE_RECEIVER_PORT = 0\n"
        text += f"LINE_RECEIVER_INTERFACE = 127.0.0.1\nSTORAGE_DIR = {self.directory}\n"
        (self.directory / "carbon.conf").write_text(text)
        (self.directory / "storage-schemas.conf").touch()

    def argv(self) -> list[str | Path]:
        return [
            VENV / "bin" / "carbon-relay.py",
            *("--nodaemon", f"--config={self.directory}/carbon.conf"),
            *(f"--pidfile={self.directory}/pid", f"--logdir={self.directory}", "start"),
        ]

    def environment(self) -> dict[str, str]:
        return {"GRAPHITE_ROOT": str(self.directory)}

    def ready(self) -> bool:
        return self.port in ports_of(self.pid)


@pytest.fixture
def carbons(tmp_path: Path) -> Iterator[list[Graphite]]:
    with ExitStack() as stack:
        started = []
        for number in range(CARBONS):
            graphite = Graphite(tmp_path / str(number))
            graphite.start_carbon()
            stack.callback(graphite.stop_carbon)
            started.append(graphite)
        yield started


def test_a_relay_gives_each_series_to_one_carbon(carbons: list[Graphite], tmp_path: Path) -> None:
    paths = [f"beanwatch.queue.q1.queue{number}.ready" for number in range(40)]

    def owners(path: str) -> list[int]:
        file = f"storage/whisper/{path.replace('.', '/')}.wsp"
        return [n for n, one in enumerate(carbons) if (one.directory / file).exists()]

    with Relay(tmp_path / "relay", carbons) as relay:
        carbon = CarbonConnection(parse_graphite(f"127.0.0.1:{relay.port}"))
        carbon.send("".join(f"{path} 1 1900000000\n" for path in paths).encode())
        carbon.close_confirmed(10.0)
        wait_until(lambda: all(map(owners, paths)), timeout=60)
    found = [owners(path) for path in paths]
    assert {len(one) for one in found} == {1}
    assert len({one[0] for one in found}) == CARBONS


def test_collectors_share_the_servers_of_one_configuration(
    run: Run, tmp_path: Path, beanstalkd: Beanstalkd
) -> None:
    path = tmp_path / "beanwatch.toml"
    other = f"localhost:{beanstalkd.port}"
    path.write_text(f'redis.url = ""\n[servers]\nq1 = "{beanstalkd.address}"\nq2 = "{other}"\n')
    for name in ("q1", "q2"):
        argv = ("beanwatch", "collect", "--config", path, "--server", name)
        code, out, _ = run(*argv, "--once", "--graphite", "-")
        assert code == 0
        assert {line.split(".")[2] for line in out.splitlines()} == {name}


class Master(Icinga):
    """An Icinga 2 with the zones of the page. Our files are in the zone of the satellite."""

    def __init__(self, directory: Path, site: Site) -> None:
        objects = site.root / "etc/icinga2/conf.d/beanwatch"
        super().__init__(directory, objects, site.plugins, edits={})
        zone = self.home / "zones.d" / "satellite"
        zone.parent.mkdir()
        shutil.move(self.home / "objects", zone)
        own = "object Endpoint NodeName { }\nobject Zone ZoneName { endpoints = [ NodeName ] }\n"
        zones = f'{shown("Icinga zones")}include_zones "etc", "{zone.parent}"\n'
        text = self._config.read_text().replace(own, zones)
        self._config.write_text(text.replace(f'include "{self.home}/objects/*.conf"', ""))
        self._defines[:2] = ["-DNodeName=master.example.org", "-DZoneName=master"]

    def services(self) -> str:
        """Return the list of all services, with their attributes."""
        for command in (
            ("daemon", "-C", "-c", self._config),
            ("object", "list", "--type", "Service"),
        ):
            done = subprocess.run(
                ["icinga2", *command, *self._defines],
                check=True,
                capture_output=True,
                text=True,
                timeout=60,
                env={**os.environ, "PATH": SYSTEM_PATH},
            )
        return re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)


def test_icinga_gives_the_services_to_the_zone_in_which_their_files_are(
    tmp_path: Path, beanstalkd: Beanstalkd, redis_server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEANWATCH_STATE_DIR", str(tmp_path / "state"))
    site = Site(tmp_path, beanstalkd, redis_server)
    site.install("icinga2")
    master = Master(tmp_path / "icinga2", site)
    found = master.services()
    shutil.rmtree(master.home)
    zones = re.findall(r'^  \* zone = "(.*)"', found, re.M)
    assert set(zones) == {"satellite"}
    assert len(zones) == found.count("of type 'Service'")
