"""check_queue_server on a real server."""

import os
import signal
import socket

import pytest

from beanwatch.checks.lib.plugin import Metric
from beanwatch.checks.queue_server import CheckedServer, ServerContext
from beanwatch.config import ServerConfig, Threshold
from beanwatch.queues.base import Problem
from beanwatch.queues.model import ServerState
from beanwatch.queues.servers import resolve_servers
from tests.checks.conftest import Check
from tests.checks.fake_beanstalkd import fake_beanstalkd
from tests.real import Beanstalkd, wait_until

OK, WARNING, CRITICAL, UNKNOWN = range(4)
SETTLED = ("--restarted", "0s")


def test_a_server_that_was_restarted_is_a_warning_for_a_while(check: Check, beanstalkd: Beanstalkd):
    assert check("queue_server", "--server", beanstalkd.address).code == OK
    beanstalkd.restart()
    for _ in range(2):
        answer = check("queue_server", "--server", beanstalkd.address)
        assert answer.code == WARNING
        assert "was started" in answer.text
    answer = check("queue_server", "--server", beanstalkd.address, *SETTLED)
    assert answer.code == OK
    assert f"({beanstalkd.address}): up for" in answer.text
    assert answer.perfdata["connections"] == "1"


def test_a_server_that_was_found_dead_and_came_back_is_a_warning(
    check: Check, beanstalkd: Beanstalkd
):
    assert check("queue_server", "--server", beanstalkd.address).code == OK
    beanstalkd.kill()
    for _ in range(2):
        assert check("queue_server", "--server", beanstalkd.address).code == CRITICAL
    beanstalkd.start()
    answer = check("queue_server", "--server", beanstalkd.address)
    assert answer.code == WARNING
    assert "was started" in answer.text


def test_each_fault_of_a_server_is_a_cause_of_its_own():
    """Else nobody is notified of the second one, once the first is acknowledged."""
    (server,) = resolve_servers({"q1": ServerConfig("127.0.0.1:11300")})
    faults = [
        Problem("critical", "misses node b: it does not run", causes=["misses b"]),
        Problem("critical", "misses node c: it does not run", causes=["misses c"]),
        Problem("warning", "is draining: it accepts no new jobs"),
    ]
    seen = CheckedServer(server, "", ServerState(), faults, (), was_restarted=False)
    found = ServerContext(Threshold(), 0.0).evaluate(Metric("q1", seen), None)
    assert found.causes == ("misses b", "misses c", "is")


@pytest.mark.parametrize(
    ("binlog", "fate"),
    [
        (False, ", without a binlog: its jobs do not survive a restart"),
        (True, ": it has 2 jobs now"),
    ],
)
def test_after_a_restart_it_is_said_whether_the_jobs_are_still_there(
    check: Check, tmp_path, binlog: bool, fate: str
):
    with Beanstalkd(tmp_path / "server", binlog=binlog) as server:
        with server.client() as client:
            client.put("x")
            client.put("x", delay=999)
        assert check("queue_server", "--server", server.address).code == OK
        server.restart()
        answer = check("queue_server", "--server", server.address)
    assert answer.code == WARNING
    assert answer.text.endswith(fate)


@pytest.mark.parametrize(
    ("binlog", "text"),
    [
        (False, ", without a binlog: its jobs do not survive a restart"),
        (True, ", with a new binlog"),
    ],
)
def test_the_first_start_of_a_new_server_is_no_problem_and_loses_no_jobs(
    check: Check, tmp_path, binlog: bool, text: str
):
    with Beanstalkd(tmp_path / "server", binlog=binlog) as server:
        for _ in range(2):
            answer = check("queue_server", "--server", server.address)
            assert answer.code == OK
            assert answer.text.endswith(text)
            assert not {"lost", "gone", "read", "was"} & set(answer.text.split())


def test_a_restart_that_no_earlier_run_saw_is_known_by_the_binlog(check: Check, tmp_path):
    with Beanstalkd(tmp_path / "server", binlog=True) as server:
        server.restart()
        answer = check("queue_server", "--server", server.address)
    assert answer.code == WARNING
    assert answer.text.endswith(" ago, with a binlog: it has 0 jobs now")


def test_a_draining_server_is_a_warning(check: Check, beanstalkd: Beanstalkd):
    os.kill(beanstalkd.pid, signal.SIGUSR1)
    wait_until(lambda: beanstalkd.stats()["draining"])
    answer = check("queue_server", "--server", beanstalkd.address, *SETTLED)
    assert answer.code == WARNING
    assert "is draining: it accepts no new jobs" in answer.text


def test_answers_is_ok_or_critical_whatever_other_problems_there_are(
    check: Check, beanstalkd: Beanstalkd
):
    argv = ("queue_server", "--server", beanstalkd.address, "--answers", "-c", "0")
    os.kill(beanstalkd.pid, signal.SIGUSR1)  # it drains
    answer = check(*argv)
    assert (answer.code, "up for" in answer.text) == (OK, True)
    beanstalkd.restart()
    assert check(*argv).code == OK
    beanstalkd.kill()
    assert check(*argv).code == CRITICAL


def test_a_dead_server_is_critical_beside_a_live_one(check: Check, beanstalkd: Beanstalkd):
    arguments = ("--server", beanstalkd.address, "--server", "127.0.0.1:1", *SETTLED)
    answer = check("queue_server", *arguments)
    assert answer.code == CRITICAL
    assert answer.text.startswith("QUEUE_SERVER CRITICAL - 127.0.0.1:1: connection refused")


def test_connections_can_be_limited(check: Check, beanstalkd: Beanstalkd):
    with beanstalkd.client(), beanstalkd.client():
        answer = check("queue_server", "--server", beanstalkd.address, *SETTLED, "-c", "2")
    assert answer.code == CRITICAL
    assert "has 3 connections (limit 2)" in answer.text


def refuse(server: Beanstalkd) -> None:
    """A put of a job that is too big."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(b"put 0 0 10 70000\r\n" + b"x" * 70_000 + b"\r\n")
        assert connection.recv(100) == b"JOB_TOO_BIG\r\n"


def test_refused_puts_are_a_warning_when_they_are_new(check: Check, beanstalkd: Beanstalkd):
    arguments = ("--server", beanstalkd.address, *SETTLED)
    refuse(beanstalkd)  # long ago, for all that the first look knows
    assert check("queue_server", *arguments).code == OK
    refuse(beanstalkd)
    check("queue_server", *arguments)  # a put under way looks like that once, too
    answer = check("queue_server", *arguments)
    assert answer.code == WARNING
    assert "refused 1 put lately" in answer.text


def test_a_put_under_way_is_not_taken_for_a_refused_one(check: Check, beanstalkd: Beanstalkd):
    arguments = ("--server", beanstalkd.address, *SETTLED)
    assert check("queue_server", *arguments).code == OK
    with socket.create_connection(("127.0.0.1", beanstalkd.port), timeout=10) as slow:
        slow.sendall(b"put 0 0 10 5\r\nab")
        wait_until(lambda: beanstalkd.stats()["cmd-put"] == 1)
        assert check("queue_server", *arguments).code == OK
        slow.sendall(b"cde\r\n")
        assert slow.recv(100) == b"INSERTED 1\r\n"
    for _ in range(2):
        assert check("queue_server", *arguments).code == OK


def test_a_put_under_way_at_the_first_look_hides_no_refusal(check: Check, beanstalkd: Beanstalkd):
    arguments = ("--server", beanstalkd.address, *SETTLED)
    with socket.create_connection(("127.0.0.1", beanstalkd.port), timeout=10) as slow:
        slow.sendall(b"put 0 0 10 5\r\nab")
        wait_until(lambda: beanstalkd.stats()["cmd-put"] == 1)
        assert check("queue_server", *arguments).code == OK
        slow.sendall(b"cde\r\n")
        assert slow.recv(100) == b"INSERTED 1\r\n"
    assert check("queue_server", *arguments).code == OK
    refuse(beanstalkd)
    check("queue_server", *arguments)
    assert "refused 1 put lately" in check("queue_server", *arguments).text


def test_a_job_that_the_server_lost_is_a_warning(check: Check):
    with fake_beanstalkd(tube_changes={"total-jobs": 5, "cmd-delete": 1}) as address:
        answer = check("queue_server", "--server", address)
    assert answer.code == WARNING
    assert "lost track of 1 job of queue images" in answer.text
    with fake_beanstalkd() as address:
        assert check("queue_server", "--server", address).code == OK


def test_a_restart_with_binlog_is_no_limbo(check: Check, tmp_path):
    with Beanstalkd(tmp_path / "binlog", binlog=True) as server:
        with server.client(use="a", watch="a") as client:
            for _ in range(4):
                client.put("x")
            client.delete(client.reserve(timeout=5))
        server.stop()
        server.start()
        for _ in range(2):
            answer = check("queue_server", "--server", server.address, *SETTLED)
            assert answer.code == OK, answer.text
