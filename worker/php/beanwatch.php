<?php

/**
 * The file to require in a worker: it loads the classes of beanwatch. The page "PHP workers" of the documentation
 * explains their use. In short:
 *
 *     $monitor = (new Beanwatch\Monitor('email-1', ['email.regular']))->start();
 *     $monitor->ready();
 *     while (true) {
 *         $monitor->loop();
 *         // ... reserve a job, for 10 s at most, and then:
 *         $monitor->job('email.regular', 'email.send', $id, fn () => send_mail($data), 'buried');
 *     }
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
