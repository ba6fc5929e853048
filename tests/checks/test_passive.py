"""beanwatch passive: one poll, every service."""

import socket
import time
from pathlib import Path

import pytest

from beanwatch.checks.lib.grown_problems import has_grown
from beanwatch.checks.lib.memory import FileMemory
from beanwatch.checks.lib.output import PluginResult
from beanwatch.checks.lib.passive import PassiveRound, ServiceResult
from beanwatch.checks.lib.plugin_process import PluginOutput
from beanwatch.checks.lib.polled_source import poll
from beanwatch.checks.lib.services import Service, list_own, plan_services
from beanwatch.checks.lib.source import LiveSource
from beanwatch.cli.lib.submit import MAX_NSCA_LINE, PIPE_BUF, format_nsca, one_line
from beanwatch.cli.passive import ServicePlanner
from beanwatch.config import QueueRule, Threshold
from beanwatch.config.reader import load
from beanwatch.queues.base import Reading
from beanwatch.queues.model import ServerState
from beanwatch.queues.servers import Server, parse_server, resolve_servers
from beanwatch.store.fleet import SETTLED_AFTER
from tests.checks.conftest import parse_output
from tests.checks.site import Site
from tests.checks.test_down_servers import disconnected
from tests.checks.test_job_failures import count
from tests.checks.test_workers import beat
from tests.real import Beanstalkd, Redis, wait_until
from tests.real.full_disk import full_disk


@pytest.fixture
def site(
    tmp_path: Path, beanstalkd: Beanstalkd, redis_server: Redis, monkeypatch: pytest.MonkeyPatch
) -> Site:
    monkeypatch.setenv("BEANWATCH_STATE_DIR", str(tmp_path / "state"))
    return Site(tmp_path, beanstalkd, redis_server)


def results(said: str) -> dict[str, tuple[int, str]]:
    """The code and the text of each service."""
    found = {}
    for line in said.splitlines():
        host, service, code, text = line.split("\t")
        assert host == "queue1"
        parse_output(int(code), text.partition(r"\n")[0] + "\n", "")
        found[service] = (int(code), text)
    return found


def test_it_says_what_the_plugins_say(site: Site):
    site.bury()
    wait_until(lambda: site.redis.uptime() > SETTLED_AFTER, 30)
    found = results(site.beanwatch("passive", "--once"))
    assert set(found) == {
        "queue server",
        "queue server answers",
        *(f"{check} of images" for check in ("depth", "buried", "age", "consumers")),
        "redis",
        *(f"{check} of other queues" for check in ("depth", "buried", "age", "consumers")),
        "workers",
        "job failures",
    }
    assert found["buried of images"][0] == 2
    assert "images: 1 job buried (limit 0)" in found["buried of images"][1]
    assert found["queue server"][0] == 0
    assert found["workers"][0] == 2
    assert found["depth of images"] == (
        0,
        "QUEUE_DEPTH OK - images: 0 jobs ready | 'images'=0;;;0",
    )


def test_a_restart_between_two_rounds_is_a_warning(site: Site):
    assert results(site.beanwatch("passive", "--once"))["queue server"][0] == 0
    site.beanstalkd.restart()
    assert results(site.beanwatch("passive", "--once"))["queue server"][0] == 1


def test_a_server_and_a_redis_that_are_down_are_said_for_each_service(site: Site):
    site.beanstalkd.kill()
    found = results(site.beanwatch("passive", "--once"))
    assert found["queue server"][0] == found["queue server answers"][0] == 2
    assert {code for name, (code, _) in found.items() if " of images" in name} == {3}
    # The monitor must know that the server is down before it could notify of a queue.
    assert next(iter(found)) == "queue server answers"


@pytest.mark.parametrize("line", ['url = "http://queue1"', 'password_file = "/no/such/file"'])
def test_a_redis_that_is_not_configured_well_is_said_for_its_services_only(site: Site, line: str):
    site.config.write_text(
        f'[servers]\nqueue1 = "{site.beanstalkd.address}"\n[redis]\n{line}\n'
        '[workers]\nexpected = ["web1.a"]\n'
    )
    found = results(site.beanwatch("passive", "--once"))
    assert {name for name, (code, _) in found.items() if code == 3} == {
        "redis",
        "worker web1.a",
        "other workers",
        "job failures",
    }


def test_who_has_no_redis_is_not_told_of_it_for_ever(site: Site):
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", 6379)) == 0:
            pytest.skip("a Redis runs on the default port of this host")
    site.config.write_text(f'[servers]\nqueue1 = "{site.beanstalkd.address}"\n')
    found = results(site.beanwatch("passive", "--once"))
    assert {code for code, _ in found.values()} <= {0, 1}
    assert "workers" not in found


def test_a_full_disk_holds_no_state_back(site: Site):
    with site.config.open("a") as config:
        config.write('[queues."late".depth]\nwarning = 0\nfor = "1h"\n')
    put(site, "late")
    assert results(site.beanwatch("passive", "--once"))["depth of late"][0] == 0
    with full_disk():
        found = results(site.beanwatch("passive", "--once"))
    assert found["depth of late"][0] == 1


def test_a_queue_that_is_gone_is_reported_on_all_the_same(site: Site):
    with site.beanstalkd.client(use="soon.gone", watch="soon.gone") as client:
        client.put("x")
        assert "depth of soon.gone" in results(site.beanwatch("passive", "--once", "--discover"))
        client.delete(client.reserve(timeout=5))
    for _ in range(2):
        found = results(site.beanwatch("passive", "--once", "--discover"))
        assert found["depth of soon.gone"][0] == 0


def put(site: Site, *queues: str) -> None:
    """Put a job that no consumer takes, which is CRITICAL."""
    for queue in queues:
        with site.beanstalkd.client(use=queue) as client:
            client.put("x")


def stuck(said: str) -> dict[str, str]:
    """The texts of the services about consumers that are CRITICAL."""
    found = results(said).items()
    return {name: text for name, (code, text) in found if code == 2 and "consumers" in name}


def test_each_queue_belongs_to_one_service(site: Site):
    """Of several that match, so that one cause is one alert."""
    with site.config.open("a") as config:
        for glob in ("email.*", "*.bulk", "email.bulk"):
            config.write(f'[queues."{glob}".depth]\ncritical = 100\n')
    queues = {"email.bulk": "email.bulk", "email.x": "email._", "sms.bulk": "_.bulk"}
    queues["other"] = "other queues"
    put(site, *queues)
    found = stuck(site.beanwatch("passive", "--once"))
    assert set(found) == {f"consumers of {label}" for label in queues.values()}
    for queue in queues:
        assert sum(f"{queue}: " in text for text in found.values()) == 1, queue


def test_a_queue_that_comes_later_belongs_to_one_service(site: Site):
    """Nagios has no service of its own for it: the catch-all service alerts, and no other."""
    put(site, "early")
    argv = ("passive", "--once", "--discover")
    assert set(stuck(site.beanwatch(*argv))) == {"consumers of early"}
    put(site, "late")
    count(site.redis, "images", "late", buried=50)
    said = site.beanwatch(*argv)
    assert set(stuck(said)) == {"consumers of early", "consumers of other queues"}
    found = results(said)
    assert not any("late" in name for name in found)
    assert {name for name, (code, _) in found.items() if "fail" in name and code} == {
        "job failures"
    }


def test_two_of_them_do_not_destroy_each_others_memory(site: Site, tmp_path: Path):
    with site.beanstalkd.client(use="images") as client:
        client.put("a picture")
    with site.config.open("a") as config:
        config.write('[queues."images".depth]\nwarning = 0\nfor = "1s"\n')
    (tmp_path / "other").mkdir()
    other = Site(tmp_path / "other", site.beanstalkd, site.redis)

    def alerts() -> bool:
        other.beanwatch("passive", "--once")
        return results(site.beanwatch("passive", "--once"))["depth of images"][0] == 1

    wait_until(alerts, 30)


def test_a_fault_of_ours_is_the_error_of_the_server_that_brought_it_out(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def fail(*_: object) -> None:
        raise KeyError("max-job-size")

    server = Server("queue1", parse_server(site.beanstalkd.address))
    memory, output = FileMemory("passive"), PluginOutput("passive")
    assert poll(server, memory, 5, output).error is None
    monkeypatch.setattr(LiveSource, "fetch", fail)
    seen = poll(server, memory, 5, output)
    assert "internal error, please report it: KeyError: 'max-job-size'" in str(seen.error)
    assert capsys.readouterr().err == f"beanwatch: {seen.error}\n"


def test_a_frozen_server_does_not_keep_it_longer_than_its_limit(site: Site):
    site.beanstalkd.freeze()
    started = time.monotonic()
    found = results(site.beanwatch("passive", "--once", "-t", "1"))
    assert time.monotonic() - started < 10
    assert found["depth of images"][0] == 3
    site.beanstalkd.thaw()


def test_a_round_that_cannot_read_a_server_forgets_nothing(site: Site):
    with site.config.open("a") as config:
        config.write('[queues."images".depth]\nwarning = 0\nfor = "0.5s"\n')
    with site.beanstalkd.client(use="images") as client:
        client.put("a picture")

    def depth() -> int:
        return results(site.beanwatch("passive", "--once", "-t", "2"))["depth of images"][0]

    wait_until(lambda: depth() == 1)
    site.beanstalkd.freeze()
    assert depth() == 3
    site.beanstalkd.thaw()
    assert depth() == 1


def test_a_round_that_cannot_read_the_queues_of_a_server_forgets_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
):
    """It answers, but not in time for all of its queues."""
    (server,) = resolve_servers(load(str(site.config), {}).servers)
    memory = FileMemory("x", str(site.directory))
    memory.scoped(server.node).remember("head", 7)
    memory.save()
    memory = FileMemory("x", str(site.directory))
    trouble = Reading(ServerState(), trouble="cannot read the queues: no answer")
    monkeypatch.setattr(LiveSource, "fetch", lambda *_: trouble)
    monkeypatch.setattr(LiveSource, "problems", lambda *_: ())
    assert poll(server, memory, 5, PluginOutput("x")).error is None
    memory.save()
    assert FileMemory("x", str(site.directory)).scoped(server.node).recall("head") == 7


def test_ten_thousand_queues_in_one_go(site: Site):
    with socket.create_connection(("127.0.0.1", site.beanstalkd.port), timeout=60) as connection:
        replies = connection.makefile("rb")
        for start in range(0, 10_000, 100):
            puts = [b"use queue.%d\r\nput 0 0 9 1\r\nx\r\n" % (start + n) for n in range(100)]
            connection.sendall(b"".join(puts))
            assert all(replies.readline() for _ in range(200))
    found = results(site.beanwatch("passive", "--once", "--discover", "-t", "30"))
    # default, images and the rest are queues, too.
    assert len(found) == 40_000 + 4 + 4 + 4 + 5
    assert found["depth of queue.77"] == (
        0,
        "QUEUE_DEPTH OK - queue.77: 1 job ready | 'queue.77'=1;;;0",
    )
    assert found["consumers of queue.77"][0] == 2
    assert "'queue.9999'=U" not in found["age of queue.9999"][1]


@pytest.mark.parametrize("size", [10, 3_000, 30_000])
def test_a_result_is_one_line_that_its_way_can_carry(size: int):
    perfdata, details = ("'a'=1",) * 50, ("more | \t text",) * 100
    found = PluginResult("x", "critical", 2, "é" * size, perfdata, details)
    result = ServiceResult(Service("queue1", "a", "queue_depth"), found)
    (line,) = format_nsca([result])
    assert line.count(b"\n") == 1
    assert line.count(b"\t") == 3
    assert len(line) <= MAX_NSCA_LINE + 1
    assert len(one_line(result, PIPE_BUF - 100).encode()) <= PIPE_BUF - 100


def test_a_backslash_in_a_text_is_no_line_end():
    found = PluginResult("x", "critical", 2, r"C:\new", (), (r"D:\now",))
    result = ServiceResult(Service("queue1", "a", "queue_depth"), found)
    assert one_line(result, 1000) == r"X CRITICAL - C:/new\nD:/now"


def test_nsca_without_a_host_is_misuse(run):
    code, _, stderr = run("beanwatch", "passive", "--once", "--to", "nsca")
    assert code == 2
    assert stderr.startswith("beanwatch: --to nsca needs --monitor HOST")


@pytest.mark.parametrize("option", ["--interval", "--timeout"])
def test_a_time_of_nothing_is_misuse(run, option: str):
    code, _, stderr = run("beanwatch", "passive", "--to", "stdout", option, "0")
    assert code == 2
    assert stderr.startswith(f"beanwatch: {option}: must be at least 0.1 s")


def grown(site: Site, *, is_submitted: bool = True) -> set[str]:
    """The services of which the next round says that they have one more problem."""
    config = load(str(site.config), {})
    servers = resolve_servers(config.servers)
    services = plan_services(config, servers)
    round_ = PassiveRound(config, servers, 10.0)
    round_.read()
    found = {
        one.service.name for one in round_.judge(services, list_own(services)) if one.has_grown
    }
    round_.save(is_submitted=is_submitted)
    return found


def test_a_second_problem_in_a_service_is_told_once(site: Site):
    count(site.redis, "images", "resize", ok=1)
    beat(site.redis, "web1.a", state="blocked")
    assert grown(site) == set()
    assert grown(site) == set()
    beat(site.redis, "web1.b", state="blocked")
    count(site.redis, "images", "resize", poison=1)
    assert grown(site) == {"workers"}, "the first poison changes the state"
    count(site.redis, "images", "resize", timeout=1)
    assert grown(site) == {"job failures"}, "of the same kind of job, but another failure"
    assert grown(site) == set()
    beat(site.redis, "web1.a")
    assert grown(site) == set()
    beat(site.redis, "web1.a", state="blocked")
    assert grown(site) == set(), "it was there a moment ago"


def test_a_server_that_answers_hides_no_second_problem_of_its_queues(site: Site):
    with site.config.open("a") as config:
        config.write("[checks.queue_server]\ncritical = 0\n")
    put(site, "a")
    assert grown(site) == set()
    put(site, "b")
    assert grown(site) == {"consumers of other queues"}
    found = results(site.beanwatch("passive", "--once"))
    assert (found["queue server"][0], found["queue server answers"][0]) == (2, 0)


def test_a_second_problem_that_came_while_the_server_was_down_is_told_when_it_answers(site: Site):
    put(site, "a")
    grown(site)
    site.beanstalkd.kill()
    assert grown(site) == set()
    site.beanstalkd.start()
    put(site, "a", "b")
    assert grown(site) == {"consumers of other queues"}


def test_a_problem_that_lasted_while_no_round_could_judge_it_is_not_new(tmp_path: Path):
    """The server was down, Nagios was stopped, or `passive` itself."""

    def look(at: float, *problems: str) -> bool:
        memory = FileMemory("passive", str(tmp_path / "state"), clock=lambda: at)
        found = has_grown(memory, "workers", 1, dict.fromkeys(problems, 1))
        memory.save()
        return found

    assert not look(0.0, "a")
    assert not look(1200.0, "a")
    assert look(1260.0, "a", "b")
    assert not look(1320.0, "b")
    assert not look(1380.0, "a", "b"), "it was there a moment ago"
    assert not look(1440.0, "b")
    for at in range(1500, 2400, 60):
        assert not look(float(at), "b")
    assert look(2400.0, "a", "b")
    assert not look(2460.0, "a")
    assert look(5000.0, "a", "b"), "nobody judged it for long, and b had ended before"


def test_what_nobody_heard_of_is_told_in_the_next_round(site: Site):
    beat(site.redis, "web1.a", state="blocked")
    grown(site)
    beat(site.redis, "web1.b", state="blocked")
    assert grown(site, is_submitted=False) == {"workers"}
    assert grown(site) == {"workers"}
    assert grown(site) == set()


def test_with_a_list_the_catch_all_services_judge_what_only_the_configuration_names(
    site: Site, tmp_path: Path
):
    config = load(str(site.config), {})
    servers = resolve_servers(config.servers)
    path = tmp_path / "services.json"
    path.write_text(list_own(plan_services(config, servers)).to_json())
    rule = QueueRule("later", {"depth": Threshold("5")})
    newer = config._replace(queues=(*config.queues, rule), expected_workers=("web1.new",))
    planner = ServicePlanner(servers, str(path), discover=False)
    round_ = PassiveRound(newer, servers, 10.0)
    round_.read()
    services, own = planner.plan(round_, newer)
    assert {node: list(found) for node, found in own.queues.items()} == {"queue1": ["images"]}
    assert not own.workers
    assert {one.name for one in services} == {one.name for one in plan_services(config, servers)}


def test_a_listed_worker_that_the_configuration_no_longer_names_is_judged_with_the_others(
    site: Site, tmp_path: Path
):
    config = load(str(site.config), {})
    servers = resolve_servers(config.servers)
    path = tmp_path / "services.json"
    before = config._replace(expected_workers=("web1.gone", "web1.here"))
    path.write_text(list_own(plan_services(before, servers)).to_json())
    planner = ServicePlanner(servers, str(path), discover=False)
    now = config._replace(expected_workers=("web1.here",))
    round_ = PassiveRound(now, servers, 10.0)
    round_.read()
    services, own = planner.plan(round_, now)
    assert list(own.workers) == ["web1.here"]
    assert "worker web1.gone" not in {one.name for one in services}


def test_while_a_server_is_down_nobody_is_told_of_workers_that_only_miss_it(site: Site):
    misses = disconnected(site.beanstalkd.address)
    beat(site.redis, "web1.a", state="blocked")
    grown(site)
    site.beanstalkd.kill()
    beat(site.redis, "web1.b", **misses)
    assert grown(site) == set()
    site.beanstalkd.start()
    assert grown(site) == {"workers"}, "and who is blocked still is told then"
