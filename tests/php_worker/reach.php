<?php

/**
 * Reports one run to the Redis of a URL, and is killed. argv: the URL; or HOST:PORT, for a client that
 * this program makes.
 */

declare(strict_types=1);

use Beanwatch\JsonLog;
use Beanwatch\Monitor;

require 'Psr/Log/autoload.php';
require 'Monolog/autoload.php';
if (!extension_loaded('redis')) {
    require 'Predis/autoload.php';
}
require dirname(__DIR__, 2) . '/worker/php/beanwatch.php';

$url = $argv[1];
$connect = function () use ($url): object {
    [$host, $port] = explode(':', $url);
    if (!extension_loaded('redis')) {
        return new Predis\Client(['host' => $host, 'port' => $port]);
    }
    $client = new Redis();
    $client->connect($host, (int) $port);
    return $client;
};
$redis = str_contains($url, '//') ? $url : $connect;
$monitor = new Monitor('reach', ['q'], JsonLog::open('php://stdout'), $redis, host: 'here');
$monitor->start()->begin('q', 'x', 7)->end('buried', 'why');
posix_kill(getmypid(), SIGKILL);
