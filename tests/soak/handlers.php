<?php

/** The handler of the soak: it works, then notes that the job was done. */

declare(strict_types=1);

use Beanwatch\Pheanstalk\Job;

return [
    'work' => function (mixed $data, Job $job): void {
        for ($end = microtime(true) + $data['seconds']; ($left = $end - microtime(true)) > 0;) {
            usleep((int) ceil($left * 1e6)); // the monitor's signal ends it early
        }
        file_put_contents(getenv('SOAK_RUNS'), "{$data['ident']}\n", FILE_APPEND | LOCK_EX);
    },
];
