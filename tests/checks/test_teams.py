"""The examples of teams: Nagios and Icinga accept them, and they do what they say."""

from pathlib import Path

import pytest

from tests.checks.site import Site
from tests.checks.test_icinga2 import MailingIcinga as Icinga
from tests.checks.test_job_failures import count
from tests.real import Beanstalkd, Redis, wait_until


@pytest.fixture
def site(
    tmp_path: Path, beanstalkd: Beanstalkd, redis_server: Redis, monkeypatch: pytest.MonkeyPatch
) -> Site:
    monkeypatch.setenv("BEANWATCH_STATE_DIR", str(tmp_path / "state"))
    site = Site(tmp_path, beanstalkd, redis_server)
    for queue in ("email.bulk", "email.regular"):
        with beanstalkd.client(use=queue) as client:
            client.put("x")
    count(redis_server, "email.bulk", "send", ok=1)
    text = '[workers]\nexpected = ["web1.a", { glob = "k8s.*", least = 2 }]\n'
    site.config.write_text(site.config.read_text() + text)
    return site


def use_example(site: Site, path: str, **changes: str) -> None:
    """Copy an example to the name under which it is read, with these changes."""
    example = site.root / path
    text = example.read_text()
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    example.with_suffix("").write_text(text)


@pytest.mark.usefixtures("forked_checks")
def test_nagios_notifies_the_team_and_later_its_manager(site: Site):
    site.install("nagios", "--discover")
    boxes = {name: site.directory / name for name in ("team", "manager", "others")}
    for box in boxes.values():
        box.touch()
    use_example(
        site,
        "etc/nagios4/conf.d/beanwatch-teams.cfg.example",
        **{
            "--mail mail-team@example.org": "--file /dev/null",
            f"--webhook-file {site.root}/etc/beanwatch/mail-on-call.url": f"--file {boxes['team']}",
            "--mail mail-manager@example.org": f"--file {boxes['manager']}",
            "notification_interval  30": "notification_interval  2",
        },
    )
    with site.nagios(f"--file {boxes['others']}") as nagios:
        nagios.verify()

        def alerts(name: str) -> list[str]:
            lines = boxes[name].read_text().splitlines()
            return [line for line in lines if "\tconsumers of email.bulk\t" in line]

        wait_until(lambda: alerts("manager"), timeout=60)
        wait_until(lambda: len(alerts("team")) >= 3, timeout=30)
        assert alerts("others") == []
        assert "\tworker web1.a\t" in boxes["others"].read_text()


def test_icinga_accepts_the_teams_and_every_kind_of_service(site: Site, tmp_path: Path):
    site.install("icinga2", "--discover")
    use_example(site, "etc/icinga2/conf.d/beanwatch/teams.conf.example")
    icinga = Icinga(tmp_path / "icinga2", site)
    with icinga:
        report = icinga.verify()
        # 4 checks of 4 queues and of the rest; 2 of the server, 1 of Redis, 3 of workers, 2 of jobs
        for number, kind in ((28, "Services"), (25, "Dependencies"), (2, "ServiceGroups")):
            assert f"Instantiated {number} {kind}" in report
        # One for each service but `queue server answers`; two more for the team's eight of queues
        # and one of jobs.
        assert f"Instantiated {27 + 2 * 9} Notifications" in report

        def has(service: str, words: str) -> bool:
            lines = icinga.alerts.splitlines()
            return any(f"\t{service}\tCRITICAL\t" in line and words in line for line in lines)

        wait_until(lambda: has("worker web1.a", "web1.a: not running"), timeout=90)
        wait_until(lambda: has("workers k8s._", "0 live workers, 2 are expected"), timeout=90)
        with site.beanstalkd.client(use="emial.regular") as client:
            client.put("x")
        wait_until(
            lambda: has("consumers of other queues", " - emial.regular: 1 job ready"), timeout=90
        )
