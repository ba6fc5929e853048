<?php

declare(strict_types=1);

namespace Beanwatch\Pheanstalk;

use Beanwatch\Host;
use Beanwatch\Monitor;
use JsonException;
use Pheanstalk\Exception as PheanstalkException;
use Pheanstalk\Exception\JobNotFoundException;
use Psr\Log\LoggerInterface;
use Throwable;

/**
 * Takes jobs from beanstalkd and calls their handlers, one after another. Durations are in seconds.
 *
 * A job is acknowledged after its handler has returned: if the worker dies before, the job runs again.
 */
final class Worker
{
    private const HARD_DEADLINE = 11;  // the exit code
    private const MAX_RECONNECT_DELAY = 30.0;
    private const UNKNOWN = 'unknown';  // the name of a job that has no handler

    private ?Connection $connection = null;
    private ?RunningJob $job = null;
    private string $stopReason = '';
    private float $stopBy = INF;

    /**
     * @param array<string, callable(mixed, Job): void> $handlers by the names of jobs
     * @param list<string> $queues
     * @param float $timeout after so long Interrupted is thrown in the handler
     * @param float $grace so long after that the worker gives the job back and exits
     * @param float $shutdownTimeout how long a job may run on after a signal to stop
     */
    public function __construct(
        private readonly array $handlers,
        private readonly Monitor $monitor,
        private readonly LoggerInterface $log,
        private readonly string $address,
        private readonly array $queues,
        private readonly float $timeout = 60.0,
        private readonly float $grace = 10.0,
        private readonly float $shutdownTimeout = 30.0,
        private readonly int $maxAttempts = 5,
    ) {
    }

    /** Work until a signal to stop. */
    public function run(): void
    {
        register_shutdown_function($this->shutdown(...));  // before that of the monitor
        $this->monitor->start();
        $this->monitor->onBeat($this->guard(...));
        foreach ([SIGTERM => 'SIGTERM', SIGINT => 'SIGINT', SIGQUIT => 'SIGQUIT'] as $signal => $name) {
            pcntl_signal($signal, fn () => $this->stop("it received $name"));
        }
        $this->log('info', 'the worker starts');
        for ($failures = 0; $this->stopReason === '';) {
            try {
                $this->connect();
                $failures = 0;
                while ($this->stopReason === '') {
                    $this->turn();
                }
            } catch (PheanstalkException $error) {
                $this->connection = null;
                $this->reconnectAfter($error, $failures++);
            }
        }
        $this->log('info', 'the worker stops: {reason}', ['reason' => $this->stopReason]);
        $this->monitor->stop();
    }

    private function connect(): void
    {
        $this->connection = new Connection($this->address, $this->queues);
        $this->monitor->ready($this->connection->serverId());
        $this->log('info', 'connected to beanstalkd {server}', ['server' => $this->address]);
    }

    private function reconnectAfter(PheanstalkException $error, int $failures): void
    {
        $this->monitor->blocked($error->getMessage());
        if ($failures === 0) {
            $this->log('warning', 'takes no jobs: {reason}', ['reason' => $error->getMessage()]);
        }
        $longest = min(self::MAX_RECONNECT_DELAY, 0.1 * 2 ** min($failures, 20));
        $until = Host::now() + mt_rand() / mt_getrandmax() * $longest;
        while ($this->stopReason === '' && ($left = $until - Host::now()) > 0) {
            $this->monitor->sleep(min($left, 0.5));
        }
    }

    private function turn(): void
    {
        $this->monitor->loop();
        $reserved = $this->connection->reserve();
        if ($reserved !== null) {
            $job = $this->begin(...$reserved);
            $this->end($job, $this->call($job));
        }
    }

    /** @param array<string, mixed> $stats */
    private function begin(\Pheanstalk\Job $reserved, array $stats): RunningJob
    {
        $envelope = $invalid = null;
        try {
            $envelope = Envelope::decode($reserved->getData());
        } catch (InvalidEnvelope $invalid) {
        }
        $isKnown = $envelope !== null && isset($this->handlers[$envelope->job]);
        $run = $this->monitor->begin(
            $stats['tube'],
            $isKnown ? $envelope->job : self::UNKNOWN,
            $reserved->getId(),
            uuid: $envelope?->id ?? '',
            attempt: (int) $stats['reserves'],
            wait: RunningJob::wait($stats, $envelope),
            timeout: $this->timeout,
            grace: $this->grace,
            parent: $envelope?->parent ?? '',
        );
        $job = new RunningJob($reserved, $stats, $run, $envelope, $this->timeout, $this->grace);
        $job->refusal = match (true) {
            $invalid !== null => new Verdict('invalid', 'bury', "not a valid job envelope: {$invalid->getMessage()}"),
            !$isKnown => new Verdict('invalid', 'bury', "the application has no handler for the job '$envelope->job'"),
            default => Verdict::ofPoison($stats, $this->maxAttempts),
        };
        return $this->job = $job;
    }

    private function call(RunningJob $job): Verdict
    {
        if ($job->refusal !== null) {
            return $job->refusal;
        }
        try {
            $job->isInHandler = true;
            $handler = $this->handlers[$job->envelope->job];
            $handler($job->envelope->data, new Job($job->run, $this->log, $this->connection, $job->identity()));
            $job->isInHandler = false;
            return new Verdict('ok', 'delete');
        } catch (Throwable $error) {
            $job->isInHandler = false;
            return Verdict::ofError($error, $job->stats, $this->maxAttempts);
        }
    }

    /** Put the follow-up, acknowledge the job and report the run. Throws if beanstalkd cannot be used. */
    private function end(RunningJob $job, Verdict $verdict): void
    {
        $followUps = [];
        $lost = null;
        try {
            [$verdict, $followUps] = $this->putFollowUp($job, $verdict);
            $priority = (int) $job->stats['pri'];
            $this->connection->acknowledge($job->reserved, $verdict->command, $priority, $verdict->delay);
        } catch (PheanstalkException $lost) {
        }
        $this->job = null;
        if ($lost === null) {
            $delay = (float) $verdict->delay;
            $job->run->end($verdict->outcome, $verdict->reason, $verdict->error, $delay, $followUps);
            return;
        }
        $isGone = $lost instanceof JobNotFoundException;
        $why = $isGone ? 'beanstalkd took the job back, because its TTR had passed' : $lost->getMessage();
        $reason = "$why; without this, the outcome would be $verdict->outcome";
        $reason .= $verdict->reason === '' ? '' : " ($verdict->reason)";
        $job->run->end('lost', $reason, $verdict->error, followUps: $followUps);
        if (!$isGone) {
            throw $lost;
        }
    }

    /** @return array{Verdict, list<string>} the verdict, which may be another one now, and ids of jobs */
    private function putFollowUp(RunningJob $job, Verdict $verdict): array
    {
        $isDone = $verdict->outcome === 'ok';
        $next = $isDone ? $job->envelope?->success : $job->envelope?->failure;
        if ($next === null || $verdict->command === 'release') {
            return [$verdict, []];
        }
        $id = Envelope::deriveId($job->identity(), $isDone ? 'success' : 'failure');
        try {
            $body = Envelope::encode($next->job, $next->data, $id, $job->run->uuid);
            $this->connection->put($next->queue, $body, $next->priority, $next->delay, $next->ttr);
            return [$verdict, [$id]];
        } catch (ConnectionLost $lost) {
            throw $lost;
        } catch (PheanstalkException | JsonException $refused) {  // too big, the server drains, or it has 1e999
            $reason = ltrim("$verdict->reason; the follow-up was not put: {$refused->getMessage()}", '; ');
            return [new Verdict('buried', 'bury', $reason, 0, $verdict->error), []];
        }
    }

    /** The monitor calls this each second, also during a job: renew its TTR, and enforce its deadlines. */
    private function guard(): void
    {
        $job = $this->job;
        if ($job === null || !$job->isInHandler || $this->connection->isBusy()) {
            return;
        }
        $now = Host::now();
        if ($now >= min($job->hardDeadline, $this->stopBy + $this->grace)) {
            $this->giveUp($job);
        }
        if ($reason = $job->touch($this->connection, $now)) {
            $message = 'cannot renew the TTR, so another worker may run the job too: {reason}';
            $this->log('warning', $message, ['reason' => $reason]);
        }
        if ($now >= $job->deadline) {
            $job->interrupt(new Interrupted('timeout', "the job ran longer than $this->timeout s, its timeout"));
        } elseif ($now >= $this->stopBy) {
            $job->interrupt(new Interrupted('retry', "the worker stops, and waited $this->shutdownTimeout s"));
        }
    }

    /** End the process: the handler has not ended, though it was interrupted. */
    private function giveUp(RunningJob $job): never
    {
        $isLate = Host::now() >= $job->hardDeadline;
        $why = 'its handler did not end when it was interrupted, so its worker ended';
        $error = new Interrupted($isLate ? 'timeout' : 'retry', $why);
        $this->leave($job, Verdict::ofError($error, $job->stats, $this->maxAttempts)->withoutTraceback());
        $end = "{$job->run->name} (job {$job->run->id}) ran past its hard deadline";
        $this->monitor->stop($isLate ? $end : '');
        exit($isLate ? self::HARD_DEADLINE : 0);
    }

    /** Give a job back that did not end, before the process ends. */
    private function leave(RunningJob $job, Verdict $verdict): void
    {
        $job->isInHandler = false;
        if ($this->connection === null || $this->connection->isBusy() || $this->connection->isLost()) {
            $job->run->end('retry', "$verdict->reason; beanstalkd gives the job to another worker");
            return;
        }
        try {
            $this->end($job, $verdict);
        } catch (PheanstalkException) {  // the run is reported as lost
        }
    }

    private function stop(string $reason): void
    {
        $this->stopReason = $reason;
        $this->stopBy = min($this->stopBy, Host::now() + $this->shutdownTimeout);
        $this->monitor->stopping($reason, $this->shutdownTimeout);
    }

    /** @param array<string, mixed> $context */
    private function log(string $level, string $message, array $context = []): void
    {
        try {
            $this->log->log($level, $message, $context);
        } catch (Throwable) {  // the disk is full, for example: neither the worker nor a job gets it
        }
    }

    /** PHP calls this whenever the process ends, also after a fatal error or exit() in a handler. */
    private function shutdown(): void
    {
        $job = $this->job;
        if ($job === null || !$job->isOfThisProcess()) {
            return;
        }
        ini_set('memory_limit', '-1');  // the limit may be the reason for the end
        $why = Host::whyEnded();
        $end = JobEnd::retry(reason: "its worker ended while it ran: $why");
        $this->leave($job, Verdict::ofError($end, $job->stats, $this->maxAttempts)->withoutTraceback());
        $this->monitor->stop("$why, while running {$job->run->name} (job {$job->run->id})");
    }
}
