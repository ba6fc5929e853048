<?php

declare(strict_types=1);

namespace Beanwatch\Pheanstalk;

use Exception;

/** Throw this in a handler to end its job in another way than as done or as failed. */
final class JobEnd extends Exception
{
    private function __construct(
        public readonly string $outcome,
        string $reason,
        public readonly ?float $delay = null,
    ) {
        parent::__construct($reason);
    }

    /** Run the job again after $delay seconds (null: later with each attempt), unless this was the last attempt. */
    public static function retry(?float $delay = null, string $reason = 'the handler asked for a retry'): self
    {
        return new self('retry', $reason, $delay);
    }

    /** Keep the job for a person, also if attempts are left. */
    public static function bury(string $reason): self
    {
        return new self('buried', $reason);
    }

    /** Delete the job, which has failed and must not run again. */
    public static function discard(string $reason): self
    {
        return new self('discarded', $reason);
    }
}
