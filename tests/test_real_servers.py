"""The real servers do what the other tests rely on."""

import signal
import smtplib
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.real import (
    ROOT,
    Beanstalkd,
    Graphite,
    HttpSink,
    LineSink,
    Nagios,
    Proxy,
    Redis,
    Server,
    SmtpSink,
    StatsD,
    WaitError,
    spawn,
    stop_process,
    wait_until,
)


def test_beanstalkd_takes_and_gives_a_job(beanstalkd: Beanstalkd):
    with beanstalkd.client(use="work", watch="work") as client:
        client.put("hello")
        assert client.reserve(timeout=0).body == "hello"
        assert beanstalkd.stats_tube("work")["current-jobs-reserved"] == 1
    assert beanstalkd.stats()["pid"] == beanstalkd.pid
    assert beanstalkd.stats_tube("nobody") == {}


def test_beanstalkd_listens_on_a_unix_socket(tmp_path: Path):
    with Beanstalkd(tmp_path, unix=True) as server, server.client() as client:
        assert server.address.startswith("unix:/")
        assert client.put("hello") == 1


def test_a_restart_keeps_the_port_and_the_binlog(tmp_path: Path):
    with Beanstalkd(tmp_path, binlog=True) as server:
        address = server.address
        with server.client(use="work") as client:
            client.put("kept")
        server.kill()
        server.start()
        assert server.address == address
        assert server.stats_tube("work")["current-jobs-ready"] == 1


def test_a_frozen_server_accepts_but_does_not_answer(beanstalkd: Beanstalkd):
    with socket.create_connection(("127.0.0.1", beanstalkd.port), timeout=5) as connection:
        beanstalkd.freeze()
        connection.sendall(b"list-tubes\r\n")
        connection.settimeout(0.1)
        with pytest.raises(TimeoutError):
            connection.recv(100)
        beanstalkd.thaw()
        connection.settimeout(5)
        assert connection.recv(100).startswith(b"OK")


def test_a_frozen_server_can_be_stopped(tmp_path: Path):
    with Beanstalkd(tmp_path) as server:
        server.freeze()
        server.stop()
        assert not server.running


def test_redis_answers_and_comes_back_empty(redis_server: Redis):
    with redis_server.client() as client:
        client.set("a", "b")
        assert client.get("a") == "b"
        redis_server.restart()
        assert client.get("a") is None


def test_graphite_gives_back_what_was_sent(graphite: Graphite, prefix: str, tmp_path: Path):
    graphite.send(f"{prefix}.depth", 42)
    assert graphite.latest(f"{prefix}.depth") == 42
    assert graphite.find(f"{prefix}.*") == [f"{prefix}.depth"]
    picture = graphite.png(f"{prefix}.depth", tmp_path / "depth.png", title="Depth")
    assert picture.stat().st_size > 1000


def test_carbon_can_go_away_and_come_back(tmp_path: Path):
    with Graphite(tmp_path) as graphite:
        address = graphite.carbon
        graphite.stop_carbon()
        with pytest.raises(OSError, match="refused"):
            graphite.send("a.b", 1)
        graphite.start_carbon()
        assert graphite.carbon == address
        graphite.send("a.b", 7)
        assert graphite.latest("a.b") == 7


def test_statsd_makes_plain_paths(graphite: Graphite, prefix: str, tmp_path: Path):
    with StatsD(tmp_path, graphite.carbon) as statsd:
        datagram = f"{prefix}.ok:3|c\n{prefix}.duration:250|ms\n{prefix}.rss:9|g".encode()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(datagram, ("127.0.0.1", statsd.port))
        assert graphite.latest(f"{prefix}.ok.count") == 3
        assert graphite.latest(f"{prefix}.duration.upper_95") == 250
        assert graphite.latest(f"{prefix}.rss") == 9


_OBJECTS = """\
define command {
    command_name check
    command_line $USER1$/check_dummy 2 "it is broken"
}
define command {
    command_name notify
    command_line /bin/echo "$SERVICESTATE$ $SERVICEOUTPUT$" >> $USER2$/mailbox
}
define timeperiod {
    timeperiod_name always
    alias always
    sunday 00:00-24:00
    monday 00:00-24:00
    tuesday 00:00-24:00
    wednesday 00:00-24:00
    thursday 00:00-24:00
    friday 00:00-24:00
    saturday 00:00-24:00
}
define contact {
    contact_name pager
    service_notification_period always
    host_notification_period always
    service_notification_options c,r
    host_notification_options d
    service_notification_commands notify
    host_notification_commands notify
}
define host {
    host_name queues
    max_check_attempts 1
    check_period always
    contacts pager
    notification_interval 0
    notification_period always
}
define service {
    host_name queues
    service_description depth
    check_command check
    check_interval 60
    retry_interval 1
    max_check_attempts 1
    check_period always
    contacts pager
    notification_interval 0
    notification_period always
}
"""


def test_nagios_checks_notifies_and_obeys(tmp_path: Path):
    objects = tmp_path / "objects.cfg"
    objects.write_text(_OBJECTS)
    mailbox = tmp_path / "mailbox"
    with Nagios(tmp_path / "nagios", [objects], macros={"USER2": str(tmp_path)}) as nagios:
        nagios.verify()
        wait_until(
            lambda: mailbox.read_text() == "CRITICAL CRITICAL: it is broken\n",
            message="a notification arrives",
        )
        nagios.command("PROCESS_SERVICE_CHECK_RESULT;queues;depth;0;all is well")
        wait_until(
            lambda: nagios.statuses()["queues", "depth"]["plugin_output"] == "all is well",
            message="the passive result arrives",
        )
        assert "SERVICE NOTIFICATION: pager;queues;depth;CRITICAL" in nagios.events


def ask(proxy: Proxy, timeout: float = 5.0) -> bytes:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=timeout) as connection:
        connection.sendall(b"use work\r\n")
        return connection.recv(100)


def test_the_proxy_passes_everything_on(beanstalkd: Beanstalkd):
    with Proxy(beanstalkd.address) as proxy:
        assert ask(proxy) == b"USING work\r\n"


def test_the_proxy_reaches_a_unix_socket(tmp_path: Path):
    with Beanstalkd(tmp_path, unix=True) as server, Proxy(server.address) as proxy:
        assert ask(proxy) == b"USING work\r\n"


def test_the_proxy_swallows_refuses_and_recovers(beanstalkd: Beanstalkd):
    with Proxy(beanstalkd.address) as proxy:
        proxy.blackhole()
        with pytest.raises(TimeoutError):
            ask(proxy, timeout=0.1)
        proxy.restore()
        assert ask(proxy) == b"USING work\r\n"
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            ask(proxy)
        proxy.restore()
        assert ask(proxy) == b"USING work\r\n"


def test_the_proxy_resets_a_connection(beanstalkd: Beanstalkd):
    with (
        Proxy(beanstalkd.address) as proxy,
        socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as connection,
    ):
        connection.sendall(b"use work\r\n")
        assert connection.recv(100)
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            connection.recv(100)
        assert ask(proxy) == b"USING work\r\n"


def test_the_proxy_truncates_garbles_and_delays(beanstalkd: Beanstalkd):
    with Proxy(beanstalkd.address) as proxy:
        proxy.truncate(5)
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as connection:
            connection.sendall(b"use work\r\n")
            assert connection.makefile("rb").read() == b"USING"
        proxy.restore()
        proxy.garble(b"WHAT\r\n")
        assert ask(proxy) == b"WHAT\r\n"
        proxy.restore()
        proxy.latency(0.2)
        started = time.monotonic()
        assert ask(proxy) == b"USING work\r\n"
        assert time.monotonic() - started >= 0.2


def test_sinks_record_what_arrives():
    with SmtpSink() as mail, smtplib.SMTP("127.0.0.1", mail.port, timeout=5) as client:
        client.sendmail("nagios@a", ["me@b"], "Subject: ** PROBLEM\r\n\r\nit is broken\r\n")
        assert mail.mails[0].recipients == ["me@b"]
        assert mail.mails[0].message["subject"] == "** PROBLEM"
    with HttpSink() as web:
        urllib.request.urlopen(f"{web.url}/hook", data=b'{"a": 1}', timeout=5).close()
        assert (web.requests[0].path, web.requests[0].json()) == ("/hook", {"a": 1})
    with LineSink() as lines:
        with socket.create_connection(lines.address.split(":"), timeout=5) as connection:
            connection.sendall(b"a.b 1 2\n")
        wait_until(lambda: lines.lines == ["a.b 1 2"])


def test_waiting_in_vain_says_what_was_seen_last():
    with pytest.raises(WaitError, match=r"after 0 s waiting for: the moon; last value: \[\]"):
        wait_until(list, timeout=0, message="the moon")
    with pytest.raises(WaitError, match="last error: ZeroDivisionError"):
        wait_until(lambda: 1 / 0, timeout=0)


def test_a_server_does_not_outlive_a_killed_test(tmp_path: Path):
    script = f"""
import time
from pathlib import Path
from tests.real import Beanstalkd
server = Beanstalkd(Path({str(tmp_path)!r}))
server.start()
print(server.pid, flush=True)
time.sleep(60)
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as test:
        assert test.stdout is not None
        pid = int(test.stdout.readline())
        test.kill()
    wait_until(lambda: not Path(f"/proc/{pid}").exists() or _is_zombie(pid))


def _is_zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_run_gives_code_and_output(run):
    code, stdout, stderr = run("python", "-c", "print('out'); raise SystemExit(3)")
    assert (code, stdout, stderr) == (3, "out\n", "")


def test_a_process_that_does_not_stop_in_time_is_killed_with_its_children(tmp_path: Path):
    child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(99)"
    script = f"trap '' TERM; {sys.executable} -c '{child}' & echo $!; wait"
    process = spawn(["bash", "-c", script], log=tmp_path / "log")
    pid = wait_until(lambda: int((tmp_path / "log").read_text()))
    assert stop_process(process, timeout=0.1) == -signal.SIGKILL
    wait_until(lambda: not is_running(pid))


class Parent(Server):
    """A process with a child, which never says that it is ready."""

    name = "parent"
    startup_timeout = 2.0

    def choose_ports(self) -> None:
        self.port = -1

    def argv(self) -> list[str]:
        return ["sh", "-c", f"sleep 99 & echo $! > {self.directory}/child; wait"]

    def ready(self) -> bool:
        return False


def test_a_server_that_does_not_get_ready_leaves_no_child(tmp_path: Path):
    with pytest.raises(WaitError):
        Parent(tmp_path).start()
    pid = int((tmp_path / "child").read_text())
    wait_until(lambda: not is_running(pid))


def is_running(pid: int) -> bool:
    """True if the process exists and is not only waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
