"""Depth, buried, age and consumers of tubes on a real beanstalkd."""

import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from beanwatch.checks import tube_consumers
from beanwatch.checks.memory import Memory
from beanwatch.checks.plugin import Unknown, Voice
from beanwatch.checks.roll import Roll, call_roll, cross
from beanwatch.checks.source import Live
from beanwatch.checks.tube_age import decide_wait
from beanwatch.collectors.address import parse_address
from beanwatch.collectors.heartbeats import WORKERS_KEY, Beat, Worker, dump_beat, worker_key
from beanwatch.collectors.servers import Server
from beanwatch.config import Config
from tests.checks.conftest import Check
from tests.real import Beanstalkd, Proxy, Redis, free_port, wait_until

OK, WARNING, CRITICAL, UNKNOWN = range(4)


def put(server: Beanstalkd, tube: str, count: int = 1, **options: int) -> None:
    with server.client(use=tube) as client:
        for _ in range(count):
            client.put("x", **options)


# -- which tubes


def test_without_a_tube_named_all_are_looked_at_but_not_our_own(
    check: Check, beanstalkd: Beanstalkd
):
    for tube in ("a", "b", "beanwatch.control.web1.x", "beanwatch.reply.1"):
        put(beanstalkd, tube)
    answer = check("tube_depth", "--server", beanstalkd.address)
    assert set(answer.perfdata) == {"a", "b", "default"}
    assert answer.text == "TUBE_DEPTH OK - 3 tubes: 2 jobs ready, most in a: 1"


def test_globs_choose_and_exclude(check: Check, beanstalkd: Beanstalkd):
    for tube in ("email.a", "email.b", "images"):
        put(beanstalkd, tube)
    arguments = ("--server", beanstalkd.address, "-T", "email.*", "--exclude", "*.b")
    assert set(check("tube_depth", *arguments).perfdata) == {"email.a"}


@pytest.mark.parametrize("missing", ["ok", "warning", "critical", "unknown"])
def test_an_absent_tube_is_zero_jobs_unless_that_is_wrong(
    check: Check, beanstalkd: Beanstalkd, missing: str
):
    arguments = ("--server", beanstalkd.address, "--missing", missing)
    answer = check("tube_depth", *arguments, "-T", "gone")
    assert answer.code == ("ok", "warning", "critical", "unknown").index(missing)
    assert answer.perfdata == {"gone": "0"}
    answer = check("tube_depth", *arguments, "-T", "gone.*")
    assert answer.code == ("ok", "warning", "critical", "unknown").index(missing)
    assert answer.perfdata == {}


def test_limits_come_from_the_first_rule_that_fits_and_flags_win(
    check: Check, beanstalkd: Beanstalkd, tmp_path: Path
):
    put(beanstalkd, "email.bulk", 5)
    put(beanstalkd, "email.fast", 5)
    config = tmp_path / "beanwatch.toml"
    config.write_text(
        f'[servers]\nq1 = "{beanstalkd.address}"\n'
        '[tubes."email.bulk".depth]\nwarning = 100\n'
        '[tubes."email.*".depth]\ncritical = 4\n'
        "[tubes.expected.depth]\nwarning = 1\n"
    )
    answer = check("tube_depth", "--config", config)
    assert answer.code == CRITICAL
    assert "email.fast: 5 jobs ready (limit 4), no worker watches it" in answer.text
    assert "email.bulk" not in answer.text
    assert answer.perfdata["expected"] == "0"
    assert check("tube_depth", "--config", config, "-w", "10").code == OK


def test_several_servers_are_told_apart(check: Check, beanstalkd: Beanstalkd, tmp_path: Path):
    with Beanstalkd(tmp_path / "two") as other:
        put(other, "images", 3)
        put(beanstalkd, "images", 1)
        config = tmp_path / "beanwatch.toml"
        config.write_text(f'[servers]\nq1 = "{beanstalkd.address}"\nq2 = "{other.address}"\n')
        answer = check("tube_depth", "--config", config, "-T", "images", "-w", "2")
    assert answer.text.startswith("TUBE_DEPTH WARNING - q2/images: 3 jobs ready (limit 2)")
    assert answer.perfdata == {"q1/images": "1", "q2/images": "3"}


def test_a_server_that_is_away_keeps_its_name_and_an_alert_of_another_its_heading(
    check: Check, beanstalkd: Beanstalkd, tmp_path: Path
):
    put(beanstalkd, "images", 3)
    away = f"127.0.0.1:{free_port()}"
    config = tmp_path / "beanwatch.toml"
    config.write_text(f'[servers]\nq1 = "{beanstalkd.address}"\nq2 = "{away}"\n')
    arguments = ("--config", config, "-T", "images")
    refused = f"q2 ({away}): connection refused: no server listens there"
    for name in ("tube_depth", "tube_age", "tube_consumers", "beanstalkd"):
        assert refused in check(name, *(arguments if name != "beanstalkd" else arguments[:2])).text
    answer = check("tube_depth", *arguments, "-c", "2")
    assert answer.code == CRITICAL
    told = [line for line in answer.long if line.startswith("What to do")]
    assert [line.split()[-1] for line in told] == ["tube-depth", "beanstalkd"]
    answer = check("tube_depth", "--server", away)  # nobody gave it a name
    assert answer.text.startswith(f"TUBE_DEPTH UNKNOWN - {away}: connection refused")


@pytest.mark.parametrize("how", ["host", "server", "unix"])
def test_a_server_is_found_every_way_it_can_be_named(
    check: Check, beanstalkd: Beanstalkd, tmp_path: Path, how: str
):
    if how == "unix":
        with Beanstalkd(tmp_path / "unix", unix=True) as server:
            assert check("tube_depth", "-H", server.address).code == OK
    elif how == "host":
        assert check("tube_depth", "-H", "localhost", "-p", beanstalkd.port).code == OK
    else:
        assert check("tube_depth", "--server", f"127.0.0.1:{beanstalkd.port}").code == OK


def test_json_says_the_same(run, beanstalkd: Beanstalkd):
    import json

    put(beanstalkd, "a", 2)
    argv = ("--server", beanstalkd.address, "-T", "a", "-w", "1", "--json")
    code, stdout, _ = run("check_tube_depth", *argv)
    said = json.loads(stdout)
    assert (code, said["state"], said["exit_code"]) == (WARNING, "warning", 1)
    assert said["perfdata"] == ["'a'=2;1;;0"]


@pytest.mark.parametrize(
    "argv", [("--config", "/no/such/file"), ("--server", "q:x"), ("--nonsense",), ("-w", "10:5")]
)
def test_json_is_json_when_nothing_can_be_checked_too(run, argv: tuple[str, ...]):
    import json

    code, stdout, _ = run("check_tube_depth", *argv, "--json")
    assert (code, json.loads(stdout)["state"]) == (3, "unknown")


# -- for how long


def test_for_waits_until_it_has_lasted(check: Check, beanstalkd: Beanstalkd):
    put(beanstalkd, "a", 2)
    arguments = ("--server", beanstalkd.address, "-T", "a", "-w", "1", "--for", "1")
    first = check("tube_depth", *arguments)
    assert (first.code, first.text) == (
        OK,
        "TUBE_DEPTH OK - a: 2 jobs ready (limit 1), no worker watches it, for 0s",
    )
    wait_until(lambda: check("tube_depth", *arguments).code == WARNING)


def test_for_forgets_when_it_was_well_in_between(check: Check, beanstalkd: Beanstalkd):
    arguments = ("--server", beanstalkd.address, "-T", "a", "-w", "1", "--for", "3600")
    put(beanstalkd, "a", 2)
    assert check("tube_depth", *arguments).text.endswith("for 0s")
    time.sleep(1.1)  # the text counts whole seconds
    assert not check("tube_depth", *arguments).text.endswith("for 0s")
    with beanstalkd.client(watch="a") as client:
        client.delete(client.reserve(timeout=5))
    assert check("tube_depth", *arguments).text == "TUBE_DEPTH OK - a: 1 job ready"
    put(beanstalkd, "a", 2)
    assert check("tube_depth", *arguments).text.endswith("for 0s")


def test_without_a_memory_for_judges_the_moment_and_says_so(
    check: Check, beanstalkd: Beanstalkd, tmp_path: Path
):
    put(beanstalkd, "a", 2)
    arguments = ("--server", beanstalkd.address, "-T", "a", "-w", "1", "--for", "3600")
    state = tmp_path / "file"
    state.write_text("")
    answer = check("tube_depth", *arguments, BEANWATCH_STATE_DIR=str(state))
    assert answer.code == WARNING
    assert any("Nothing is remembered" in line for line in answer.long)


def test_of_the_tube_default_nothing_is_said_about_workers(check: Check, beanstalkd: Beanstalkd):
    put(beanstalkd, "default")
    with beanstalkd.client() as producer:  # watches it, as every connection does
        producer.stats()
        answer = check("tube_depth", "--server", beanstalkd.address, "-w", "0")
    assert answer.text == "TUBE_DEPTH WARNING - default: 1 job ready (limit 0)"


# -- buried


def test_buried_jobs_are_a_warning_with_the_way_to_look(check: Check, beanstalkd: Beanstalkd):
    with beanstalkd.client(use="images", watch="images") as client:
        client.put("x")
        client.bury(client.reserve(timeout=5))
    answer = check("tube_buried", "--server", beanstalkd.address)
    assert answer.code == WARNING
    assert answer.text == (
        "TUBE_BURIED WARNING - images: 1 job buried (limit 0), see: beanwatch tubes peek images"
    )


# -- age


def test_the_age_is_of_the_wait_and_not_of_the_delay(check: Check, beanstalkd: Beanstalkd):
    put(beanstalkd, "now")
    put(beanstalkd, "later", delay=1)
    wait_until(lambda: beanstalkd.stats_tube("later")["current-jobs-ready"] == 1)
    answer = check(
        "tube_age", "--server", beanstalkd.address, "-T", "later", "-T", "now", "-w", "0"
    )
    assert answer.code == WARNING
    assert "now: the next job has waited" in answer.text
    assert int(answer.perfdata["later"].removesuffix("s")) < int(
        answer.perfdata["now"].removesuffix("s")
    )


def test_where_no_job_is_ready_none_waits(check: Check, beanstalkd: Beanstalkd):
    arguments = ("--server", beanstalkd.address, "-T", "bulk", "-T", "images")
    put(beanstalkd, "bulk", delay=999)
    assert check("tube_age", *arguments).text == "TUBE_AGE OK - 2 tubes: no job waits"
    put(beanstalkd, "images")
    assert check("tube_age", *arguments).text.endswith("2 tubes: the longest wait is 0s, in images")


def test_a_retried_job_has_waited_since_it_was_seen(tmp_path: Path):
    old = {"id": 7, "age": 99999, "delay": 0, "reserves": 3, "kicks": 0}
    for now, expected in ((1000.0, 0.0), (1060.0, 60.0)):
        memory = Memory("x", str(tmp_path), clock=lambda now=now: now)
        assert decide_wait(old, memory, "q1/a") == expected
        memory.save()
    assert decide_wait({**old, "reserves": 0}, memory, "q1/a") == 99999
    assert decide_wait({**old, "reserves": 0, "age": 50, "delay": 30}, memory, "q1/a") == 20


# -- consumers


def test_jobs_that_nobody_watches_are_critical(check: Check, beanstalkd: Beanstalkd):
    put(beanstalkd, "images", 2)
    answer = check("tube_consumers", "--server", beanstalkd.address, "-T", "images")
    assert answer.code == CRITICAL
    assert answer.text.endswith("images: 2 jobs ready and no worker watches it")


def test_jobs_in_default_are_a_producers_mistake(check: Check, beanstalkd: Beanstalkd):
    put(beanstalkd, "default")
    with beanstalkd.client() as producer:
        producer.stats()
        answer = check("tube_consumers", "--server", beanstalkd.address)
    assert answer.code == CRITICAL
    assert "1 job ready that nobody takes: a producer does not name its tube" in answer.text


def test_a_worker_that_watches_and_does_not_reserve_has_stalled(
    check: Check, beanstalkd: Beanstalkd
):
    with beanstalkd.client(watch="images"):
        put(beanstalkd, "images", 3)
        answer = check("tube_consumers", "--server", beanstalkd.address, "-T", "images")
    assert answer.code == CRITICAL
    assert "3 jobs ready, and of 1 worker nobody takes one" in answer.text


def test_a_tube_has_stalled_on_the_last_of_many_servers_too(run, beanstalkd: Beanstalkd):
    import json

    with ExitStack() as stack:
        stack.enter_context(beanstalkd.client(watch="images"))
        put(beanstalkd, "images", 3)
        fronts = [stack.enter_context(Proxy(beanstalkd.address)) for _ in range(20)]
        arguments = [word for front in fronts for word in ("--server", front.address)]
        said = run("check_tube_consumers", *arguments, "-T", "images", "--json").stdout
    assert sum(line.startswith("CRITICAL: ") for line in json.loads(said)["details"]) == 20


def test_without_time_for_a_second_look_the_moment_is_judged(check: Check, beanstalkd: Beanstalkd):
    with beanstalkd.client(watch="images"):
        put(beanstalkd, "images", 3)
        answer = check(
            "tube_consumers", "--server", beanstalkd.address, "-T", "images", "-t", "0.6"
        )
    assert answer.code == CRITICAL
    assert "of 1 worker nobody takes one" in answer.text
    assert any(line.startswith("Looked at once") for line in answer.long)


def test_busy_workers_are_saturated_once_the_queue_has_not_shrunk(
    check: Check, beanstalkd: Beanstalkd
):
    arguments = ("--server", beanstalkd.address, "-T", "images")
    with beanstalkd.client(watch="images") as worker:
        put(beanstalkd, "images", 3)
        worker.reserve(timeout=5)
        assert check("tube_consumers", *arguments).code == OK
        put(beanstalkd, "images", 2)
        answer = check("tube_consumers", *arguments)
        assert answer.code == WARNING
        assert "not getting fewer, though its one worker is busy" in answer.text


def work(worker, jobs: int) -> None:
    """Take so many jobs and delete them."""
    for _ in range(jobs):
        worker.delete(worker.reserve(timeout=5))


def test_bursts_that_were_done_between_two_looks_are_kept_up_with(
    check: Check, beanstalkd: Beanstalkd
):
    arguments = ("--server", beanstalkd.address, "-T", "images")
    with beanstalkd.client(watch="images") as worker:
        for _ in range(3):
            put(beanstalkd, "images", 9)
            job = worker.reserve(timeout=5)
            answer = check("tube_consumers", *arguments)
            assert (answer.code, "8 jobs ready" in answer.text) == (OK, True), answer.text
            worker.delete(job)
            work(worker, 8)
        put(beanstalkd, "images", 9)
        worker.reserve(timeout=5)
        assert check("tube_consumers", *arguments).code == OK
        answer = check("tube_consumers", *arguments)  # nothing was done since
        assert answer.code == WARNING


def test_a_look_that_was_well_ends_what_was_seen_before(check: Check, beanstalkd: Beanstalkd):
    arguments = ("--server", beanstalkd.address, "-T", "images")
    with beanstalkd.client(watch="images") as worker:
        put(beanstalkd, "images", 3)
        job = worker.reserve(timeout=5)
        assert check("tube_consumers", *arguments).code == OK  # two are ready, the worker is busy
        worker.release(job)
        with beanstalkd.client(watch="images") as helper:
            jobs = [helper.reserve(timeout=5) for _ in range(3)]
            assert check("tube_consumers", *arguments).code == OK  # none is ready
            for job in jobs:
                helper.release(job)
        worker.reserve(timeout=5)
        assert check("tube_consumers", *arguments).code == OK


def test_half_a_second_does_not_make_a_queue_one_that_is_not_getting_shorter(
    check: Check, beanstalkd: Beanstalkd, tmp_path: Path
):
    """A worker was between two jobs at the first look, and busy at the second."""
    with beanstalkd.client(watch="images") as worker:
        put(beanstalkd, "images", 3)
        source = Live(
            [Server("q1", parse_address(beanstalkd.address))],
            Memory("x", str(tmp_path)),
            10,
            Voice("x"),
            sleep=lambda _: (put(beanstalkd, "images"), worker.reserve(timeout=5)),
        )
        options = tube_consumers.parser().parse_args(["-T", "images"])
        options.timeout_state = Unknown
        found = tube_consumers.build(options, Config(), source)
        found()
        source.close()
    assert found.summary_str.startswith("images: 3 jobs ready, 1 worker, 0 of them waiting")


def test_a_worker_that_is_busy_with_another_tube_has_not_stalled(
    check: Check, beanstalkd: Beanstalkd
):
    arguments = ("--server", beanstalkd.address, "-T", "reports")
    put(beanstalkd, "images")
    with beanstalkd.client(watch=["images", "reports"]) as worker, beanstalkd.client() as idler:
        job = worker.reserve(timeout=5)
        put(beanstalkd, "reports", 3)
        assert check("tube_consumers", *arguments).code == OK
        answer = check("tube_consumers", *arguments)
        assert answer.code == WARNING
        assert answer.text.endswith("though its one worker may be busy elsewhere")
        idler.watch("reports")  # two watch it and one job is held: one of them takes none
        answer = check("tube_consumers", *arguments)
        assert answer.code == CRITICAL
        assert "3 jobs ready, and of 2 workers nobody takes one" in answer.text
        worker.delete(job)


def test_a_waiting_worker_is_well_and_is_counted(check: Check, beanstalkd: Beanstalkd):
    with beanstalkd.client(watch="images") as worker:
        thread = threading.Thread(target=worker.reserve, kwargs={"timeout": 30})
        thread.start()
        wait_until(lambda: beanstalkd.stats_tube("images")["current-waiting"] == 1)
        arguments = ("--server", beanstalkd.address, "-T", "images")
        answer = check("tube_consumers", *arguments)
        assert answer.code == OK
        assert answer.perfdata["images waiting"] == "1"
        assert check("tube_consumers", *arguments, "-c", "2:").code == CRITICAL
        put(beanstalkd, "images")
        thread.join(10)


@pytest.mark.parametrize(("flag", "code"), [((), OK), (("--paused", "warning"), WARNING)])
def test_a_paused_tube_does_not_page_unless_asked(
    check: Check, beanstalkd: Beanstalkd, flag: tuple[str, ...], code: int
):
    put(beanstalkd, "images")
    with beanstalkd.client() as client:
        client.pause_tube("images", 1000)
    answer = check("tube_consumers", "--server", beanstalkd.address, "-T", "images", *flag)
    assert answer.code == code
    assert "images: paused for" in answer.text


def test_a_draining_server_does_not_page_unless_asked(check: Check, beanstalkd: Beanstalkd):
    import os
    import signal

    put(beanstalkd, "images", 3)
    os.kill(beanstalkd.pid, signal.SIGUSR1)
    wait_until(lambda: beanstalkd.stats()["draining"])
    arguments = ("--server", beanstalkd.address, "-T", "images")
    answer = check("tube_consumers", *arguments)
    draining = "images: the server is draining, 3 jobs ready"
    assert answer.text == f"TUBE_CONSUMERS OK - {draining}, no worker watches it"
    with beanstalkd.client(watch="images"):
        assert check("tube_consumers", *arguments).text == f"TUBE_CONSUMERS OK - {draining}"
    assert check("tube_consumers", *arguments, "--draining", "critical").code == CRITICAL


def beat(redis: Redis, worker: str, *tubes: str, age: float = 0.0, **fields: str) -> None:
    """A heartbeat of a worker, as old as that."""
    with redis.client() as client:
        seconds, micros = client.time()
        now = seconds + micros / 1e6
        times = {"beat_at": now, "loop_at": now, "started_at": now - 9000}
        record = Beat(tubes=tubes, **{"state": "idle", **fields, **times})
        client.set(worker_key(worker), dump_beat(record))
        client.zadd(WORKERS_KEY, {worker: now - age})


def test_a_worker_that_beats_but_is_not_connected_is_named(
    check: Check, beanstalkd: Beanstalkd, redis_server: Redis
):
    put(beanstalkd, "images")
    beat(redis_server, "web1.a", "images")
    arguments = ("--server", beanstalkd.address, "-T", "images", "--redis", redis_server.url)
    answer = check("tube_consumers", *arguments)
    assert answer.code == CRITICAL
    assert answer.text.endswith("no worker watches it, web1.a beats but is not connected here")


@pytest.mark.parametrize(
    ("workers", "watching", "words"),
    [
        ({"a": "idle", "b": "busy"}, 0, "a, b beat but are not connected here"),
        ({"a": "idle", "b": "busy"}, 1, "1 of a, b beats but is not connected here"),
        (
            {"a": "idle", "b": "idle", "c": "idle"},
            1,
            "2 of a, b, c beat but are not connected here",
        ),
        ({"a": "dead", "b": "idle"}, 0, "b beats but is not connected here, dead: a"),
        ({"a": "dead", "b": "dead"}, 1, "connected but without a heartbeat: 1 of a, b"),
        ({"a": "dead", "b": "idle"}, 2, "connected but without a heartbeat: a"),
        ({"a": "waiting", "b": "waiting"}, 0, "told to wait: a, b (beanwatch workers resume)"),
        ({"a": "waiting", "b": "idle"}, 1, "told to wait: a (beanwatch workers resume)"),
        ({"a": "blocked", "b": "blocked"}, 0, "blocked: a, b (the disk is full)"),
        ({}, 1, "none of them sends a heartbeat"),
        ({}, 0, ""),
    ],
)
def test_what_the_heartbeats_add_is_the_cause(workers: dict[str, str], watching: int, words: str):
    found = []
    for name, state in workers.items():
        reason = "the disk is full" if state == "blocked" else ""
        record = Beat(beat_at=1, loop_at=1, state=state, reason=reason)
        found.append(Worker(name, 99 if state == "dead" else 0, record))
    said = ", ".join(cross(call_roll(found), watching, "no_watcher"))
    assert said == words


def test_workers_that_were_told_to_wait_or_are_blocked_are_the_cause(
    check: Check, beanstalkd: Beanstalkd, redis_server: Redis
):
    put(beanstalkd, "images")
    beat(redis_server, "web1.a", "images", state="waiting", reason="told to wait")
    beat(redis_server, "web1.b", "images", state="blocked", reason="0 MiB of disk are free")
    arguments = ("--server", beanstalkd.address, "-T", "images", "--redis", redis_server.url)
    answer = check("tube_consumers", *arguments)
    assert answer.code == CRITICAL
    assert answer.text.endswith(
        "images: 1 job ready and no worker watches it, "
        "told to wait: web1.a (beanwatch workers resume), blocked: web1.b (0 MiB of disk are free)"
    )


def test_frozen_workers_are_critical_unless_jobs_get_done(
    check: Check, beanstalkd: Beanstalkd, redis_server: Redis
):
    arguments = ("--server", beanstalkd.address, "-T", "images", "--redis", redis_server.url)
    put(beanstalkd, "images", 8)
    for name in ("web1.a", "web1.b"):
        beat(redis_server, name, "images", age=300)
    with beanstalkd.client(watch="images") as one, beanstalkd.client(watch="images") as two:
        one.reserve(timeout=5)
        two.reserve(timeout=5)
        answer = check("tube_consumers", *arguments)
        assert answer.code == OK, "nobody knows yet whether they get on"
        assert answer.text.endswith("connected but without a heartbeat: web1.a, web1.b")
        answer = check("tube_consumers", *arguments)
        assert answer.code == CRITICAL
        assert answer.text.endswith(
            "images: 6 jobs ready, nobody works: web1.a, web1.b are connected but do not beat "
            "(frozen?)"
        )
        work(one, 1)  # they have only lost Redis
        assert check("tube_consumers", *arguments).code == OK


def test_a_worker_that_said_goodbye_is_neither_frozen_nor_missing():
    dead, over = Beat(), Beat(is_over=True)
    killed = Beat(last_words="hard deadline of x (job 7)")
    workers = [Worker(f"w{n}", 300.0, beat) for n, beat in enumerate((dead, over, killed))]
    assert call_roll(workers) == Roll(["w0"], [], {}, [])


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
    answer = check("tube_consumers", "--config", config, "--server", "q1", "-T", "images")
    assert answer.text.endswith(", web1.a beats but is not connected here")


def test_a_worker_that_is_connected_but_does_not_beat_is_named(
    check: Check, beanstalkd: Beanstalkd, redis_server: Redis
):
    beat(redis_server, "web1.a", "images", age=300)
    with beanstalkd.client(watch="images"):
        arguments = ("--server", beanstalkd.address, "-T", "images", "--redis", redis_server.url)
        answer = check("tube_consumers", *arguments)
    assert answer.code == OK
    assert answer.text.endswith("connected but without a heartbeat: web1.a")


def test_without_redis_the_server_is_believed(check: Check, beanstalkd: Beanstalkd):
    arguments = ("--server", beanstalkd.address, "-T", "images", "--redis", "redis://127.0.0.1:1")
    answer = check("tube_consumers", *arguments)
    assert answer.code == OK
    assert any(line.startswith("Not compared with the heartbeats: ") for line in answer.long)
