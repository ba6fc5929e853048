"""What the PHP monitor does about jobs, loggers and servers that are unlike the usual ones."""

from tests.php_worker.conftest import PHP_FILES, PhpWorker, Site

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
