<?php
// Puts and takes jobs with Laravel's own queue. argv: the connection as JSON; stdin: steps as JSON.
// It prints a JSON list with the result of each step.
require '/usr/share/php/Illuminate/Database/autoload.php';
require '/usr/share/php/Illuminate/Queue/autoload.php';

$capsule = new Illuminate\Database\Capsule\Manager();
$capsule->addConnection(json_decode($argv[1], true));
$database = $capsule->getConnection();
$queue = new Illuminate\Queue\DatabaseQueue($database, 'jobs', 'default', 90);
$queue->setContainer(new Illuminate\Container\Container());
$queue->setConnectionName('database');
$resolver = $capsule->getDatabaseManager();
$failed = new Illuminate\Queue\Failed\DatabaseUuidFailedJobProvider($resolver, 'default', 'failed_jobs');

function migrate($schema)
{
    // As in Console/stubs/jobs.stub and failed_jobs.stub.
    $schema->create('jobs', function ($table) {
        $table->bigIncrements('id');
        $table->string('queue')->index();
        $table->longText('payload');
        $table->unsignedTinyInteger('attempts');
        $table->unsignedInteger('reserved_at')->nullable();
        $table->unsignedInteger('available_at');
        $table->unsignedInteger('created_at');
    });
    $schema->create('failed_jobs', function ($table) {
        $table->id();
        $table->string('uuid')->unique();
        $table->text('connection');
        $table->text('queue');
        $table->longText('payload');
        $table->longText('exception');
        $table->timestamp('failed_at')->useCurrent();
    });
}

$results = [];
foreach (json_decode(stream_get_contents(STDIN), true) as $step) {
    [$name, $arguments] = [array_shift($step), $step];
    switch ($name) {
        case 'migrate':
            migrate($database->getSchemaBuilder());
            $results[] = true;
            break;
        case 'push': // queue, data
            $results[] = $queue->push('App\\Job', $arguments[1], $arguments[0]);
            break;
        case 'later': // queue, seconds
            $results[] = $queue->later($arguments[1], 'App\\Job', [], $arguments[0]);
            break;
        case 'take': // queue: reserve
            $job = $queue->pop($arguments[0]);
            $results[] = $job ? [$job->getJobId(), $job->attempts(), $job->getRawBody()] : null;
            break;
        case 'finish': // queue
            $job = $queue->pop($arguments[0]);
            $job->delete();
            $results[] = $job->getJobId();
            break;
        case 'fail': // queue, message, connection
            $job = $queue->pop($arguments[0]);
            $error = new RuntimeException($arguments[1]);
            $failed->log($arguments[2] ?? 'database', $arguments[0], $job->getRawBody(), $error);
            $job->delete();
            $results[] = true;
            break;
        case 'size':
            $results[] = $queue->size($arguments[0]);
            break;
    }
}
echo json_encode($results);
