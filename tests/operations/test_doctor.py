"""`beanwatch doctor` on real servers: all is well, or what is wrong and what to do about it."""

import json
import os
import pty
import re
import select
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from beanwatch.cli.lib.probes import installed, notifications, pages
from beanwatch.cli.lib.probes.checks import CHECK_NAMES, judge_check
from beanwatch.cli.lib.probes.finding import Finding
from beanwatch.cli.lib.probes.render import parse_render
from beanwatch.cli.lib.probes.servers import probe_heartbeats
from beanwatch.cli.lib.probes.storage_step import SHIPPED_STEP, StepWatch, find_step_problems
from beanwatch.config import CollectConfig, WorkerGroup
from beanwatch.net.address import Address
from beanwatch.net.http_server import HttpServer, Page, Response
from beanwatch.net.redis_url import WRITE_REFUSALS, parse_redis_url
from beanwatch.store.fleet import SETTLED_AFTER
from beanwatch.store.heartbeats import WORKERS_KEY, encode_heartbeat, worker_key
from tests.collector.parts import Memory
from tests.real import (
    ROOT,
    Beanstalkd,
    Graphite,
    HttpSink,
    Proxy,
    Redis,
    StatsD,
    free_port,
    wait_until,
)
from tests.records import make_beat


@contextmanager
def http_server(pages: Mapping[str, Page]) -> Iterator[HttpServer]:
    server = HttpServer(Address("127.0.0.1", 0), pages, print)
    try:
        yield server
    finally:
        server.close()


Run = Callable[..., tuple[int, str, str]]
SCHEMAS = "collectors/graphite/storage-schemas.conf"
Findings = dict[str, dict[str, str]]


class Doctor:
    """Runs `beanwatch doctor --json` with a configuration that a test can change."""

    def __init__(self, run: Run, path: Path) -> None:
        self._run, self._path = run, path
        self.tables: dict[str, dict[str, Any]] = {}
        self.general = ""

    def __call__(self, *options: object) -> tuple[int, Findings]:
        tables = [
            f"[{name}]\n" + "".join(f"{key} = {json.dumps(v)}\n" for key, v in table.items())
            for name, table in self.tables.items()
        ]
        self._path.write_text(self.general + "".join(tables))
        code, out, err = self._run(
            "beanwatch", "doctor", "--json", "--user", "", "--config", self._path, *options
        )
        assert out, err
        findings = json.loads(out)["findings"]
        return code, {finding["part"]: finding for finding in findings}


@pytest.fixture
def doctor(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Doctor:
    # Checks remember servers by their addresses, and other tests may have used the same port.
    monkeypatch.setenv("BEANWATCH_STATE_DIR", str(tmp_path / "state"))
    return Doctor(run, tmp_path / "beanwatch.toml")


@pytest.fixture
def statsd(graphite: Graphite, tmp_path: Path) -> Iterator[StatsD]:
    with StatsD(tmp_path / "statsd", graphite.carbon) as server:
        yield server


def beat(server: Redis, worker: str, *, age: float = 0.0, **fields: Any) -> None:
    """What a worker writes, `age` seconds ago."""
    client = server.client()
    now = time.time() - age
    record = make_beat(state="idle", beat_at=now, loop_at=now, started_at=now - 5, **fields)
    client.zadd(WORKERS_KEY, {worker: now})
    client.set(worker_key(worker), encode_heartbeat(record))


def test_all_is_well(
    doctor: Doctor,
    beanstalkd: Beanstalkd,
    redis_server: Redis,
    graphite: Graphite,
    statsd: StatsD,
    prefix: str,
) -> None:
    doctor.general = f'prefix = "{prefix}"\n'
    doctor.tables = {
        "servers": {"q1": beanstalkd.address},
        "redis": {"url": redis_server.url},
        "graphite": {
            "address": graphite.carbon,
            "url": graphite.url.replace("//", "//me:hunter2@"),  # it asks for no password
        },
        "worker": {"metrics": statsd.url},
        "workers": {"expected": ["web1.email"]},
        "collect": {"interval": "1s"},
    }
    beat(redis_server, "web1.email", interval=100.0)  # the check looks last, seconds from now
    graphite.send(f"{prefix}.collector.q1.success", 1)
    graphite.latest(f"{prefix}.collector.q1.success")
    with http_server({"/readyz": lambda _: Response(b"ok\n")}) as collector:
        doctor.tables["collect"]["listen"] = f"127.0.0.1:{collector.port}"
        code, found = doctor()
    # This host may have them or not.
    for part in ("live page", "prometheus rules", "grafana dashboards", "units", "notifications"):
        found.pop(part, None)
    assert {part: f["text"] for part, f in found.items() if f["state"] != "ok"} == {}
    assert "is ready" in found["collect.listen"]["text"]
    assert code == 0
    assert "hunter2" not in str(found)
    assert "version" in found["beanstalkd q1"]["text"]
    assert found["graphite render"]["text"].endswith("returned the test metric")
    assert f"{prefix}.doctor." in found[f"statsd {statsd.address}"]["text"]
    assert found["heartbeats"]["text"] == "1 idle"
    assert found["worker records"]["text"] == "can be read: 1 beanwatch"
    assert {f"check_{check}" for check in CHECK_NAMES} <= set(found)


def test_on_an_empty_host_only_beanstalkd_is_missed(run: Run) -> None:
    # Port 1 of this host: nothing listens there. The defaults may be in use where tests run.
    nobody = ("--server", "127.0.0.1:1", "--redis", "")
    code, out, err = run("beanwatch", "doctor", *nobody, "--user", "")
    assert (code, err) == (1, "")
    assert [line.split()[1] for line in out.splitlines() if line.startswith("failed")] == [
        "beanstalkd"
    ]
    assert "-> start it (systemctl start beanstalkd)" in out
    assert (
        "unused   check_queue_depth: skipped: it needs a queue server, which is not available"
        in out
    )


def test_every_failure_comes_with_its_cure(
    doctor: Doctor, old_redis: Redis, graphite: Graphite, prefix: str
) -> None:
    doctor.general = f'prefix = "{prefix}"\n'
    with HttpSink(status=500) as web:
        doctor.tables = {
            "servers": {"q1": "127.0.0.1:1", "q2": "unix:/nonexistent"},
            "redis": {"url": old_redis.url},
            "graphite": {"address": "127.0.0.1:1", "url": web.url},
            "worker": {"metrics": "statsd://127.0.0.1:1"},
            "workers": {"expected": ["web1.email", "web2.email"]},
        }
        beat(old_redis, "web1.email", age=60)
        code, found = doctor("--wait", "1s")
    failed = {part: f for part, f in found.items() if f["state"] == "failed"}
    assert code == 1
    assert set(failed) == {
        "beanstalkd q1",
        "beanstalkd q2",
        "graphite carbon",
        "graphite render",
        "statsd 127.0.0.1:1",
        "heartbeats",
    }
    assert all(finding["cure"] for finding in failed.values())
    assert "connection refused" in failed["beanstalkd q1"]["text"]
    assert "no such socket" in failed["beanstalkd q2"]["text"]
    assert "HTTP 500" in failed["graphite render"]["text"]
    assert failed["statsd 127.0.0.1:1"]["text"] == (
        "cannot send a test counter: nothing listens on this port"
    )
    assert "web1.email is dead, web2.email is missing" in failed["heartbeats"]["text"]
    assert found["check_worker_heartbeat"]["state"] == "critical"
    assert found["check_metrics_fresh"]["state"] == "unused"


def test_of_a_group_enough_workers_must_live(old_redis: Redis) -> None:
    for worker, age in (("k8s.a", 0.0), ("k8s.b", 0.0), ("k8s.old", 60.0)):
        beat(old_redis, worker, interval=10.0, age=age)
    url = parse_redis_url(old_redis.url)

    def probe(least: int) -> Finding:
        return list(probe_heartbeats(url, (), [WorkerGroup("k8s.*", least)]))[-1]

    assert (probe(2).state, probe(2).text) == ("ok", "1 dead, 2 idle")
    assert probe(3).state == "failed"
    assert "k8s.* is short of workers: 2 of 3 live" in probe(3).text
    assert list(probe_heartbeats(url, ["k8s.old"], [WorkerGroup("k8s.*", 2)]))[-1].state == "failed"


def test_a_dead_worker_of_two_groups_is_no_failure_and_a_forked_child_is_no_member(
    old_redis: Redis,
) -> None:
    beat(old_redis, "k8s.a", interval=10.0)
    beat(old_redis, "k8s.a-1", interval=10.0, child_of="k8s.a")
    for worker, parent in (("k8s.old", ""), ("k8s.old-1", "k8s.old")):
        beat(old_redis, worker, interval=10.0, age=60.0, child_of=parent)

    def probe(least: int) -> Finding:
        groups = [WorkerGroup("k8s.*", 1), WorkerGroup("*.[ao]*", least)]
        return list(probe_heartbeats(parse_redis_url(old_redis.url), (), groups))[-1]

    assert (probe(1).state, probe(1).text) == ("ok", "2 dead, 2 idle")
    assert "*.[ao]* is short of workers: 1 of 2 live" in probe(2).text


def test_another_service_on_carbons_port_is_found_out(
    doctor: Doctor, redis_server: Redis, beanstalkd: Beanstalkd
) -> None:
    other = f"127.0.0.1:{redis_server.port}"
    doctor.tables = {
        "servers": {"q1": beanstalkd.address},
        "graphite": {"address": other},
        "worker": {"metrics": f"graphite://{other}"},
    }
    _, found = doctor("--wait", "1s")
    for part in ("graphite carbon", f"worker metrics {other}"):
        assert found[part]["state"] == "failed"
        assert "this is no carbon" in found[part]["text"]


def test_a_statsd_that_renames_the_series_is_found_out(
    doctor: Doctor, beanstalkd: Beanstalkd, graphite: Graphite, prefix: str, tmp_path: Path
) -> None:
    as_it_comes = {"flushInterval": 1000, "graphite": {"legacyNamespace": False}}
    with StatsD(tmp_path / "statsd", graphite.carbon, as_it_comes) as daemon:
        doctor.tables = {
            "servers": {"q1": beanstalkd.address},
            "graphite": {"address": graphite.carbon, "url": graphite.url},
            "worker": {"metrics": daemon.url},
        }
        doctor.general = f'prefix = "{prefix}"\n'
        code, found = doctor()
    finding = found[f"statsd {daemon.address}"]
    assert code == 1
    assert finding["state"] == "failed"
    assert f"arrived in the series stats.counters.{prefix}.doctor." in finding["text"]
    assert "/etc/beanwatch/statsd" in finding["cure"]


def test_an_old_point_and_no_point_of_the_collector_are_told_apart(
    doctor: Doctor, beanstalkd: Beanstalkd, graphite: Graphite, prefix: str
) -> None:
    doctor.general = f'prefix = "{prefix}"\n'
    doctor.tables = {
        "servers": {"old": beanstalkd.address, "never": f"localhost:{beanstalkd.port}"},
        "graphite": {"address": graphite.carbon, "url": graphite.url},
    }
    graphite.send(f"{prefix}.collector.old.success", 1, time.time() - 600)
    graphite.latest(f"{prefix}.collector.old.success", "-1h")
    code, found = doctor()
    assert code == 1
    assert {found[f"freshness {name}"]["state"] for name in ("old", "never")} == {"failed"}
    assert "the newest point is 6" in found["freshness old"]["text"]
    assert "Graphite has no point of the last hour" in found["freshness never"]["text"]


def test_a_redis_that_is_a_replica_or_that_evicts_is_no_good(
    doctor: Doctor, beanstalkd: Beanstalkd, redis_server: Redis
) -> None:
    doctor.tables = {
        "servers": {"q1": beanstalkd.address},
        "redis": {"url": redis_server.url},
    }
    wait_until(lambda: redis_server.uptime() > SETTLED_AFTER, 30)
    code, found = doctor()
    assert (code, found["check_worker_heartbeat"]["state"]) == (1, "critical")  # no worker yet
    beat(redis_server, "web1.email")
    redis_server.client().config_set("maxmemory", "100mb")
    redis_server.client().config_set("maxmemory-policy", "allkeys-lru")
    code, found = doctor()
    failed = [finding for finding in found.values() if finding["state"] == "failed"]
    assert (code, failed) == (0, [])
    assert found["redis"]["state"] == "warning"
    beat(redis_server, "web1.email", age=60.0)  # while heartbeats arrive, a replica is believed
    redis_server.client().execute_command("REPLICAOF", "127.0.0.1", "1")
    code, found = doctor("--wait", "1s")
    assert (code, found["redis"]["state"]) == (1, "failed")
    assert "this is a replica" in found["redis"]["text"]


def test_a_redis_user_without_info_has_all_that_works_said_to_work(
    doctor: Doctor, beanstalkd: Beanstalkd, redis_server: Redis
) -> None:
    beat(redis_server, "web1.email", interval=100.0)
    rights = "on >secret ~{beanwatch}:* -@all +@read +@write +time +ping +select"
    redis_server.client().execute_command("ACL", "SETUSER", "watch", *rights.split())
    doctor.tables = {
        "servers": {"q1": beanstalkd.address},
        "redis": {"url": f"redis://watch:secret@127.0.0.1:{redis_server.port}/0"},
    }
    _, found = doctor("--wait", "1s")
    parts = ("redis", "heartbeats", "check_redis", "check_worker_heartbeat", "check_job_failures")
    assert {part: found[part]["state"] for part in parts} == dict.fromkeys(parts, "ok")
    assert "it takes writes; its user may not run INFO" in found["redis"]["text"]
    redis_server.client().execute_command("ACL", "SETUSER", "watch", "-zrange")
    _, found = doctor("--wait", "1s")
    assert found["redis"]["state"] == "failed"
    assert "NOPERM" in found["redis"]["text"]
    assert found["redis"]["cure"] == (
        "see beanwatch runbook redis, for the rights that this Redis user needs"
    )


def test_a_record_that_cannot_be_read_is_named(
    doctor: Doctor, beanstalkd: Beanstalkd, redis_server: Redis
) -> None:
    beat(redis_server, "web1.email", interval=100.0)
    redis_server.client().set(worker_key("web1.email"), '{"queues": "email"}')
    doctor.tables = {"servers": {"q1": beanstalkd.address}, "redis": {"url": redis_server.url}}
    _, found = doctor("--wait", "1s")
    assert found["heartbeats"]["state"] == found["worker records"]["state"] == "warning"
    assert found["heartbeats"]["text"] == "1 unknown; see the records above"
    assert found["worker records"]["text"] == (
        "cannot be read: web1.email: queues: expected a list of texts, not a text"
    )


@pytest.mark.parametrize("code", WRITE_REFUSALS)
def test_a_redis_that_takes_no_writes_is_said_once_and_nobody_is_dead(
    doctor: Doctor, beanstalkd: Beanstalkd, redis_server: Redis, code: str
) -> None:
    beat(redis_server, "web1.email", age=60.0)
    redis_server.refuse_writes(code)
    doctor.tables = {
        "servers": {"q1": beanstalkd.address},
        "redis": {"url": redis_server.url},
    }
    exit_code, found = doctor("--wait", "1s")
    assert exit_code == 1
    assert [part for part, f in found.items() if f["state"] == "failed"] == ["redis"]
    assert f"Redis takes no writes: {code}, " in found["redis"]["text"]
    assert f"Redis takes no writes: {code}, " in found["heartbeats"]["text"]
    assert found["check_worker_heartbeat"]["state"] == "unused"


@pytest.mark.parametrize(
    ("collect", "texts"),
    [
        ({"interval": 60}, ["collect.interval is 60 s, but Graphite stores a point every 1 s"]),
        (
            {"interval": 1, "queues_interval": 30},
            ["collect.queues_interval is 30 s, but Graphite stores a point every 1 s"],
        ),
        ({"interval": 1}, []),
        ({"interval": 0.5}, []),
    ],
)
def test_an_interval_longer_than_the_step_of_graphite_is_named(
    graphite: Graphite, prefix: str, collect: dict[str, float], texts: list[str]
) -> None:
    for path in ("collector.q1.success", "queue.q1.a.ready"):
        graphite.send(f"{prefix}.{path}", 1)
        graphite.latest(f"{prefix}.{path}")
    settings = CollectConfig(**collect)
    found = list(find_step_problems(graphite.url, prefix, ["q1", "new"], settings))
    assert [text.partition(":")[0] for text in found] == texts
    memory = Memory()
    now = [0.0]
    watch = StepWatch(graphite.url, prefix, ["q1"], settings, memory.problems, clock=lambda: now[0])
    for now[0] in (0.0, 59.0):
        watch.poll(0)
    assert memory.messages == [], "a new series needs time"
    for now[0] in (61.0, 62.0, 4000.0):
        watch.poll(0)
    assert [message.partition(":")[0] for message in memory.messages] == texts


def test_doctor_and_collector_warn_of_an_interval_longer_than_the_step(
    doctor: Doctor, beanstalkd: Beanstalkd, graphite: Graphite, prefix: str
) -> None:
    doctor.general = f'prefix = "{prefix}"\n'
    doctor.tables = {
        "servers": {"q1": beanstalkd.address},
        "graphite": {"address": graphite.carbon, "url": graphite.url},
        "collect": {"interval": 60},
    }
    graphite.send(f"{prefix}.collector.q1.success", 1)
    graphite.latest(f"{prefix}.collector.q1.success")
    _, found = doctor()
    assert found["storage step"]["state"] == "warning"
    assert "is 60 s, but Graphite stores a point every 1 s" in found["storage step"]["text"]
    assert "storage-schemas.conf" in found["storage step"]["cure"]
    # Without a URL the collector cannot know the step.
    memory = Memory()
    StepWatch("", prefix, [], CollectConfig(interval=60), memory.problems).poll(0)
    StepWatch("", prefix, [], CollectConfig(interval=10), memory.problems).poll(0)
    (message,) = memory.messages
    assert "polling every 60 s: if Graphite stores points every 10 s" in message
    step = re.search(r"retentions = (\d+)s", (ROOT / SCHEMAS).read_text())
    assert step is not None
    assert int(step[1]) == SHIPPED_STEP


def test_silent_servers_cost_seconds_and_no_more(
    doctor: Doctor,
    beanstalkd: Beanstalkd,
    redis_server: Redis,
    graphite: Graphite,
    proxy: Callable[[str], Proxy],
) -> None:
    fronts = {
        name: proxy(address)
        for name, address in {
            "beanstalkd": beanstalkd.address,
            "redis": f"127.0.0.1:{redis_server.port}",
            "carbon": graphite.carbon,
            "web": graphite.url.removeprefix("http://"),
        }.items()
    }
    for front in fronts.values():
        front.blackhole()
    doctor.tables = {
        "servers": {"q1": fronts["beanstalkd"].address},
        "redis": {"url": f"redis://:hunter2@{fronts['redis'].address}/0"},
        "graphite": {
            "address": fronts["carbon"].address,
            "url": f"http://me:hunter2@{fronts['web'].address}",
        },
        "worker": {"metrics": f"graphite://{fronts['carbon'].address}"},
    }
    code, found = doctor("--wait", "1s")
    assert code == 1
    for part in ("beanstalkd q1", "redis", "graphite render"):
        assert "no answer within 5 s" in found[part]["text"] or "timed out" in found[part]["text"]
    assert "hunter2" not in json.dumps(found)


def test_a_broken_configuration_is_a_line_and_exit_2(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text('[redis]\nurrl = "x"\n')
    code, out, err = run("beanwatch", "doctor", "--config", path)
    assert (code, out) == (2, "")
    assert f"{path}:2: redis: unknown key 'urrl'" in err
    path.write_text(f'[redis]\npassword_file = "{tmp_path}/none"\n[servers]\nq = "h:p"\n')
    code, out, err = run("beanwatch", "doctor", "--config", path)
    assert code == 1
    assert "failed   configuration: servers.q: " in out
    assert "No such file" in out


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_check_that_the_monitoring_user_cannot_read_is_found_out(
    run: Run, beanstalkd: Beanstalkd, tmp_path: Path
) -> None:
    path = tmp_path / "secret.toml"
    path.write_text(f'[servers]\nq1 = "{beanstalkd.address}"\n')
    path.chmod(0o600)
    code, out, _ = run("beanwatch", "doctor", "--config", path, "--user", "nobody", "--wait", "1s")
    line = next(line for line in out.splitlines() if "check_queue_server as nobody" in line)
    assert code == 1
    assert line.startswith("failed")
    assert "ermission denied" in line


def test_a_terminal_gets_colours_and_a_pipe_gets_none(
    run: Run, beanstalkd: Beanstalkd, tmp_path: Path
) -> None:
    argv = ["beanwatch", "doctor", "--server", beanstalkd.address, "--user", "", "--wait", "1s"]
    assert "\x1b[" not in run(*argv)[1]
    near, far = pty.openpty()
    try:
        subprocess.run(
            [ROOT / ".venv/bin" / argv[0], *argv[1:]],
            stdout=far,
            stderr=far,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "80"},
            timeout=60,
        )
        shown = b""
        while select.select([near], [], [], 0)[0]:
            shown += os.read(near, 65536)
    finally:
        os.close(near)
        os.close(far)
    assert b"\x1b[32m" in shown
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    assert max(map(len, plain.splitlines())) <= 80


def test_a_user_that_nobody_is_is_exit_2(run: Run) -> None:
    code, _, err = run("beanwatch", "doctor", "--user", "no-such-user")
    assert (code, err) == (
        2,
        "beanwatch: --user no-such-user: there is no such user (see beanwatch doctor --help)\n",
    )


@pytest.mark.parametrize(
    ("code", "out", "err", "state"),
    [
        (0, "QUEUE_DEPTH OK - fine | 'a'=1\n", "", "ok"),
        (2, "QUEUE_DEPTH CRITICAL - deep\n", "", "critical"),
        (3, "QUEUE_DEPTH UNKNOWN - no\n", "", "failed"),
        (0, "", "", "failed"),
        (1, "QUEUE_DEPTH OK\n", "Traceback (most recent call last):\nKeyError: 1", "failed"),
        (127, "", "not found", "failed"),
    ],
)
def test_a_check_is_judged_by_whether_it_gives_a_result(
    code: int, out: str, err: str, state: str
) -> None:
    assert judge_check("check_queue_depth", code, out, err).state == state


def test_what_is_no_answer_of_a_render_api_is_refused() -> None:
    assert parse_render(b'[{"target": "a", "datapoints": [[1, 5], [null, 6]]}]')[0].points == [
        (1.0, 5)
    ]
    for body in (b"<html>", b"{}", b'[{"target": "a"}]', b"[1]", b"null"):
        with pytest.raises(ValueError, match="this is not a reply of a render API"):
            parse_render(body)


def test_user_and_password_of_the_url_are_sent_and_not_shown(doctor: Doctor) -> None:
    with HttpSink(status=401) as web:
        url = web.url.replace("//", "//me:hunter2@")
        doctor.tables = {"graphite": {"url": url}, "servers": {"q1": "127.0.0.1:1"}}
        _, found = doctor("--wait", "1s")
    assert web.requests[0].headers["authorization"] == "Basic bWU6aHVudGVyMg=="
    assert found["graphite render"]["text"].endswith(": HTTP 401 Unauthorized")
    assert "hunter2" not in str(found)


# -- the pages that parts serve, and the rules of Prometheus


def listen(address: str) -> tuple[str, str]:
    (finding,) = pages.probe_listen("collect.listen", address, "the collector")
    return finding.state, finding.text


@pytest.mark.parametrize(
    ("status", "body", "state", "words"),
    [
        (200, b"ok\n", "ok", "the collector listens there, and is ready"),
        (503, b"not every server has been polled yet\n", "warning", "is not ready"),
        (200, b"welcome", "failed", "another program listens there"),
        (404, b"", "failed", "another program listens there"),
    ],
)
def test_who_holds_the_port_of_a_page_is_asked(
    status: int, body: bytes, state: str, words: str
) -> None:
    with http_server({"/readyz": lambda _: Response(body, status=status)}) as server:
        for host in ("127.0.0.1", "0.0.0.0"):
            found = listen(f"{host}:{server.port}")
            assert found[0] == state
            assert words in found[1]


def test_an_address_of_a_page_that_nobody_uses_is_no_alarm(monkeypatch: pytest.MonkeyPatch) -> None:
    state, text = listen(str(free_port()))
    assert state == "unused"
    assert text.endswith("does not run on this host; the address is free")
    monkeypatch.setattr(pages, "PROBE_TIMEOUT", 0.5)
    state, text = listen("192.0.2.1:9137")  # for documentation: no host has it
    assert (state, "could not listen" in text or "sends no page" in text) == ("warning", True)
    assert listen("web1:")[0] == "failed"
    assert list(pages.probe_listen("collect.listen", "", "the collector")) == []


def test_a_server_that_sends_no_page_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, beanstalkd: Beanstalkd
) -> None:
    monkeypatch.setattr(pages, "PROBE_TIMEOUT", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        for address in (f"127.0.0.1:{hanging.getsockname()[1]}", beanstalkd.address):
            state, text = listen(address)
            assert (state, "sends no page within 0.3 s" in text) == ("warning", True)


def test_the_live_page_and_its_users_are_looked_for(tmp_path: Path) -> None:
    users = tmp_path / "web-users"

    def look(port: int) -> dict[str, str]:
        found = pages.probe_live_page(f"127.0.0.1:{port}", users)
        return {finding.part: finding.state for finding in found}

    assert look(free_port()) == {"live page": "unused"}
    with http_server({"/readyz": lambda _: Response(b"ok\n")}) as server:
        users.write_text("ann:view:-\n")
        users.chmod(0o600)
        assert look(server.port) == {"live page": "ok", "live page users": "ok"}
        users.write_text("ann:boss:-\n")
        assert look(server.port)["live page users"] == "failed"


def test_files_are_looked_for_where_their_program_is(tmp_path: Path) -> None:
    directory = tmp_path / "prometheus"

    def look() -> list[str]:
        found = installed.probe_files("rules", directory, directory, "beanwatch*.rules.yml", "")
        return [finding.state for finding in found]

    assert look() == []
    directory.mkdir()
    assert look() == ["unused"]
    shutil.copy(ROOT / "grafana/prometheus/beanwatch.rules.yml", directory)
    assert look() == ["ok"]


@pytest.mark.parametrize(
    ("units", "states", "words"),
    [
        ("", ["unused"], "no unit of beanwatch is active"),
        (
            "beanwatch-collect.service loaded active running beanwatch: collect\n"
            "beanwatch-worker@a.service loaded active running beanwatch worker a\n",
            ["ok"],
            "active: beanwatch-collect.service, beanwatch-worker@a.service",
        ),
        (
            "beanwatch-collect.service loaded failed failed beanwatch: collect\n"
            "beanwatch-worker@a.service loaded activating auto-restart beanwatch worker a\n",
            ["failed", "warning"],
            "beanwatch-collect.service has failed",
        ),
    ],
)
def test_units_of_systemd_are_judged(
    units: str, states: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(f"#!/bin/sh\ncat <<'END'\n{units}END\n")
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = list(installed.probe_units(tmp_path))
    assert [finding.state for finding in found] == states
    assert words in found[0].text
    assert list(installed.probe_units(tmp_path / "none")) == []
    systemctl.write_text("#!/bin/sh\necho no bus >&2\nexit 1\n")
    (silent,) = installed.probe_units(tmp_path)
    assert (silent.state, silent.text) == ("unused", "systemctl does not tell them: no bus")


def test_the_targets_of_alerts_are_tried_without_an_alert(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with HttpSink() as web:
        _try_targets(tmp_path, monkeypatch, web)
        assert web.requests == [], "nothing is sent"


def _try_targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, web: HttpSink) -> None:
    secret = tmp_path / "hook.url"
    secret.write_text(f"{web.url}/hunter2\n")
    (tmp_path / "beanwatch-contacts.cfg").write_text(
        f"define contact {{\n    _NOTIFY  --mail root@localhost ; by mail\n}}\n"
        f"define contact {{\n    _NOTIFY  --webhook-file {secret}\n}}\n"
    )
    (tmp_path / "beanwatch-templates.cfg").write_text("    _NOTIFY --mail the@default\n")
    (tmp_path / "other.cfg").write_text("    _NOTIFY --mail not@ours\n")
    icinga = tmp_path / "beanwatch"
    icinga.mkdir()
    (icinga / "users.conf").write_text(
        '// vars.beanwatch_webhook_file = "/no"\n  vars.beanwatch_mail = "ann@example.org"\n'
    )

    def look() -> dict[str, tuple[str, str]]:
        found = notifications.probe_notifications([str(tmp_path), str(icinga)], "")
        return {one.text.partition(" (")[0]: (one.state, one.text) for one in found}

    sendmail = tmp_path / "sendmail"
    monkeypatch.setattr(notifications, "SENDMAIL", str(sendmail))
    found = look()
    assert {target: state for target, (state, _) in found.items()} == {
        "--mail root@localhost": "failed",
        "--mail ann@example.org": "failed",
        f"--webhook-file {secret}": "ok",
    }
    assert "there is no" in found["--mail root@localhost"][1]
    sendmail.write_text("#!/bin/sh\nexit 1\n")
    sendmail.chmod(0o755)
    assert {state for state, _ in look().values()} == {"ok"}
    secret.write_text("http://hunter2:port/\n")
    state, text = look()[f"--webhook-file {secret}"]
    assert (state, "is not an http(s) URL" in text, "hunter2" in text) == ("failed", True, False)
    secret.unlink()
    assert "cannot read" in look()[f"--webhook-file {secret}"][1]


@pytest.mark.parametrize("target", ["--help", "--fax 1", "--smtp mail.example.org", "'"])
def test_a_contact_that_names_no_target_is_a_failure(target: str, tmp_path: Path) -> None:
    (tmp_path / "beanwatch-contacts.cfg").write_text(f"    _NOTIFY {target}\n")
    (found,) = notifications.probe_notifications([str(tmp_path)], "")
    assert found.state == "failed"


def test_the_words_of_a_mail_server_that_refuses_are_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def refuse() -> None:
            with server.accept()[0] as client:
                client.sendall(b"421 too busy\r\n")

        thread = threading.Thread(target=refuse)
        thread.start()
        (tmp_path / "beanwatch-contacts.cfg").write_text(
            f"    _NOTIFY --mail root@localhost --smtp 127.0.0.1:{port}\n"
        )
        (found,) = notifications.probe_notifications([str(tmp_path)], "")
        thread.join()
    assert found.state == "failed"
    assert found.text.endswith("the mail server answered 421 too busy")


def test_old_files_for_php_and_what_php_lacks_are_told(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "usr/share/beanwatch/php"
    assert list(installed.probe_php(directory)) == []
    assert run("beanwatch", "install", "php", "--dest", tmp_path)[0] == 0
    found = {one.part: (one.state, one.text) for one in installed.probe_php(directory)}
    assert found["php files"][0] == "ok"
    assert found["php"][0] == "ok", found  # the tests of PHP workers need it, too
    (directory / "src" / "Monitor.php").write_text("<?php\n")
    php = tmp_path / "php"
    php.write_text(
        '#!/bin/sh\necho \'{"version":"8.1","is_new":false,"pcntl":true,"redis":false}\'\n'
    )
    php.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = {one.part: (one.state, one.text) for one in installed.probe_php(directory)}
    assert found["php files"] == (
        "warning",
        f"not of this version, in {directory}: Monitor.php",
    )
    assert found["php"][0] == "warning"
    assert "a worker needs PHP 8.2, ext-redis or Predis" in found["php"][1]


@pytest.mark.parametrize(
    ("body", "state"),
    [
        (b'{"data": {"result": [{"metric": {}, "value": [1, "1"]}]}}', "ok"),
        (b'{"data": {"result": []}}', "warning"),
        (b"<html>", "failed"),
    ],
)
def test_the_history_of_the_live_page_is_asked_for(body: bytes, state: str) -> None:
    with http_server({"/api/v1/query": lambda _: Response(body)}) as server:
        (found,) = pages.probe_history(f"http://me:hunter2@127.0.0.1:{server.port}/")
    assert found.state == state
    assert "hunter2" not in found.text
    assert list(pages.probe_history("graphite")) == list(pages.probe_history("")) == []
