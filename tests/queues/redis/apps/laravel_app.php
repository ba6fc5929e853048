<?php
// Puts and takes jobs with Laravel's own queue component on a Redis of phpredis.
// php laravel_app.php put QUEUE COUNT | later QUEUE SECONDS | take QUEUE | release QUEUE | size QUEUE | clear QUEUE

require '/usr/share/php/Illuminate/Queue/autoload.php';

use Illuminate\Container\Container;
use Illuminate\Contracts\Redis\Factory;
use Illuminate\Queue\RedisQueue;

// The few methods of Illuminate\Redis\Connections\PhpRedisConnection that RedisQueue calls.
class Connection
{
    public function __construct(private \Redis $redis) {}

    public function eval($script, $numberOfKeys, ...$arguments)
    {
        return $this->redis->eval($script, $arguments, $numberOfKeys);
    }

    public function __call($method, $arguments)
    {
        return $this->redis->$method(...$arguments);
    }
}

class Connections implements Factory
{
    public function connection($name = null)
    {
        $redis = new \Redis();
        $redis->connect('127.0.0.1', (int) getenv('REDIS_PORT'));
        $redis->setOption(\Redis::OPT_PREFIX, getenv('REDIS_PREFIX') ?: '');
        return new Connection($redis);
    }
}

$queue = new RedisQueue(new Connections(), 'default', null, 60);
$queue->setContainer(new Container());
$queue->setConnectionName('redis');
[, $action, $name, $argument] = [...$argv, null, null];
switch ($action) {
    case 'put':
        for ($n = 0; $n < (int) $argument; $n++) {
            $queue->push('Mail@send', ['to' => $n], $name);
        }
        break;
    case 'later':
        $queue->later((int) $argument, 'Mail@send', ['to' => 'later'], $name);
        break;
    case 'take':
        echo $queue->pop($name)?->getRawBody(), "\n";
        break;
    case 'finish':
        $queue->pop($name)?->delete();
        break;
    case 'size':
        echo $queue->size($name), "\n";
        break;
}
