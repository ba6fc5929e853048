"""Each queue, worker and kind of job has a service of its own, or is judged by a catch-all one."""

import json
import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beanwatch.checks.lib.icinga_files import icinga_hosts, icinga_value
from beanwatch.checks.lib.nagios_files import (
    command_words,
    nagios_checks,
    nagios_services,
    nrpe_services,
)
from beanwatch.checks.lib.own_services import OwnServices, owner_finder, parse_own_services
from beanwatch.checks.lib.service_names import EVERY_QUEUE
from beanwatch.checks.lib.services import Service, has_safe_names, list_own, plan_services
from beanwatch.config.reader import parse
from beanwatch.queues.servers import resolve_servers
from tests.checks.conftest import Check
from tests.checks.test_job_failures import count
from tests.checks.test_workers import beat
from tests.real import Beanstalkd, Redis, wait_until

OK, WARNING, CRITICAL, UNKNOWN = range(4)
CONFIG = """
[graphite]
url = ""
[redis]
url = "redis://127.0.0.1/0"
[workers]
expected = ["web1.mail-1", { glob = "k8s.*", least = 2 }]
[queues.images.age]
warning = 60
[queues."email.*".depth]
warning = 5
"""
ONE, TWO = {"q1": "127.0.0.1:11300"}, {"q1": "127.0.0.1:11300", "q2": "127.0.0.2:11300"}


def plan(servers: dict[str, str] = ONE, text: str = CONFIG, **found: Any) -> dict[str, Service]:
    """The services by their names; of the age check only, where it is one about queues."""
    services = plan_services(parse(text), resolve_servers(servers), **found)
    kept = [s for s in services if s.check not in ("queue_depth", "queue_buried")]
    return {service.name: service for service in kept if service.check != "queue_consumers"}


def test_each_expected_worker_each_group_and_each_kind_of_job_has_a_service():
    found = plan(queues={"q1": ["email.bulk"]}, kinds=[("images", "resize"), ("images", "crop")])
    assert list(found) == [
        "queue server",
        "age of email.bulk",
        "age of images",
        "age of other queues",
        "redis",
        "worker web1.mail-1",
        "workers k8s._",
        "other workers",
        "failures of images crop",
        "failures of images resize",
        "other job failures",
    ]
    worker = command_words(found["worker web1.mail-1"])
    assert worker == ["check_worker_heartbeat", "web1.mail-1", "--watched 127.0.0.1:11300"]
    job = command_words(found["failures of images crop"])
    assert job == ["check_job_failures", "images", "--job crop"]
    rest = command_words(found["age of other queues"], "/etc/list")
    assert rest == ["check_queue_age", "*", "--services /etc/list"]


globs = st.text("ab*?", min_size=1, max_size=4)


@given(st.lists(globs, unique=True, max_size=6), st.text("ab", min_size=1, max_size=4))
def test_a_queue_belongs_to_its_own_name_or_to_the_first_glob_that_matches(
    entries: list[str], queue: str
):
    entries = [entry for entry in entries if entry != EVERY_QUEUE]
    own = list_own(Service("h", entry, "queue_depth", queue=entry) for entry in entries)
    owner = owner_finder(own.queues.get("h", ()))(queue)
    matching = [entry for entry in entries if fnmatchcase(queue, entry)]
    assert owner == (queue if queue in entries else next(iter(matching), None))


def test_a_service_for_a_glob_knows_what_has_other_services():
    services = plan()
    assert command_words(services["age of email._"], "/l")[-1] == "--services /l"
    assert command_words(services["age of images"], "/l")[1:] == ["images"]


def test_a_glob_has_a_service_only_where_queues_are_not_discovered():
    assert "age of email._" in plan()
    assert "age of email._" not in plan(queues={"q1": ["email.bulk"]})


def test_without_anything_of_its_own_there_is_one_service_for_all():
    found = plan(text='[redis]\nurl = "redis://127.0.0.1/0"\n[graphite]\nurl = ""\n')
    assert list(found) == ["queue server", "age of all queues", "redis", "workers", "job failures"]


def test_services_that_cover_several_remind_and_others_do_not():
    services = list(plan(kinds=[("images", "crop")]).values())
    several = {service.name for service in services if service.covers_several}
    assert several == {
        "age of email._",
        "age of other queues",
        "workers k8s._",
        "other workers",
        "other job failures",
        "queue server",
        "redis",
    }
    text = "".join(nagios_services(services, parse(CONFIG)))
    assert text.count("use                  beanwatch-several,") == len(several)


def test_all_that_needs_a_server_depends_on_its_service_except_workers():
    found = plan(queues={"q1": ["images"]}, kinds=[("images", "crop")])
    parents = {"queue server", "redis"}
    workers = {name for name in found if "worker" in name}
    assert {s.needs for s in found.values() if s.name not in parents | workers} == {"q1"}
    assert {found[name].needs for name in parents | workers} == {""}
    text = "".join(nagios_services(list(found.values()), parse(CONFIG)))
    lines = [li for li in text.splitlines() if " dependent_service_description" in li]
    on_server, on_redis = (set(line.split(None, 1)[1].split(",")) for line in lines)
    assert on_server == set(found) - parents - workers
    assert on_redis == workers | {name for name in on_server if "failures" in name}


def objects(texts: Iterable[str], kind: str) -> list[dict[str, str]]:
    """The fields of each object of a kind in the files of Nagios."""
    found = []
    for text in texts:
        first, *lines = text.splitlines()
        if first == f"define {kind} {{":
            found.append(dict(line.split(None, 1) for line in lines if line != "}"))
    return found


@pytest.mark.parametrize(("passive", "first"), [(False, ""), (True, "beanwatch-passive,")])
def test_in_nagios_all_depends_on_whether_the_server_answers_and_on_nothing_else_of_it(
    passive: bool, first: str
):
    services = plan_services(parse(CONFIG), resolve_servers(TWO), {"q1": ["a"], "q2": ["b"]})
    texts = list(nagios_services(services, parse(CONFIG), passive=passive))
    answers = [
        {"use": f"{first}beanwatch-queue-server-answers", "host_name": host}
        | {"service_description": "queue server answers"}
        for host in TWO
    ]
    found = objects(texts, "service")
    assert [one for one in found if "answers" in one["service_description"]] == answers
    assert len(found) == len(services) + len(answers)
    parents = {
        (one["host_name"], one["service_description"]): one["dependent_host_name"]
        for one in objects(texts, "servicedependency")
    }
    assert parents == {
        ("q1", "queue server answers"): "q1",
        ("q2", "queue server answers"): "q2",
        ("q1", "redis"): "q1",
    }
    templates = {one["name"]: one for one in objects(nagios_checks(parse(CONFIG)), "service")}
    template = templates["beanwatch-queue-server-answers"]
    assert template["use"] in templates
    assert template["check_command"] == "check_queue_server!--answers"
    assert (template["max_check_attempts"], template["notifications_enabled"]) == ("1", "0")
    assert int(60 * float(template["check_interval"])) == 20


def test_a_service_of_workers_knows_the_servers_that_have_a_service():
    services = plan_services(parse(CONFIG), resolve_servers(TWO))
    watched = {s.name: s.watched for s in services if s.watched}
    names = ("worker web1.mail-1", "workers k8s._", "other workers")
    assert watched == dict.fromkeys(names, tuple(TWO.values()))
    texts = [
        "".join(nagios_services(services, parse(CONFIG), list_file="/l")),
        "".join(nrpe_services(services, "/p", parse(CONFIG), "/l")),
        "".join(icinga_hosts(services, parse(CONFIG), list_file="/l")),
    ]
    flags = "--watched 127.0.0.1:11300 --watched 127.0.0.2:11300"
    literal = f'"beanwatch_watched" = {icinga_value(list(TWO.values()))}'
    words = [flags, flags, literal]
    assert [text.count(part) for text, part in zip(texts, words, strict=True)] == [3, 3, 3]


def test_a_queue_that_comes_later_takes_no_nrpe_command_of_another():
    def commands(*queues: str) -> dict[str, str]:
        services = plan_services(parse(CONFIG), resolve_servers(ONE), {"q1": list(queues)})
        lines = "".join(nrpe_services(services, "/p", parse(CONFIG))).splitlines()
        found = (re.fullmatch(r"command\[(\S+)\]=.* -Q (\S+)", line) for line in lines)
        return {one[1]: one[2] for one in found if one and "depth" in one[1]}

    every = commands("grÄße", "gr__e", "größe")
    assert every["beanwatch_q1_depth_of_gr__e"] == "gr__e"
    assert set(every.values()) >= {"'grÄße'", "gr__e", "'größe'"}
    for queue in ("grÄße", "gr__e", "größe"):
        assert commands(queue).items() <= every.items(), "before the others came"


def test_with_several_servers_only_what_is_known_depends_on_one():
    queues = {"q1": ["both", "a"], "q2": ["both", "b"]}
    kinds = [("both", "x"), ("b", "x"), ("gone", "x")]
    found = plan(TWO, queues=queues, kinds=kinds)
    needs = {s.name: s.needs for s in found.values() if s.check in ("job_failures",)}
    assert needs == {
        "failures of both x": "",
        "failures of b x": "q2",
        "failures of gone x": "",
        "other job failures": "",
    }
    chosen = plan(TWO, CONFIG + '[worker]\nserver = "q2"\n', queues=queues, kinds=kinds)
    assert chosen["other job failures"].needs == "q2"


@given(st.text(), st.text())
def test_no_name_from_redis_is_more_than_a_word_for_a_shell(queue: str, job: str):
    if has_safe_names(queue, job):
        assert not set(job) & set(" \t\n'\"\\$`;&|<>(){}*?[]!#~")
        assert not set(queue) & set(" \t\n'\"\\`&|<>{}*?[]!#~")
        assert not job.startswith("-")
        assert not queue.startswith("-")


@pytest.mark.parametrize(
    ("queue", "job"),
    [("a", "b'; touch x; '"), ("a", "$(x)"), ("a", "-x"), ("a", "b\nc"), ("a'b", "c"), ("a", "")],
)
def test_a_kind_of_job_with_a_strange_name_is_left_to_the_catch_all_service(queue: str, job: str):
    found = plan(kinds=[(queue, job)])
    assert "job failures" in found
    assert not any(name.startswith("failures of") for name in found)


@given(
    st.dictionaries(st.text(), st.lists(st.text()).map(tuple)),
    st.lists(st.text()).map(tuple),
    st.lists(st.tuples(st.text(), st.text())),
)
def test_a_list_reads_back_as_it_was_written(queues: Any, workers: Any, jobs: Any):
    own = parse_own_services(OwnServices(queues, workers, jobs).to_json().encode())
    assert {node: tuple(names) for node, names in own.queues.items()} == queues
    assert (tuple(own.workers), own.jobs) == (workers, jobs)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"queues": 1, "workers": [], "jobs": []}', "{"])
def test_a_file_that_is_no_list_is_unknown_and_said(
    check: Check, beanstalkd: Beanstalkd, tmp_path: Path, text: str
):
    path = tmp_path / "list.json"
    path.write_text(text)
    answer = check("queue_age", "--server", beanstalkd.address, "--services", path)
    assert answer.code == UNKNOWN
    assert f"{path} is not a list of services" in answer.text


def test_a_list_that_gets_longer_leaves_the_memory_of_the_check(
    check: Check, beanstalkd: Beanstalkd, tmp_path: Path
):
    path = tmp_path / "list.json"
    arguments = ("--server", beanstalkd.address, "--services", path, "-w", "0", "--for", "0.1")
    with beanstalkd.client(use="a") as client:
        client.put("x")
    path.write_text(OwnServices().to_json())
    assert check("queue_depth", *arguments).code == OK
    wait_until(lambda: check("queue_depth", *arguments).code == WARNING)
    path.write_text(OwnServices({"queue1": ["b"]}).to_json())
    assert check("queue_depth", *arguments).code == WARNING


def test_a_list_that_is_missing_is_unknown_and_said(check: Check, beanstalkd: Beanstalkd):
    answer = check("queue_age", "--server", beanstalkd.address, "--services", "/no/list")
    assert answer.code == UNKNOWN
    assert "cannot read /no/list: No such file or directory" in answer.text


@pytest.fixture
def own_list(tmp_path: Path, beanstalkd: Beanstalkd) -> Path:
    """A configuration with one server, and its list of services."""
    services = plan_services(
        parse(CONFIG), resolve_servers(ONE), {"q1": ["images"]}, [("images", "resize")]
    )
    path = tmp_path / "list.json"
    path.write_text(list_own(services).to_json())
    assert json.loads(path.read_text())["queues"] == {"q1": ["images"]}
    return path


def test_the_rest_of_the_queues_has_no_queue_with_a_service_of_its_own(
    check: Check, beanstalkd: Beanstalkd, own_list: Path, tmp_path: Path
):
    for queue in ("images", "emial.regular"):
        with beanstalkd.client(use=queue) as client:
            client.put("x")
    config = tmp_path / "beanwatch.toml"
    config.write_text(f'[servers]\nq1 = "{beanstalkd.address}"\n[queues.images.depth]\nwarning=0\n')
    arguments = ("--config", config, "-Q", "*", "--services", own_list)
    answer = check("queue_consumers", *arguments)
    assert answer.code == CRITICAL
    assert answer.text.endswith(" - emial.regular: 1 job ready and no consumer watches it")
    answer = check("queue_depth", *arguments)
    assert "images" not in answer.text
    assert set(answer.perfdata) == {"default", "emial.regular"}


@pytest.mark.parametrize("name", ["queue_depth", "queue_buried", "queue_age", "queue_consumers"])
def test_if_every_queue_has_a_service_of_its_own_the_rest_is_well(
    check: Check, beanstalkd: Beanstalkd, tmp_path: Path, name: str
):
    config = tmp_path / "beanwatch.toml"
    config.write_text(f'[servers]\nq1 = "{beanstalkd.address}"\n')
    path = tmp_path / "list.json"
    path.write_text(OwnServices({"q1": ["default"]}).to_json())
    answer = check(name, "--config", config, "-Q", "*", "--services", path)
    assert (answer.code, answer.perfdata) == (OK, {})
    assert answer.text.endswith(" - every queue has a service of its own")


def test_the_rest_of_the_workers_has_no_worker_with_a_service_of_its_own(
    check: Check, old_redis: Redis, own_list: Path, tmp_path: Path
):
    config = tmp_path / "beanwatch.toml"
    config.write_text(CONFIG.replace("redis://127.0.0.1/0", old_redis.url))
    arguments = ("--config", config, "--worker", "*", "--services", own_list)
    answer = check("worker_heartbeat", *arguments)
    assert (answer.code, answer.text.partition(" - ")[2]) == (
        OK,
        "every worker has a service of its own",
    )
    beat(old_redis, "web1.mail-1", age=99.0)
    beat(old_redis, "k8s.a", age=99.0)
    assert check("worker_heartbeat", *arguments).code == OK
    beat(old_redis, "web1.image-1", age=99.0)
    answer = check("worker_heartbeat", *arguments)
    assert answer.code == CRITICAL
    assert "web1.image-1: no heartbeat" in answer.text
    assert "mail-1" not in answer.text
    answer = check("worker_heartbeat", "--config", config, "--worker", "web1.mail-1")
    assert answer.code == CRITICAL
    assert answer.text.startswith("WORKER_HEARTBEAT CRITICAL - web1.mail-1: no heartbeat")


def test_of_a_group_only_the_number_of_live_workers_counts(
    check: Check, old_redis: Redis, tmp_path: Path
):
    config = tmp_path / "beanwatch.toml"
    config.write_text(CONFIG.replace("redis://127.0.0.1/0", old_redis.url))
    arguments = ("--config", config, "--worker", "k8s.*")
    answer = check("worker_heartbeat", *arguments)
    assert answer.code == CRITICAL
    assert answer.text.endswith(" - k8s.*: 0 live workers, 2 are expected")
    for name, age in (("a", 99.0), ("b", 0.0), ("c", 0.0)):
        beat(old_redis, f"k8s.{name}", age=age)
    answer = check("worker_heartbeat", *arguments)
    assert (answer.code, answer.text.partition(" - ")[2]) == (OK, "2 workers: 2 idle")
    assert answer.perfdata["k8s.* live"] == "2"
    beat(old_redis, "k8s.c", age=99.0)
    answer = check("worker_heartbeat", *arguments)
    assert answer.code == CRITICAL
    assert answer.text.endswith(": 1 live worker, 2 are expected, no heartbeat: k8s.a, k8s.c")


def test_limits_on_the_number_of_all_workers_do_not_judge_a_single_one(
    check: Check, old_redis: Redis, own_list: Path, tmp_path: Path
):
    config = tmp_path / "beanwatch.toml"
    text = CONFIG.replace("redis://127.0.0.1/0", old_redis.url)
    config.write_text(text + '[checks.worker_heartbeat]\ncritical = "2:"\n')
    beat(old_redis, "web1.mail-1")
    assert check("worker_heartbeat", "--config", config, "--worker", "web1.mail-1").code == OK
    rest = check("worker_heartbeat", "--config", config, "--services", own_list)
    assert (rest.code, rest.text.partition(" - ")[2]) == (CRITICAL, "1 live worker (allowed 2:)")


def test_the_rest_of_the_jobs_has_no_kind_with_a_service_of_its_own(
    check: Check, redis_server: Redis, own_list: Path
):
    arguments = ("--redis", redis_server.url, "--services", own_list)
    count(redis_server, "images", "resize", ok=80, buried=20)
    answer = check("job_failures", *arguments)
    assert (answer.code, answer.text.partition(" - ")[2]) == (OK, "no other job ran in 10 minutes")
    count(redis_server, "images", "crop", ok=80, buried=20)
    answer = check("job_failures", *arguments)
    assert answer.code == WARNING
    assert "images crop: 20 of 100 runs failed" in answer.text
    assert "resize" not in answer.text
    own = check("job_failures", "--redis", redis_server.url, "-Q", "images", "--job", "resize")
    assert own.code == WARNING
    assert own.text.endswith(
        " - images resize: 20 of 100 runs failed, 20 % (limit 5 %), in 10 minutes"
    )


def test_kinds_that_run_too_rarely_to_be_judged_alone_are_judged_together(
    check: Check, redis_server: Redis, own_list: Path
):
    count(redis_server, "images", "resize", buried=15)
    count(redis_server, "images", "crop", buried=15)
    answer = check("job_failures", "--redis", redis_server.url, "--services", own_list)
    assert answer.code == CRITICAL
    assert "all other jobs: 30 of 30 runs failed" in answer.text
