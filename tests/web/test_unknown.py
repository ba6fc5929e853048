"""What was not read is neither gone nor 0, and then the page does not say that all is well."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from beanwatch.cli.lib.absent_parts import PresentParts
from beanwatch.cli.web import command
from beanwatch.config import ServerConfig, WorkerGroup
from beanwatch.store.black_box import FILE_NAME, directory_name
from beanwatch.store.fleet import SETTLED_AFTER
from beanwatch.store.heartbeats import WORKERS_KEY
from tests.real import Proxy, Redis, closed_port, wait_until
from tests.web.conftest import Fleet, Pages
from tests.web.test_pages import EVERY_PAGE


@pytest.fixture
def well(fleet: Fleet) -> Fleet:
    """A fleet with a worker, in which all is well."""
    fleet.beat("web1.a", queues=("email",))
    return fleet


def let_settle(fleet: Fleet) -> None:
    """Wait until Redis is so old that each worker that lives has written."""
    wait_until(lambda: fleet.redis.uptime() > SETTLED_AFTER, 30)


def verdict_of(pages: Pages) -> tuple[str, str]:
    found = pages.json("/")["verdict"]
    assert found["text"] in pages.html("/")
    return found["severity"], found["text"]


# -- the checks


def test_all_is_not_well_before_the_checks_have_run(well: Fleet) -> None:
    with well.pages(is_read=False) as pages:
        pages.read("q1", "workers", "failures", "outcomes")
        assert verdict_of(pages) == ("unknown", "the checks have not run yet")
        assert "the checks have not run yet" in pages.html("/checks")
        pages.read("checks")
        assert verdict_of(pages) == ("ok", "All is well.")


def test_all_is_not_well_while_the_checks_fail(
    well: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    with well.pages() as pages:

        def fail(*_: Any, **__: Any) -> None:
            raise OSError("no space left")

        monkeypatch.setattr("beanwatch.web.snapshot.PassiveRound", fail)
        pages.read()
        severity, text = verdict_of(pages)
        assert severity == "unknown"
        assert text.startswith("the checks fail: internal error")
        assert text.endswith("no space left")


def test_all_is_not_well_if_the_last_checks_are_old(well: Fleet) -> None:
    """Each run after them hangs."""
    with well.pages() as pages:
        reader = pages.part("checks")
        at = reader.part.read_at - 5 * 3600 - 60
        reader.part = reader.part._replace(read_at=at, tried_at=at)
        pages.show()
        assert verdict_of(pages) == ("unknown", "no checks for 5h 1m")


# -- servers


def test_all_is_not_well_before_every_server_was_read(well: Fleet) -> None:
    well.servers["q2"] = ServerConfig(well.beanstalkd.address.replace("127.0.0.1", "localhost"))
    with well.pages() as pages:
        pages.part("q2").part = pages.part("q2").part._replace(read_at=0.0, tried_at=0.0)
        pages.show()
        assert verdict_of(pages) == ("unknown", "server q2 was not read yet")


def test_a_queue_is_not_gone_while_its_server_is_away(well: Fleet) -> None:
    well.beanstalkd.kill()
    with well.pages() as pages:
        text = refused(pages, "/queue?server=q1&name=email")
        assert "nobody knows whether q1 has a queue 'email'" in text
        assert "connection refused" in text
        assert "There is no queue" not in pages.html("/")
        assert "The queues are not known now." in pages.html("/")
        totals = pages.json("/")["totals"]
        assert {one for one in totals.values() if one is not None} == {0, 1}
        assert (totals["queues"], totals["drained_in"], totals["servers"]) == (None, None, 1)
        assert "No queue that is known now fits." in pages.html("/queues")


def refused(pages: Pages, address: str) -> str:
    """Return why nobody knows what is at an address. A browser asks again."""
    answer = pages.client.get(address, headers={"accept": "application/json"})
    assert (answer.status_code, answer.headers["refresh"]) == (503, "5"), answer.text
    assert pages.client.get(address).status_code == 503
    return str(answer.json()["error"])


def test_queues_that_cannot_be_read_keep_their_last_numbers(well: Fleet) -> None:
    """The server answers with its own numbers only."""
    well.put("email")
    with Proxy(well.beanstalkd.address) as proxy:
        well.servers["q1"] = ServerConfig(proxy.address)
        with well.pages() as pages:
            read_at = pages.json("/queue", server="q1", name="email")["read_at"]
            proxy.edit(lambda data: data.replace(b"- default\n", b""))
            pages.read("q1")
            found = pages.json("/queues")
            assert {one["queue"] for one in found["queues"]} == {"email", "default"}
            assert {one["is_old"] for one in found["queues"]} == {True}
            assert "cannot read the queues" in found["stale"][0]["trouble"]
            queue = pages.json("/queue", server="q1", name="email")
            assert (queue["read_at"], queue["queue"]["ready"]) == (read_at, 1)
            assert "These numbers are from" in pages.html("/queue?server=q1&name=email")
            assert pages.json("/servers")["servers"][0]["up"], "the server itself answers"
            problems = pages.json("/")["problems"]
            texts = [one["text"] for one in problems if one["heading"] == "queue-server"]
            assert texts[0].startswith("the queues of server q1 cannot be read: ")
            proxy.edit(bytes)
            pages.read("q1")
            assert pages.json("/queues")["stale"] == []


# -- Redis


@pytest.fixture
def away(fleet: Fleet, redis_server: Redis) -> Fleet:
    """A fleet whose Redis is away."""
    fleet.redis = redis_server
    fleet.config = fleet.config._replace(redis=fleet.config.redis._replace(url=redis_server.url))
    redis_server.kill()
    return fleet


def test_what_is_in_redis_is_not_gone_while_redis_is_away(away: Fleet) -> None:
    away.put("email")
    with away.pages() as pages:
        worker = refused(pages, "/worker?id=web1.a")
        assert "nobody knows whether there is a worker 'web1.a': " in worker
        assert "connection refused" in worker
        failure = refused(pages, "/failure?id=x")
        assert "nobody knows whether this failed run is recorded: " in failure
        queue = pages.html("/queue?server=q1&name=email")
        assert "Nobody knows which workers take jobs from this queue" in queue


def test_nothing_is_gone_before_the_first_reading(well: Fleet) -> None:
    well.put("email")
    failure = well.fail()
    with well.pages(is_read=False) as pages:
        for path in ("/queue?server=q1&name=email", "/worker?id=web1.a", f"/failure?id={failure}"):
            assert "not read yet" in refused(pages, path)
        pages.read()
        for path in ("/queue?server=q1&name=email", "/worker?id=web1.a", f"/failure?id={failure}"):
            assert "<main" in pages.html(path)


def test_a_search_says_what_was_never_read(well: Fleet) -> None:
    well.put("email")
    with well.pages(is_read=False) as pages:
        found = pages.json("/search", q="email")
        assert (found["queues"], len(found["not_searched"])) == ([], 2)
        assert found["not_searched"][0].startswith("the queues of q1: not read yet")
        assert found["not_searched"][1].startswith("the workers: not read yet")
        assert "Nothing that was searched is called so" in pages.html("/search?q=email")
        pages.read()
        found = pages.json("/search", q="email")
        assert (found["queues"], found["not_searched"]) == ([["q1", "email"]], [])
        assert "Nothing is called so" in pages.html("/search?q=zzz")


def test_a_failed_job_is_not_gone_while_the_server_that_may_keep_it_is_away(well: Fleet) -> None:
    well.servers["sk"] = ServerConfig(f"redis://127.0.0.1:{closed_port()}", layout="sidekiq")
    with well.pages() as pages:
        assert "sk: " in refused(pages, "/failure?id=x")


def test_what_is_in_redis_is_not_0_while_redis_is_away(away: Fleet) -> None:
    with away.pages() as pages:
        found = pages.json("/")
        runs = ("runs_last_hour", "failed_last_hour")
        assert [found[name] for name in runs] == [None, None]
        assert "connection refused" in found["runs_trouble"]
        assert (found["totals"]["workers"], found["totals"]["busy_workers"]) == (None, None)
        html = pages.html("/")
        assert "of 0" not in html
        assert html.count('<span class="value">n/a</span><span class="unit">not known</span>') == 2
        redis = pages.json("/servers")["redis"]
        assert (redis["workers"], redis["failures"]) == (None, None)
        for path in ("/workers", "/failures"):
            assert "0 workers" not in pages.html(path)
            assert "0 failed runs" not in pages.html(path)
            assert "connection refused" in pages.html(path)
        assert "No failed run is known now" in pages.html("/failures")


def test_the_last_numbers_of_runs_say_that_they_are_old(fleet: Fleet, redis_server: Redis) -> None:
    fleet.redis = redis_server
    fleet.config = fleet.config._replace(redis=fleet.config.redis._replace(url=redis_server.url))
    with fleet.pages() as pages:
        assert pages.json("/")["failed_last_hour"] == 0
        redis_server.kill()
        pages.read()
        assert pages.json("/")["failed_last_hour"] == 0
        assert "The numbers of runs are not those of now" in pages.html("/")


def test_redis_that_starts_later_than_the_page_is_found(fleet: Fleet, redis_server: Redis) -> None:
    """Nobody has configured it: before, it is off, and nothing is wrong."""
    address = redis_server.url
    redis_server.kill()
    fleet.redis = redis_server
    fleet.config = fleet.config._replace(
        redis=fleet.config.redis._replace(url=address), given=frozenset()
    )
    with fleet.pages(find_present=PresentParts().turn_off_absent) as pages:
        assert verdict_of(pages) == ("ok", "All is well.")
        for path in ("/workers", "/failures"):
            assert pages.json(path)["redis_is_off"]
            assert f"none has answered at {address}" in pages.html(path)
            assert "data-live" in pages.html(path), "a page that is open shows it later"
        answer = pages.client.get("/worker?id=web1.a")
        assert (answer.status_code, "Redis is off" in answer.text) == (404, True)
        redis_server.start()
        fleet.beat("web1.a")
        pages.read()
        assert [one["id"] for one in pages.json("/workers")["workers"]] == ["web1.a"]
        redis_server.kill()
        pages.read()
        assert verdict_of(pages)[0] == "critical", "it exists, so it must answer"


def test_the_command_does_not_decide_at_its_start_that_there_is_no_redis(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []
    monkeypatch.setattr("beanwatch.web.serve.serve", lambda settings, *_: given.append(settings))
    monkeypatch.setattr("beanwatch.cli.lib.absent_parts.redis_answers", lambda _: False)
    config = tmp_path / "beanwatch.toml"
    config.write_text(f'[servers]\nq1 = "127.0.0.1:{closed_port()}"\n')
    found = CliRunner().invoke(command, ["--listen", "127.0.0.1:0", "--config", str(config)])
    assert found.exit_code == 0, found.output
    assert given[0].redis is not None


# -- workers


@pytest.mark.parametrize("age", [1, 100, 5000])
@pytest.mark.parametrize("left", [None, b"no record", b'{"v": 99}'])
def test_every_page_shows_a_worker_without_a_readable_record(
    fleet: Fleet, age: float, left: bytes | None
) -> None:
    fleet.put("email")
    fleet.lose_record("web1.lost", age, left)
    fleet.beat("web1.a", queues=("email",))
    with fleet.pages() as pages:
        for path in (*EVERY_PAGE, "/worker?id=web1.lost"):
            if path != "/worker?id=web1.idle":
                assert "<main" in pages.html(path), path
                pages.json(path)
        row = next(one for one in pages.json("/workers")["workers"] if one["id"] == "web1.lost")
        is_unknown = age == 1 and left is not None
        assert row["health"] == ("unknown" if is_unknown else "dead")
        assert row["verdict"]
        assert pages.json("/")["at"] - row["beat_at"] == pytest.approx(age, abs=10)
        assert bool(row["problem"]) == (left is not None)
        assert {row[name] for name in ("host", "processed", "failed", "rss", "remark")} == {None}
        assert (row["jobs"], row["commands"]) == ([], [])


def test_a_dead_worker_of_a_group_is_listed_and_is_no_problem(fleet: Fleet) -> None:
    """Its replacement has another id. The check counts how many live."""
    let_settle(fleet)
    fleet.beat("k8s.pod-new", state="busy")
    fleet.beat("k8s.pod-old", age=100, state="busy")
    groups = (WorkerGroup("k8s.*", 1),)
    fleet.config = fleet.config._replace(expected_groups=groups)
    with fleet.pages() as pages:
        assert verdict_of(pages) == ("ok", "All is well.")
        rows = {one["id"]: one for one in pages.json("/workers")["workers"]}
        assert (rows["k8s.pod-old"]["health"], rows["k8s.pod-old"]["wrong"]) == ("dead", "")
        assert "only the number of those that live counts" in rows["k8s.pod-old"]["verdict"]
        for path in ("/workers", "/worker?id=k8s.pod-old"):
            assert "only the number of those that live counts" in pages.html(path)
        found = pages.json("/")
        assert (found["totals"]["workers"], found["stuck_workers"]) == (1, {})
        assert pages.json("/workers", only="wrong")["workers"] == []
    fleet.config = fleet.config._replace(expected_groups=(WorkerGroup("k8s.*", 2),))
    with fleet.pages() as pages:
        assert verdict_of(pages)[0] == "critical"
    fleet.config = fleet.config._replace(expected_groups=(), expected_workers=("k8s.pod-old",))
    with fleet.pages() as pages:
        severity, text = verdict_of(pages)
        assert (severity, "k8s.pod-old" in text) == ("critical", True)


def test_a_worker_that_stopped_while_redis_was_away_has_ended(well: Fleet, tmp_path: Path) -> None:
    """Its black box on this host tells so, as it tells the check."""
    box = tmp_path / directory_name("web1.done", "0" * 16) / FILE_NAME
    box.parent.mkdir()
    box.write_text("end \n")
    well.beat("web1.done", age=100, black_box=str(box))
    let_settle(well)
    well.beat("web1.a", queues=("email",))
    with well.pages() as pages:
        assert verdict_of(pages) == ("ok", "All is well.")
        rows = {one["id"]: one["health"] for one in pages.json("/workers")["workers"]}
        assert rows == {"web1.a": "idle", "web1.done": "ended"}
    assert well.redis.client().zscore(WORKERS_KEY, "web1.done")
