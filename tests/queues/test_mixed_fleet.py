"""Checks, commands and generated monitoring work on servers of several queue systems."""

import json
import re
import shutil
import time
from pathlib import Path

import pytest

from tests.checks.conftest import Answer, parse_output
from tests.queues.conftest import MakeServer, Run
from tests.queues.fake_system import SERVER
from tests.real import Beanstalkd, Nagios, Redis
from tests.real.icinga import Icinga

OK, WARNING, CRITICAL, UNKNOWN = range(4)
ODD_NAMES = ("a b", "größe/東京", 'it\'s "$HOME"!', "-x", "a*", "a?", "x" * 255, "pay|usd=;")
OFF = '[redis]\nurl = ""\n[graphite]\naddress = ""\nurl = ""\n'


class Fleet:
    """A configuration with fake servers, and the means to run programs with it."""

    def __init__(self, directory: Path, run: Run) -> None:
        self.directory, self._run = directory, run
        self.config = directory / "beanwatch.toml"

    def configure(self, servers: dict[str, str], more: str = "") -> None:
        lines = "".join(f'{name} = "{url}"\n' for name, url in servers.items())
        self.config.write_text(f"[servers]\n{lines}{OFF}{more}", encoding="utf-8")

    def check(self, name: str, *argv: object) -> Answer:
        done = self._run(f"check_{name}", "--config", self.config, *argv)
        return parse_output(done.returncode, done.stdout, done.stderr)

    def beanwatch(self, *argv: object, code: int = 0) -> str:
        done = self._run("beanwatch", *argv, "--config", self.config)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def install(self, kind: str, *argv: object) -> str:
        """Return the generated files as one text."""
        root = self.directory / "root"
        self.beanwatch("install", kind, "--dest", root, "--family", "debian", *argv)
        files = sorted(path for path in root.rglob("*") if path.suffix in (".cfg", ".conf"))
        return "".join(path.read_text() for path in files)


@pytest.fixture
def fleet(tmp_path: Path, run_fake: Run) -> Fleet:
    return Fleet(tmp_path, run_fake)


# -- names


def test_a_check_by_hand_takes_every_name_and_refuses_control_characters(
    fleet: Fleet, make_server: MakeServer
) -> None:
    fleet.configure({"q": make_server("full", {name: {"ready": 3} for name in ODD_NAMES})})
    for name in ODD_NAMES[:4]:
        answer = fleet.check("queue_depth", f"--queue={name}", "-w", "1")
        assert answer.code == WARNING, answer
        assert f"{name}: 3 jobs ready (limit 1)" in answer.text
    answer = fleet.check("queue_depth", "-Q", "a[*]", "-w", "1")
    assert "a*: 3 jobs ready" in answer.text
    assert set(answer.perfdata) == {"a*"}
    answer = fleet.check("queue_depth")
    assert len(answer.perfdata) == len(ODD_NAMES)
    for argv in (("-Q", "a\nb"), ("--exclude", "a\x1bb"), ("-Q", "")):
        answer = fleet.check("queue_depth", *argv)
        assert (answer.code, answer.long[0]) == (UNKNOWN, "What to do: beanwatch runbook unknown")
        assert "not a valid name or glob of a queue" in answer.text
    said = fleet.beanwatch("queues", "peek", "a\nb", code=2)
    assert len(said.splitlines()) <= 4
    assert "expected the name or a glob of a queue" in said


def test_each_queue_with_an_odd_name_has_services_that_nagios_accepts(
    fleet: Fleet, make_server: MakeServer, tmp_path: Path
) -> None:
    fleet.configure({"q": make_server("full", {name: {"ready": 3} for name in ODD_NAMES})})
    text = fleet.install("nagios", "--discover")
    found = [line.split(None, 1)[1] for line in text.splitlines() if " service_description" in line]
    depths = [name for name in found if name.startswith("depth of ")]
    assert len(set(depths)) == len(ODD_NAMES) + 1
    with_plugins = tmp_path / "root/usr/lib/nagios/plugins"
    for name in ("check_dummy",):
        (with_plugins / name).symlink_to("/usr/lib/nagios/plugins/check_dummy")
    objects = tmp_path / "root/etc/nagios4/conf.d"
    nagios = Nagios(tmp_path / "nagios", [objects], macros={"USER1": str(with_plugins)})
    nagios.verify()
    shutil.rmtree(nagios._run, ignore_errors=True)
    done = fleet.beanwatch("passive", "--once", "--discover", code=0)
    rows = [line.split("\t") for line in done.splitlines() if line.startswith("q\t")]
    passive = [row[1] for row in rows if row[1].startswith("depth of ")]
    assert len(set(passive)) == len(passive) == len(ODD_NAMES) + 1
    assert set(passive) <= set(depths) | {"depth of other queues"}


def test_icinga_has_the_services_that_nagios_has(
    fleet: Fleet, make_server: MakeServer, tmp_path: Path
) -> None:
    servers = {
        "q": make_server("full", {name: {"ready": 3} for name in ODD_NAMES}, "q"),
        "jobs": make_server("dead", {"a": {"ready": 1}, SERVER: {"buried": 7}}, "jobs"),
    }
    fleet.configure(servers)
    text = fleet.install("nagios", "--discover")
    nagios = text.count(" service_description ") - text.count("define servicedependency")
    fleet.install("icinga2", "--discover")
    root = tmp_path / "root"
    objects, plugins = root / "etc/icinga2/conf.d/beanwatch", root / "usr/lib/nagios/plugins"
    icinga = Icinga(tmp_path / "icinga2", objects, plugins, edits={})
    try:
        report = icinga.verify()
    finally:
        shutil.rmtree(icinga.home)
    (services,) = re.findall(r"Instantiated (\d+) Services", report)
    assert int(services) == nagios


# -- limits that are for one server


def test_limits_of_a_queue_hold_for_the_servers_that_they_name(
    fleet: Fleet, make_server: MakeServer
) -> None:
    servers = {
        name: make_server("full", {"orders": {"ready": 3}}, name) for name in ("east", "west")
    }
    rule = '[queues.orders]\nserver = "ea*"\n[queues.orders.depth]\nwarning = 1\n'
    fleet.configure(servers, rule)
    answer = fleet.check("queue_depth")
    assert answer.code == WARNING
    assert "east/orders: 3 jobs ready (limit 1)" in answer.text
    assert "west" not in answer.text
    text = fleet.install("nagios")
    assert text.count("depth of orders\n") == 1
    assert 'server = "ea*"' in fleet.beanwatch("config", "show")
    fleet.configure(servers, rule.replace("ea*", "north"))
    said = fleet.beanwatch("config", "check", code=2)
    assert 'queues."orders": server = "north" matches none of the servers: east, west' in said


# -- a queue whose rule names no server must exist on one of them

RULE = "[queues.orders.depth]\nwarning = 5\n"


def test_a_queue_must_exist_on_at_least_one_of_the_servers(
    fleet: Fleet, make_server: MakeServer
) -> None:
    has, lacks = {"orders": {"ready": 3}}, {"mail": {"ready": 1}}
    servers = {
        "a": make_server("full", has, "a"),
        "b": make_server("full", lacks, "b"),
        "c": make_server("full", lacks, "c"),
    }
    fleet.configure(servers, RULE)
    # A server that lacks it is no problem, whoever names the queue
    for argv in ((), ("--server", "b"), ("--server", "b", "-Q", "orders")):
        answer = fleet.check("queue_depth", *argv)
        assert answer.code == OK, answer
    assert answer.text.endswith("orders: not on this server, but it may be on another one")
    assert answer.perfdata == {}
    answer = fleet.check("queue_depth", "--server", "b", "-Q", "orders", "--missing", "critical")
    assert answer.code == CRITICAL
    # And it has no service there, once it was found elsewhere
    assert hosts_of("depth of orders", fleet.install("nagios", "--discover")) == ["a"]
    assert hosts_of("depth of orders", fleet.install("nagios")) == ["a", "b", "c"]
    rows = fleet.beanwatch("passive", "--once").splitlines()
    judged = {tuple(row.split("\t")[:3]) for row in rows if "depth of orders" in row}
    assert judged == {("a", "depth of orders", "0"), ("b", *ORDERS_OK), ("c", *ORDERS_OK)}
    # When no server has it, that is unknown on each
    make_server("full", lacks, "a")
    for argv in ((), ("--server", "b"), ("--server", "b", "-Q", "orders")):
        answer = fleet.check("queue_depth", *argv)
        assert (answer.code, "orders: no such queue" in answer.text) == (UNKNOWN, True)
    # The service stays where the queue was, so that there is one alert
    assert hosts_of("depth of orders", fleet.install("nagios", "--discover")) == ["a"]
    # When a server that may have it cannot be read, nobody knows
    Path(fleet.directory / "a.json").unlink()
    answer = fleet.check("queue_depth", "--server", "b", "-Q", "orders")
    assert answer.code == UNKNOWN
    assert any("orders: not looked for on a: " in line for line in answer.long)


ORDERS_OK = ("depth of orders", "0")


def hosts_of(service: str, text: str) -> list[str]:
    found = re.findall(rf"host_name +(\w+)\n +service_description +{service}\n", text)
    return sorted(found)


def test_a_queue_whose_rule_names_servers_must_exist_on_each(
    fleet: Fleet, make_server: MakeServer
) -> None:
    servers = {
        "a": make_server("full", {"orders": {"ready": 3}}, "a"),
        "b": make_server("full", {}, "b"),
    }
    fleet.configure(servers, '[queues.orders]\nserver = "*"\n')
    answer = fleet.check("queue_depth")
    assert (answer.code, "b/orders: no such queue" in answer.text) == (UNKNOWN, True)
    assert hosts_of("depth of orders", fleet.install("nagios", "--discover")) == ["a", "b"]


def test_a_server_that_removes_empty_queues_may_have_any_queue(
    fleet: Fleet, make_server: MakeServer, beanstalkd: Beanstalkd
) -> None:
    servers = {"b": make_server("full", {}, "b"), "beans": beanstalkd.address}
    fleet.configure(servers, RULE)
    for argv in ((), ("--server", "b", "-Q", "orders"), ("--server", "beans", "-Q", "orders")):
        assert fleet.check("queue_depth", *argv).code == OK
    assert hosts_of("depth of orders", fleet.install("nagios", "--discover")) == ["beans"]


# -- consumers


def test_consumers_are_judged_and_named_as_the_system_counts_them(
    fleet: Fleet, make_server: MakeServer
) -> None:
    queues = {
        "idle": {"ready": 0, "consumers": 0},
        "left": {"ready": 2, "consumers": 0},
        "busy": {"ready": 2, "consumers": 4},
        "failed": {"ready": 9, "consumers": 0, "is_dead_letter": True},
    }
    fleet.configure({"q": make_server("full", queues)})
    answer = fleet.check("queue_consumers", "-v")
    assert answer.code == CRITICAL
    assert answer.text.endswith(
        "left: 2 jobs ready and no consumer: there are no workers that poll the queue"
    )
    shown = "\n".join(answer.long)
    assert "OK: busy: 2 jobs ready, 4 consumers" in shown
    assert "OK: failed: 9 jobs ready, which wait for a person" in shown
    answer = fleet.check("queue_consumers", "-Q", "failed", "-c", "1:")
    assert answer.code == OK
    answer = fleet.check("queue_depth", "-Q", "[lf]*", "-w", "1")
    assert "left: 2 jobs ready (limit 1), no consumer: there are no workers" in answer.text
    assert "failed: 9 jobs ready (limit 1)" in answer.text
    assert answer.text.count("no consumer") == 1


def test_failed_jobs_do_not_wait_too_long_by_the_limits_for_workers(
    fleet: Fleet, make_server: MakeServer
) -> None:
    queues = {
        "failed": {"ready": 9, "head_ready_age": 7200.0, "is_dead_letter": True},
        "mail": {"ready": 1, "head_ready_age": 12.0},
    }
    fleet.configure({"q": make_server("full", queues)})
    answer = fleet.check("queue_age")
    assert answer.code == OK
    assert "the longest wait is 12s, in mail" in answer.text
    answer = fleet.check("queue_age", "-Q", "failed")
    assert answer.code == OK
    assert "failed: 9 jobs ready, which wait for a person" in answer.text
    assert "1800" not in answer.perfdata["failed"], "nor shown with limits"
    answer = fleet.check("queue_age", "-Q", "failed", "-w", "300", "-c", "1800")
    assert answer.code == CRITICAL, "somebody set limits, though they are those of the default"


def test_a_run_that_does_not_know_a_number_does_not_restart_the_time_of_for(
    fleet: Fleet, make_server: MakeServer
) -> None:
    late: dict[str, object] = {"ready": 1, "head_ready_age": 900.0}
    fleet.configure({"q": make_server("full", {"mail": late})})
    argv = ("-Q", "mail", "-c", "10", "--for", "0.5")
    assert fleet.check("queue_age", *argv).code == OK
    time.sleep(0.6)
    make_server("full", {"mail": {**late, "head_ready_age": None}})
    assert fleet.check("queue_age", *argv).code == UNKNOWN
    make_server("full", {"mail": late})
    assert fleet.check("queue_age", *argv).code == CRITICAL


def test_a_problem_of_a_queue_is_shown_once_by_the_check_of_its_consumers(
    fleet: Fleet, make_server: MakeServer
) -> None:
    queues = {"a": {"ready": 1, "consumers": 3, "problem": "3 consumers acknowledge nothing"}}
    fleet.configure({"q": make_server("full", queues)})
    answer = fleet.check("queue_consumers")
    assert answer.code == CRITICAL
    assert answer.text.endswith("a: 1 job ready, 3 consumers, 3 consumers acknowledge nothing")
    assert "What to do: beanwatch runbook queue-consumers" in answer.long
    answer = fleet.check("queue_server")
    assert answer.code == WARNING
    assert "acknowledge" not in answer.text
    fleet.configure({"q": make_server("dead", queues)})
    answer = fleet.check("queue_server")
    assert answer.code == CRITICAL
    assert "a: 3 consumers acknowledge nothing" in answer.text


def test_a_system_without_consumers_is_unknown_once_with_the_reason(
    fleet: Fleet, make_server: MakeServer
) -> None:
    fleet.configure({"q": make_server("dead", {name: {"ready": 1} for name in "abc"})})
    answer = fleet.check("queue_consumers")
    assert answer.code == UNKNOWN
    assert answer.text.count("it keeps no list of its workers") == 1
    assert "dead does not report the number of consumers" in answer.text
    assert "consumers of" not in fleet.install("nagios", "--discover")


# -- failed jobs that belong to no queue


def test_failed_jobs_of_a_server_are_judged_where_they_belong_to_no_queue(
    fleet: Fleet, make_server: MakeServer
) -> None:
    queues = {"a": {"ready": 1}, SERVER: {"buried": 7}}
    fleet.configure({"jobs": make_server("dead", queues)})
    answer = fleet.check("queue_buried", "-c", "5")
    assert answer.code == CRITICAL
    look = "see: beanwatch failures list"
    assert answer.text.endswith(f" - jobs: 7 failed jobs on this server (limit 5), {look}")
    assert answer.perfdata == {"jobs buried": "7"}
    answer = fleet.check("queue_buried", "-Q", "a")
    assert answer.code == UNKNOWN
    assert "dead does not report the number of buried jobs of a queue" in answer.text
    assert "run this check without -Q" in answer.text


def test_generated_configuration_has_one_service_for_the_failed_jobs_of_a_server(
    fleet: Fleet, make_server: MakeServer, tmp_path: Path
) -> None:
    queues = {"a": {"ready": 1}, "b": {"ready": 1}, SERVER: {"buried": 7}}
    fleet.configure({"jobs": make_server("dead", queues)})
    text = fleet.install("nagios", "--discover")
    assert text.count("failed jobs of jobs\n") == 1
    assert "buried of" not in text
    assert "check_queue_buried!*\n" in text
    addresses = [line.split() for line in text.splitlines() if line.startswith("    address ")]
    assert addresses == [["address", "127.0.0.1"]]
    text = fleet.install("icinga2", "--discover")
    assert 'vars.beanwatch_whole_server = { "failed jobs of jobs" = "*" }' in text
    assert '"queue_buried"' not in next(
        line for line in text.splitlines() if "vars.beanwatch_checks =" in line
    )
    done = fleet.beanwatch("passive", "--once", "--discover")
    (row,) = (line.split("\t") for line in done.splitlines() if "\tfailed jobs of" in line)
    assert row[:3] == ["jobs", "failed jobs of jobs", "1"]


# -- commands


def test_jobs_are_listed_and_chosen_by_their_reason_without_a_ledger(
    fleet: Fleet, make_server: MakeServer, tmp_path: Path
) -> None:
    jobs = [
        ["1", "Mail", "SMTP refused\x1b[2J", "one"],
        ["2", "Mail", "no such user" + "x" * 9000, "two"],
        ["3", "Invoice", "SMTP refused", "three"],
    ]
    url = make_server("full", {"mail": {"ready": 0, "delayed": 0, "buried": 3, "jobs": jobs}})
    fleet.configure({"q": url})
    shown = fleet.beanwatch("queues", "peek", "mail", "--count", "2")
    assert "q mail: first buried job\n" in shown
    assert "q mail: buried job 2\n" in shown
    assert "failed because: SMTP refused\\x1b[2J\n" in shown
    assert max(map(len, shown.splitlines())) < 600
    found = json.loads(fleet.beanwatch("queues", "peek", "mail", "--count", "9", "--json"))
    assert [job["id"] for job in found] == ["1", "2", "3"]
    dry = fleet.beanwatch("queues", "kick", "mail", "--reason", "smtp*", "--dry-run")
    assert dry == "would kick q mail: 2 buried jobs\n"
    choice = ("--reason", "smtp*", "--job", "Invoice")
    done = fleet.beanwatch("queues", "delete", "mail", *choice, "--yes")
    assert done == "q mail: 1 buried job, deleted\n"
    left = json.loads((tmp_path / "server.json").read_text())["mail"]["jobs"]
    assert [job[0] for job in left] == ["1", "2"]
    said = fleet.beanwatch("queues", "kick", "mail", "--older-than", "1h", "--yes", code=1)
    assert "full does not tell when a job failed" in said


def test_an_action_that_a_system_lacks_is_named_with_the_system(
    fleet: Fleet, make_server: MakeServer, redis_server: Redis
) -> None:
    fleet.configure({"q": make_server("fake", {"a": {"ready": 1}})})
    for argv, action in (
        (("queues", "peek", "a"), "peek"),
        (("queues", "peek", "a", "--count", "3"), "list_jobs"),
        (("queues", "kick", "a", "--reason", "x", "--yes"), "find"),
        (("queues", "delete", "a", "--yes"), "empty"),
        (("queues", "empty", "a", "--yes"), "empty"),
        (("queues", "pause", "a", "--yes"), "pause"),
        (("job", "4711", "--redis", redis_server.url), "find"),
    ):
        said = fleet.beanwatch(*argv, code=1)
        assert f"fake has no action '{action}'" in said, argv
        assert "beanstalkd" not in said


def test_the_tables_and_the_doctor_speak_of_the_systems_that_there_are(
    fleet: Fleet, make_server: MakeServer
) -> None:
    servers = {
        "f": make_server("fake", {"a": {"ready": 1}}, "f"),
        "d": make_server("dead", {"b": {"ready": 2}, SERVER: {"buried": 0}}, "d"),
    }
    fleet.configure(servers)
    for argv in (("queues", "list"), ("queues", "show"), ("top", "--once")):
        said = fleet.beanwatch(*argv)
        assert "n/a" in said
        assert "beanstalkd" not in said
    said = fleet.beanwatch(
        "doctor",
        "--user",
        "",
        "--wait",
        "0.1",
    )
    assert "beanstalkd" not in said
    assert "check_queue_consumers: skipped: fake, dead does not report" in said
    systems = fleet_systems(fleet)
    assert max(map(len, systems.splitlines())) <= 100


def fleet_systems(fleet: Fleet) -> str:
    done = fleet._run("beanwatch", "queues", "systems")
    assert done.returncode == 0
    return str(done.stdout)


# -- a server that hangs


def test_a_server_that_hangs_delays_no_other(fleet: Fleet, make_server: MakeServer) -> None:
    servers = {
        "hung": make_server("full", {"a": {"ready": 1}, SERVER: {"hangs": 60}}, "hung"),
        "slow": make_server(
            "full", {"b": {"ready": 2, "consumers": 0}, SERVER: {"hangs": 6}}, "slow"
        ),
    }
    fleet.configure(servers)
    for name, text in (
        ("queue_consumers", "slow/b: 2 jobs ready and no consumer"),
        ("queue_depth", "hung (full://localhost"),
    ):
        argv = ("-t", "10", *(("-w", "1") if name == "queue_depth" else ()))
        answer = fleet.check(name, *argv)
        assert answer.code == (CRITICAL if name == "queue_consumers" else UNKNOWN)
        assert text in answer.text
        assert "no answer within 9 s" in answer.text
        assert "slow/b: 2 jobs ready" in answer.text
    started = time.monotonic()
    said = fleet.beanwatch("queues", "show", code=1)
    assert time.monotonic() - started < 30
    assert "slow b (full)" in said
    assert "cannot read the queues: full://localhost" in said
