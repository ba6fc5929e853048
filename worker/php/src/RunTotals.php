<?php

declare(strict_types=1);

namespace Beanwatch;

/** @internal counts the runs of each kind of job, for the record */
final class RunTotals
{
    private const BOUNDS = [
        0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0,
    ];
    private const MAX_KINDS = 50;
    /** With the further jobs of each queue; beyond it, all queues share one name. */
    private const MAX_COUNTED = 200;

    /** @var array<string, array<string, mixed>> */
    private array $kinds = [];

    /** @param array<mixed> $totals those of the previous instance: this one goes on counting */
    public function continue(array $totals): void
    {
        foreach (array_slice($totals, 0, self::MAX_COUNTED + 1) as $kind) {
            [$queue, $job] = [$kind['queue'] ?? null, $kind['job'] ?? null];
            if (is_string($queue) && is_string($job)) {
                [$queue, $job] = [Text::name($queue), Text::name($job)];
                $this->kinds["$queue|$job"] = [
                    'queue' => $queue,
                    'job' => $job,
                    'outcomes' => array_filter((array) ($kind['outcomes'] ?? []), is_int(...)),
                    'seconds' => is_numeric($kind['seconds'] ?? null) ? (float) $kind['seconds'] : 0.0,
                    'buckets' => array_values(array_filter((array) ($kind['buckets'] ?? []), is_int(...))),
                ];
            }
        }
    }

    public function add(Run $run): void
    {
        $isNew = !isset($this->kinds["$run->queue|$run->name"]);
        [$queue, $name] = [$run->queue, $isNew && count($this->kinds) >= self::MAX_KINDS ? '_other' : $run->name];
        if (!isset($this->kinds["$queue|$name"]) && count($this->kinds) >= self::MAX_COUNTED) {
            $queue = '_other';
        }
        $kind = &$this->kinds["$queue|$name"];
        $kind ??= ['queue' => $queue, 'job' => $name, 'outcomes' => [], 'seconds' => 0.0, 'buckets' => []];
        $kind['outcomes'][$run->outcome] = ($kind['outcomes'][$run->outcome] ?? 0) + 1;
        if ($run->has('ran')) {
            $kind['seconds'] = round($kind['seconds'] + $run->duration, 6);
            $shorter = count(array_filter(self::BOUNDS, static fn (float $bound): bool => $bound < $run->duration));
            $kind['buckets'] = array_pad($kind['buckets'], $shorter + 1, 0);
            $kind['buckets'][$shorter]++;
        }
    }

    /** @return list<array<string, mixed>> */
    public function all(): array
    {
        return array_values($this->kinds);
    }
}
