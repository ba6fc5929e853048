<?php

declare(strict_types=1);

namespace Beanwatch;

use RuntimeException;

/** @internal */
final class RedisError extends RuntimeException
{
    /** @param bool $isSent Redis may have executed the commands */
    public function __construct(string $text, public readonly bool $isSent)
    {
        parent::__construct($text);
    }
}
