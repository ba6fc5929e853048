<?php

declare(strict_types=1);

namespace Beanwatch\Pheanstalk;

use Beanwatch\Host;
use Beanwatch\Run;
use Pheanstalk\Exception as PheanstalkException;
use Pheanstalk\Job as ReservedJob;

/** The state of the running job. Deadlines are by PHP's monotonic clock, in seconds. */
final class RunningJob
{
    private const MAX_CLOCK_ERROR = 86_400.0;  // seconds; a producer's time that is further off is none

    public readonly float $deadline;
    public readonly float $hardDeadline;
    public ?Verdict $refusal = null;  // why its handler is not called
    public bool $isInHandler = false;
    private readonly int $pid;
    private float $touchedAt;
    private bool $isInterrupted = false;

    /** @param array<string, mixed> $stats beanstalkd's stats-job */
    public function __construct(
        public readonly ReservedJob $reserved,
        public readonly array $stats,
        public readonly Run $run,
        public readonly ?Envelope $envelope,
        float $timeout,
        float $grace,
    ) {
        $this->pid = (int) getmypid();
        $this->touchedAt = $run->startedAt;
        $this->deadline = $run->startedAt + $timeout;
        $this->hardDeadline = $this->deadline + $grace;
    }

    /**
     * Return how long a job waited: beanstalkd's age, made finer by the producer's time of the put.
     *
     * @param array<string, mixed> $stats
     */
    public static function wait(array $stats, ?Envelope $envelope): float
    {
        $age = (float) $stats['age'];
        $wait = $age;
        if ($envelope?->enqueuedAt !== null) {
            $told = microtime(true) - $envelope->enqueuedAt;
            $wait = abs($told - $age) < self::MAX_CLOCK_ERROR ? min(max($age, $told), $age + 1.0) : $age;
        }
        return max(0.0, $wait - ((int) $stats['reserves'] === 1 ? $stats['delay'] : 0));
    }

    /** The text from which the ids of follow-ups are derived: the same in all runs of the job. */
    public function identity(): string
    {
        return $this->run->uuid ?: "#{$this->run->id}:" . bin2hex($this->reserved->getData());
    }

    /** Renew the TTR, each time that a third of it has passed. Return why it could not be renewed, or ''. */
    public function touch(Connection $connection, float $now): string
    {
        if ($now - $this->touchedAt < $this->stats['ttr'] / 3) {
            return '';
        }
        $this->touchedAt = $now;
        try {
            $connection->touch($this->reserved);
        } catch (PheanstalkException $error) {
            return $error->getMessage();
        }
        return '';
    }

    /** @throws Interrupted the first time; later the handler cleans up */
    public function interrupt(Interrupted $error): void
    {
        if (!$this->isInterrupted) {
            $this->isInterrupted = true;
            throw $error;
        }
    }

    /** False in a child that a handler has forked. */
    public function isOfThisProcess(): bool
    {
        return getmypid() === $this->pid;
    }
}
