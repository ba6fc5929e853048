"""A worker whose name server answers nothing: blocked with the reason, and it stops in time."""

import json
import sys
from pathlib import Path

from tests.real.redis_server import SpecialRedis
from tests.real.silent_dns import run_with_silent_dns

# Redis is reached by its unix socket, which a network namespace does not hide.
_SCRIPT = """
import json, signal, subprocess, sys, time
from beanwatch.net.redis_url import open_redis, parse_redis_url
from beanwatch.store.health import decide_health
from beanwatch.store.heartbeats import read_workers

url, directory = sys.argv[1:]
argv = ["-m", "beanwatch", "worker", "beanwatch.worker.example:app", "--queue", "q", "--name", "w"]
argv += ["--server", "q1.example.org", "--redis", url, "--tmp-root", directory]
argv += ["--log-file", directory + "/log", "--metrics", "statsd://statsd.example.org"]
worker = subprocess.Popen([sys.executable, *argv])
found = []
with open_redis(parse_redis_url(url), 5) as redis:
    while len(found) < 14:  # seconds; a lookup of the system takes 10
        time.sleep(1)
        found += [(decide_health(one), one.heartbeat.reason) for one in read_workers(redis.execute)]
stopped_at = time.monotonic()
worker.send_signal(signal.SIGTERM)
code = worker.wait(60)
print(json.dumps([found, time.monotonic() - stopped_at, code]))
"""


def test_a_name_server_that_hangs_blocks_a_worker_and_delays_no_stop(tmp_path: Path):
    path = tmp_path / "r.sock"
    with SpecialRedis(tmp_path / "redis", "--unixsocket", str(path)):
        argv = [sys.executable, "-c", _SCRIPT, f"unix://{path}", str(tmp_path)]
        done = run_with_silent_dns(tmp_path, argv, timeout=120)
    assert done.returncode == 0, done.stderr
    found, stop_took, code = json.loads(done.stdout)
    reason = (
        "q1.example.org:11300: the host name cannot be resolved (no answer from the name server)"
    )
    seen = {tuple(one) for one in found}
    assert ("blocked", reason) in seen
    assert {health for health, _ in seen} <= {"starting", "blocked"}
    assert stop_took < 6  # a lookup of 2 s, the last metrics, and nothing else that waits
    assert code == 0


_PROBE = """
from beanwatch.cli.lib.probes import statsd
from beanwatch.cli.lib.probes.finding import ProbeSettings
from beanwatch.config import CollectConfig

URL = "statsd://statsd.example.org"
statsd.PROBE_TIMEOUT = 0.5
(found,) = statsd.probe_statsd(ProbeSettings((), "p", None, "", "", URL, CollectConfig(), (), ()))
print(found.text)
"""


def test_the_probe_of_statsd_does_not_wait_for_a_name_server_that_hangs(tmp_path: Path):
    done = run_with_silent_dns(tmp_path, [sys.executable, "-c", _PROBE], timeout=8)
    reason = "the host name cannot be resolved (no answer from the name server)"
    assert done.stdout == f"cannot send a test counter: {reason}\n", done.stderr
