<?php

declare(strict_types=1);

namespace Beanwatch;

use Closure;
use InvalidArgumentException;
use Throwable;

/** A running job. Call end() when it has ended. */
final class Run
{
    // The level of its log line, and: it counts as failed; it has a duration; its job may be buried now.
    private const OUTCOMES = [
        'ok' => ['info', 'ran'],
        'retry' => ['warning', 'failed', 'ran'],
        'buried' => ['error', 'failed', 'ran', 'buried'],
        'failed' => ['error', 'failed', 'ran'],
        'discarded' => ['info', 'ran'],
        'timeout' => ['error', 'failed', 'ran', 'buried'],
        'lost' => ['warning', 'ran'],
        'poison' => ['error', 'failed', 'buried'],
        'invalid' => ['error', 'failed', 'buried'],
    ];

    public readonly float $startedAt;
    public float $duration = 0.0;
    public string $outcome = '';  // '' while it runs
    public string $reason = '';
    public string $traceback = '';
    public float $delay = 0.0;
    /** @var list<string> */
    public array $followUps = [];
    private string $where = '';
    private string $note = '';
    /** @var list<int> */
    private array $progress = [];
    public readonly ?float $wait;
    /** @var array<float> */
    private readonly array $limits;
    private readonly float $cpuBefore;

    /**
     * @param array{float, float} $limits from the start to `deadline` and `hard_deadline`; 0: none
     * @internal
     */
    public function __construct(
        private readonly Closure $finish,
        public readonly string $queue,
        public readonly string $name,
        public readonly string|int $id,
        public readonly string $uuid,
        public readonly int $attempt,
        ?float $wait,
        array $limits,
        public readonly string $parent,
    ) {
        $this->wait = Text::finite($wait);
        $this->limits = array_map(static fn (float $limit): float => Text::finite($limit) ?? 0.0, $limits);
        $this->startedAt = Host::now();
        $this->cpuBefore = Host::cpuSeconds();
    }

    /** Show a text and the progress: $done of $total steps (0: not known). */
    public function note(string $text, ?int $done = null, int $total = 0): void
    {
        $this->note = substr($text, 0, 200);
        $this->progress = $done === null ? [] : [$done, $total];
    }

    /**
     * Report how the run ended. A second call does nothing. docs/reference.md explains the outcomes.
     *
     * @param string $outcome ok, retry, buried, failed, discarded, timeout, lost, poison or invalid
     * @param ?Throwable $error gives the traceback, and the reason if there is no other
     * @param float $delay until the job runs again
     * @param list<string> $followUps uuids of the jobs that were put because this one ended so
     * @throws InvalidArgumentException
     */
    public function end(
        string $outcome = 'ok',
        string $reason = '',
        ?Throwable $error = null,
        float $delay = 0.0,
        array $followUps = [],
    ): void {
        if (!isset(self::OUTCOMES[$outcome])) {
            throw new InvalidArgumentException("'$outcome' is no outcome");
        }
        if ($this->outcome !== '') {
            return;
        }
        $this->outcome = $outcome;
        $this->duration = Host::now() - $this->startedAt;
        $this->reason = substr($reason ?: Text::describeError($error), 0, 1000);
        $this->traceback = substr((string) $error, 0, 8192);
        [$this->delay, $this->followUps] = [Text::finite($delay) ?? 0.0, $followUps];
        ($this->finish)($this);
    }

    /** @internal tells what follows from the outcome: failed, ran or buried */
    public function has(string $consequence): bool
    {
        return in_array($consequence, self::OUTCOMES[$this->outcome], true);
    }

    /** @internal */
    public function level(): string
    {
        return self::OUTCOMES[$this->outcome][0];
    }

    /** @internal stores the line that it executes now */
    public function see(string $where): void
    {
        $this->where = $where;
    }

    /**
     * @return array<string, mixed> the names of this job in the log
     * @internal
     */
    public function identify(): array
    {
        return [
            'queue' => $this->queue,
            'job_id' => $this->id,
            'id' => $this->uuid,
            'job' => $this->name,
            'attempt' => $this->attempt,
        ];
    }

    /**
     * @return array<string, mixed> the fields of the log line about this run
     * @internal
     */
    public function context(): array
    {
        $wait = $this->wait === null ? [] : ['wait_ms' => round($this->wait * 1000, 1)];
        $end = ['duration_ms' => round($this->duration * 1000, 1), 'outcome' => $this->outcome];
        return $this->identify() + $wait + $end + array_filter([
            'reason' => $this->reason,
            'traceback' => $this->traceback,
            'delay' => $this->delay,
            'follow_ups' => $this->followUps,
            'parent' => $this->parent,
        ]);
    }

    /**
     * @param float $ahead the host's clock minus PHP's
     * @return array<string, mixed> this job in the record of its worker
     * @internal
     */
    public function record(float $ahead): array
    {
        $startedAt = $ahead + $this->startedAt;
        [$deadline, $hardDeadline] = array_map(
            static fn (float $limit): float => $limit ? $startedAt + $limit : 0.0,
            $this->limits,
        );
        return [
            'id' => (string) $this->id,
            'uuid' => $this->uuid,
            'name' => $this->name,
            'queue' => $this->queue,
            'attempt' => $this->attempt,
            'where' => $this->where,
            'note' => $this->note,
            'progress' => $this->progress,
            'started_at' => $startedAt,
            'cpu' => round(Host::cpuSeconds() - $this->cpuBefore, 3),
            'deadline' => $deadline,
            'hard_deadline' => $hardDeadline,
        ];
    }
}
