<?php

declare(strict_types=1);

namespace Beanwatch;

use Closure;

/** @internal writes the record of the worker to Redis, with what is to be kept of runs */
final class Heartbeats
{
    private const TRY_AGAIN = 10.0;  // until an id that was in use is tried again

    private readonly string $key;
    private ?Previous $previous;  // null: this process has the id
    private float $claimAt = 0.0;
    private string $rival = '';
    private int $missed = 0;  // heartbeats in a row that Redis did not get

    /** @param Closure(string, string, array<string, mixed>): void $log takes a level, a message and its context */
    public function __construct(
        private readonly string $id,
        private readonly WorkerRecord $record,
        private readonly RunTotals $totals,
        private readonly Ledger $ledger,
        private readonly RedisLink $redis,
        private readonly bool $isExpected,
        private readonly Closure $log,
    ) {
        $this->key = Text::workerKey($id);
        $this->previous = new Previous($redis, $id, $record->process());
    }

    /** Write the record, and log it if Redis begins to fail, or works again. */
    public function send(?Run $run): void
    {
        try {
            if ($this->hasId()) {
                $this->write($run);
            }
        } catch (RedisError $error) {
            if ($this->missed++ === 0) {
                $reason = ['reason' => $error->getMessage()];
                ($this->log)('warning', 'cannot write the heartbeat, jobs keep running: {reason}', $reason);
            }
            return;
        }
        if ($this->missed) {
            $lost = ['missed' => $this->missed, 'dropped' => $this->ledger->dropped];
            ($this->log)('info', 'heartbeats are written again, {missed} were lost', $lost);
            $this->missed = 0;
        }
    }

    /** Write the last record, or remove it. $failure says why the process ends with an error. */
    public function end(?Run $run, string $failure): void
    {
        try {
            $this->writeEnd($run, $failure);
            while ($rest = $this->ledger->take($this->redis->time())) {
                $this->redis->execute($rest);
            }
        } catch (RedisError $error) {
            $reason = ['reason' => $error->getMessage()];
            ($this->log)('warning', 'cannot write the reason for the exit to Redis: {reason}', $reason);
        }
    }

    /**
     * Find out if this process may write the record: no other one that lives has the id.
     *
     * @throws RedisError
     */
    private function hasId(): bool
    {
        if ($this->previous === null || Host::now() < $this->claimAt) {
            return $this->previous === null;
        }
        $rival = $this->previous->findRival();
        if ($rival === '') {
            $this->takeId($this->previous);
            return true;
        }
        if ($rival !== null) {
            if ($rival !== $this->rival) {
                ($this->log)('error', 'this process is not watched: {reason}', ['reason' => $rival]);
            }
            [$this->rival, $this->claimAt] = [$rival, Host::now() + self::TRY_AGAIN];
        }
        return false;
    }

    private function takeId(Previous $previous): void
    {
        $crash = $previous->crash();
        if ($crash !== '') {
            ($this->log)('warning', 'the previous instance ended unexpectedly: {exit}', ['exit' => $crash]);
        }
        $this->record->inherit($previous->inherit($crash));
        $this->totals->continue($previous->totals());
        $this->previous = null;
    }

    /** @throws RedisError */
    private function write(?Run $run): void
    {
        $now = $this->redis->time();
        try {
            $this->redis->execute([
                $this->set($run),
                ['ZADD', Text::KEYS . 'workers', Text::seconds($now), $this->id],
                ['ZREM', Text::KEYS . 'ended', $this->id],
                ...$this->ledger->take($now),
            ]);
        } catch (RedisError $error) {
            $this->ledger->putBack($error->isSent);
            throw $error;
        }
        $this->ledger->trim($this->redis);
    }

    /** @throws RedisError */
    private function writeEnd(?Run $run, string $failure): void
    {
        $now = $this->redis->time();
        [$before] = $this->redis->execute([['GET', $this->key], ...$this->ledger->take($now)]);
        if ($this->previous !== null || ($before && !str_contains($before, $this->record->instance))) {
            return;  // the record is of another process
        }
        $score = [Text::seconds($now), $this->id];
        $leave = ['ZREM', Text::KEYS . 'workers', $this->id];
        $this->redis->execute(match (true) {
            $failure !== '' || $this->isExpected => [$this->set($run), ['ZADD', Text::KEYS . 'workers', ...$score]],
            $this->record->hasCrashed() => [$this->set($run), $leave, ['ZADD', Text::KEYS . 'ended', ...$score]],
            default => [['DEL', $this->key], $leave],
        });
    }

    /** @return list<string|int> */
    private function set(?Run $run): array
    {
        $record = $this->record->make($run, $this->totals->all(), $this->redis);
        return ['SET', $this->key, $record, ...($this->isExpected ? [] : ['EX', 3600])];
    }
}
