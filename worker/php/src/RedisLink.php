<?php

declare(strict_types=1);

namespace Beanwatch;

use Closure;
use RuntimeException;
use Throwable;

/** @internal a connection to Redis through ext-redis or Predis, which only the monitor uses */
final class RedisLink
{
    private const TIMEOUT = 0.5;  // seconds; the job waits for it
    private const PAUSES = 10.0;  // after a failure: so many times what it took
    // The arguments are the length of each command, and the command. A pipeline would do the same, but
    // ext-redis waits for each of its replies as long as for one: so a job would wait too long.
    private const SCRIPT = <<<'LUA'
        local replies, at = {}, 1
        while at <= #ARGV do
          local last = at + tonumber(ARGV[at])
          replies[#replies + 1] = redis.call(unpack(ARGV, at + 1, last))
          at = last + 1
        end
        return replies
        LUA;

    private ?object $client = null;
    private float $retryAt = 0.0;
    private string $failure = '';
    private ?float $ahead = null;  // Redis's clock minus PHP's

    public function __construct(private readonly string|Closure $target)
    {
    }

    /** Return a moment (null: now) by Redis's clock; by that of the host before Redis has answered. */
    public function time(?float $moment = null): float
    {
        return ($moment ?? Host::now()) + ($this->ahead ?? microtime(true) - Host::now());
    }

    /**
     * Carry out commands and return their replies, in one round trip. An error ends them.
     *
     * @param list<list<string|int>> $commands
     * @return list<mixed>
     * @throws RedisError
     */
    public function execute(array $commands): array
    {
        $arguments = [];
        foreach ([...$commands, ['TIME']] as $command) {
            array_push($arguments, count($command), ...$command);
        }
        $replies = $this->evaluate(self::SCRIPT, 0, ...$arguments);
        [$seconds, $microseconds] = array_pop($replies);
        $this->ahead = $seconds + $microseconds / 1e6 - Host::now();
        return $replies;
    }

    /**
     * Run a script of Redis; $arguments are the number of keys, the keys, and what else it gets.
     *
     * @throws RedisError
     */
    public function evaluate(string $script, string|int ...$arguments): mixed
    {
        $started = Host::now();
        if ($started < $this->retryAt) {
            throw new RedisError($this->failure, false);
        }
        $isSent = false;
        try {
            $this->client ??= $this->target instanceof Closure ? ($this->target)() : $this->connect();
            $isSent = true;
            return self::call($this->client, 'EVAL', $script, ...$arguments);
        } catch (Throwable $error) {
            $this->client = null;
            $this->retryAt = Host::now() + self::PAUSES * (Host::now() - $started);
            $this->failure = 'redis: ' . explode(' script: ', $error->getMessage())[0];
            throw new RedisError($this->failure, $isSent);
        }
    }

    private function connect(): object
    {
        $url = $this->target ?: (string) getenv('BEANWATCH_REDIS_URL') ?: 'redis://127.0.0.1:6379/0';
        $parts = parse_url(str_replace('unix:///', 'unix:/', $url)) ?: [];  // PHP parses no empty host
        parse_str($parts['query'] ?? '', $query);
        [$host, $port, $path] = [$parts['host'] ?? '', $parts['port'] ?? 6379, $parts['path'] ?? ''];
        $client = match ($parts['scheme'] ?? '') {
            'redis' => self::open('tcp', $host, $port),
            'rediss' => self::open('tls', $host, $port, array_filter(['cafile' => $query['ssl_ca_certs'] ?? ''])),
            'unix' => self::open('unix', $path, 0),
            default => throw new RuntimeException('expected a URL with redis://, rediss:// or unix://'),
        };
        $password = rawurldecode($parts['pass'] ?? '') ?: (string) getenv('BEANWATCH_REDIS_PASSWORD');
        $login = array_values(array_filter([rawurldecode($parts['user'] ?? ''), $password]));
        $db = (int) ($query['db'] ?? ($host === '' ? 0 : trim($path, '/')));
        if ($password !== '') {
            self::call($client, 'AUTH', ...$login);
        }
        self::call($client, 'SELECT', $db);
        return $client;
    }

    /** @param array<string, string> $tls options of PHP's stream */
    private static function open(string $kind, string $host, int $port, array $tls = []): object
    {
        if (!extension_loaded('redis')) {
            $where = $kind === 'unix' ? ['path' => $host] : ['host' => $host, 'port' => $port, 'ssl' => $tls];
            $times = ['timeout' => self::TIMEOUT, 'read_write_timeout' => self::TIMEOUT];
            return new \Predis\Client(['scheme' => $kind] + $where + $times);
        }
        $client = new \Redis();
        $address = ($kind === 'tls' ? 'tls://' : '') . $host;
        $client->connect($address, $port, self::TIMEOUT, null, 0, self::TIMEOUT, $tls ? ['stream' => $tls] : []);
        $client->setOption(\Redis::OPT_MAX_RETRIES, 0);
        return $client;
    }

    private static function call(object $client, string|int ...$command): mixed
    {
        if ($client instanceof \Redis) {
            $client->clearLastError();
            $reply = $client->rawCommand(...$command);
            $error = $client->getLastError();
        } else {
            $reply = $client->executeRaw($command, $isError);
            $error = $isError ? $reply : null;
        }
        return $error === null ? $reply : throw new RuntimeException($error);
    }
}
