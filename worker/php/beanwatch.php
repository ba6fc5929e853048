<?php

/**
 * The file to require in a worker: it loads the classes of beanwatch. docs/php.md explains their use.
 *
 * They need PHP 8.2 with ext-pcntl, and ext-redis or Predis. They are loaded at once, because memory
 * may be exhausted when they are needed. Those of the example worker are loaded if Pheanstalk is there.
 */

declare(strict_types=1);

foreach (glob(__DIR__ . '/src/*.php') as $file) {
    require_once $file;
}
if (interface_exists(Pheanstalk\Contract\SocketInterface::class)) {
    foreach (glob(__DIR__ . '/pheanstalk/*.php') as $file) {
        require_once $file;
    }
}
