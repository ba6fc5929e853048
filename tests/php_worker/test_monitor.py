"""What the PHP monitor does about jobs, loggers and servers that are unlike the usual ones."""

import json
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from beanwatch.net.redis_reader import RedisReader
from beanwatch.net.redis_url import KEY_PREFIX, parse_redis_url
from beanwatch.store.ledger import read_job
from beanwatch.store.outcome_counts import JobKind, read_outcomes
from beanwatch.store.run_totals import MAX_NAME
from tests.php_worker.conftest import PHP_FILES, PhpWorker, Site
from tests.real import Redis, wait_until

START = f"""<?php
declare(strict_types=1);
require 'Psr/Log/autoload.php'; require 'Monolog/autoload.php';
require '{PHP_FILES}/beanwatch.php';
use Beanwatch\\Monitor;
"""
LOG = "Beanwatch\\JsonLog::open('php://stdout')"


def start(site: Site, name: str, code: str, *argv: object, redis: str = "") -> PhpWorker:
    """Start a script with this code; the worker is `here.NAME`."""
    script = site.directory / f"{name}.php"
    script.write_text(START + code)
    return site.start_script(name, script, *argv, redis=redis)


def run(site: Site, name: str, code: str, *argv: object, redis: str = "") -> PhpWorker:
    worker = start(site, name, code, *argv, redis=redis)
    assert worker.exit_code(60) == 0, worker.errors.read_text() + worker.log_file.read_text()
    return worker


# -- a logger that throws


def test_a_log_that_cannot_be_written_fails_no_job_and_is_counted(site: Site) -> None:
    worker = run(
        site,
        "disk",
        """
        $log = Beanwatch\\JsonLog::open('/dev/null/log');
        $monitor = (new Monitor('disk', ['q'], $log, host: 'here'))->start();
        echo $monitor->job('q', 'x', 1, fn () => 'done', 'buried');
        $monitor->stop('no more work');
        """,
    )
    assert worker.log_file.read_text() == "done"
    beat = worker.beat()
    assert beat.last_words == "no more work"
    assert beat.errors == 2  # the lines about the run, and about the end


# -- runs that wait for Redis

AWAY = f"""
$isAway = true;
$connect = function () use (&$isAway): object {{
    if ($isAway) {{ throw new RuntimeException('away'); }}
    $url = parse_url(getenv('BEANWATCH_REDIS_URL'));
    $client = new Redis();
    $client->connect($url['host'], $url['port'], 5, null, 0, 5);
    return $client;
}};
$monitor = (new Monitor($argv[1], ['q'], {LOG}, $connect, host: 'here'))->start();
ob_start(fn () => '');
for ($n = 1; $n <= 1300; $n++) {{ $monitor->begin('q', 'x', $n)->end('buried', 'why'); }}
for ($n = 1; $n <= 1300; $n++) {{ $monitor->begin('q', "kind $n", $n)->end(); }}
ob_end_clean();
$isAway = false;
"""


def read_written(server: Redis) -> tuple[int, int, dict[JobKind, dict[str, int]]]:
    """The runs in the ledger, the calls that wrote them, and the counts."""
    with RedisReader(parse_redis_url(server.url), 5) as link:
        counts = read_outcomes(link.execute, 10)
    client = server.client()
    return (
        client.zcard(f"{KEY_PREFIX}jobs"),
        client.info("commandstats")["cmdstat_eval"]["calls"],
        counts,
    )


@pytest.mark.parametrize("end", ["while ($monitor->sleep(0.5) ?? true);", "$monitor->stop();"])
def test_what_waits_for_redis_is_bounded_and_written_in_parts(
    site: Site, redis_server: Redis, end: str
) -> None:
    name = "stops" if "stop" in end else "goes-on"
    worker = start(site, name, AWAY + end, name, redis=redis_server.url)
    wait_until(lambda: read_written(redis_server)[0] >= 1000, 60)
    if "stop" in end:
        assert worker.exit_code(60) == 0, worker.errors.read_text()
    else:
        line = wait_until(lambda: worker.logged("heartbeats are written again"), 30)
        assert line["context"]["dropped"] == 600 + 1  # of each loop 300, and one kind
        worker.process.kill()
    runs, calls, counts = read_written(redis_server)
    assert runs == 1000
    assert calls >= 10
    assert counts[JobKind("q", "x")] == {"buried": 1300}
    assert len(counts) == 1000


# -- names and ids


def test_a_name_that_is_too_long_is_cut_in_the_record_of_this_and_the_next_process(
    site: Site,
) -> None:
    """The totals of an earlier version may have a longer one."""
    code = f"""
        $monitor = (new Monitor('long', ['q'], {LOG}, host: 'here'))->start();
        foreach (json_decode($argv[1]) as $name) {{ $monitor->begin($name, $name, 1)->end(); }}
        $monitor->begin("\\xff" . str_repeat("\\xe9", 300), 'x', 1)->end('failed');
        $monitor->stop($argv[2]);
    """
    names = ["é" * 256, "x" * 255]
    beat = run(site, "long", code, json.dumps(names), "again").beat()
    totals = {(one.queue, one.job): one.outcomes for one in beat.totals or ()}
    assert totals == {
        ("é" * MAX_NAME,) * 2: {"ok": 1},
        ("x" * MAX_NAME,) * 2: {"ok": 1},
        ("\ufffd" * MAX_NAME, "x"): {"failed": 1},
    }
    key = f"{KEY_PREFIX}worker:here.long"
    with site.redis.client() as client:
        record = json.loads(client.get(key) or b"")
        record["totals"][1]["job"] += "x"
        client.set(key, json.dumps(record))
    beat = run(site, "long", code, "[]", "again").beat()
    assert {one.job for one in beat.totals or ()} == {"é" * MAX_NAME, "x" * MAX_NAME, "x"}


def test_ids_that_no_number_of_php_can_hold_stay_apart(site: Site) -> None:
    ids = [str(10**19 + 1), str(10**19 + 2), "007", "7"]
    code = f"""
        $monitor = (new Monitor('ids', ['q'], {LOG}, host: 'here'))->start();
        foreach (json_decode($argv[1]) as $id) {{ $monitor->begin('q', 'x', $id)->end('failed'); }}
        $monitor->stop();
    """
    worker = run(site, "ids", code, json.dumps(ids))
    assert [one["job_id"] for one in worker.runs()] == [*ids[:3], 7]
    with RedisReader(parse_redis_url(site.redis.url), 5) as link:
        for ident in ids[:3]:
            (entry,) = read_job(link.execute, ident)
            assert entry.job_id == ident


# -- what it knows of its host


def test_the_memory_does_not_depend_on_the_size_of_pages(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text("Name:\tphp\nVmHWM:\t   30000 kB\nVmRSS:\t   20480 kB\nRssAnon:\t  100 kB\n")
    code = START.removeprefix("<?php") + (
        "echo json_encode(array_map(Beanwatch\\Host::residentBytes(...), array_slice($argv, 1)));"
    )
    code = code.replace("declare(strict_types=1);", "")
    argv = ["php", "-r", code, status, "/dev/null/none", "/proc/self/status"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    known, unknown, own = json.loads(done.stdout)
    assert (known, unknown) == (20480 * 1024, None)
    assert own > 2**20


# -- StatsD's name

LOOKUPS = f"""
namespace Beanwatch;
require 'Psr/Log/autoload.php'; require 'Monolog/autoload.php';
require '{PHP_FILES}/beanwatch.php';
// These take the place of PHP's own: a lookup that fails once, and a clock that this script sets.
function stream_socket_client(string $address, mixed ...$more): mixed
{{
    global $state, $lookups;
    $lookups[] = $state;
    return count($lookups) === 1 ? false : \\stream_socket_client('udp://' . $GLOBALS['argv'][1]);
}}
function hrtime(bool $asNumber): int
{{
    return \\hrtime(true) + $GLOBALS['ahead'];
}}
[$state, $lookups, $ahead] = ['idle', [], 0];
$monitor = new Monitor('lookup', ['q'], null, statsd: 'statsd.example.org:8125', host: 'here');
$monitor->start();
$state = 'busy';
$monitor->job('q', 'x', 1, fn () => $monitor->sleep(0.1));
$monitor->job('q', 'x', 2, fn () => $monitor->sleep(1.5));
$state = 'idle';
$monitor->loop();
$ahead = 60 * 10 ** 9;
$monitor->loop();
$monitor->stop();
echo implode(' ', $lookups);
"""


def test_the_name_of_statsd_is_not_looked_up_during_a_job(site: Site, tmp_path: Path) -> None:
    script = tmp_path / "lookup.php"
    script.write_text(f"<?php declare(strict_types=1);{LOOKUPS}")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as statsd:
        statsd.bind(("127.0.0.1", 0))
        statsd.settimeout(5)
        address = f"127.0.0.1:{statsd.getsockname()[1]}"
        worker = site.start_script("lookup", script, address)
        assert worker.exit_code() == 0, worker.errors.read_text() + worker.log_file.read_text()
        assert worker.log_file.read_text() == "idle idle"
        lines: Any = statsd.recv(65536).decode().splitlines()
    assert sum(line.endswith(".q.x.all.ok:1|c") for line in lines) == 2


@pytest.mark.parametrize("is_async", [True, False])
def test_a_handler_that_now_runs_during_a_job_is_warned_of_once(site: Site, is_async: bool) -> None:
    code = f"""
    pcntl_async_signals({json.dumps(is_async)});
    pcntl_signal(SIGTERM, fn () => exit(0));
    pcntl_signal(SIGINT, fn () => exit(0));
    (new Monitor($argv[1], ['email'], {LOG}, host: 'here'))->start()->stop();
    """
    name = f"handler-{is_async}"
    worker = run(site, name, code, name)
    lines = [json.loads(line) for line in worker.log_file.read_text().splitlines()]
    assert [line["level_name"] for line in lines] == ([] if is_async else ["WARNING"]), lines
