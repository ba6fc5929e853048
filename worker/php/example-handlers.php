<?php

/** The handlers of the example worker: a function for each kind of job. */

declare(strict_types=1);

use Beanwatch\Pheanstalk\Job;
use Beanwatch\Pheanstalk\JobEnd;

return [
    // {"job": "email.send", "data": {"to": "ann@example.org", "subject": "Your order"}}
    'email.send' => function (mixed $data, Job $job): void {
        $to = $data['to'] ?? throw JobEnd::bury('data has no `to`');
        $job->note("to $to");
        if (!mail($to, $data['subject'] ?? '', $data['text'] ?? '')) {
            throw new RuntimeException('the mail was not accepted');  // runs again later
        }
    },
];
