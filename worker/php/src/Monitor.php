<?php

declare(strict_types=1);

namespace Beanwatch;

use Closure;
use InvalidArgumentException;
use LogicException;
use Psr\Log\LoggerInterface;
use Throwable;

/**
 * Reports that this process lives, what it does, and how each of its jobs ended.
 *
 * SIGALRM calls it each second, so it also beats during a job. PHP handles signals between two steps of
 * PHP code. So it does not beat during a call of an extension, such as a query of a database.
 *
 * Times and durations are in seconds.
 */
final class Monitor
{
    private const DEAD_AFTER = 10;  // the shortest silence of which the checks tell

    public readonly string $id;
    private readonly int $pid;
    private readonly WorkerRecord $record;
    private readonly Heartbeats $heartbeats;
    private readonly Ledger $ledger;
    private readonly RunTotals $totals;
    private readonly Statsd $statsd;
    private readonly RedisLink $redis;
    private ?Run $run = null;
    private bool $isBeating = false;
    private ?Closure $onBeat = null;

    /**
     * @param list<string> $queues the queues from which it takes jobs
     * @param string|Closure $redis a URL (default: $BEANWATCH_REDIS_URL, or the Redis on this host), or a
     *     function that returns a new connected client of ext-redis or Predis
     * @param string $server the address of its queue server
     * @param string $serverName the name of that server in beanwatch.toml
     * @param string $statsd `host:port` of StatsD; '': no metrics
     * @param int $longestCall for how long one call of an extension may last; the checks tell of a worker
     *     that is silent for longer
     * @param bool $isExpected `[workers] expected` of beanwatch.toml has this worker
     * @throws InvalidArgumentException
     */
    public function __construct(
        string $name,
        array $queues,
        private readonly ?LoggerInterface $log = null,
        string|Closure $redis = '',
        string $server = '',
        string $serverName = '',
        string $statsd = '',
        string $prefix = 'beanwatch',
        int $longestCall = self::DEAD_AFTER,
        bool $isExpected = false,
        string $host = '',
    ) {
        if (!preg_match('/^[A-Za-z0-9_-]{1,64}$/D', $name)) {
            throw new InvalidArgumentException('the name of a worker has 1 to 64 letters, digits, _ and -');
        }
        $host = $host ?: Host::shortName();
        $interval = $longestCall > self::DEAD_AFTER ? $longestCall / 3 : 1;
        $this->id = "$host.$name";
        $this->pid = (int) getmypid();
        $this->record = new WorkerRecord($host, $name, $server, $queues, $interval);
        $this->redis = new RedisLink($redis);
        $this->ledger = new Ledger($this->id, $this->record->instance);
        $this->totals = new RunTotals();
        $this->statsd = new Statsd($statsd, $prefix, $serverName ?: Text::serverName($server, $host));
        $this->heartbeats = new Heartbeats(
            $this->id,
            $this->record,
            $this->totals,
            $this->ledger,
            $this->redis,
            $isExpected,
            $this->log(...),
        );
    }

    /**
     * Watch this process from now on.
     *
     * @throws LogicException if ext-pcntl is missing, or if the program has a handler for SIGALRM
     */
    public function start(): self
    {
        if (!function_exists('pcntl_alarm') || pcntl_signal_get_handler(SIGALRM) !== SIG_DFL) {
            throw new LogicException('beanwatch needs ext-pcntl, and SIGALRM for itself');
        }
        $this->statsd->connect();
        register_shutdown_function($this->shutdown(...));
        if (!pcntl_async_signals(true)) {
            $this->warnOfHandlers();
        }
        // `true`: system calls go on after the signal. For SIGALRM alone, PHP's default is that they fail.
        pcntl_signal(SIGALRM, $this->alarm(...), true);
        pcntl_alarm(1);
        $this->beat();
        return $this;
    }

    /**
     * Begin a run of a job, and tell Redis now: the job may block at once.
     *
     * @param string|int $id the id that the queue system gave the job
     * @param string $uuid the id by which people look for it (default: $id, if that is no number)
     * @param int $attempt 1 is the first
     * @param ?float $wait how long it waited in the queue; null: not known
     * @param float $timeout after so long the job counts as hung; 0, INF: never
     * @param float $grace so long after that its worker ends it; 0, INF: never
     * @param string $parent the uuid of the job that put this one
     */
    public function begin(
        string $queue,
        string $name,
        string|int $id,
        string $uuid = '',
        int $attempt = 1,
        ?float $wait = null,
        float $timeout = 3600.0,
        float $grace = 0.0,
        string $parent = '',
    ): Run {
        [$queue, $name] = [Text::name($queue), Text::name($name)];
        $id = (string) (int) $id === (string) $id ? (int) $id : $id;  // 20 digits do not fit in an int
        $uuid = $uuid ?: (is_int($id) ? '' : $id);
        $limits = [$timeout, $grace ? $timeout + $grace : 0.0];
        $run = new Run($this->finish(...), $queue, $name, $id, $uuid, $attempt, $wait, $limits, $parent);
        $this->run = $run;
        $this->record->loop();
        $this->beat();
        return $run;
    }

    /**
     * Run a job: call $call, and report how the run ended.
     *
     * @param string $failure the outcome after an exception, which is thrown on: what the worker does then
     * @param mixed ...$more further arguments of begin(), by their names
     * @throws Throwable that of $call
     */
    public function job(
        string $queue,
        string $name,
        string|int $id,
        Closure $call,
        string $failure = 'failed',
        mixed ...$more,
    ): mixed {
        $run = $this->begin($queue, $name, $id, ...$more);
        try {
            $result = $call($run);
        } catch (Throwable $error) {
            $run->end($failure, error: $error);
            throw $error;
        }
        $run->end();
        return $result;
    }

    /** Say that the main loop moves. Call this at each turn, also while idle, but not during a job. */
    public function loop(): void
    {
        $this->record->loop();
        $this->statsd->connect();
    }

    /** Say why the worker cannot take jobs, until ready(): a warning. */
    public function blocked(string $reason, bool $isDisconnected = true): void
    {
        $this->record->block($reason, $isDisconnected);
    }

    /** Say that the worker takes jobs. $serverId identifies the process of the queue server. */
    public function ready(string $serverId = ''): void
    {
        $this->ledger->server = $serverId ?: $this->ledger->server;
        $this->record->block('', false);
    }

    /** Say that the worker stops after its job. More than 10 s after $timeout it counts as hung. */
    public function stopping(string $reason, float $timeout = 0.0): void
    {
        $this->record->stop($reason, $timeout);
        $this->beat();
    }

    /** End the watch. $failure says why the process ends with an error: then the worker counts as dead. */
    public function stop(string $failure = ''): void
    {
        if ($this->isSilent()) {
            return;
        }
        pcntl_alarm(0);
        $this->record->end($failure);
        if ($failure !== '') {
            $this->log('critical', 'the worker ends: {reason}', ['reason' => $failure]);
        }
        $this->statsd->send();
        $this->heartbeats->end($this->run, $failure);
    }

    /** Wait for so long. PHP's own sleep() and usleep() end at the first signal. */
    public function sleep(float $seconds): void
    {
        for ($end = Host::now() + $seconds; ($left = $end - Host::now()) > 0;) {
            usleep((int) ceil(min($left, 1.0) * 1e6));
            $this->record->loop();
        }
    }

    /** Call $hook each second, also during a job. What it throws is thrown in the job. */
    public function onBeat(Closure $hook): void
    {
        $this->onBeat = $hook;
    }

    /** Add this worker and its job to the context of a record of Monolog: the monitor is a processor. */
    public function __invoke(mixed $record): mixed
    {
        $context = $this->context($record['context']) + ($this->run?->identify() ?? []);
        return is_array($record) ? ['context' => $context] + $record : $record->with(context: $context);
    }

    private function warnOfHandlers(): void
    {
        foreach ([SIGTERM, SIGINT, SIGQUIT] as $signal) {
            if (is_callable(pcntl_signal_get_handler($signal))) {
                $this->log('warning', 'signal handlers now run during a job, too: they may only set a flag', []);
                return;
            }
        }
    }

    private function alarm(): void
    {
        if ($this->isSilent()) {
            return;
        }
        pcntl_alarm(1);
        if ($this->isBeating) {
            return;  // the main program sends a heartbeat now
        }
        $this->run?->see(Host::currentLine());
        $this->beat();
        if ($this->onBeat !== null) {
            ($this->onBeat)();
        }
    }

    private function beat(): void
    {
        if ($this->isBeating || $this->isSilent()) {
            return;
        }
        $this->isBeating = true;
        set_error_handler(static fn (): bool => true);  // so error_get_last() stays as the job knows it
        try {
            $this->statsd->send();
            $this->heartbeats->send($this->run);
        } catch (Throwable) {  // a job must not get it
            $this->record->errors++;
        } finally {
            restore_error_handler();
            $this->isBeating = false;
        }
    }

    /** True after the end, and in a child that the worker has forked. */
    private function isSilent(): bool
    {
        return $this->record->isOver || getmypid() !== $this->pid;
    }

    private function finish(Run $run): void
    {
        if (getmypid() !== $this->pid) {
            return;
        }
        $this->run = $this->run === $run ? null : $this->run;
        $this->record->finish($run->has('failed'));
        $this->totals->add($run);
        $this->statsd->add($run);
        $this->ledger->add($run, $this->redis->time());
        $message = $run->reason === '' ? '{job} {outcome}' : '{job} {outcome}: {reason}';
        $this->log($run->level(), $message, $run->context());
        if ($run->outcome !== 'ok') {
            $this->beat();  // at once, as this process may end soon
        }
    }

    /** @param array<string, mixed> $context */
    private function log(string $level, string $message, array $context): void
    {
        try {
            $this->log?->log($level, $message, $this->context($context));
        } catch (Throwable) {  // the disk is full, for example: the job has not failed
            $this->record->errors++;
        }
    }

    /**
     * @param array<string, mixed> $context
     * @return array<string, mixed>
     */
    private function context(array $context): array
    {
        return ['worker' => $this->id, 'instance' => $this->record->instance, 'kind' => 'php'] + $context;
    }

    /** PHP calls this whenever the process ends, unless a signal kills it. */
    private function shutdown(): void
    {
        if ($this->isSilent()) {
            return;
        }
        ini_set('memory_limit', '-1');  // the limit may be the reason for the end
        $why = Host::whyEnded();
        $run = $this->run;
        $run?->end('retry', "its worker ended while it ran: $why");
        $this->stop($run === null ? $why : "$why, while running $run->name (job $run->id)");
    }
}
