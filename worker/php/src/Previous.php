<?php

declare(strict_types=1);

namespace Beanwatch;

/** @internal the previous process with a worker's id, by its record: does it live, how did it end? */
final class Previous
{
    private const CRASH_KEPT = 3600.0;  // for so long instances hand on a crash
    private const SILENT_AFTER = 10.0;
    // The fields that are read, with what counts if one is missing or of another type.
    private const FIELDS = [
        'instance' => '', 'hostname' => '', 'pid' => 0, 'process' => '', 'state' => '', 'jobs' => [],
        'beat_at' => 0.0, 'interval' => 1.0, 'is_over' => false, 'last_words' => '', 'last_exit' => '',
        'crashed_at' => 0.0, 'restarts' => 0, 'totals' => [], 'totals_of' => '',
    ];

    /** @var array<string, mixed> */
    private array $record = self::FIELDS;
    private ?float $watchedSince = null;  // null: its record was not read yet

    public function __construct(
        private readonly RedisLink $redis,
        private readonly string $worker,
        private readonly string $process,
    ) {
    }

    /**
     * Return '' if it has ended, or where it runs; null: ask again, it is not known yet.
     *
     * @throws RedisError
     */
    public function findRival(): ?string
    {
        $lastBeat = $this->record['beat_at'];
        $isFirst = $this->watchedSince === null;
        $this->watchedSince ??= Host::now();
        [$body, $score] = $this->redis->execute([
            ['GET', Text::workerKey($this->worker)],
            ['ZSCORE', Text::KEYS . 'workers', $this->worker],
            ['ZREMRANGEBYSCORE', Text::KEYS . 'ended', '-inf', Text::seconds($this->redis->time() - 3600)],
            ['ZREMRANGEBYRANK', Text::KEYS . 'workers', 0, -100_001],
        ]);
        $this->record = self::check(Text::decode((string) $body));
        $interval = $this->record['interval'];
        $age = $this->redis->time() - (float) $score;
        if ($this->hasSaidHowItEnded() || $age > max(3 * $interval, self::SILENT_AFTER)) {
            return '';
        }
        $isAlive = !$isFirst && $this->record['beat_at'] !== $lastBeat;
        [$boot, $namespace, $pid] = explode('/', $this->record['process']) + ['', '', ''];
        if (str_starts_with($this->process, "$boot/$namespace/")) {
            $isAlive = Host::identifyProcess((int) $pid) === $this->record['process'];
        } elseif (!$isAlive && Host::now() - $this->watchedSince < 2 * $interval) {
            return null;
        }
        $where = "{$this->record['hostname']} with pid {$this->record['pid']}";
        return $isAlive ? "another worker with this id runs on $where" : '';
    }

    /** Tell how it ended, if nobody asked it to. */
    public function crash(): string
    {
        if ($this->hasSaidHowItEnded()) {
            return $this->record['last_words'];
        }
        $job = $this->record['jobs'][0] ?? null;
        if (is_array($job) && is_scalar($job['id'] ?? null)) {
            $name = is_string($job['name'] ?? null) ? $job['name'] : 'a job';
            return substr("killed while running $name (job {$job['id']})", 0, 1000);
        }
        return 'killed while ' . ($this->record['state'] === 'busy' ? 'idle' : $this->record['state']);
    }

    /** @return array<string, mixed> the fields that the next instance takes over */
    public function inherit(string $crash): array
    {
        $old = $this->record;
        $now = microtime(true);
        $kept = $old['totals'] ? ['totals_of' => $old['totals_of'] ?: $old['instance']] : [];
        if ($crash !== '') {
            return $kept + ['restarts' => $old['restarts'] + 1, 'last_exit' => $crash, 'crashed_at' => $now];
        }
        if ($old['last_exit'] === '' || $now - $old['crashed_at'] > self::CRASH_KEPT) {
            return $kept;
        }
        return $kept + array_intersect_key($old, ['restarts' => 0, 'last_exit' => 0, 'crashed_at' => 0]);
    }

    /** @return array<mixed> */
    public function totals(): array
    {
        return $this->record['totals'];
    }

    private function hasSaidHowItEnded(): bool
    {
        return $this->record['instance'] === '' || $this->record['is_over'] || $this->record['last_words'] !== '';
    }

    /**
     * @param array<mixed> $found
     * @return array<string, mixed>
     */
    private static function check(array $found): array
    {
        $checked = self::FIELDS;
        foreach (self::FIELDS as $field => $default) {
            $value = $found[$field] ?? $default;
            $value = is_float($default) && is_int($value) ? (float) $value : $value;
            $checked[$field] = get_debug_type($value) === get_debug_type($default) ? $value : $default;
        }
        return $checked;
    }
}
