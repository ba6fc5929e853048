<?php

declare(strict_types=1);

namespace Beanwatch;

/** @internal makes the record of the worker: docs/worker-record.md */
final class WorkerRecord
{
    private const VERSION = 2;

    public readonly string $instance;
    public bool $isOver = false;
    public int $errors = 0;
    /** @var array<string, mixed> the fields that never change */
    private readonly array $identity;
    private readonly float $startedAt;
    private float $loopAt;
    private string $state = 'starting';
    private string $reason = '';
    private bool $isDisconnected = false;
    private string $stopReason = '';
    private float $shutdownDeadline = 0.0;
    private int $processed = 0;
    private int $failed = 0;
    /** @var array<string, mixed> */
    private array $inherited = [];
    private string $lastWords = '';

    /** @param list<string> $queues */
    public function __construct(
        string $host,
        string $name,
        string $server,
        array $queues,
        float $interval,
    ) {
        $this->instance = bin2hex(random_bytes(8));
        $this->startedAt = $this->loopAt = Host::now();
        $this->identity = [
            'v' => self::VERSION,
            'kind' => 'php',
            'instance' => $this->instance,
            'host' => $host,
            'hostname' => (string) gethostname(),
            'name' => $name,
            'pid' => (int) getmypid(),
            'process' => Host::identifyProcess((int) getmypid()),
            'server' => $server,
            'queues' => $queues,
            'version' => 'php ' . PHP_VERSION,
            'interval' => $interval,
            'started_at' => microtime(true),
        ];
    }

    /** @param array<string, mixed> $fields those that the previous instance hands on */
    public function inherit(array $fields): void
    {
        $this->inherited = $fields;
    }

    /** Identifies this process, as Host::identifyProcess() does. */
    public function process(): string
    {
        return $this->identity['process'];
    }

    public function hasCrashed(): bool
    {
        return isset($this->inherited['last_exit']);
    }

    public function loop(): void
    {
        $this->loopAt = Host::now();
        $this->state = $this->state === 'starting' ? 'idle' : $this->state;
    }

    public function block(string $reason, bool $isDisconnected): void
    {
        [$this->reason, $this->isDisconnected, $this->loopAt] = [$reason, $isDisconnected, Host::now()];
        $this->state = $reason === '' ? 'idle' : 'blocked';
    }

    public function stop(string $reason, float $timeout): void
    {
        $this->stopReason = $reason;
        $timeout = Text::finite($timeout) ?? 0.0;
        $this->shutdownDeadline = $timeout ? Host::now() + $timeout : 0.0;
    }

    public function end(string $lastWords): void
    {
        [$this->isOver, $this->lastWords] = [true, $lastWords];
    }

    public function finish(bool $hasFailed): void
    {
        $this->loopAt = Host::now();
        $this->processed++;
        $this->failed += (int) $hasFailed;
    }

    /** @param list<mixed> $totals */
    public function make(?Run $run, array $totals, RedisLink $redis): string
    {
        $now = microtime(true);
        $ahead = $now - Host::now();
        return Text::encode($this->identity + $this->inherited + [
            'state' => $this->stopReason !== '' ? 'stopping' : ($run === null ? $this->state : 'busy'),
            'reason' => $this->stopReason ?: $this->reason,
            'is_disconnected' => $this->isDisconnected,
            'jobs' => $run === null ? [] : [$run->record($ahead)],
            'loop_at' => $ahead + $this->loopAt,
            'beat_at' => $now,
            'redis_started_at' => $redis->time($this->startedAt),
            'shutdown_deadline' => $this->shutdownDeadline ? $ahead + $this->shutdownDeadline : 0.0,
            'processed' => $this->processed,
            'failed' => $this->failed,
            'errors' => $this->errors,
            'rss' => Host::residentBytes(),
            'cpu' => Host::cpuSeconds(),
            'last_words' => $this->lastWords,
            'is_over' => $this->isOver && $this->lastWords === '',
            'totals' => $totals,
        ]);
    }
}
