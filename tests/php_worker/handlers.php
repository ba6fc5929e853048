<?php

/** The handlers of the tests: what jobs can do to their worker. */

declare(strict_types=1);

use Beanwatch\Pheanstalk\Interrupted;
use Beanwatch\Pheanstalk\Job;
use Beanwatch\Pheanstalk\JobEnd;

function stay_busy(float $seconds): void
{
    for ($end = microtime(true) + $seconds; microtime(true) < $end;) {
        $x = 1;
    }
}

function wait_for_lock(string $path): void
{
    flock(fopen($path, 'c'), LOCK_EX);
}

return [
    'ok' => fn (mixed $data, Job $job) => $job->log->info('runs with {data}', ['data' => json_encode($data)]),
    'note' => fn (mixed $data, Job $job) => $job->note($data['text'], 1, 2),
    'fail' => fn () => throw new DomainException("no\nsecond line \u{9b}"),
    'bury' => fn () => throw JobEnd::bury('nobody knows this address'),
    'discard' => fn () => throw JobEnd::discard('too late'),
    'retry' => fn (mixed $data) => throw JobEnd::retry($data['delay'], 'not now'),
    'type' => fn (int $data, Job $job) => null,
    'busy' => function (mixed $data, Job $job): void {
        $job->note('page 1', 1, 2);
        stay_busy($data['seconds']);
    },
    'deaf' => function (mixed $data, Job $job): void {
        try {
            stay_busy($data['seconds']);
        } catch (Interrupted) {
            stay_busy($data['seconds']);
        }
    },
    'blocked' => fn (mixed $data) => wait_for_lock($data['lock']),
    'sleep' => fn (mixed $data) => sleep($data['seconds']),
    'put' => fn (mixed $data, Job $job) => $job->put($data['queue'], 'ok', ['n' => 1]),
    'exit' => fn () => exit(0),
    'kill' => fn () => posix_kill(getmypid(), SIGKILL),
    'fatal' => fn () => eval('function strlen() {}'),
    'memory' => function (): void {
        for ($kept = [];;) {
            $kept[] = str_repeat('x', 100_000);
        }
    },
    'fork' => function (): void {
        $child = pcntl_fork();
        if ($child === 0) {
            exit(0);
        }
        pcntl_waitpid($child, $status);
    },
    'warn' => function (mixed $data, Job $job): void {
        @file_get_contents('/nowhere');
        json_decode('{');
        $before = [error_get_last(), json_last_error()];
        stay_busy(1.5);
        $job->note($before === [error_get_last(), json_last_error()] ? 'same' : 'changed');
        stay_busy(1.5);
    },
];
