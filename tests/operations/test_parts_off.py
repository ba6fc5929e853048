"""One rule for all parts: each is looked for on this host, and an empty value turns it off."""

import argparse
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from beanwatch.checks.lib.redis_source import pick_redis as pick_check_redis
from beanwatch.checks.lib.services import plan_services
from beanwatch.cli.collect import pick_extras
from beanwatch.cli.doctor import excuse_assumed
from beanwatch.cli.lib.absent_parts import PresentParts
from beanwatch.cli.lib.options import need_redis, pick_redis
from beanwatch.cli.lib.probes.finding import Finding
from beanwatch.cli.worker import make_settings
from beanwatch.collectors.poll.fleet_totals import FleetTotals
from beanwatch.config import Config, GraphiteConfig, RedisConfig, WorkerGroup
from beanwatch.config.reader import parse
from beanwatch.net.redis_url import parse_redis_url
from beanwatch.queues.servers import resolve_servers
from tests.checks.conftest import parse_output
from tests.collector.parts import Memory
from tests.real import ROOT, Beanstalkd, HttpSink, Redis, closed_port, wait_until
from tests.worker_core.conftest import Broker, StartWorker
from tests.worker_core.conftest import broker as broker
from tests.worker_core.conftest import start_worker as start_worker

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def off(tmp_path: Path, beanstalkd: Beanstalkd) -> Path:
    """A configuration in which Redis and Graphite are off."""
    path = tmp_path / "off.toml"
    path.write_text(
        f'[servers]\nqueue1 = "{beanstalkd.address}"\n'
        '[redis]\nurl = ""\n[graphite]\naddress = ""\nurl = ""\n'
    )
    return path


def test_without_a_configuration_every_part_is_looked_for_on_this_host():
    config = parse("")
    assert config.redis.url == "redis://127.0.0.1:6379/0"
    assert config.graphite == ("127.0.0.1:2003", "http://127.0.0.1:8080")
    assert str(resolve_servers(config.servers)[0]) == "127.0.0.1:11300"
    options = argparse.Namespace(redis=None)
    expected = parse_redis_url(config.redis.url)
    assert {pick_check_redis(options, config), pick_redis(config, None)} == {expected}
    assert need_redis(config, None) == expected
    extras = pick_extras(config, [], FleetTotals([]), Memory().problems, once=False)
    assert [str(extra) for extra in extras] == ["redis 127.0.0.1:6379"]
    settings = make_settings(config, ("q",), "w1", "here", None, None)
    assert settings.redis_url == config.redis.url


def test_the_default_addresses_are_written_in_one_place_only():
    found = [
        (str(path.relative_to(ROOT / folder)), line.strip())
        for folder in ("src/beanwatch", "checks", "collectors", "worker")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for line in path.read_text().splitlines()
        if re.search(r"127\.0\.0\.1:(6379|2003|8080)", line) and not line.strip().startswith("#")
    ]
    in_code = [(name, line) for name, line in found if re.search(r'= "', line)]
    assert {name for name, _ in in_code} == {"config/__init__.py"}, in_code


@pytest.mark.parametrize(
    "argv",
    [
        ("workers",),
        ("workers", "list", "web1.*"),
        ("job", "1"),
        ("queues", "kick", "*", "--reason", "x"),
    ],
)
def test_a_command_that_needs_redis_says_that_it_is_off(
    run: Run, off: Path, beanstalkd: Beanstalkd, argv: tuple[str, ...]
):
    with beanstalkd.client(use="images", watch="images") as client:
        client.put("a picture")
        client.bury(client.reserve(timeout=5))
    code, out, err = run("beanwatch", *argv, "--config", off)
    assert (code, out) == (2, "")
    assert err.startswith(
        "beanwatch: this needs Redis, which is off because redis.url is empty; "
        "name one with --redis URL"
    )


@pytest.mark.parametrize("name", ["redis", "worker_heartbeat", "job_failures", "metrics_fresh"])
def test_a_check_of_a_part_that_is_off_is_unknown_and_says_so(run: Run, off: Path, name: str):
    answer = parse_output(*run(f"check_{name}", "--config", off))
    assert answer.code == 3
    part = "Graphite" if name == "metrics_fresh" else "Redis"
    assert f"{part} is off, because " in answer.text


def test_what_can_do_without_redis_does_without_a_word(run: Run, off: Path, beanstalkd: Beanstalkd):
    with beanstalkd.client(use="images", watch="images") as client:
        client.put("a picture")
        client.bury(client.reserve(timeout=5))
    peek = run("beanwatch", "queues", "peek", "images", "--config", off)
    assert (peek[0], peek[2]) == (0, "")
    top = json.loads(run("beanwatch", "top", "--json", "--config", off)[1])
    assert (top["workers"], "trouble" in top) == ([], False)
    collect = run("beanwatch", "collect", "--once", "--graphite", "-", "--config", off)
    assert (collect[0], collect[2]) == (0, "")
    assert "beanwatch.worker" not in collect[1]
    answer = parse_output(*run("check_queue_consumers", "-Q", "images", "--config", off))
    assert (answer.code, answer.long) == (0, [])
    code, out, err = run("beanwatch", "collect", "--once", "--config", off)
    assert (code, out) == (2, "")
    assert "graphite.address is empty" in err


def test_parts_that_are_off_get_no_service(run: Run, off: Path, tmp_path: Path):
    argv = ("beanwatch", "install", "nagios", "--dest", tmp_path / "root", "--family", "debian")
    assert run(*argv, "--config", off)[0] == 0
    services = (tmp_path / "root/etc/nagios4/conf.d/beanwatch-services.cfg").read_text()
    names = re.findall(r"service_description +(.*)", services)
    assert not {"redis", "workers", "job failures", "metrics"} & set(names)
    passive = run("beanwatch", "passive", "--once", "--config", off)[1]
    assert {line.split("\t")[1] for line in passive.splitlines()} <= set(names)


def test_doctor_lists_what_is_off_and_what_that_costs(run: Run, off: Path):
    code, out, err = run("beanwatch", "doctor", "--json", "--user", "", "--config", off)
    assert code == 0, err
    found = {finding["part"]: finding for finding in json.loads(out)["findings"]}
    for part, key, cost in (
        ("redis", "redis.url", "nobody knows of dead or hung workers"),
        ("graphite carbon", "graphite.address", "dashboards and their alerts stay empty"),
        ("graphite render", "graphite.url", "nobody notices if no new points arrive"),
        ("worker metrics", "worker.metrics", "no runs and no durations of jobs"),
    ):
        assert found[part]["state"] == "unused"
        assert f"off, because {key} is empty: " in found[part]["text"]
        assert cost in found[part]["text"]
    for check in ("redis", "worker_heartbeat", "job_failures", "metrics_fresh"):
        assert found[f"check_{check}"]["state"] == "unused"


def test_a_worker_without_redis_runs_jobs_and_says_what_it_does_not_send(
    start_worker: StartWorker, broker: Broker
):
    worker = start_worker("--redis", "")  # the last one counts
    broker.put("ok")
    wait_until(lambda: worker.outcomes() == ["ok"])
    assert worker.logged("Redis is off (redis.url is empty): this worker sends no heartbeats")
    assert worker.stop() == 0


def test_services_are_planned_for_parts_that_are_configured_or_answer(
    redis_server: Redis, tmp_path: Path
):
    silent = f"127.0.0.1:{closed_port()}"
    parts = PresentParts()

    def planned(config: Config) -> set[str]:
        config = parts.turn_off_absent(config)
        services = plan_services(config, resolve_servers({"q": "127.0.0.1"}))
        names = {"redis", "workers", "other workers", "metrics"}
        return {service.name for service in services} & names

    absent = Config(
        redis=RedisConfig(f"redis://{silent}"), graphite=GraphiteConfig("", f"http://{silent}")
    )
    assert planned(absent) == set()
    assert planned(absent._replace(given=frozenset(["redis.url"]))) == {"redis", "workers"}
    assert planned(absent._replace(given=frozenset(["graphite.url"]))) == {"metrics"}
    assert planned(absent._replace(expected_workers=("web1.a",))) == {"redis", "other workers"}
    with HttpSink() as web:  # another program listens on Graphite's port
        assert planned(absent._replace(graphite=GraphiteConfig("", web.url))) == set()
    group = (WorkerGroup("k8s.*", 3),)
    assert planned(absent._replace(expected_groups=group)) == {"redis", "other workers"}
    parts.answered.add("redis.url")  # in an earlier run
    assert planned(absent) == {"redis", "workers"}
    parts.answered.clear()
    present = absent._replace(redis=RedisConfig(redis_server.url))
    assert planned(present) == {"redis", "workers"}
    redis_server.stop()
    assert planned(present) == {"redis", "workers"}


def test_doctor_says_what_a_part_that_nobody_configured_would_give():
    failed = Finding("redis", "failed", "connection refused", "start it")
    (found,) = excuse_assumed(lambda: [failed], ["redis"])
    assert found.state == "unused"
    assert found.text.startswith(
        "not configured, and not found at the default address: connection refused; without it: "
        "no heartbeats and no ledger"
    )
    assert list(excuse_assumed(lambda: [failed], [])) == [failed]


def test_a_part_is_wanted_if_it_is_configured_or_needed():
    assert not parse("").is_wanted("redis.url")
    assert parse('[redis]\nurl = "redis://h"').is_wanted("redis.url")
    assert parse('[workers]\nexpected = ["web1.a"]').is_wanted("redis.url")
    assert not parse('[workers]\nexpected = ["web1.a"]').is_wanted("graphite.url")


def test_what_the_file_the_environment_or_a_flag_sets_is_given():
    assert parse("").given == frozenset()
    assert parse('[redis]\nurl = ""').given == {"redis.url"}
    assert parse("", environ={"BEANWATCH_GRAPHITE_URL": "http://g"}).given == {"graphite.url"}
    assert parse("").set_redis("redis://h").given == {"redis.url"}
    assert parse("").set_redis(None) == parse("")
