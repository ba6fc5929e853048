<?php

declare(strict_types=1);

namespace Beanwatch\Pheanstalk;

use Error;

/** Thrown in a handler that must end now. It is no Exception, so that `catch (Exception)` does not catch it. */
final class Interrupted extends Error
{
    public function __construct(public readonly string $outcome, string $reason)
    {
        parent::__construct($reason);
    }
}
