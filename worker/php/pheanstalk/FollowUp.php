<?php

declare(strict_types=1);

namespace Beanwatch\Pheanstalk;

/** A job that the worker puts when another one has ended. $delay and $ttr are in seconds. */
final class FollowUp
{
    public const PRIORITY = 65_536;
    public const TTR = 60;

    public function __construct(
        public readonly string $queue,
        public readonly string $job,
        public readonly mixed $data,
        public readonly int $priority = self::PRIORITY,
        public readonly int $delay = 0,
        public readonly int $ttr = self::TTR,
    ) {
    }
}
