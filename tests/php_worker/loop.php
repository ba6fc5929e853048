<?php

/** Answers questions of the tests: each line is base64, each answer a line of JSON. argv: DIRECTORY FUNCTION */

declare(strict_types=1);

use Beanwatch\Pheanstalk\Envelope;
use Beanwatch\Pheanstalk\FollowUp;
use Beanwatch\Pheanstalk\InvalidEnvelope;
use Beanwatch\Pheanstalk\JobEnd;
use Beanwatch\Pheanstalk\Verdict;

require_once 'Pheanstalk/autoload.php';
require_once dirname(__DIR__, 2) . '/worker/php/beanwatch.php';

function decode(string $body): array
{
    try {
        $found = Envelope::decode($body);
    } catch (InvalidEnvelope $error) {
        return ['invalid' => $error->getMessage()];
    }
    $list = fn (?FollowUp $next): ?array => $next === null
        ? null
        : [$next->queue, $next->job, $next->data, $next->priority, $next->delay, $next->ttr];
    return [
        'job' => $found->job,
        'id' => $found->id,
        'parent' => $found->parent,
        'enqueued_at' => $found->enqueuedAt,
        'success' => $list($found->success),
        'failure' => $list($found->failure),
    ];
}

/** The delay of a job whose handler asked for this one, in its first run. */
function delay(string $seconds): int
{
    $asked = JobEnd::retry($seconds === 'nan' ? NAN : (float) $seconds);
    $stats = ['reserves' => 1, 'releases' => 0, 'buries' => 0, 'kicks' => 0];
    return Verdict::ofError($asked, $stats, 5)->delay;
}

/** What becomes of a job that fails, with these statistics and five attempts. */
function fail(string $stats): array
{
    $verdict = Verdict::ofError(new DomainException('no'), json_decode($stats, true), 5);
    return [$verdict->outcome, $verdict->reason, $verdict->delay];
}

/** The syntax of a file, as `php -l` checks it; '' if it is right. */
function lint(string $file): string
{
    try {
        token_get_all(file_get_contents($file), TOKEN_PARSE);
        return '';
    } catch (ParseError $error) {
        return "{$error->getMessage()} in line {$error->getLine()}";
    }
}

while (($line = fgets(STDIN)) !== false) {
    $answer = $argv[2](base64_decode(rtrim($line)));
    echo json_encode($answer, JSON_PRESERVE_ZERO_FRACTION | JSON_INVALID_UTF8_SUBSTITUTE), "\n";
}
