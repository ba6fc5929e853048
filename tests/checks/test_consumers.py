"""check_queue_consumers: who drains a queue, by beanstalkd and by the heartbeats."""

import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from beanwatch.checks import queue_consumers
from beanwatch.checks.lib.consumer_diagnosis import decide_silent
from beanwatch.checks.lib.heartbeat_evidence import (
    WorkersByHealth,
    explain_with_heartbeats,
    group_by_health,
)
from beanwatch.checks.lib.memory import FileMemory
from beanwatch.checks.lib.plugin import Unknown
from beanwatch.checks.lib.plugin_process import PluginOutput
from beanwatch.checks.lib.source import LiveSource
from beanwatch.config import Config
from beanwatch.queues.consumers import Consumers
from beanwatch.queues.servers import Server, parse_server
from beanwatch.store.heartbeats import WORKERS_KEY, Worker, encode_heartbeat, worker_key
from tests.checks.conftest import Check
from tests.real import Beanstalkd, Proxy, Redis, wait_until
from tests.records import make_beat

OK, WARNING, CRITICAL, UNKNOWN = range(4)


def put(server: Beanstalkd, queue: str, count: int = 1, **options: int) -> None:
    with server.client(use=queue) as client:
        for _ in range(count):
            client.put("x", **options)


def test_jobs_that_nobody_watches_are_critical(check: Check, beanstalkd: Beanstalkd):
    put(beanstalkd, "images", 2)
    answer = check("queue_consumers", "--server", beanstalkd.address, "-Q", "images")
    assert answer.code == CRITICAL
    assert answer.text.endswith("images: 2 jobs ready and no consumer watches it")


def test_connections_of_monitoring_are_no_consumers_of_default(
    check: Check, beanstalkd: Beanstalkd
):
    with beanstalkd.client(), beanstalkd.client(use="images"):  # as a collector and a producer
        arguments = ("--server", beanstalkd.address, "-Q", "default", "-c", "1:")
        answer = check("queue_consumers", *arguments)
        assert (answer.code, answer.text.partition(" - ")[2]) == (OK, "default: not used")
        assert answer.perfdata["default consumers"] == "0"
        with beanstalkd.client(use="default") as client:
            client.put("x")
            client.delete(client.reserve(timeout=5))
        answer = check("queue_consumers", *arguments)
        assert answer.code == CRITICAL
        assert answer.text.endswith(
            "default: 0 jobs ready, 0 consumers waiting for a job, 0 consumers (allowed 1:)"
        )
        with beanstalkd.client() as client:
            client.put("x")
            client.reserve(timeout=5)
            answer = check("queue_consumers", *arguments)
        assert (answer.code, answer.perfdata["default consumers"]) == (OK, "1")


def test_jobs_in_default_are_a_producers_mistake(check: Check, beanstalkd: Beanstalkd):
    put(beanstalkd, "default")
    with beanstalkd.client() as producer:
        producer.stats()
        answer = check("queue_consumers", "--server", beanstalkd.address)
    assert answer.code == CRITICAL
    assert "1 job ready that no consumer takes: a producer does not name its queue" in answer.text


def test_a_worker_that_watches_and_does_not_reserve_has_stalled(
    check: Check, beanstalkd: Beanstalkd
):
    with beanstalkd.client(watch="images"):
        put(beanstalkd, "images", 3)
        answer = check("queue_consumers", "--server", beanstalkd.address, "-Q", "images")
    assert answer.code == CRITICAL
    assert "3 jobs ready, but its one consumer takes none" in answer.text


def test_a_queue_has_stalled_on_the_last_of_many_servers_too(run, beanstalkd: Beanstalkd):
    import json

    with ExitStack() as stack:
        stack.enter_context(beanstalkd.client(watch="images"))
        put(beanstalkd, "images", 3)
        fronts = [stack.enter_context(Proxy(beanstalkd.address)) for _ in range(20)]
        arguments = [word for front in fronts for word in ("--server", front.address)]
        said = run("check_queue_consumers", *arguments, "-Q", "images", "-t", "60", "--json").stdout
    assert sum(line.startswith("CRITICAL: ") for line in json.loads(said)["details"]) == 20


def test_without_time_for_a_second_look_the_moment_is_judged(check: Check, beanstalkd: Beanstalkd):
    with beanstalkd.client(watch="images"):
        put(beanstalkd, "images", 3)
        arguments = ("--server", beanstalkd.address, "-Q", "images", "-t", "0.6")
        # A busy machine may need longer than that for one look, which is then UNKNOWN.
        answer = wait_until(
            lambda: (found := check("queue_consumers", *arguments)).code != UNKNOWN and found
        )
    assert answer.code == CRITICAL
    assert "3 jobs ready, but its one consumer takes none" in answer.text
    assert any(line.startswith("Only one sample") for line in answer.long)


def test_busy_workers_are_saturated_once_the_queue_has_not_shrunk(
    check: Check, beanstalkd: Beanstalkd
):
    arguments = ("--server", beanstalkd.address, "-Q", "images")
    with beanstalkd.client(watch="images") as worker:
        put(beanstalkd, "images", 3)
        worker.reserve(timeout=5)
        assert check("queue_consumers", *arguments).code == OK
        put(beanstalkd, "images", 2)
        answer = check("queue_consumers", *arguments)
        assert answer.code == WARNING
        assert "not getting fewer, though its one consumer is busy" in answer.text


def work(worker, jobs: int) -> None:
    """Take so many jobs and delete them."""
    for _ in range(jobs):
        worker.delete(worker.reserve(timeout=5))


def test_bursts_that_were_done_between_two_looks_are_kept_up_with(
    check: Check, beanstalkd: Beanstalkd
):
    arguments = ("--server", beanstalkd.address, "-Q", "images")
    with beanstalkd.client(watch="images") as worker:
        for _ in range(3):
            put(beanstalkd, "images", 9)
            job = worker.reserve(timeout=5)
            answer = check("queue_consumers", *arguments)
            assert (answer.code, "8 jobs ready" in answer.text) == (OK, True), answer.text
            worker.delete(job)
            work(worker, 8)
        put(beanstalkd, "images", 9)
        worker.reserve(timeout=5)
        assert check("queue_consumers", *arguments).code == OK
        answer = check("queue_consumers", *arguments)  # nothing was done since
        assert answer.code == WARNING


def test_a_look_that_was_well_ends_what_was_seen_before(check: Check, beanstalkd: Beanstalkd):
    arguments = ("--server", beanstalkd.address, "-Q", "images")
    with beanstalkd.client(watch="images") as worker:
        put(beanstalkd, "images", 3)
        job = worker.reserve(timeout=5)
        assert check("queue_consumers", *arguments).code == OK  # two are ready, the worker is busy
        worker.release(job)
        with beanstalkd.client(watch="images") as helper:
            jobs = [helper.reserve(timeout=5) for _ in range(3)]
            assert check("queue_consumers", *arguments).code == OK  # none is ready
            for job in jobs:
                helper.release(job)
        worker.reserve(timeout=5)
        assert check("queue_consumers", *arguments).code == OK


def test_half_a_second_does_not_make_a_queue_one_that_is_not_getting_shorter(
    check: Check, beanstalkd: Beanstalkd, tmp_path: Path
):
    """A worker was between two jobs at the first look, and busy at the second."""
    with beanstalkd.client(watch="images") as worker:
        put(beanstalkd, "images", 3)
        source = LiveSource(
            [Server("q1", parse_server(beanstalkd.address))],
            FileMemory("x", str(tmp_path)),
            10,
            PluginOutput("x"),
            sleep=lambda _: (put(beanstalkd, "images"), worker.reserve(timeout=5)),
        )
        options = queue_consumers.parser().parse_args(["-Q", "images"])
        options.timeout_state = Unknown
        found = queue_consumers.build(options, Config(), source)
        found()
        source.close()
    assert found.summary_str.startswith(
        "images: 3 jobs ready, 1 consumer, 0 of them waiting for a job"
    )


def test_a_worker_that_is_busy_with_another_queue_has_not_stalled(
    check: Check, beanstalkd: Beanstalkd
):
    arguments = ("--server", beanstalkd.address, "-Q", "reports")
    put(beanstalkd, "images")
    with beanstalkd.client(watch=["images", "reports"]) as worker, beanstalkd.client() as idler:
        job = worker.reserve(timeout=5)
        put(beanstalkd, "reports", 3)
        assert check("queue_consumers", *arguments).code == OK
        answer = check("queue_consumers", *arguments)
        assert answer.code == WARNING
        assert answer.text.endswith("though its one consumer may be busy with other queues")
        idler.watch("reports")  # two watch it and one job is held: one of them takes none
        answer = check("queue_consumers", *arguments)
        assert answer.code == CRITICAL
        assert "3 jobs ready, but none of 2 consumers takes one" in answer.text
        worker.delete(job)


def test_a_waiting_worker_is_well_and_is_counted(check: Check, beanstalkd: Beanstalkd):
    with beanstalkd.client(watch="images") as worker:
        thread = threading.Thread(target=worker.reserve, kwargs={"timeout": 30})
        thread.start()
        wait_until(lambda: beanstalkd.stats_tube("images")["current-waiting"] == 1)
        arguments = ("--server", beanstalkd.address, "-Q", "images")
        answer = check("queue_consumers", *arguments)
        assert answer.code == OK
        assert answer.perfdata["images idle_consumers"] == "1"
        assert check("queue_consumers", *arguments, "-c", "2:").code == CRITICAL
        put(beanstalkd, "images")
        thread.join(10)


@pytest.mark.parametrize(("flag", "code"), [((), OK), (("--paused", "warning"), WARNING)])
def test_a_paused_queue_does_not_page_unless_asked(
    check: Check, beanstalkd: Beanstalkd, flag: tuple[str, ...], code: int
):
    put(beanstalkd, "images")
    with beanstalkd.client() as client:
        client.pause_tube("images", 1000)
    answer = check("queue_consumers", "--server", beanstalkd.address, "-Q", "images", *flag)
    assert answer.code == code
    assert "images: paused for" in answer.text


def test_a_draining_server_does_not_page_unless_asked(check: Check, beanstalkd: Beanstalkd):
    import os
    import signal

    put(beanstalkd, "images", 3)
    os.kill(beanstalkd.pid, signal.SIGUSR1)
    wait_until(lambda: beanstalkd.stats()["draining"])
    arguments = ("--server", beanstalkd.address, "-Q", "images")
    answer = check("queue_consumers", *arguments)
    draining = "images: the server is draining, 3 jobs ready"
    assert answer.text == f"QUEUE_CONSUMERS OK - {draining}, no consumer watches it"
    with beanstalkd.client(watch="images"):
        assert check("queue_consumers", *arguments).text == f"QUEUE_CONSUMERS OK - {draining}"
    assert check("queue_consumers", *arguments, "--draining", "critical").code == CRITICAL


def beat(redis: Redis, worker: str, *queues: str, age: float = 0.0, **fields: str) -> None:
    """A heartbeat of a worker, as old as that."""
    with redis.client() as client:
        seconds, micros = client.time()
        now = seconds + micros / 1e6
        times = {"beat_at": now, "loop_at": now, "started_at": now - 9000}
        record = make_beat(queues=queues, **{"state": "idle", **fields, **times})
        client.set(worker_key(worker), encode_heartbeat(record))
        client.zadd(WORKERS_KEY, {worker: now - age})


def test_a_worker_that_beats_but_is_not_connected_is_named(
    check: Check, beanstalkd: Beanstalkd, redis_server: Redis
):
    put(beanstalkd, "images")
    beat(redis_server, "web1.a", "images")
    arguments = ("--server", beanstalkd.address, "-Q", "images", "--redis", redis_server.url)
    answer = check("queue_consumers", *arguments)
    assert answer.code == CRITICAL
    assert answer.text.endswith(
        "no consumer watches it, web1.a sends heartbeats but is not connected to this server"
    )


@pytest.mark.parametrize(
    ("workers", "watching", "words"),
    [
        (
            {"a": "idle", "b": "busy"},
            0,
            "a, b send heartbeats but are not connected to this server",
        ),
        (
            {"a": "idle", "b": "busy"},
            1,
            "1 of a, b sends heartbeats but is not connected to this server",
        ),
        (
            {"a": "idle", "b": "idle", "c": "idle"},
            1,
            "2 of a, b, c send heartbeats but are not connected to this server",
        ),
        (
            {"a": "dead", "b": "idle"},
            0,
            "b sends heartbeats but is not connected to this server, no heartbeat: a",
        ),
        ({"a": "dead", "b": "dead"}, 1, "connected but without a heartbeat: 1 of a, b"),
        ({"a": "dead", "b": "idle"}, 2, "connected but without a heartbeat: a"),
        (
            {"a": "waiting", "b": "waiting"},
            0,
            "told to wait: a, b (undo: beanwatch workers resume)",
        ),
        ({"a": "waiting", "b": "idle"}, 1, "told to wait: a (undo: beanwatch workers resume)"),
        ({"a": "blocked", "b": "blocked"}, 0, "blocked: a, b (the disk is full)"),
        ({}, 1, "none of the consumers sends a heartbeat"),
        ({}, 0, ""),
    ],
)
def test_what_the_heartbeats_add_is_the_cause(workers: dict[str, str], watching: int, words: str):
    found = []
    for name, state in workers.items():
        reason = "the disk is full" if state == "blocked" else ""
        record = make_beat(beat_at=1, loop_at=1, state=state, reason=reason)
        found.append(Worker(name, 99 if state == "dead" else 0, record))
    said = ", ".join(explain_with_heartbeats(group_by_health(found), watching, "no_consumer"))
    assert said == words


def test_workers_that_were_told_to_wait_or_are_blocked_are_the_cause(
    check: Check, beanstalkd: Beanstalkd, redis_server: Redis
):
    put(beanstalkd, "images")
    beat(redis_server, "web1.a", "images", state="waiting", reason="told to wait")
    beat(redis_server, "web1.b", "images", state="blocked", reason="0 MiB of disk are free")
    arguments = ("--server", beanstalkd.address, "-Q", "images", "--redis", redis_server.url)
    answer = check("queue_consumers", *arguments)
    assert answer.code == CRITICAL
    assert answer.text.endswith(
        "images: 1 job ready and no consumer watches it, "
        "told to wait: web1.a (undo: beanwatch workers resume), "
        "blocked: web1.b (0 MiB of disk are free)"
    )


def test_frozen_workers_are_critical_unless_jobs_get_done(
    check: Check, beanstalkd: Beanstalkd, old_redis: Redis
):
    arguments = ("--server", beanstalkd.address, "-Q", "images", "--redis", old_redis.url)
    put(beanstalkd, "images", 8)
    for name in ("web1.a", "web1.b"):
        beat(old_redis, name, "images", age=300)
    with beanstalkd.client(watch="images") as one, beanstalkd.client(watch="images") as two:
        one.reserve(timeout=5)
        two.reserve(timeout=5)
        answer = check("queue_consumers", *arguments)
        assert answer.code == WARNING, "nobody knows yet whether they get on"
        assert answer.text.endswith(
            "images: 6 jobs ready, and web1.a, web1.b are connected but send no heartbeat (frozen?)"
        )
        answer = check("queue_consumers", *arguments)
        assert answer.code == CRITICAL
        assert answer.text.endswith(
            "images: 6 jobs ready and none gets done: web1.a, web1.b are connected but send no "
            "heartbeat (frozen?)"
        )
        work(one, 1)  # they have only lost Redis
        assert check("queue_consumers", *arguments).code == OK


def test_of_a_frozen_worker_nobody_says_that_it_takes_what_is_ready(
    check: Check, beanstalkd: Beanstalkd, old_redis: Redis
):
    """As of a run by hand, which has no earlier run to compare with."""
    put(beanstalkd, "images", 3)
    put(beanstalkd, "mail", 2)
    beat(old_redis, "web1.a", "images", age=38)
    beat(old_redis, "web1.b", "mail")
    with beanstalkd.client(watch="images") as frozen, beanstalkd.client(watch="mail") as busy:
        frozen.reserve(timeout=5)
        busy.reserve(timeout=5)
        arguments = ("--server", beanstalkd.address, "--redis", old_redis.url)
        answer = check("queue_consumers", *arguments)
        assert (answer.code, answer.text) == (
            WARNING,
            "QUEUE_CONSUMERS WARNING - images: 2 jobs ready, and web1.a is connected but sends no "
            "heartbeat (frozen?)",
        )
        answer = check("queue_consumers", "--server", beanstalkd.address, "-Q", "*i*")
        assert answer.text.endswith(
            "2 queues: consumers take what is ready, or are all busy (images, mail)"
        )


@pytest.mark.parametrize(
    ("deletes", "before_age", "verdict"),
    [
        (10, 5.0, "frozen"),
        (10, 60.0, "frozen"),
        (9, 29.0, ""),
        (9, 60.0, "silent"),
        (9, -5.0, "silent"),
        (None, 5.0, "silent"),
    ],
)
def test_only_jobs_done_after_the_last_heartbeat_show_that_a_silent_worker_lives(
    deletes: int | None, before_age: float, verdict: str
):
    workers = [Worker("a", 30.0, make_beat())]
    now = Consumers(ready=2, held=1, idle=0, consumers=1, deletes=10)
    before = now._replace(deletes=deletes)
    assert decide_silent(workers, now, before, before_age) == verdict
    assert decide_silent(workers, now, None, 0.0) == "silent"
    assert decide_silent([Worker("a", 1.0, make_beat())], now, before, before_age) == ""


def test_a_worker_that_said_goodbye_is_neither_frozen_nor_missing():
    dead, over = make_beat(), make_beat(is_over=True)
    killed = make_beat(last_words="x (job 7) ran past its hard deadline")
    workers = [Worker(f"w{n}", 300.0, beat) for n, beat in enumerate((dead, over, killed))]
    assert group_by_health(workers) == WorkersByHealth(["w0"], [], {}, [])


def test_of_several_servers_a_worker_counts_for_its_own(
    check: Check, beanstalkd: Beanstalkd, redis_server: Redis, tmp_path: Path
):
    put(beanstalkd, "images")
    beat(redis_server, "web1.a", "images", server=beanstalkd.address)
    beat(redis_server, "web1.b", "images", server="10.9.9.9:11300")
    config = tmp_path / "beanwatch.toml"
    config.write_text(
        f'[redis]\nurl = "{redis_server.url}"\n'
        f'[servers]\nq1 = "{beanstalkd.address}"\nq2 = "10.9.9.9:11300"\n'
    )
    answer = check("queue_consumers", "--config", config, "--server", "q1", "-Q", "images")
    assert answer.text.endswith(", web1.a sends heartbeats but is not connected to this server")


def test_a_worker_that_is_connected_but_does_not_beat_is_named(
    check: Check, beanstalkd: Beanstalkd, old_redis: Redis
):
    beat(old_redis, "web1.a", "images", age=300)
    with beanstalkd.client(watch="images"):
        arguments = ("--server", beanstalkd.address, "-Q", "images", "--redis", old_redis.url)
        answer = check("queue_consumers", *arguments)
    assert answer.code == OK
    assert answer.text.endswith("connected but without a heartbeat: web1.a")


def test_without_redis_the_server_is_believed(check: Check, beanstalkd: Beanstalkd):
    arguments = ("--server", beanstalkd.address, "-Q", "images", "--redis", "redis://127.0.0.1:1")
    answer = check("queue_consumers", *arguments)
    assert answer.code == OK
    assert any(
        line.startswith("Consumers not compared with the workers' heartbeats: ")
        for line in answer.long
    )
