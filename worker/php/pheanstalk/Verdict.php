<?php

declare(strict_types=1);

namespace Beanwatch\Pheanstalk;

use Beanwatch\Text;
use Throwable;

/** How a run ended, and with which command the job goes back to beanstalkd: delete, release or bury. */
final class Verdict
{
    private const FIRST_BACKOFF = 5.0;  // seconds before the second attempt, doubled for each later one
    private const MAX_BACKOFF = 3600.0;
    private const DELIVERIES_PER_RUN = 3;  // a delivery to a dead connection is no run

    public function __construct(
        public readonly string $outcome,
        public readonly string $command,
        public readonly string $reason = '',
        public readonly int $delay = 0,  // seconds until the job runs again
        public readonly ?Throwable $error = null,
    ) {
    }

    /**
     * Decide what happens after $error.
     *
     * @param array<string, mixed> $stats beanstalkd's stats-job
     */
    public static function ofError(Throwable $error, array $stats, int $maxAttempts): self
    {
        $outcome = $error instanceof JobEnd || $error instanceof Interrupted ? $error->outcome : 'retry';
        $isOurs = $error instanceof JobEnd || $error instanceof Interrupted;
        $reason = $isOurs ? $error->getMessage() : Text::describeError($error);
        if ($outcome === 'buried' || $outcome === 'discarded') {
            return new self($outcome, $outcome === 'buried' ? 'bury' : 'delete', $reason, 0, $error);
        }
        if (self::isLast($stats, $maxAttempts) && !($error instanceof Interrupted && $outcome === 'retry')) {
            $outcome = $outcome === 'timeout' ? 'timeout' : 'buried';
            return new self($outcome, 'bury', "$reason (" . self::describeLast($stats) . ')', 0, $error);
        }
        $delay = match (true) {
            $error instanceof JobEnd && $error->delay !== null && !is_nan($error->delay) => $error->delay,
            $error instanceof Interrupted && $outcome === 'retry' => 0.0,  // another worker takes it now
            default => self::backoff(self::countAttempts($stats)),
        };
        $delay = (int) ceil(min(max($delay, 0.0), Envelope::MAX_NUMBER));
        return new self($outcome, 'release', $reason, $delay, $error);
    }

    /**
     * Bury a job that kills its workers, or runs longer than its TTR; null: it may run.
     *
     * @param array<string, mixed> $stats
     */
    public static function ofPoison(array $stats, int $maxAttempts): ?self
    {
        $unacknowledged = self::countUnacknowledged($stats);
        if ($unacknowledged < self::DELIVERIES_PER_RUN * $maxAttempts * ($stats['kicks'] + 1)) {
            return null;
        }
        return new self('poison', 'bury', 'the job probably kills its worker or runs longer than its TTR '
            . "(deliveries that were never acknowledged: $unacknowledged; it is unknown how many of them "
            . 'started to run)');
    }

    /** For an error that nobody threw: it has no traceback. */
    public function withoutTraceback(): self
    {
        return new self($this->outcome, $this->command, $this->reason, $this->delay);
    }

    /** @param array<string, mixed> $stats */
    private static function isLast(array $stats, int $maxAttempts): bool
    {
        return self::countAttempts($stats) >= $maxAttempts * ($stats['kicks'] + 1);
    }

    /** @param array<string, mixed> $stats */
    private static function describeLast(array $stats): string
    {
        $others = self::countUnacknowledged($stats);
        $left = $others === 0 ? '' : "; not counted: $others " . ($others === 1 ? 'delivery' : 'deliveries')
            . ' that nobody acknowledged';
        return 'attempt ' . self::countAttempts($stats) . ", the last$left";
    }

    /**
     * Return how many runs of the job count as attempts, with this one.
     *
     * Nobody knows which of the deliveries that were never acknowledged became a run. Many may have been to a dead
     * connection, so none of them counts. ofPoison limits them.
     *
     * @param array<string, mixed> $stats
     */
    private static function countAttempts(array $stats): int
    {
        return $stats['reserves'] - self::countUnacknowledged($stats);
    }

    /** @param array<string, mixed> $stats */
    private static function countUnacknowledged(array $stats): int
    {
        return max(0, $stats['reserves'] - 1 - $stats['releases'] - $stats['buries']);
    }

    /** Return seconds; up to a half is taken off at random, so that jobs do not all come back at once. */
    private static function backoff(int $attempt): float
    {
        $longest = min(self::MAX_BACKOFF, self::FIRST_BACKOFF * 2 ** min($attempt - 1, 30));
        return $longest * (0.5 + mt_rand() / mt_getrandmax() / 2);
    }
}
