<?php

/**
 * A worker for beanstalkd on Pheanstalk 4, watched by beanwatch: see the page "PHP workers" of its documentation.
 *
 *     php example-worker.php --name email-1 --queue email.regular [--queue email.bulk]
 *         [--server q1.example.org:11300] [--handlers handlers.php] [--timeout 60] [--statsd host:8125]
 *         [--expected]
 *
 * --expected: this worker is in `[workers] expected` of beanwatch.toml, so each stop counts as the start of a restart.
 * Redis and its password come from $BEANWATCH_REDIS_URL and $BEANWATCH_REDIS_PASSWORD.
 */

declare(strict_types=1);

use Beanwatch\JsonLog;
use Beanwatch\Monitor;
use Beanwatch\Pheanstalk\Worker;

// With Composer, vendor/autoload.php takes the place of these.
$packages = ['Psr/Log' => 'php-psr-log', 'Monolog' => 'php-monolog', 'Pheanstalk' => 'php-pda-pheanstalk'];
if (!extension_loaded('redis')) {
    $packages['Predis'] = 'php-nrk-predis';
}
foreach ($packages as $name => $package) {
    if (stream_resolve_include_path("$name/autoload.php") === false) {
        fwrite(STDERR, "example-worker.php: $name is not here: apt-get install $package\n");
        exit(2);
    }
    require_once "$name/autoload.php";
}
require_once __DIR__ . '/beanwatch.php';

$known = ['name:', 'queue:', 'server:', 'server-name:', 'handlers:', 'timeout:', 'grace:', 'statsd:', 'host:', 'expected'];
$options = getopt('', $known, $end);
$queues = array_values((array) ($options['queue'] ?? []));
if ($end !== $argc || !isset($options['name']) || $queues === []) {
    fwrite(STDERR, "usage: php example-worker.php --name NAME --queue QUEUE, and options: see the file\n");
    exit(2);
}
$server = $options['server'] ?? '127.0.0.1:11300';
$log = JsonLog::open('php://stdout');
$monitor = new Monitor(
    $options['name'],
    $queues,
    $log,
    server: $server,
    serverName: $options['server-name'] ?? '',
    statsd: $options['statsd'] ?? '',
    host: $options['host'] ?? '',
    isExpected: isset($options['expected']),
);
$log->pushProcessor($monitor);  // each line names the worker and its job
$worker = new Worker(
    require $options['handlers'] ?? __DIR__ . '/example-handlers.php',
    $monitor,
    $log,
    $server,
    $queues,
    timeout: (float) ($options['timeout'] ?? 60),
    grace: (float) ($options['grace'] ?? 10),
);
$worker->run();
