"""The page on PHP: its five lines are run, and what it says of signals is tried."""

import re
import signal
import subprocess
from pathlib import Path

import pytest

from beanwatch.net.redis_reader import RedisReader
from beanwatch.net.redis_url import parse_redis_url
from beanwatch.store.ledger import read_job_by_id
from tests.php_worker.conftest import PHP_FILES, Check, Site
from tests.real import ROOT, wait_until

PAGE = (ROOT / "docs" / "php.md").read_text()
SCRIPT, LOG = re.findall(r"^```php\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
MARK = " // beanwatch"
# What takes the place of Composer's autoloader and of the application.
LOADER = """<?php
require 'Psr/Log/autoload.php'; require 'Monolog/autoload.php'; require 'Pheanstalk/autoload.php';
require dirname(__DIR__) . '/app.php';
"""
APP = """<?php
function send_mail(string $data): void {
    if ($data === 'busy') { for ($end = microtime(true) + 60; microtime(true) < $end;) { $x = 1; } }
    if ($data !== 'fine') { throw new DomainException("no mail to $data"); }
}
"""


def write_script(site: Site, directory: Path, text: str) -> Path:
    (directory / "vendor").mkdir()
    (directory / "vendor" / "autoload.php").write_text(LOADER)
    (directory / "app.php").write_text(APP)
    port = str(site.beanstalkd.port)
    text = text.replace("/usr/share/beanwatch/php", str(PHP_FILES)).replace("11300", port)
    text = text.replace("require 'vendor/", f"require '{directory}/vendor/")
    path = directory / "worker.php"
    path.write_text(text.replace("['email.regular'])", "['email.regular'], host: 'here')"))
    return path


def test_five_lines_watch_a_worker(site: Site, check: Check, tmp_path: Path) -> None:
    assert sum(MARK in line for line in SCRIPT.splitlines()) == 5
    worker = site.start_script("email-1", write_script(site, tmp_path, SCRIPT))
    worker.wait_for("idle")
    with site.beanstalkd.client(use="email.regular") as client:
        numbers = [client.put("fine"), client.put("nobody")]
    site_counts = lambda: site.broker.counts("email.regular", buried=1)  # noqa: E731
    wait_until(site_counts, 30)
    wait_until(lambda: worker.beat().processed == 2, 30)
    beat = worker.beat()
    (totals,) = beat.totals or ()
    assert (totals.queue, totals.job, totals.outcomes) == (
        "email.regular", "email.send", {"ok": 1, "buried": 1},
    )  # fmt: skip
    with RedisReader(parse_redis_url(site.redis.url), 5) as link:
        (entry,) = read_job_by_id(link.execute, site.beanstalkd.stats()["id"], numbers[1])
    assert (entry.outcome, entry.reason) == ("buried", "DomainException: no mail to nobody")
    with site.beanstalkd.client(use="email.regular") as client:
        client.put("busy")
    wait_until(lambda: worker.beat().jobs, 30)
    first = worker.beat()
    wait_until(lambda: worker.beat().beat_at > first.beat_at + 2, 30)
    code, line, _ = check("email-1")
    assert code == 0
    assert "busy with email.send (job 3, queue email.regular)" in line
    assert worker.beat().jobs[0].where.endswith("app.php:3 send_mail")
    worker.signal(signal.SIGKILL)


def test_without_the_five_lines_it_is_the_worker_that_it_was(site: Site, tmp_path: Path) -> None:
    lines = [line for line in SCRIPT.splitlines() if MARK not in line]
    at = next(at for at, line in enumerate(lines) if line.strip() == "try {")
    lines.insert(at + 1, "send_mail($job->getData());")
    done = subprocess.run(
        ["php", "-l", write_script(site, tmp_path, "\n".join(lines))],
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout


def test_the_lines_for_the_log_make_lines_of_ours(site: Site, tmp_path: Path) -> None:
    text = SCRIPT.partition("$pheanstalk")[0] + LOG + "$log->info('hello'); $monitor->stop();"
    worker = site.start_script(
        "email-1",
        write_script(
            site,
            tmp_path,
            text.replace("['email.regular'], $log)", "['email.regular'], $log, host: 'here')"),
        ),
    )
    assert worker.exit_code() == 0, worker.errors.read_text()
    line = worker.logged("hello")
    assert line is not None
    assert line["context"]["worker"] == "here.email-1"


CALLS = {
    # call: (the PHP code, does it last for its two and a half seconds)
    "sleep": ("sleep(3)", False),
    "usleep": ("usleep(2_500_000)", False),
    "time_nanosleep": ("time_nanosleep(2, 500_000_000)", False),
    "stream_select": ("$r = [$a]; @stream_select($r, $n, $n, 2, 500_000)", False),
    "monitor": ("$monitor->sleep(2.5)", True),
    "fgets": ("stream_set_timeout($a, 2, 500_000); fgets($a)", True),
    "exec": ("exec('sleep 2.5')", True),
    "proc_close": ("proc_close(proc_open(['sleep', '2.5'], [], $pipes))", True),
    "popen": ("fgets(popen('sleep 2.5; echo done', 'r')) === \"done\\n\" || exit(9)", True),
    "flock": (
        "$p = popen('flock lock sleep 2.5', 'r');"
        " while (flock($f = fopen('lock', 'c'), LOCK_EX | LOCK_NB)) { fclose($f); usleep(1000); }"
        " flock(fopen('lock', 'c'), LOCK_EX) || exit(9)",
        True,
    ),
    "redis": ("$redis->brPop(['nothing'], 3)", True),
    "socket": ("socket_recv($s, $data, 9, 0) === 1 || exit(9)", True),
}
CALL = r"""<?php
require '%s/beanwatch.php';
$monitor = (new Beanwatch\Monitor($argv[1], ['q'], host: 'here'))->start();
[$a, $b] = stream_socket_pair(STREAM_PF_UNIX, STREAM_SOCK_STREAM, 0);
socket_create_pair(AF_UNIX, SOCK_STREAM, 0, $pair);
[$s, $other] = $pair;
$n = null;
$url = parse_url(getenv('BEANWATCH_REDIS_URL'));
$redis = new Redis();
$redis->connect($url['host'], $url['port'], 2, null, 0, 10);
if ($argv[1] === 'socket' && pcntl_fork() === 0) {
    for ($end = microtime(true) + 2.5; microtime(true) < $end;) { usleep(1000); }
    socket_write($other, 'x');
    posix_kill(getmypid(), SIGKILL);
}
$started = microtime(true);
%s;
printf("%%.3f", microtime(true) - $started);
$monitor->stop();
"""


def test_only_these_calls_end_at_a_signal(site: Site, tmp_path: Path) -> None:
    workers = {}
    for name, (code, _) in CALLS.items():
        script = tmp_path / f"{name}.php"
        script.write_text(CALL % (PHP_FILES, code))
        workers[name] = site.start_script(name, script, name)
    for name, (_, lasts) in CALLS.items():
        worker = workers[name]
        assert worker.exit_code(60) == 0, (name, worker.errors.read_text())
        seconds = float(worker.log_file.read_text())
        assert (seconds >= 2.4) == lasts, (name, seconds)


def test_a_program_that_uses_the_signal_itself_is_refused(site: Site, tmp_path: Path) -> None:
    script = tmp_path / "taken.php"
    script.write_text(
        f"<?php require '{PHP_FILES}/beanwatch.php'; pcntl_signal(SIGALRM, fn () => 1);\n"
        "(new Beanwatch\\Monitor('taken', []))->start();"
    )
    worker = site.start_script("taken", script)
    assert worker.exit_code() == 255
    assert "SIGALRM for itself" in worker.log_file.read_text() + worker.errors.read_text()


@pytest.mark.parametrize("name", ["", "a b", "a.b", "x" * 65, "a\n"])
def test_a_name_that_is_none_is_refused(site: Site, tmp_path: Path, name: str) -> None:
    script = tmp_path / "name.php"
    script.write_text(
        f"<?php require '{PHP_FILES}/beanwatch.php'; new Beanwatch\\Monitor($argv[1], []);"
    )
    worker = site.start_script("named", script, name)
    assert worker.exit_code() == 255


def test_the_example_says_what_it_lacks(site: Site) -> None:
    for options in ((), ("--name", "x"), ("--name", "x", "--queue", "q", "more")):
        worker = site.start_script("usage", PHP_FILES / "example-worker.php", *options)
        assert worker.exit_code() == 2
    assert worker.errors.read_text().splitlines()[-1].startswith("usage: ")


def test_the_example_names_the_package_that_is_not_here() -> None:
    argv = ["php", "-d", "include_path=/none", PHP_FILES / "example-worker.php"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "example-worker.php: Psr/Log is not here: apt-get install php-psr-log\n"
