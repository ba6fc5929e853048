<?php

declare(strict_types=1);

namespace Beanwatch;

use DateTimeZone;
use Monolog\Formatter\JsonFormatter;
use Monolog\Handler\StreamHandler;
use Monolog\Logger;
use Monolog\LogRecord;
use Monolog\Processor\ProcessIdProcessor;
use Monolog\Processor\PsrLogMessageProcessor;
use Psr\Log\LogLevel;

/** Makes loggers of Monolog whose lines have the form of beanwatch's own log. */
final class JsonLog
{
    /** Write lines of JSON, with times in UTC, to $stream: a path, or `php://stdout`. */
    public static function open(string $stream, string $channel = 'beanwatch'): Logger
    {
        $formatter = new class (includeStacktraces: true) extends JsonFormatter {
            /** Escape all but printable ASCII: people read logs in a terminal, which must obey no text. */
            public function format(array|LogRecord $record): string
            {
                $this->removeJsonEncodeOption(JSON_UNESCAPED_UNICODE);
                return str_replace("\x7f", '\u007f', parent::format($record));
            }
        };
        $handler = new StreamHandler($stream, LogLevel::INFO);
        $handler->setFormatter($formatter);
        $processors = [new ProcessIdProcessor(), new PsrLogMessageProcessor()];
        return new Logger($channel, [$handler], $processors, new DateTimeZone('UTC'));
    }
}
