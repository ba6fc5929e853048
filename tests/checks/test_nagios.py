"""Nagios Core runs what `beanwatch install nagios` places, and its alerts arrive."""

from pathlib import Path

import pytest

from beanwatch.checks.lib.nagios_files import nagios_services
from beanwatch.checks.lib.services import plan_services
from beanwatch.config.reader import parse
from beanwatch.queues.servers import resolve_servers
from tests.checks.site import Site
from tests.checks.test_workers import beat
from tests.real import Beanstalkd, HttpSink, Nagios, Redis, SmtpSink, wait_until


@pytest.fixture
def site(
    tmp_path: Path, beanstalkd: Beanstalkd, redis_server: Redis, monkeypatch: pytest.MonkeyPatch
) -> Site:
    monkeypatch.setenv("BEANWATCH_STATE_DIR", str(tmp_path / "state"))
    return Site(tmp_path, beanstalkd, redis_server)


def state_of(nagios: Nagios, service: str) -> tuple[str, str]:
    """The state and the output of a service."""
    found = nagios.statuses().get(("queue1", service), {})
    return found.get("current_state", ""), found.get("plugin_output", "")


def test_a_problem_and_its_recovery_arrive_by_mail_and_by_webhook(site: Site):
    site.install("nagios")
    with SmtpSink() as mail, HttpSink() as web:
        secret = site.directory / "slack.url"
        secret.write_text(f"{web.url}/hook\n")
        notify = f"--mail ops@example.org --smtp {mail.address} --webhook-file {secret}"
        with site.nagios(notify) as nagios:
            nagios.verify()
            site.bury()

            def mails(kind: str) -> list[object]:
                subject = f"{kind}: queue1 buried of images is "
                return [m for m in mail.mails if str(m.message["subject"]).startswith(subject)]

            wait_until(lambda: mails("PROBLEM"), timeout=60, message="the alert arrives")
            site.kick_and_delete()
            wait_until(lambda: mails("RECOVERY"), timeout=60, message="the recovery arrives")
            recovery = "RECOVERY: queue1 buried of images is OK"
            wait_until(
                lambda: all(
                    any(f"{kind}: queue1 buried" in r.json()["text"] for r in web.requests)
                    for kind in ("PROBLEM", "RECOVERY")
                )
            )
            hooks = [r.json() for r in web.requests]
    problem = mails("PROBLEM")[0]
    assert problem.recipients == ["ops@example.org"]
    subject = str(problem.message["subject"])
    assert subject.startswith("PROBLEM: queue1 buried of images is CRITICAL: images: 1 job buried")
    body = problem.message.get_content().replace("\r\n", "\n")
    runbook = "Runbook: https://beanwatch.readthedocs.io/en/latest/runbook/#queue-buried\n"
    assert body.count(runbook) == 1
    assert "since 20" in body
    texts = [hook["text"] for hook in hooks]
    assert any(text.startswith("PROBLEM: queue1 buried of images is CRITICAL") for text in texts)
    assert any(text.startswith(recovery) for text in texts)
    (alert,) = [h for h in hooks if h["text"].startswith("PROBLEM: queue1 buried")]
    assert "#queue-buried|Runbook>" in alert["attachments"][0]["text"]


@pytest.mark.usefixtures("forked_checks")
def test_a_first_start_of_everything_alerts_nobody(site: Site):
    site.install("nagios", "--discover")
    mailbox = site.directory / "mailbox"
    mailbox.touch()
    beat(site.redis, "web1.a")
    with site.nagios(f"--file {mailbox}") as nagios:
        nagios.verify()

        def oldest_check() -> int:
            beat(site.redis, "web1.a")
            return min(int(s["last_check"]) for (_, name), s in nagios.statuses().items() if name)

        wait_until(lambda: oldest_check() > 0, timeout=60)
        first = oldest_check()
        # An alert takes four checks, one each second.
        wait_until(lambda: oldest_check() > first + 5, timeout=60)
        states = {name: s["current_state"] for (_, name), s in nagios.statuses().items() if name}
        assert set(states.values()) == {"0"}, states
        assert "up for" in state_of(nagios, "queue server")[1]
    assert mailbox.read_text() == ""


@pytest.mark.usefixtures("forked_checks")
def test_a_server_that_is_down_is_one_alert_and_no_storm(site: Site):
    site.install("nagios")
    # Where a minute is a second, two attempts more than the server's are no room for a slow look.
    templates = site.root / "etc/nagios4/conf.d/beanwatch-templates.cfg"
    text = templates.read_text()
    assert "max_check_attempts      4\n" in text
    templates.write_text(text.replace("max_check_attempts      4\n", "max_check_attempts 8\n"))
    mailbox = site.directory / "mailbox"
    mailbox.touch()
    with site.nagios(f"--file {mailbox}") as nagios:
        # One that was not looked at yet is in state 0, too.
        wait_until(lambda: "no job waits" in state_of(nagios, "age of images")[1], timeout=60)
        site.beanstalkd.kill()
        wait_until(lambda: "\tqueue server\tCRITICAL\t" in mailbox.read_text(), timeout=60)
        queues = [f"{check} of images" for check in ("depth", "buried", "age", "consumers")]
        wait_until(
            lambda: all(
                nagios.statuses()["queue1", queue].get("state_type") == "1"
                and nagios.statuses()["queue1", queue].get("current_state") == "3"
                for queue in queues
            ),
            timeout=60,
            message="the queues' checks are UNKNOWN for good",
        )
        assert " of images" not in mailbox.read_text()
        assert state_of(nagios, "queue server answers")[0] == "2"
        assert "queue server answers" not in mailbox.read_text()
        site.beanstalkd.start()
        wait_until(lambda: state_of(nagios, "age of images")[0] == "0", timeout=60)


@pytest.mark.usefixtures("forked_checks")
def test_a_server_that_answers_silences_no_queue_though_it_is_critical(site: Site):
    with site.config.open("a") as config:
        config.write("[checks.queue_server]\ncritical = 0\n")
    site.install("nagios")
    mailbox = site.directory / "mailbox"
    mailbox.touch()
    with site.nagios(f"--file {mailbox}") as nagios:
        nagios.verify()
        wait_until(lambda: "\tqueue server\tCRITICAL\t" in mailbox.read_text(), timeout=60)
        site.bury()
        wait_until(lambda: "\tburied of images\tCRITICAL\t" in mailbox.read_text(), timeout=60)
        assert state_of(nagios, "queue server answers")[0] == "0"


@pytest.mark.usefixtures("forked_checks")
def test_a_redis_that_is_down_is_one_alert(site: Site):
    site.install("nagios")
    templates = site.root / "etc/nagios4/conf.d/beanwatch-templates.cfg"
    text = templates.read_text()
    templates.write_text(text.replace("max_check_attempts      4\n", "max_check_attempts 8\n"))
    beat(site.redis, "web1.a", interval=600.0)
    mailbox = site.directory / "mailbox"
    mailbox.touch()
    with site.nagios(f"--file {mailbox}") as nagios:
        nagios.verify()
        wait_until(lambda: "web1.a: idle" in state_of(nagios, "workers")[1], timeout=60)
        site.redis.kill()
        wait_until(lambda: "\tredis\tCRITICAL\t" in mailbox.read_text(), timeout=60)
        dependents = ("workers", "job failures")
        wait_until(
            lambda: all(
                nagios.statuses()["queue1", name].get("state_type") == "1"
                and nagios.statuses()["queue1", name].get("current_state") == "3"
                for name in dependents
            ),
            timeout=60,
            message="the checks of workers and jobs are UNKNOWN for good",
        )
        site.redis.start()
        beat(site.redis, "web1.a", interval=600.0)
        wait_until(lambda: "RECOVERY\tqueue1\tredis\t" in mailbox.read_text(), timeout=60)
        assert not any(f"\t{name}\t" in mailbox.read_text() for name in dependents)


def test_passive_results_arrive_by_the_command_file_and_their_absence_is_an_alert(site: Site):
    site.install("nagios", "--passive")
    with site.nagios("--file /dev/null") as nagios:
        nagios.verify()
        site.bury()
        commands = nagios._run / "commands"
        argv = ("passive", "--once", "--to", "command-file", "--command-file", commands)
        assert site.beanwatch(*argv) == "13 check results submitted\n"
        wait_until(lambda: state_of(nagios, "buried of images")[0] == "2", timeout=60)
        assert "images: 1 job buried" in state_of(nagios, "buried of images")[1]
        assert "fresh" not in state_of(nagios, "buried of images")[1]
        long = nagios.statuses()["queue1", "buried of images"]["long_plugin_output"]
        assert long.startswith("What to do: beanwatch runbook queue-buried")
    # Freshness is looked after once a minute, which no test should wait for: shorten it.
    objects = site.root / "etc/nagios4/conf.d/beanwatch-templates.cfg"
    objects.write_text(
        objects.read_text().replace("freshness_threshold     180", "freshness_threshold 1")
    )
    overdue = Nagios(
        site.directory / "overdue",
        [site.root / "etc/nagios4/conf.d"],
        macros={"USER1": str(site.plugins)},
        settings="service_freshness_check_interval=1\nadditional_freshness_latency=1\n",
    )
    with overdue as nagios:
        wait_until(lambda: state_of(nagios, "depth of images")[0] == "3", timeout=60)
        assert "No result from beanwatch passive" in state_of(nagios, "depth of images")[1]


def write(path: Path, text: str) -> None:
    """Replace the file at once: who reads it sees the old text or the new one."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


def test_passive_results_follow_queues_as_they_come_and_tell_of_a_second_problem(site: Site):
    with site.beanstalkd.client(use="email.regular") as client:
        client.put("x")
    site.install("nagios", "--passive", "--discover")
    mailbox = site.directory / "mailbox"
    mailbox.touch()
    own = site.root / "etc/beanwatch/services-nagios.json"
    with site.nagios(f"--file {mailbox}") as nagios:
        commands = nagios._run / "commands"

        def submit() -> None:
            argv = ("--to", "command-file", "--command-file", commands, "--services", own)
            site.beanwatch("passive", "--once", *argv)

        def alerts(kind: str, text: str) -> list[str]:
            lines = mailbox.read_text().splitlines()
            head = f"{kind}\tqueue1\tconsumers of other queues\tCRITICAL\t"
            return [line for line in lines if head in line and text in line]

        submit()
        with site.beanstalkd.client(use="emial.regular") as client:
            client.put("x")
        submit()
        problem = "emial.regular: 1 job ready and no consumer watches it"
        wait_until(lambda: alerts("PROBLEM", problem), timeout=60)
        submit()
        with site.beanstalkd.client(use="imgaes") as client:
            client.put("x")
        submit()
        second = "imgaes: 1 job ready and no consumer watches it"
        wait_until(lambda: alerts("CUSTOM", second), timeout=60)
        submit()
        submit()
        site.beanstalkd.kill()
        submit()
        wait_until(lambda: "\tqueue server\tCRITICAL\t" in mailbox.read_text(), timeout=60)
        submit()
        wait_until(lambda: state_of(nagios, "queue server answers")[0] == "2", timeout=60)
    assert "queue server answers" not in mailbox.read_text()
    assert len(alerts("CUSTOM", "")) == 1
    assert "could not be found" not in nagios.events


@pytest.mark.usefixtures("forked_checks")
def test_an_active_service_that_covers_several_reminds(site: Site):
    site.install("nagios", "--discover")
    templates = site.root / "etc/nagios4/conf.d/beanwatch-templates.cfg"
    text = templates.read_text()
    assert "notification_interval  30\n" in text
    write(templates, text.replace("notification_interval  30\n", "notification_interval  3\n"))
    mailbox = site.directory / "mailbox"
    mailbox.touch()
    with site.nagios(f"--file {mailbox}") as nagios:
        nagios.verify()
        for queue in ("emial.regular", "imgaes"):
            with site.beanstalkd.client(use=queue) as client:
                client.put("x")
            wait_until(
                lambda queue=queue: any(
                    "\tconsumers of other queues\tCRITICAL\t" in line and queue in line
                    for line in mailbox.read_text().splitlines()
                ),
                timeout=60,
            )


def test_the_event_handler_kicks_buried_jobs_when_it_is_switched_on(site: Site):
    site.install("nagios")
    services = site.root / "etc/nagios4/conf.d/beanwatch-services.cfg"
    on = "    event_handler_enabled 1\n    event_handler beanwatch_kick_buried\n"
    text = services.read_text()
    before = "    use                  beanwatch-queue-buried\n"
    assert before in text
    services.write_text(text.replace(before, before + on))
    with site.nagios("--file /dev/null") as nagios:
        nagios.verify()
        site.bury()
        wait_until(
            lambda: site.beanstalkd.stats_tube("images")["current-jobs-ready"] == 1, timeout=60
        )
        wait_until(lambda: state_of(nagios, "buried of images")[0] == "0", timeout=60)


STRANGE = ["a+b", "a/b", "a;b", "a.b", "a$b", "a_b", "(a)", "A-1", "a$b;c", "z" * 200]


@pytest.mark.usefixtures("forked_checks")
def test_every_legal_queue_name_survives_nagios(site: Site):
    for queue in STRANGE:
        with site.beanstalkd.client(use=queue) as client:
            client.put("x")
    site.install("nagios", "--discover")
    # Fifty services each second would leave nothing of the machine to the tests beside this one.
    with site.nagios("--file /dev/null", "interval_length=10\n") as nagios:
        nagios.verify()

        def outputs() -> list[str]:
            statuses = nagios.statuses().items()
            return [s["plugin_output"] for (_, name), s in statuses if name.startswith("depth of")]

        wait_until(
            lambda: sum("1 job ready" in out for out in outputs()) == len(STRANGE), timeout=60
        )
        said = " ".join(outputs())
        for queue in STRANGE:
            # Nagios itself shows `;` as `:` in what a plugin said.
            assert f"{queue.replace(';', ':')}: 1 job ready" in said


def test_names_that_nagios_would_confuse_are_numbered():
    config = parse('[queues."a$b".depth]\nwarning = 1\n[queues."a(b".depth]\nwarning = 1\n')
    services = plan_services(config, resolve_servers({"q": "127.0.0.1"}))
    names = [service.name for service in services if service.check == "queue_depth"]
    assert len(set(names)) == 3
    assert all(name.startswith("depth of a_b_") for name in names[:2]), "with a hash of each"
    assert names[2] == "depth of other queues"
    text = "".join(nagios_services(services, config))
    assert "check_queue_depth!a$$b\n" in text
