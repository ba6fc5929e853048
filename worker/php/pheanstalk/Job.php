<?php

declare(strict_types=1);

namespace Beanwatch\Pheanstalk;

use Beanwatch\Run;
use Psr\Log\LoggerInterface;

/** What a handler gets besides the data of its job. */
final class Job
{
    private int $puts = 0;

    /** @internal */
    public function __construct(
        public readonly Run $run,
        public readonly LoggerInterface $log,
        private readonly Connection $connection,
        private readonly string $identity,
    ) {
    }

    /** Show a text and the progress: $done of $total steps (0: not known). */
    public function note(string $text, ?int $done = null, int $total = 0): void
    {
        $this->run->note($text, $done, $total);
    }

    /**
     * Put another job, and return its id, which is the same in each run of this one. $delay and $ttr: seconds.
     *
     * @throws InvalidEnvelope
     * @throws \JsonException if JSON has no form for the data
     * @throws \Pheanstalk\Exception if beanstalkd does not take it
     */
    public function put(
        string $queue,
        string $job,
        mixed $data = [],
        int $priority = FollowUp::PRIORITY,
        int $delay = 0,
        int $ttr = FollowUp::TTR,
    ): string {
        Envelope::checkTarget($queue, $priority, $delay, $ttr);
        $id = Envelope::deriveId($this->identity, 'put:' . ++$this->puts);
        $this->connection->put($queue, Envelope::encode($job, $data, $id, $this->run->uuid), $priority, $delay, $ttr);
        return $id;
    }
}
