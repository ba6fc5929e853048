<?php

declare(strict_types=1);

namespace Beanwatch;

/** @internal collects what Redis keeps of runs: the ledger, the buried jobs, and outcomes per minute */
final class Ledger
{
    private const WEEK = 604_800;
    private const MONTH = 2_592_000;
    private const MAX_WAITING = 1000;  // runs, or counts, while Redis is away or another process has the id
    private const MAX_SENT = 100;  // runs in one call of Redis: each has up to 13 commands
    private const TRIM_EVERY = 10.0;
    // Removes expired names from the index of the keys, and the oldest keys over the limit.
    private const TRIM = <<<'LUA'
        local over = redis.call('ZCARD', KEYS[1]) - tonumber(ARGV[1])
        local old = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[2], 'LIMIT', 0, ARGV[3])
        if #old > 0 then redis.call('ZREM', KEYS[1], unpack(old)) end
        over = math.min(over - #old, tonumber(ARGV[3]))
        if over > 0 then
          local oldest = redis.call('ZRANGE', KEYS[1], 0, over - 1)
          redis.call('ZREM', KEYS[1], unpack(oldest))
          redis.call('UNLINK', unpack(oldest))
        end
        return over
        LUA;

    public string $server = '';  // identifies the process of the queue server
    public int $dropped = 0;  // runs and counts that were lost
    /** @var list<list<list<string|int>>> the commands of each run */
    private array $runs = [];
    /** @var array<string, int> runs by queue, job and outcome */
    private array $counts = [];
    /** @var array{list<list<list<string|int>>>, array<string, int>} what is being sent */
    private array $taken = [[], []];

    private bool $hasWritten = false;
    private float $trimmedAt = 0.0;

    public function __construct(private readonly string $worker, private readonly string $instance)
    {
    }

    public function add(Run $run, float $now): void
    {
        $this->count("$run->queue|$run->name|$run->outcome", 1);
        if ($run->outcome === 'ok' && $run->attempt === 1) {
            return;
        }
        if (count($this->runs) >= self::MAX_WAITING) {
            $this->dropped++;
            return;
        }
        $numbered = is_int($run->id) ? $this->describeNumbered($run, $now) : [];
        $this->runs[] = [...$this->describeRun($run, Text::seconds($now)), ...$numbered];
    }

    /** @return list<list<string|int>> the commands to send now; empty if nothing is left */
    public function take(float $now): array
    {
        $runs = array_splice($this->runs, 0, self::MAX_SENT);
        [$counts, $this->counts] = [$this->counts, []];
        $this->taken = [$runs, $counts];
        $commands = array_merge(...$runs);
        $this->hasWritten = $this->hasWritten || $commands !== [];
        $key = Text::KEYS . 'outcomes:' . intdiv((int) $now, 60);
        foreach ($counts as $field => $number) {
            $commands[] = ['HINCRBY', $key, $field, $number];
        }
        return $counts ? [...$commands, ['EXPIRE', $key, 7200]] : $commands;
    }

    /** Remove the oldest runs from Redis, from time to time. */
    public function trim(RedisLink $redis): void
    {
        $now = $redis->time();
        if ($this->hasWritten && $now - $this->trimmedAt >= self::TRIM_EVERY) {
            [$this->hasWritten, $this->trimmedAt] = [false, $now];
            $redis->evaluate(self::TRIM, 1, Text::KEYS . 'jobs', 100_000, (int) $now - self::WEEK, 1000);
        }
    }

    /** Keep what could not be sent. Counts that Redis may have got are lost: better that than twice. */
    public function putBack(bool $isSent): void
    {
        [$runs, $counts] = $this->taken;
        $this->runs = [...$runs, ...$this->runs];
        if ($isSent) {
            $this->dropped += array_sum($counts);
            return;
        }
        foreach ($counts as $field => $number) {
            $this->count($field, $number);
        }
    }

    private function count(string $field, int $runs): void
    {
        if (!isset($this->counts[$field]) && count($this->counts) >= self::MAX_WAITING) {
            $this->dropped += $runs;
            return;
        }
        $this->counts[$field] = ($this->counts[$field] ?? 0) + $runs;
    }

    /** @return list<list<string|int>> */
    private function describeRun(Run $run, string $now): array
    {
        $key = $run->uuid ? Text::KEYS . "job:$run->uuid" : Text::KEYS . "job-number:$this->server:$run->id";
        $startedAt = microtime(true) - Host::now() + $run->startedAt;
        $entry = Text::encode(['worker' => $this->worker, 'instance' => $this->instance, 'server' => $this->server] + [
            'queue' => $run->queue,
            'job' => $run->name,
            'job_id' => $run->id,
            'attempt' => $run->attempt,
            'outcome' => $run->outcome,
            'uuid' => $run->uuid,
            'reason' => substr($run->reason, 0, 500),
            'traceback' => substr($run->traceback, 0, $run->outcome === 'retry' ? 500 : 2000),
            'started_at' => $startedAt,
            'wait' => $run->wait,
            'duration' => $run->duration,
            'delay' => $run->delay,
            'parent' => $run->parent,
            'follow_ups' => $run->followUps,
        ]);
        return [
            ['ZADD', $key, Text::seconds($startedAt), $entry],
            ['ZREMRANGEBYRANK', $key, 0, -51],
            ['EXPIRE', $key, self::WEEK],
            ['ZADD', Text::KEYS . 'jobs', $now, $key],
        ];
    }

    /** @return list<list<string|int>> what there is of a job of beanstalkd besides, which numbers its jobs */
    private function describeNumbered(Run $run, float $now): array
    {
        $buried = Text::KEYS . "buried:$this->server:$run->queue";
        $commands = [['ZREMRANGEBYSCORE', $buried, $run->id, $run->id]];
        if ($run->uuid) {
            $byId = Text::KEYS . "job-uuid:$this->server:$run->id";
            $commands[] = ['SET', $byId, $run->uuid, 'EX', self::WEEK];
            $commands[] = ['ZADD', Text::KEYS . 'jobs', Text::seconds($now), $byId];
        }
        if (!$run->has('buried')) {
            return $commands;
        }
        $servers = Text::KEYS . "buried-on:$run->queue";
        $names = ['job_id' => $run->id, 'job' => $run->name, 'uuid' => $run->uuid];
        $end = ['outcome' => $run->outcome, 'reason' => substr($run->reason, 0, 500), 'buried_at' => $now];
        return [
            ...$commands,
            ['ZADD', $buried, $run->id, Text::encode($names + $end)],
            ['ZREMRANGEBYRANK', $buried, 0, -10_001],
            ['EXPIRE', $buried, self::MONTH],
            ['ZADD', $servers, Text::seconds($now), $this->server],
            ['ZREMRANGEBYRANK', $servers, 0, -51],
            ['EXPIRE', $servers, self::MONTH],
        ];
    }
}
