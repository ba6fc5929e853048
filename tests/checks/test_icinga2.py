"""Icinga 2 accepts what `beanwatch install icinga2` places, runs it, and notifies."""

import shutil
from pathlib import Path

import pytest

from tests.checks.site import Site
from tests.operations.test_doctor import beat
from tests.real import Beanstalkd, Redis, wait_until
from tests.real.icinga import Icinga, edit


class MailingIcinga(Icinga):
    """An Icinga 2 with the objects of a site, with short times, which mails into a file."""

    def __init__(self, directory: Path, site: Site) -> None:
        objects = site.root / "etc/icinga2/conf.d/beanwatch"
        super().__init__(
            directory,
            objects,
            site.plugins,
            edits={
                "services.conf": {
                    "= 60s": "= 1s",
                    # A service needs longer to alert than its server needs to be found dead.
                    "retry_interval = 20s": "retry_interval = 3s",
                    "= 20s": "= 1s",
                    # The 90 s after it stay: `passive` is slow on a busy machine.
                    "= 180s": "= 20s",
                },
            },
        )
        self.mailbox = self.home / "mailbox"
        mail = f'vars.beanwatch_file = "{self.mailbox}"'
        edit(self.home / "objects/users.conf", {'vars.beanwatch_mail = "root@localhost"': mail})
        shutil.copy(site.config, self.home / "beanwatch.toml")
        config = str(self.home / "beanwatch.toml")
        edit(self.home / "objects/hosts.conf", {str(site.config): config})

    @property
    def alerts(self) -> str:
        return self.mailbox.read_text() if self.mailbox.exists() else ""


@pytest.fixture
def site(
    tmp_path: Path, beanstalkd: Beanstalkd, redis_server: Redis, monkeypatch: pytest.MonkeyPatch
) -> Site:
    monkeypatch.setenv("BEANWATCH_STATE_DIR", str(tmp_path / "state"))
    return Site(tmp_path, beanstalkd, redis_server)


def test_icinga_validates_runs_and_notifies(site: Site, tmp_path: Path):
    site.install("icinga2")
    beat(site.redis, "web1.a", interval=1000.0)
    with MailingIcinga(tmp_path / "icinga2", site) as icinga:
        report = icinga.verify()
        for count, kind in ((13, "Services"), (10, "CheckCommands"), (10, "Dependencies")):
            assert f"Instantiated {count} {kind}" in report or kind == "CheckCommands"
        site.bury()

        def has(kind: str, service: str, state: str) -> bool:
            return f"{kind}\tqueue1\t{service}\t{state}\t" in icinga.alerts

        wait_until(lambda: has("PROBLEM", "buried of images", "CRITICAL"), timeout=90)
        line = next(li for li in icinga.alerts.splitlines() if "\tburied of images\t" in li)
        assert "images: 1 job buried (limit 0)" in line
        assert line.endswith("/runbook/#queue-buried")
        site.kick_and_delete()
        wait_until(lambda: has("RECOVERY", "buried of images", "OK"), timeout=90)
        site.beanstalkd.kill()
        wait_until(lambda: has("PROBLEM", "queue server", "CRITICAL"), timeout=90)
        # What is not known is shown as UNKNOWN, and alerts nobody: neither during the outage, nor
        # when the server is back, before the next check.
        wait_until(lambda: set(states_of_queues(icinga)) == {UNKNOWN}, timeout=90)
        site.beanstalkd.start()
        wait_until(lambda: set(states_of_queues(icinga)) == {OK}, timeout=90)
        assert "UNKNOWN" not in icinga.alerts
        # One dead Redis is one alert, too.
        site.redis.kill()
        wait_until(lambda: has("PROBLEM", "redis", "CRITICAL"), timeout=90)
        site.redis.start()
        wait_until(lambda: has("RECOVERY", "redis", "OK"), timeout=90)
        assert "\tUNKNOWN\t" not in icinga.alerts


OK, UNKNOWN = 0, 3


def states_of_queues(icinga: Icinga) -> list[int]:
    return [state for name, state in icinga.states().items() if " of " in name]


def test_icinga_takes_passive_results_and_alerts_when_there_are_none(site: Site, tmp_path: Path):
    text = site.config.read_text().replace('[queues."images"', '[queues."image*"')
    # A server that is CRITICAL but answers silences none of its queues.
    site.config.write_text(f"{text}[checks.queue_server]\ncritical = 0\n")
    site.install("icinga2", "--passive")
    with MailingIcinga(tmp_path / "icinga2", site) as icinga:
        icinga.verify()
        site.bury()

        def has(service: str, state: str, words: str) -> bool:
            argv = ("passive", "--once", "--to", "command-file", "--command-file", icinga.commands)
            if icinga.commands.exists() and "No result" not in words:
                site.beanwatch(*argv)
            lines = icinga.alerts.splitlines()
            return any(f"\t{service}\t{state}\t" in one and words in one for one in lines)

        wait_until(lambda: has("buried of image_", "CRITICAL", "images: 1 job buried"), timeout=90)
        wait_until(lambda: has("queue server", "CRITICAL", "connection"), timeout=90)
        assert icinga.states()["queue server answers"] == OK
        assert "depth of image_" not in icinga.alerts, "what is well from the start alerts nobody"
        silence = "No result from beanwatch passive"
        wait_until(lambda: has("depth of image_", "UNKNOWN", silence), timeout=200)
