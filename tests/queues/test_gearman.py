"""Gearman: the numbers of a real gearmand, with real jobs and workers, and what it cannot tell."""

import json
import math
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beanwatch.net.address import AddressError
from beanwatch.queues.base import (
    Chosen,
    ProtocolError,
    ReaderOptions,
    Reading,
    ServerError,
    Wanted,
)
from beanwatch.queues.gearman.protocol import NonsenseError, parse_status, split_replies
from beanwatch.queues.gearman.reader import count_idle, group_workers
from beanwatch.queues.model import QueueState
from beanwatch.queues.servers import resolve_servers
from tests.real.drip import Drip
from tests.real.gearman import Gearmand
from tests.real.process import closed_port
from tests.real.waiting import wait_until

HANG = ("sleep", "600")
ALL = Wanted()


@pytest.fixture
def gearmand(tmp_path: Path) -> Iterator[Gearmand]:
    with Gearmand(tmp_path / "gearmand") as server:
        yield server


def read(url: str, wanted: Wanted = ALL, timeout: float = 5.0) -> Reading:
    (server,) = resolve_servers({}, [url])
    return server.system.open_reader(server, ReaderOptions(timeout)).read(wanted)


def queues(gearmand: Gearmand) -> dict[str, QueueState]:
    return dict(read(gearmand.url).queues or {})


@contextmanager
def answering(reply: bytes) -> Iterator[str]:
    """A server that sends this to each client, whatever it asks, and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                with client:
                    client.recv(1000)
                    client.sendall(reply)

        threading.Thread(target=serve, daemon=True).start()
        yield f"gearman://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


# -- a real server


def test_the_numbers_are_those_of_gearadmin(gearmand: Gearmand) -> None:
    for _ in range(3):
        gearmand.put("orders")
    gearmand.put("mail")
    assert queues(gearmand)["orders"][1:3] == (3, 0)
    assert queues(gearmand)["mail"].consumers == 0
    with gearmand.worker("orders", command=HANG), gearmand.worker("orders", command=HANG):
        wait_until(lambda: queues(gearmand)["orders"].reserved == 2)
        with gearmand.worker("orders", "idle", command=HANG):
            wait_until(lambda: queues(gearmand)["orders"].reserved == 3)
            reading = read(gearmand.url)
            assert reading.queues
            admin = {}
            for line in gearmand.admin("--status").splitlines()[:-1]:
                name, *numbers = line.split("\t")
                admin[name] = tuple(map(int, numbers))
            for name, (total, running, workers) in admin.items():
                queue = reading.queues[name]
                assert (queue.ready, queue.reserved) == (total - running, running)
                assert queue.consumers == workers
            assert reading.server
            assert reading.server.version is not None
            assert reading.server.version in gearmand.admin("--server-version")
            assert reading.server.instance == str(gearmand.pid)
            assert (reading.server.ready, reading.server.reserved) == (1, 3)
            assert reading.server.native == {"workers": 3}
            # The connections of the three workers, and that of the reader.
            assert reading.server.connections == 4


def test_idle_workers_are_counted_where_that_is_possible(gearmand: Gearmand) -> None:
    with gearmand.worker("alone", command=HANG), gearmand.worker("a", "b", command=HANG):
        wait_until(lambda: {"alone", "a", "b"} <= queues(gearmand).keys())
        assert {name: queue.idle_consumers for name, queue in queues(gearmand).items()} == {
            "alone": 1,
            "a": 1,
            "b": 1,
        }
        gearmand.put("a")
        wait_until(lambda: queues(gearmand)["a"].reserved == 1)
        seen = queues(gearmand)
        assert (seen["b"].reserved, seen["b"].idle_consumers, seen["b"].held) == (0, 0, 1)
        assert (seen["alone"].idle_consumers, seen["alone"].held) == (1, 0)
        with gearmand.worker("b", command=HANG):
            wait_until(lambda: queues(gearmand)["b"].consumers == 2)
            gearmand.put("b")
            wait_until(lambda: queues(gearmand)["b"].reserved == 1)
            assert queues(gearmand)["b"].idle_consumers == 0


def test_a_worker_that_can_do_several_functions_may_hide_who_is_idle() -> None:
    functions = {"a": (1, 1, 2), "b": (1, 0, 2)}
    groups = group_workers(functions, ["a b", "a", "b"])
    assert count_idle(functions["a"], groups["a"]) == 1  # one of its two runs its one job
    assert count_idle(functions["b"], groups["b"]) is None  # one or both
    assert groups["b"] == (3, 1)


def test_a_name_with_a_space_is_not_taken_for_two_functions() -> None:
    functions = {"a b": (1, 1, 1), "a": (0, 0, 1), "b": (0, 0, 1)}
    groups = group_workers(functions, ["a b", "a", "b"])
    assert {name: count_idle(one, groups[name]) for name, one in functions.items()} == {
        "a b": 0,
        "a": None,
        "b": None,
    }


def test_a_restart_is_seen_and_its_lost_jobs_too(gearmand: Gearmand) -> None:
    gearmand.put("orders")
    (server,) = resolve_servers({}, [gearmand.url])
    reader = server.system.open_reader(server, ReaderOptions(is_lasting=True))
    before = reader.read(Wanted())
    gearmand.restart()
    after = reader.read(Wanted(names=["orders"]))
    assert before.server and after.server  # noqa: PT018
    assert before.server.instance != after.server.instance
    assert (before.queues or {}).keys() == {"orders"}
    assert after.queues == {}


def test_a_dropped_function_vanishes(gearmand: Gearmand) -> None:
    gearmand.put("orders")
    assert "orders" in queues(gearmand)
    gearmand.admin("--drop-function=orders")
    assert "orders" not in queues(gearmand)


def test_drop_function_is_no_way_to_empty_a_queue(gearmand: Gearmand, tmp_path: Path) -> None:
    """If this fails, gearmand has become better: `empty` could use it."""
    gearmand.put("orders", "first", "-u", "order-1")
    gearmand.admin("--drop-function=orders")
    gearmand.put("orders", "second", "-u", "order-1")
    done = tmp_path / "done"
    gearmand.put("orders", "third")
    with gearmand.worker("orders", command=("tee", str(done))):
        wait_until(lambda: queues(gearmand)["orders"][1:3] == (0, 0) and done.exists())
    assert done.read_text() == "third"


ODD = ["my fn", "tab\tx", "7\t1\t0\t0", "nl\ny", ".", "a/b", "grüße", "x" * 255, "-Q", "'; rm $x"]


def test_odd_names_arrive_as_they_are(gearmand: Gearmand) -> None:
    for name in ODD:
        gearmand.put(name)
    assert queues(gearmand).keys() == set(ODD)
    assert all(queue.ready == 1 for queue in queues(gearmand).values())


@pytest.mark.parametrize("name", ["orders\n.\nx", "orders\t1\t0\t0\n.\nx"])
def test_a_name_that_ends_the_reply_is_nonsense_and_hides_no_queue(
    gearmand: Gearmand, name: str
) -> None:
    gearmand.put(name)
    with pytest.raises(ProtocolError, match="this is not gearmand"):
        read(gearmand.url)


def test_only_the_wanted_queues_are_returned(gearmand: Gearmand) -> None:
    for name in ("a", "b", "c"):
        gearmand.put(name)
    named = read(gearmand.url, Wanted(server=False, names=["a", "none"]))
    assert (named.server, list(named.queues or ())) == (None, ["a"])
    chosen = read(gearmand.url, Wanted(choose=lambda names: Chosen(["b"], ["c"])))
    assert set(chosen.queues or ()) == {"b", "c"}
    assert chosen.chosen == Chosen(["b"], ["c"])
    assert chosen.received_at.keys() == {"b", "c"}
    assert read(gearmand.url, Wanted(names=())).queues == {}


# -- servers that hang, lie or are absent


def test_a_server_that_hangs_costs_no_more_than_the_timeout(gearmand: Gearmand) -> None:
    gearmand.freeze()
    try:
        started = time.monotonic()
        with pytest.raises(ServerError, match=rf"^{gearmand.url}: no answer within 0.5 s$"):
            read(gearmand.url, timeout=0.5)
        assert time.monotonic() - started < 2
    finally:
        gearmand.thaw()


def test_a_server_that_drips_costs_no_more_than_the_timeout() -> None:
    with (
        Drip(b"OK 1.1.20\nOK 7\n") as drip,
        pytest.raises(ServerError, match=r"no answer within 0.5 s$"),
    ):
        read(f"gearman://{drip.address}", timeout=0.5)


def test_an_absent_server_is_named() -> None:
    url = f"gearman://127.0.0.1:{closed_port()}"
    with pytest.raises(ServerError, match=rf"^{url}: connection refused"):
        read(url)


@pytest.mark.parametrize(
    "reply",
    [
        b"UNKNOWN_COMMAND\r\n",  # beanstalkd
        b"-ERR unknown command 'version'\r\n",  # Redis
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"220 mail.example.org ESMTP\r\n",
        b"OK 1.1.20\nOK 7\nmany jobs\n.\n.\n",
        b"OK 1.1.20\nOK 7\na\t1\t1\n.\n.\n",
        b"OK 1.1.20\nOK 7\na\t1\t-1\t0\n.\n.\n",
        b"\0" * 300,
    ],
)
def test_another_server_is_not_taken_for_gearmand(reply: bytes) -> None:
    with answering(reply) as url, pytest.raises(ProtocolError, match=rf"^{url}: this is not gearm"):
        read(url)


@pytest.mark.parametrize("reply", [b"", b"OK 1.1.20\n", b"OK 1.1.20\nOK 7\na\t1\t1\t0\n.\n"])
def test_a_reply_that_is_cut_off_is_told_of(reply: bytes) -> None:
    with answering(reply) as url, pytest.raises(ServerError, match="closed the connection"):
        read(url)


def test_more_running_jobs_than_jobs_are_implausible() -> None:
    with answering(b"OK 1.1.20\nOK 7\na\t1\t2\t3\n.\n5 ::1 - : a\n.\n") as url:
        reading = read(url)
    assert reading.queues
    assert reading.queues["a"].ready is None
    assert reading.implausible == ["a: it has 1 jobs, of which 2 are running"]
    assert reading.server
    assert reading.server.ready is None


@given(st.binary(max_size=300), st.sampled_from([b"", b"OK 1.1.20\nOK 7\n"]))
def test_no_reply_is_more_than_nonsense(reply: bytes, start: bytes) -> None:
    for data in (start + reply, start + reply + b"\n.\n7 h - : x\n.\n"):
        try:
            replies = split_replies(data)
            if replies is not None:
                for function in parse_status(replies.status).values():
                    assert all(0 <= number < 10**10 for number in function)
        except NonsenseError as error:
            assert "\n" not in str(error)


def test_a_long_nonsense_costs_no_more_than_its_length() -> None:
    started = time.monotonic()
    with pytest.raises(NonsenseError):
        parse_status(b"x\t1" * 1_000_000)
    assert time.monotonic() - started < 5


# -- costs, and the entry points


def test_a_thousand_queues_cost_one_connection() -> None:
    lines = b"".join(b"q%d\t%d\t0\t1\n" % (number, number) for number in range(1000))
    workers = b"".join(b"%d ::1 - : q%d\n" % (number, number) for number in range(1000))
    with answering(b"OK 1.1.20\nOK 7\n%b.\n%b.\n" % (lines, workers)) as url:
        reading = read(url)  # `answering` hears one request and hangs up
    assert len(reading.queues or {}) == 1000
    assert math.fsum(queue.idle_consumers or 0 for queue in (reading.queues or {}).values()) == 1000


def test_a_url_with_a_user_or_a_path_is_refused() -> None:
    for url in ("gearman://me@host", "gearman://host/path"):
        with pytest.raises(AddressError, match=r"expected gearman://HOST\[:PORT\]"):
            resolve_servers({}, [url])


def test_the_commands_and_checks_know_gearman(gearmand: Gearmand, run) -> None:
    for _ in range(2):
        gearmand.put("orders")
    url = gearmand.url
    (row,) = json.loads(run("beanwatch", "queues", "list", "--server", url, "--json").stdout)
    assert (row["queue"], row["ready"], row["consumers"]) == ("orders", 2, 0)
    assert row["buried"] is None
    assert row["state"] == "no_consumer"
    shown = run("beanwatch", "queues", "show", "orders", "--server", url)
    assert "buried                   n/a" in shown.stdout
    for action in ("peek", "kick", "delete", "empty"):
        yes = [] if action == "peek" else ["--yes"]
        done = run("beanwatch", "queues", action, "orders", "--server", url, *yes)
        assert done.code == 1
        assert "gearman has no action" in done.stderr

    code, out, _ = run("check_queue_consumers", "-H", url, "-Q", "orders")
    assert code == 2
    assert "2 jobs ready and no consumer: there are no workers that can do the function" in out
    code, out, _ = run("check_queue_depth", "-H", url, "-Q", "orders", "-c", "1")
    assert code == 2
    code, out, _ = run("check_queue_server", "-H", url)
    assert code == 0, out
    # `buried` is not declared: unknown everywhere, and nowhere 0.
    code, out, _ = run("check_queue_buried", "-H", url, "-Q", "orders")
    assert code == 3
    assert "gearman does not report the number of buried jobs" in out
    done = run("beanwatch", "collect", "--once", "--graphite", "-", "--server", url)
    assert done.code == 0, done.stderr
    assert ".orders.ready 2 " in done.stdout
    assert ".orders.buried" not in done.stdout
