<?php

/** Reports the runs of test_formats.py. argv: the address of StatsD, and the runs in JSON. */

declare(strict_types=1);

use Beanwatch\JsonLog;
use Beanwatch\Monitor;

require 'Psr/Log/autoload.php';
require 'Monolog/autoload.php';
require dirname(__DIR__, 2) . '/worker/php/beanwatch.php';

[, $statsd, $runs] = $argv;
$log = JsonLog::open('php://stdout');
$monitor = new Monitor('formats', ['work'], $log, server: 'q1.example.org:11300', statsd: $statsd, host: 'here');
$monitor->start();
foreach (json_decode($runs, true) as $run) {
    $run += ['uuid' => '', 'wait' => null, 'reason' => '', 'delay' => 0.0, 'follow_ups' => [], 'parent' => ''];
    $monitor->ready($run['server']);
    $job = [$run['queue'], $run['job'], $run['job_id'], $run['uuid'], $run['attempt'], $run['wait']];
    $monitor
        ->begin(...$job, ...['parent' => $run['parent']])
        ->end($run['outcome'], $run['reason'], null, $run['delay'], $run['follow_ups']);
}
$log->pushProcessor($monitor);
$monitor->begin('work', 'email.send', 7, 'u-7');
$log->warning('said {what}', ['what' => "\u{9b}2J\x7f"]);
$log->error('failed', ['exception' => new DomainException('bad')]);
$monitor->stop();
