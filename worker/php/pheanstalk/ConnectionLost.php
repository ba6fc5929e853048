<?php

declare(strict_types=1);

namespace Beanwatch\Pheanstalk;

use Pheanstalk\Exception;

/** Thrown if the connection to beanstalkd cannot be used any more. */
final class ConnectionLost extends Exception
{
}
