<?php

declare(strict_types=1);

namespace Beanwatch\Pheanstalk;

use Pheanstalk\Contract\SocketFactoryInterface;
use Pheanstalk\Contract\SocketInterface;

/**
 * A socket for Pheanstalk that waits for no longer than TIMEOUT.
 *
 * Those of Pheanstalk 4 wait for ever, or loop without end if the server closes the connection within the
 * body of a job. They also let Pheanstalk send a command again that may have been carried out.
 */
final class TimedSocket implements SocketInterface, SocketFactoryInterface
{
    private const TIMEOUT = 5;  // seconds; longer than a reserve lasts

    /** @var ?resource */
    private mixed $stream = null;

    public function __construct(private readonly string $address)
    {
    }

    public function create(): SocketInterface
    {
        $stream = @stream_socket_client("tcp://$this->address", $code, $message, self::TIMEOUT);
        if ($stream === false) {
            throw new ConnectionLost("cannot connect to beanstalkd $this->address: $message");
        }
        stream_set_timeout($stream, self::TIMEOUT);
        $socket = new self($this->address);
        $socket->stream = $stream;
        return $socket;
    }

    public function write(string $data): void
    {
        // PHP writes all of it, unless it has waited for TIMEOUT, or the connection is lost.
        if (@fwrite($this->stream, $data) !== strlen($data)) {
            throw new ConnectionLost("cannot send to beanstalkd $this->address");
        }
    }

    public function read(int $length): string
    {
        $data = (string) stream_get_contents($this->stream, $length);
        return strlen($data) === $length ? $data : throw $this->problem();
    }

    public function getLine(): string
    {
        $line = (string) fgets($this->stream, 8192);
        return str_ends_with($line, "\n") ? rtrim($line) : throw $this->problem();
    }

    public function disconnect(): void
    {
        fclose($this->stream);
    }

    private function problem(): ConnectionLost
    {
        $isLate = stream_get_meta_data($this->stream)['timed_out'];
        $what = $isLate ? 'does not answer within ' . self::TIMEOUT . ' s' : 'closed the connection';
        return new ConnectionLost("beanstalkd $this->address $what");
    }
}
