"""A real supervisord with the shipped configuration for PHP workers."""

import os
import signal

from beanwatch.store.heartbeats import Heartbeat
from tests.operations.test_supervisor import Supervisord, read_beat, read_command
from tests.php_worker.conftest import HANDLERS, PHP_FILES, Site
from tests.real import wait_until

SHIPPED = PHP_FILES / "supervisor" / "beanwatch-php-workers.conf"
NAMES = [f"phpmail-{number}" for number in (1, 2, 3)]


def start(site: Site, name: str, more: str) -> Supervisord:
    command = read_command(SHIPPED).replace("/usr/share/beanwatch/php", str(PHP_FILES))
    command = command.replace("/srv/shop/handlers.php", str(HANDLERS))
    env = {"PATH": os.environ["PATH"], "BEANWATCH_REDIS_URL": site.redis.url}
    directory = site.directory / name
    return Supervisord(directory, f"{command} {more}", env, SHIPPED.read_text())


def beat_of(site: Site, name: str) -> Heartbeat:
    return read_beat(site.redis, f"here.{name}")


def test_whatever_ends_a_worker_it_comes_back_until_it_is_stopped(site: Site) -> None:
    with start(site, "supervised", f"--host here --server {site.beanstalkd.address}") as server:
        first = {name: wait_until(lambda name=name: beat_of(site, name), 60) for name in NAMES}
        os.kill(first["phpmail-1"].pid, signal.SIGKILL)
        job_id = site.put("email.regular", "exit")  # exit(0) in a handler
        wait_until(
            lambda: sum(beat_of(site, name).pid != first[name].pid for name in NAMES) == 2, 60
        )
        with site.beanstalkd.client() as client:
            client.delete(job_id)
        ends = {beat_of(site, name).last_exit for name in NAMES}
        assert any(end.startswith("killed while ") for end in ends)
        assert any("while running exit (job " in end for end in ends)
        wait_until(lambda: server.states() == ["RUNNING"] * 3, 30)
        server.ctl("stop", "all")
        assert server.states() == ["STOPPED"] * 3
        assert (
            "the worker stops: it received SIGTERM"
            in (site.directory / "supervised" / "phpmail-2.log").read_text()
        )


def test_a_worker_with_a_wrong_option_stays_down(site: Site) -> None:
    with start(site, "misused", "more") as server:
        wait_until(lambda: server.states() == ["EXITED"] * 3, 60)
