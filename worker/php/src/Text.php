<?php

declare(strict_types=1);

namespace Beanwatch;

use JsonException;
use Throwable;

/** @internal writes and reads texts for other programs */
final class Text
{
    private const MAX_NAME = 255;  // characters; readers take no record with a longer name
    private const ENDLESS = 1e9;  // seconds, 30 years: programs write "never" as INF or PHP_INT_MAX
    public const KEYS = '{beanwatch}:';  // the beginning of all keys in Redis

    /** Encode as JSON, whatever bytes the texts have */
    public static function encode(mixed $value): string
    {
        // json_last_error() stays as it is if exceptions are thrown.
        $flags = JSON_THROW_ON_ERROR | JSON_INVALID_UTF8_SUBSTITUTE | JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE;
        return json_encode($value, $flags);
    }

    /** @return array<mixed> empty if the text is no JSON */
    public static function decode(string $json): array
    {
        try {
            return (array) json_decode($json, true, 32, JSON_THROW_ON_ERROR);
        } catch (JsonException) {
            return [];
        }
    }

    /** Return null for an endless time, and for NAN: JSON has no form for INF. */
    public static function finite(?float $seconds): ?float
    {
        return $seconds !== null && abs($seconds) < self::ENDLESS ? $seconds : null;
    }

    /** Write seconds as Redis reads them. */
    public static function seconds(float $time): string
    {
        return sprintf('%.6F', $time);
    }

    /** Return the key of a worker's record in Redis. */
    public static function workerKey(string $worker): string
    {
        return Text::KEYS . "worker:$worker";
    }

    /** Return a name as short as the record must have it. */
    public static function name(string $name): string
    {
        $isUtf8 = preg_match('/^.{0,' . self::MAX_NAME . '}/su', $name, $found);
        return $isUtf8 ? $found[0] : substr($name, 0, self::MAX_NAME);
    }

    /** Return a name as one node of a path of metrics */
    public static function node(string $name): string
    {
        return preg_replace('/[^A-Za-z0-9_-]/u', '_', $name) ?: '_';
    }

    /** Name a queue server by its host, and by its port unless that is beanstalkd's */
    public static function serverName(string $server, string $here): string
    {
        [$host, $port] = explode(':', $server, 2) + ['', '11300'];
        $host = in_array($host, ['127.0.0.1', 'localhost', ''], true) ? $here : $host;
        return $port === '11300' ? $host : "{$host}_$port";
    }

    /** Return the class of an error and the first line of its message. */
    public static function describeError(?Throwable $error): string
    {
        return $error === null ? '' : rtrim($error::class . ': ' . explode("\n", $error->getMessage(), 2)[0], ': ');
    }
}
