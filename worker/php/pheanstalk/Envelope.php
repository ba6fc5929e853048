<?php

declare(strict_types=1);

namespace Beanwatch\Pheanstalk;

use JsonException;
use stdClass;

/** The body of a job, as docs/producers.md describes it. */
final class Envelope
{
    public const VERSION = 1;
    public const MAX_NUMBER = 4_294_967_295;  // of beanstalkd, for priorities, delays and times to run
    private const QUEUE = '~^[A-Za-z0-9+/;.$_()][A-Za-z0-9+/;.$_()-]{0,199}$~D';
    private const ID = '/^[A-Za-z0-9_.:-]{1,64}$/D';
    private const FOLLOW_UPS = '6f0a3ad56c2c5d0b9f6e0a5f6d3b9c11';  // a namespace of UUIDs

    private function __construct(
        public readonly string $job,
        public readonly mixed $data,
        public readonly string $id,
        public readonly string $parent,
        public readonly ?float $enqueuedAt,
        public readonly ?FollowUp $success,
        public readonly ?FollowUp $failure,
    ) {
    }

    /** @throws InvalidEnvelope */
    public static function decode(string $body): self
    {
        try {
            $fields = json_decode($body, false, 512, JSON_THROW_ON_ERROR);
            $plain = json_decode($body, true, 512, JSON_THROW_ON_ERROR);
        } catch (JsonException $error) {
            throw new InvalidEnvelope('it cannot be decoded as JSON: ' . $error->getMessage());
        }
        if (!$fields instanceof stdClass) {
            throw new InvalidEnvelope('it is not a JSON object');
        }
        $version = self::field($fields, 'v', self::VERSION);
        if (!is_int($version)) {
            throw new InvalidEnvelope('`v`, the version: expected a whole number');
        }
        if ($version > self::VERSION) {
            throw new InvalidEnvelope('the version is too new: this worker reads versions up to ' . self::VERSION);
        }
        return new self(
            self::name($fields, 'job'),
            array_key_exists('data', $plain) ? $plain['data'] : [],
            self::id($fields->id ?? null),
            self::id($fields->parent ?? null),
            self::seconds($fields->enqueued_at ?? null),
            self::followUp($fields->success ?? null),
            self::followUp($fields->failure ?? null),
        );
    }

    /**
     * Encode a job that the job $parent puts; $id is that of the new one.
     *
     * @throws JsonException if JSON has no form for the data, such as for an infinite number
     */
    public static function encode(string $job, mixed $data, string $id, string $parent): string
    {
        $fields = ['job' => $job, 'data' => $data, 'id' => $id, 'enqueued_at' => microtime(true)];
        $flags = JSON_THROW_ON_ERROR | JSON_PRESERVE_ZERO_FRACTION | JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE;
        return json_encode($fields + ($parent === '' ? [] : ['parent' => $parent]), $flags);
    }

    /** Return the id of the job that $identity puts as its $which; it is the same in each run. */
    public static function deriveId(string $identity, string $which): string
    {
        $hash = substr(sha1(hex2bin(self::FOLLOW_UPS) . "$identity:$which"), 0, 32);
        $hash[12] = '5';
        $hash[16] = dechex((int) hexdec($hash[16]) & 3 | 8);
        return vsprintf('%s%s-%s-%s-%s-%s%s%s', str_split($hash, 4));
    }

    /** @throws InvalidEnvelope */
    public static function checkTarget(string $queue, int $priority, int $delay, int $ttr): void
    {
        if (!preg_match(self::QUEUE, $queue)) {
            throw new InvalidEnvelope('the queue: expected letters, digits and +/;.$_()- (1 to 200, no - first)');
        }
        foreach (['priority' => $priority, 'delay' => $delay, 'ttr' => $ttr] as $field => $value) {
            $least = $field === 'ttr' ? 1 : 0;
            if ($value < $least || $value > self::MAX_NUMBER) {
                throw new InvalidEnvelope("the $field: expected a number from $least to " . self::MAX_NUMBER);
            }
        }
    }

    /** Return a field, or the default if it is missing; `??` would take null for missing. */
    private static function field(stdClass $fields, string $name, mixed $default): mixed
    {
        return property_exists($fields, $name) ? $fields->$name : $default;
    }

    private static function name(stdClass $fields, string $field): string
    {
        $name = $fields->$field ?? null;
        if (!is_string($name) || !preg_match('/^.{1,200}$/Dsu', $name)) {
            throw new InvalidEnvelope("`$field`: expected a text of 1 to 200 characters");
        }
        return $name;
    }

    /** Return an id as text. A number that can be none is ignored: it only serves to describe the job. */
    private static function id(mixed $id): string
    {
        if ($id === null) {
            return '';
        }
        if (is_int($id) || is_float($id)) {
            return is_int($id) && $id >= 0 && $id < 10 ** 18 ? (string) $id : '';
        }
        if (!is_string($id) || !preg_match(self::ID, $id)) {
            throw new InvalidEnvelope('an id: expected 1 to 64 letters, digits, _ . : and -');
        }
        return $id;
    }

    /** Return a time; null for anything else, also for 1e999, which PHP decodes as infinite. */
    private static function seconds(mixed $time): ?float
    {
        return (is_int($time) || is_float($time)) && is_finite($time) ? (float) $time : null;
    }

    private static function followUp(mixed $fields): ?FollowUp
    {
        if ($fields === null) {
            return null;
        }
        if (
            !$fields instanceof stdClass
            || property_exists($fields, 'queue') === property_exists($fields, 'tube')
        ) {
            throw new InvalidEnvelope('a follow-up: expected an object with `queue`, or its alias `tube`');
        }
        $numbers = [
            self::field($fields, 'priority', FollowUp::PRIORITY),
            self::field($fields, 'delay', 0),
            self::field($fields, 'ttr', FollowUp::TTR),
        ];
        $queue = $fields->queue ?? $fields->tube ?? null;
        if (!is_string($queue) || array_filter($numbers, is_int(...)) !== $numbers) {
            throw new InvalidEnvelope('a follow-up: expected a text as its queue, and whole numbers');
        }
        self::checkTarget($queue, ...$numbers);
        $data = self::field($fields, 'data', new stdClass());
        return new FollowUp($queue, self::name($fields, 'job'), $data, ...$numbers);
    }
}
