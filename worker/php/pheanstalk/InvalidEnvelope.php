<?php

declare(strict_types=1);

namespace Beanwatch\Pheanstalk;

use InvalidArgumentException;

/** Thrown for a job that is no envelope, and for one that cannot be put. The text quotes no values. */
final class InvalidEnvelope extends InvalidArgumentException
{
}
