<?php

/** The handler of the soak: it notes that the job has begun, works, and notes that it is done. */

declare(strict_types=1);

use Beanwatch\Pheanstalk\Job;

$note = fn (string $line) => file_put_contents(getenv('SOAK_RUNS'), "$line\n", FILE_APPEND | LOCK_EX);

return [
    'work' => function (mixed $data, Job $job) use ($note): void {
        $note("begun {$data['ident']}");
        for ($end = microtime(true) + $data['seconds']; ($left = $end - microtime(true)) > 0;) {
            usleep((int) ceil($left * 1e6)); // the monitor's signal ends it early
        }
        $note("done {$data['ident']}");
    },
];
