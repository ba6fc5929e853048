"""`beanwatch queues` and `beanwatch top`, on real servers."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from beanwatch.cli.lib.queue_view import SORTS, sort_queues
from beanwatch.fleet.overview import QueueRow
from beanwatch.queues.base import ACTIONS
from beanwatch.queues.model import QUEUE_FIELDS, SERVER_FIELDS
from beanwatch.store.heartbeats import WORKERS_KEY, encode_heartbeat, worker_key
from beanwatch.store.ledger import buried_key
from tests.collector.parts import Terminal
from tests.queues.liar import Liar, Lie
from tests.real import Beanstalkd, Redis, closed_port, wait_until
from tests.records import make_beat

Run = Callable[..., Any]


def fill(server: Beanstalkd, queue: str, *, ready: int = 0, buried: int = 0, delayed: int = 0):
    """Put jobs into each state of a queue; the ids of the buried ones."""
    with server.client(use=queue, watch=queue) as client:
        client.ignore("default")
        for _ in range(buried):
            client.put("x")
        ids = []
        for _ in range(buried):
            job = client.reserve(timeout=0)
            client.bury(job)
            ids.append(job.id)
        for _ in range(ready):
            client.put("x")
        for _ in range(delayed):
            client.put("x", delay=1000)
    return ids


def counts(server: Beanstalkd, queue: str) -> tuple[int, int, int]:
    """Ready, delayed and buried jobs."""
    stats = server.stats_tube(queue)
    return tuple(int(stats.get(f"current-jobs-{s}", 0)) for s in ("ready", "delayed", "buried"))


def test_the_connections_of_monitoring_are_not_shown_as_consumers_of_default(
    beanstalkd: Beanstalkd, run: Run
):
    with beanstalkd.client(), beanstalkd.client(use="images"):
        argv = ("beanwatch", "queues", "list", "default", "--json", "--server", beanstalkd.address)
        (row,) = json.loads(run(*argv)[1])
    assert (row["consumers"], row["idle_consumers"]) == (None, 0)


def test_the_list_shows_each_queue_and_what_is_wrong(beanstalkd: Beanstalkd, run: Run):
    fill(beanstalkd, "email.regular", ready=3, buried=2)
    fill(beanstalkd, "beanwatch.control.x", ready=1)
    code, stdout, _ = run("beanwatch", "queues", "--server", beanstalkd.address)
    assert code == 0
    (line,) = [line for line in stdout.splitlines() if line.startswith("email.regular")]
    assert line.split()[1:5] == ["3", ".", ".", "2"]
    assert "no consumer" in line
    assert "beanwatch.control" not in stdout
    rows = json.loads(
        run("beanwatch", "queues", "list", "email.*", "--json", "--server", beanstalkd.address)[1]
    )
    assert [(row["queue"], row["ready"], row["wrong"]) for row in rows] == [
        ("email.regular", 3, "critical")
    ]


def test_a_queue_that_is_not_there_is_said_and_exit_1(beanstalkd: Beanstalkd, run: Run):
    fill(beanstalkd, "email.regular", ready=1)
    server = ("--server", beanstalkd.address)
    for argv, said in (
        (("nosuch",), "there is no queue 'nosuch'"),
        (("list", "nosuch"), "there is no queue 'nosuch'"),
        (("nosuch.*",), "no queue matches 'nosuch.*'"),
        (("show", "nosuch"), "there is no queue 'nosuch'"),
    ):
        code, stdout, stderr = run("beanwatch", "queues", *argv, *server)
        assert (code, stdout) == (1, "")
        assert stderr == (f"beanwatch: {said}; to list all queues, use beanwatch queues list\n")
    code, stdout, stderr = run("beanwatch", "queues", "nosuch", "--json", *server)
    assert (code, stdout, "there is no queue" in stderr) == (1, "[]\n", True)


def test_a_server_whose_queues_could_not_be_read_is_exit_1(run: Run):
    with Liar() as liar:
        liar.lies[b"list-tubes"] = Lie(b"OUT_OF_MEMORY\r\n")
        server = ("--server", liar.address)
        code, stdout, _ = run("beanwatch", "top", "--once", *server)
        assert (code, f"queues: {liar.address}: " in stdout) == (1, True)
        code, stdout, _ = run("beanwatch", "top", "--json", *server)
        (told,) = json.loads(stdout)["servers"]
        is_told = told["trouble"].startswith("cannot read the queues: ")
        assert (code, told["up"], is_told) == (1, True, True)
        # Whether it has the queue is not known.
        code, _, stderr = run("beanwatch", "queues", "nosuch", *server)
        assert (code, stderr.count("\n"), "there is no queue" in stderr) == (1, 1, False)
        liar.lies = {}
        assert run("beanwatch", "top", "--once", *server).code == 0


def test_what_each_system_can_tell_and_do_is_shown(run: Run):
    code, stdout, stderr = run("beanwatch", "queues", "systems")
    assert (code, stderr) == (0, "")
    assert "beanstalkd (beanstalkd://)\n  queue     ready, reserved, " in stdout
    assert "\n  unknown   redeliveries\n" in stdout
    assert "\n  consumers connections that watch the queue\n" in stdout
    assert max(map(len, stdout.splitlines())) <= 100
    told, *_ = json.loads(run("beanwatch", "queues", "systems", "--json").stdout)
    assert (told["system"], told["schemes"]) == ("beanstalkd", ["beanstalkd"])
    assert "redeliveries" in set(QUEUE_FIELDS) - set(told["fields"])
    assert "memory" in set(SERVER_FIELDS) - set(told["server_fields"])
    assert set(told["actions"]) == set(ACTIONS) - {"list_jobs", "locate"}


def test_every_field_and_the_next_jobs_can_be_seen(beanstalkd: Beanstalkd, run: Run):
    with beanstalkd.client(use="t", encoding=None) as client:
        client.put(b'{"a": "\x1b[31m"}\xff' + b"x" * 300)
        shown = run("beanwatch", "queues", "show", "t", "--server", beanstalkd.address).stdout
    lines = dict(line.split() for line in shown.splitlines()[1:])
    assert shown.splitlines()[0].endswith(" t (beanstalkd)")
    assert (lines["ready"], lines["paused"], lines["redeliveries"]) == ("1", "no", "n/a")
    assert lines["current_using"] == "1"
    server = ("--server", beanstalkd.address)
    (told,) = json.loads(run("beanwatch", "queues", "show", "t", "--json", *server).stdout)
    assert (told["system"], told["queue"], told["ready"]) == ("beanstalkd", "t", 1)
    assert told["redeliveries"] is None
    assert told["native"]["current_using"] == 0
    code, peeked, _ = run("beanwatch", "queues", "peek", "t", "--server", beanstalkd.address)
    assert code == 0
    assert "\x1b" not in peeked, "a job's body must not rule the terminal"
    assert r'{"a": "\x1b[31m"}\xff' in peeked
    assert peeked.rstrip().endswith("...")
    assert beanstalkd.stats_tube("t")["current-using"] == 0


def test_kick_asks_for_a_terminal_or_a_yes(beanstalkd: Beanstalkd, run: Run):
    fill(beanstalkd, "t", buried=3)
    code, _, stderr = run("beanwatch", "queues", "kick", "t", "--server", beanstalkd.address)
    assert code == 2
    assert "--yes" in stderr
    assert counts(beanstalkd, "t") == (0, 0, 3)


def test_a_dry_run_changes_nothing(beanstalkd: Beanstalkd, run: Run):
    fill(beanstalkd, "t", ready=1, buried=3, delayed=2)
    for action in ("kick", "empty", "pause"):
        argv = ("beanwatch", "queues", action, "t", "--dry-run", "--server", beanstalkd.address)
        code, stdout, _ = run(*argv)
        assert code == 0
        assert stdout.startswith("would ")
    assert counts(beanstalkd, "t") == (1, 2, 3)
    assert beanstalkd.stats_tube("t")["pause-time-left"] == 0


def test_kick_takes_buried_jobs_only_also_thousands(beanstalkd: Beanstalkd, run: Run):
    fill(beanstalkd, "t", buried=2300, delayed=5)
    argv = ("beanwatch", "queues", "kick", "t", "--yes", "--server", beanstalkd.address)
    assert run(*argv, "--count", "1200").code == 0
    assert counts(beanstalkd, "t") == (1200, 5, 1100)
    code, stdout, _ = run(*argv)
    assert (code, "1,100 buried jobs, kicked" in stdout) == (0, True)
    assert counts(beanstalkd, "t") == (2300, 5, 0)
    assert run(*argv).stdout == "nothing to kick\n"


def test_empty_deletes_what_no_worker_holds(beanstalkd: Beanstalkd, run: Run):
    fill(beanstalkd, "a", ready=30, buried=20, delayed=10)
    fill(beanstalkd, "b", ready=5)
    with beanstalkd.client(watch="a") as worker:
        job = worker.reserve(timeout=0)
        argv = ("beanwatch", "queues", "empty", "--yes", "--json", "--server", beanstalkd.address)
        only = run(*argv, "a", "--only", "delayed")
        assert [row["done"] for row in json.loads(only.stdout)["queues"]] == [10]
        assert counts(beanstalkd, "a") == (29, 0, 20)
        assert run(*argv, "a").code == 0
        assert beanstalkd.stats_tube("a")["current-jobs-reserved"] == 1
        worker.delete(job)
    assert counts(beanstalkd, "b") == (5, 0, 0)


def test_delete_takes_buried_jobs_only(beanstalkd: Beanstalkd, run: Run):
    fill(beanstalkd, "t", ready=1, buried=5, delayed=2)
    argv = ("beanwatch", "queues", "delete", "t", "--yes", "--server", beanstalkd.address)
    code, stdout, _ = run(*argv, "--count", "2")
    assert (code, stdout.endswith(" t: 2 buried jobs, deleted\n")) == (0, True)
    assert counts(beanstalkd, "t") == (1, 2, 3)
    assert run(*argv).code == 0
    assert counts(beanstalkd, "t") == (1, 2, 0)
    assert run(*argv).stdout == "nothing to delete\n"


def test_a_queue_that_does_not_exist_is_said(beanstalkd: Beanstalkd, run: Run):
    argv = ("beanwatch", "queues", "empty", "nothing.*", "--yes", "--server", beanstalkd.address)
    code, _, stderr = run(*argv)
    assert code == 1
    assert "no queue matches 'nothing.*'" in stderr


def test_pause_and_resume(beanstalkd: Beanstalkd, run: Run):
    fill(beanstalkd, "t", ready=1)
    server = ("--server", beanstalkd.address)
    assert run("beanwatch", "queues", "pause", "t", "--for", "5m", "--yes", *server).code == 0
    assert beanstalkd.stats_tube("t")["pause-time-left"] > 200
    assert "paused" in run("beanwatch", "queues", *server).stdout
    assert run("beanwatch", "queues", "resume", "t", *server).code == 0
    assert beanstalkd.stats_tube("t")["pause-time-left"] == 0
    assert run("beanwatch", "queues", "resume", "t", *server).stdout == "nothing to resume\n"


def test_buried_jobs_are_chosen_by_what_the_ledger_says(
    beanstalkd: Beanstalkd, redis_server: Redis, run: Run
):
    ids = fill(beanstalkd, "t", buried=6)
    life = str(beanstalkd.stats()["id"])
    now = time.time()
    entries = [
        ("email.send", "timed out", 10),
        ("email.send", "Connection REFUSED by mx1", 10),
        ("email.send", "connection refused", 7200),
        ("image.resize", "connection refused", 10),
        ("image.resize", "no such file", 10),
    ]
    with redis_server.client() as client:
        for job_id, (job, reason, age) in zip(ids, entries, strict=False):
            entry = {"job_id": job_id, "job": job, "reason": reason, "buried_at": now - age}
            client.zadd(buried_key(life, "t"), {json.dumps(entry): job_id})
        stale = {"job_id": 99_999, "job": "email.send", "reason": "refused", "buried_at": now}
        client.zadd(buried_key(life, "t"), {json.dumps(stale): 99_999})

    def act(*argv: str) -> int:
        result = run(
            *("beanwatch", "queues", *argv, "--yes", "--json"),
            *("--server", beanstalkd.address, "--redis", redis_server.url),
        )
        assert result.code == 0, result.stderr
        return sum(row["done"] for row in json.loads(result.stdout)["queues"])

    assert act("kick", "t", "--job", "email.*", "--reason", "*refused*", "--older-than", "1h") == 1
    assert act("kick", "t", "--reason", "*refused*", "--count", "1") == 1
    assert counts(beanstalkd, "t") == (2, 0, 4)
    assert act("delete", "t", "--job", "image.*") == 2
    assert counts(beanstalkd, "t") == (2, 0, 2)
    assert act("kick", "t", "--job", "report.*") == 0
    assert act("delete", "t", "--reason", "*refused*") == 0, "what was kicked is buried no more"
    with beanstalkd.client(watch="t") as worker:
        assert {worker.reserve(timeout=0).id for _ in range(2)} == {ids[1], ids[2]}


def test_buried_jobs_that_the_ledger_does_not_know_are_said(
    beanstalkd: Beanstalkd, redis_server: Redis, run: Run
):
    fill(beanstalkd, "t", buried=2)
    code, _, stderr = run(
        *("beanwatch", "queues", "kick", "t", "--yes", "--reason", "*"),
        *("--server", beanstalkd.address, "--redis", redis_server.url),
    )
    assert code == 0
    assert "the ledger has no record of the 2 buried jobs of t" in stderr


def test_a_record_of_a_buried_job_that_cannot_be_read_is_named(
    beanstalkd: Beanstalkd, redis_server: Redis, run: Run
):
    ids = fill(beanstalkd, "t", buried=2)
    key = buried_key(str(beanstalkd.stats()["id"]), "t")
    with redis_server.client() as client:
        client.zadd(key, {json.dumps({"job_id": float(ids[0]), "uuid": None, "job": "a"}): ids[0]})
        client.zadd(key, {json.dumps({"job_id": ids[1], "job": 7}): ids[1]})
    code, _, stderr = run(
        *("beanwatch", "queues", "kick", "t", "--yes", "--job", "*"),
        *("--server", beanstalkd.address, "--redis", redis_server.url),
    )
    assert code == 0
    assert stderr == (
        "beanwatch: a record of a buried job cannot be read, so this job is left out: "
        "job: expected a text, not a whole number\n"
    )
    assert counts(beanstalkd, "t") == (1, 0, 1)


def test_without_its_redis_the_ledger_is_an_error_and_nothing_is_touched(
    beanstalkd: Beanstalkd, run: Run
):
    fill(beanstalkd, "t", buried=2)
    code, _, stderr = run(
        *("beanwatch", "queues", "kick", "t", "--yes", "--job", "x"),
        *("--server", beanstalkd.address, "--redis", f"redis://127.0.0.1:{closed_port()}"),
    )
    assert code == 1
    assert "connection refused" in stderr
    assert counts(beanstalkd, "t") == (0, 0, 2)


def test_a_near_miss_names_the_right_word(run: Run):
    code, _, stderr = run("beanwatch", "queues", "kcik", "t")
    assert code == 2
    assert "did you mean: beanwatch queues kick" in stderr


@pytest.mark.parametrize(("word", "code", "buried"), [("n", 1, 3), ("y", 0, 0)])
def test_on_a_terminal_it_asks(beanstalkd: Beanstalkd, word: str, code: int, buried: int):
    fill(beanstalkd, "t", buried=3)
    argv = ("beanwatch", "queues", "kick", "t", "--server", beanstalkd.address)
    with Terminal(*argv) as terminal:
        wait_until(lambda: "[y/N]" in terminal.shown)
        assert "3 buried jobs" in terminal.shown
        assert counts(beanstalkd, "t") == (0, 0, 3)
        terminal.type(f"{word}\n")
        assert terminal.process.wait(30) == code
    assert counts(beanstalkd, "t") == (3 - buried, 0, buried)


def test_top_prints_one_picture_in_a_pipe(
    beanstalkd: Beanstalkd, redis_server: Redis, run: Run, tmp_path: Path
):
    fill(beanstalkd, "waiting", ready=5)
    fill(beanstalkd, "quiet")
    gone = f"127.0.0.1:{closed_port()}"
    now = time.time()
    beat = make_beat(state="blocked", reason="disk full", interval=20, beat_at=now, loop_at=now)
    refusing = beat._replace(state="idle", reason="", restart_refused="no module shop")
    waiting = beat._replace(state="waiting")
    with redis_server.client() as client:
        for name, record in (("w1", beat), ("w2", refusing), ("w3", waiting)):
            client.zadd(WORKERS_KEY, {f"web1.{name}": now})
            client.set(worker_key(f"web1.{name}"), encode_heartbeat(record))
    argv = (
        *("beanwatch", "top", "--server", beanstalkd.address, "--server", gone),
        *("--redis", redis_server.url),
    )
    code, stdout, _ = run(*argv)
    assert code == 1, "a server did not answer"
    assert "connection refused" in stdout
    assert "waiting" in stdout
    assert "disk full" in stdout
    assert "did not restart as told, runs on: no module shop" in stdout
    assert stdout.index("web1.w2") < stdout.index("web1.w3"), "problems first"
    tree = json.loads(run(*argv, "--json", "--wrong", "wait*").stdout)
    assert [row["queue"] for row in tree["queues"]] == ["waiting"]
    assert [row["wrong"] for row in tree["servers"]] == ["", "critical"]
    assert [worker["health"] for worker in tree["workers"]] == ["blocked", "idle"]


def test_top_shows_what_is_wrong_with_a_server_that_answers(beanstalkd: Beanstalkd, run: Run):
    os.kill(beanstalkd.pid, signal.SIGUSR1)
    wait_until(lambda: beanstalkd.stats()["draining"])
    argv = ("beanwatch", "top", "--once", "--server", beanstalkd.address)
    code, stdout, _ = run(*argv)
    assert (code, "is draining: it accepts no new jobs" in stdout) == (0, True)
    (server,) = json.loads(run(*argv, "--json").stdout)["servers"]
    assert (server["wrong"], server["draining"]) == ("warning", True)
    assert [problem["severity"] for problem in server["problems"]] == ["warning"]
    assert server["native"]["rejected_puts"] == 0


def test_a_frozen_server_delays_the_picture_by_its_timeout_only(
    beanstalkd: Beanstalkd, run: Run, tmp_path: Path
):
    fill(beanstalkd, "t", ready=1)
    with Beanstalkd(tmp_path / "frozen") as frozen:
        frozen.freeze()
        argv = ("--server", beanstalkd.address, "--server", frozen.address, "--timeout", "2")
        code, stdout, _ = run("beanwatch", "top", "--once", *argv)
    assert code == 1
    assert "no answer within 2 s" in stdout
    assert "no consumer" in stdout


@pytest.mark.parametrize("end", ["q", "Ctrl-C"])
def test_top_is_live_on_a_terminal_and_obeys_keys(beanstalkd: Beanstalkd, end: str):
    fill(beanstalkd, "first", ready=1)
    argv = ("beanwatch", "top", "--interval", "0.2", "--server", beanstalkd.address)
    with Terminal(*argv) as terminal:
        wait_until(lambda: "first" in terminal.shown)
        fill(beanstalkd, "second", ready=1)
        wait_until(lambda: "second" in terminal.shown)
        terminal.type("s")
        wait_until(lambda: "sort: name" in terminal.shown)
        terminal.type("w")
        wait_until(lambda: "show: only problems" in terminal.shown)
        terminal.type("?")
        wait_until(lambda: "press any key to go back" in terminal.shown)
        terminal.type("x/sec")
        wait_until(lambda: "names match: sec" in terminal.shown)
        terminal.type("\r")
        wait_until(lambda: "filter: *sec*" in terminal.shown)
        terminal.type("+")
        wait_until(lambda: "every 0.4s" in terminal.shown)
        terminal.type("p")
        wait_until(lambda: "PAUSED" in terminal.shown)
        if end == "q":
            terminal.type("q")
        else:
            terminal.process.send_signal(signal.SIGINT)
        assert terminal.process.wait(30) == 0
        assert "Traceback" not in terminal.shown


def test_top_obeys_keys_at_once_while_a_server_does_not_answer(beanstalkd: Beanstalkd):
    beanstalkd.freeze()
    argv = ("beanwatch", "top", "--timeout", "10m", "--server", beanstalkd.address)
    with Terminal(*argv) as terminal:
        wait_until(lambda: "waits for the first answers" in terminal.shown)
        terminal.type("w")
        wait_until(lambda: "show: only problems" in terminal.shown)
        terminal.type("q")
        assert terminal.process.wait(30) == 0
        assert "Traceback" not in terminal.shown


@pytest.mark.parametrize("order", ["worst", "name", "ready", "buried", "age", "put-rate"])
def test_every_order_sorts_and_what_is_not_known_is_no_hindrance(order: str):
    rows = [
        QueueRow("q1", "a", state="ok"),
        QueueRow("q1", "b", ready=9, buried=1, state="ok", age=5, put_rate=2.0),
        QueueRow("q1", "c", ready=1, buried=0, state="no_consumer"),
    ]
    assert order in SORTS
    first = {"worst": "c", "name": "a"}.get(order, "b")
    assert sort_queues(reversed(rows), order)[0].queue == first
