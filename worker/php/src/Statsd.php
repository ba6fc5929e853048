<?php

declare(strict_types=1);

namespace Beanwatch;

/** @internal sends metrics of jobs to StatsD; nobody confirms them, so some may get lost */
final class Statsd
{
    private const MAX_WAITING = 1000;  // lines
    private const MAX_DATAGRAM = 1432;  // bytes
    private const LOOK_UP_EVERY = 60.0;  // seconds, while nobody receives the metrics

    /** @var list<string> */
    private array $lines = [];
    /** @var ?resource */
    private mixed $socket = null;
    private bool $needsLookup = true;
    private float $lookUpAt = 0.0;

    public function __construct(
        private readonly string $address,
        private readonly string $prefix,
        private readonly string $server,
    ) {
    }

    /** Look its name up if that is needed. Not during a job: PHP has no timeout for this. */
    public function connect(): void
    {
        if ($this->address === '' || !$this->needsLookup || Host::now() < $this->lookUpAt) {
            return;
        }
        $socket = @stream_socket_client("udp://$this->address");
        $this->lookUpAt = Host::now() + self::LOOK_UP_EVERY;
        if ($socket !== false) {
            [$this->socket, $this->needsLookup] = [$socket, false];
        }
    }

    public function add(Run $run): void
    {
        if ($this->address === '' || count($this->lines) >= self::MAX_WAITING) {
            return;
        }
        $nodes = array_map(Text::node(...), [$this->server, $run->queue, $run->name, 'all']);
        $stem = "$this->prefix.job." . implode('.', $nodes);
        $this->lines[] = "$stem.$run->outcome:1|c";
        if ($run->has('ran')) {
            $this->lines[] = sprintf('%s.duration:%.3F|ms', $stem, $run->duration * 1000);
        }
        if ($run->wait !== null && $run->attempt === 1) {
            $this->lines[] = sprintf('%s.wait:%.3F|ms', $stem, $run->wait * 1000);
        }
    }

    public function send(): void
    {
        if ($this->socket === null) {
            return;
        }
        $datagram = '';
        foreach ($this->lines as $line) {
            if (strlen($datagram) + strlen($line) > self::MAX_DATAGRAM) {
                $this->write($datagram);
                $datagram = '';
            }
            $datagram .= "$line\n";
        }
        $this->write($datagram);
        $this->lines = [];
    }

    private function write(string $datagram): void
    {
        if ($datagram !== '' && @fwrite($this->socket, $datagram) === false) {
            $this->needsLookup = true;  // StatsD may be on another host now
        }
    }
}
