<?php

declare(strict_types=1);

namespace Beanwatch\Pheanstalk;

use Pheanstalk\Contract\JobIdInterface;
use Pheanstalk\Exception as PheanstalkException;
use Pheanstalk\Exception\JobNotFoundException;
use Pheanstalk\Exception\JobTooBigException;
use Pheanstalk\Exception\ServerException;
use Pheanstalk\Job as ReservedJob;
use Pheanstalk\Pheanstalk;

/** The worker's connection to beanstalkd. Its methods throw Pheanstalk's exceptions. */
final class Connection
{
    private const RESERVE_TIMEOUT = 1;  // seconds; a signal and a heartbeat wait for its end

    private readonly Pheanstalk $client;
    private bool $isBusy = false;
    private bool $isLost = false;

    /** @param list<string> $queues */
    public function __construct(string $address, array $queues)
    {
        $this->client = Pheanstalk::createWithFactory(new TimedSocket($address));
        $this->client->watchOnly($queues[0]);
        array_map($this->client->watch(...), $queues);
    }

    /** Return the id of the server's process. */
    public function serverId(): string
    {
        return (string) $this->client->stats()['id'];
    }

    /** @return ?array{ReservedJob, array<string, mixed>} the next job and its stats; null: there is none now */
    public function reserve(): ?array
    {
        $job = $this->client->reserveWithTimeout(self::RESERVE_TIMEOUT);
        if ($job === null) {
            return null;
        }
        try {
            return [$job, $this->client->statsJob($job)->getArrayCopy()];
        } catch (JobNotFoundException) {  // its TTR has passed
            return null;
        }
    }

    public function put(string $queue, string $body, int $priority, int $delay, int $ttr): void
    {
        $this->exchange(fn () => $this->client->useTube($queue)->put($body, $priority, $delay, $ttr));
    }

    /** Give the job back with a command: delete, release or bury. */
    public function acknowledge(JobIdInterface $job, string $command, int $priority, int $delay): void
    {
        $this->exchange(fn () => match ($command) {
            'delete' => $this->client->delete($job),
            'bury' => $this->client->bury($job, $priority),
            'release' => $this->client->release($job, $priority, $delay),
        });
    }

    /** Begin the job's TTR anew. Does nothing if nothing can be sent. */
    public function touch(JobIdInterface $job): void
    {
        if (!$this->isBusy && !$this->isLost) {
            $this->exchange(fn () => $this->client->touch($job));
        }
    }

    /** True during a command that a signal has interrupted: nothing else can be sent. */
    public function isBusy(): bool
    {
        return $this->isBusy;
    }

    /** True after a command whose reply was not read: the next command would take it for its own. */
    public function isLost(): bool
    {
        return $this->isLost;
    }

    private function exchange(callable $command): void
    {
        if ($this->isLost) {
            throw new ConnectionLost('the connection to beanstalkd was lost');
        }
        $this->isBusy = true;
        $isAnswered = false;
        try {
            $command();
            $isAnswered = true;
        } catch (ServerException | JobTooBigException $refused) {
            $isAnswered = true;
            throw $refused;
        } catch (PheanstalkException $error) {
            throw $error instanceof ConnectionLost ? $error : new ConnectionLost($error->getMessage());
        } finally {
            $this->isBusy = false;
            $this->isLost = !$isAnswered;
        }
    }
}
