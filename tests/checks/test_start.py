"""What a check imports: a Nagios starts thousands of them a minute, and imports are what they cost.

A list of modules guards this better than a time does, because a busy machine changes no list.
"""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.real import Beanstalkd, HttpSink, Redis, closed_port

# Prints at the end of a process which modules it has imported.
SHOW = """
import os, sys
end = os._exit
os._exit = lambda _: (os.write(2, " ".join(sys.modules).encode()), end(0))
"""
CHECK = SHOW + "from beanwatch.checks.lib import launch; launch.start(sys.argv.pop(1))"
# What every plugin needs that uses nagiosplugin, named tuples and sockets, but not `typing`.
NEEDED = SHOW + (
    "import argparse, gc, importlib, nagiosplugin, socket;argparse.ArgumentParser(); os._exit(0)"
)
# The packages of beanwatch below the checks, and which of their modules a check imports.
BELOW = ("cli", "config", "collectors", "fleet", "net", "queues", "store", "telemetry", "worker")
EVERY = {"config", "config.keys", "config.reader", "net", "net.address", "net.errors"}
QUEUES = {
    *EVERY,
    "queues",
    "queues.base",
    "queues.beanstalkd",
    "queues.beanstalkd.connection",
    "queues.beanstalkd.earlier_readings",
    "queues.beanstalkd.one_reading",
    "queues.beanstalkd.protocol",
    "queues.beanstalkd.reader",
    "queues.beanstalkd.stats",
    "queues.model",
    "queues.registry",
    "queues.servers",
    "telemetry",
    "telemetry.nodes",
}
CONNECT = {"config.secrets", "net.redis_reader", "net.redis_url"}
REDIS = {
    "net.redis_info",
    *EVERY,
    *CONNECT,
    "store",
    "store.clock",
    "store.heartbeats",
    "store.records",
    "store.redis_state",
    "store.run_totals",
}
HIREDIS = {"hiredis", "hiredis.hiredis", "hiredis.version"}


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The variables that name a queue with a job and one consumer, a Redis and a Graphite."""
    directory = tmp_path_factory.mktemp("start")
    with (
        Beanstalkd(directory / "queue") as queue,
        Redis(directory / "redis") as redis,
        HttpSink() as web,
        queue.client(use="images", watch="images") as client,
    ):
        client.put("x")
        yield {
            **os.environ,
            "BEANWATCH_SERVERS": f"q1={queue.address}",
            "BEANWATCH_REDIS_URL": redis.url,
            "BEANWATCH_GRAPHITE_URL": web.url,
            "BEANWATCH_STATE_DIR": str(directory),
        }


def list_imports(code: str, *argv: str, environ: dict[str, str]) -> set[str]:
    """Return the names of the modules that a process has imported at its end."""
    command = [sys.executable, "-c", code, *argv]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    return set(done.stderr.split())


def list_extra(environ: dict[str, str], *argv: str) -> tuple[set[str], set[str]]:
    """Return what a check imports: the modules of beanwatch in BELOW, and those of others."""
    found = list_imports(CHECK, *argv, environ=environ) - list_imports(NEEDED, environ=environ)
    own = {module for module in found if module.split(".")[0] == "beanwatch"}
    below = {module.removeprefix("beanwatch.") for module in own}
    return {module for module in below if module.split(".")[0] in BELOW}, found - own


@pytest.mark.parametrize(
    ("name", "modules", "others"),
    [
        ("queue_depth", QUEUES, set()),
        ("queue_buried", QUEUES, set()),
        ("queue_age", {*QUEUES, "net.files", "queues.beanstalkd.heads"}, set()),
        ("queue_server", {*QUEUES, "net.files"}, set()),
        (
            "worker_heartbeat",
            {*REDIS, "store.black_box", "store.fleet", "store.health", "store.stops"},
            HIREDIS,
        ),
        ("job_failures", {*REDIS, "store.outcome_counts"}, HIREDIS),
        ("redis", REDIS, HIREDIS),
    ],
)
def test_a_check_imports_nothing_that_it_can_do_without(
    environ: dict[str, str], name: str, modules: set[str], others: set[str]
):
    assert list_extra(environ, name) == (modules, others)


def test_where_no_redis_answers_the_check_of_consumers_imports_nothing_of_heartbeats(
    environ: dict[str, str],
):
    nobody = {**environ, "BEANWATCH_REDIS_URL": f"redis://127.0.0.1:{closed_port()}"}
    modules = {*QUEUES, *CONNECT, "net.files", "queues.consumers"}
    assert list_extra(nobody, "queue_consumers") == (modules, HIREDIS)
