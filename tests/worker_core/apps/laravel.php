<?php
// Puts jobs into beanstalkd, and runs them, with Laravel's own components.
// php laravel.php PORT put QUEUE CLASS [JSON of its properties] [DELAY]
// php laravel.php PORT string QUEUE NAME JSON
// php laravel.php PORT work QUEUE
// php laravel.php 0 serialize < JSON lines: one line of PHP's format, as JSON, for each

namespace {
    require '/usr/share/php/Illuminate/Queue/autoload.php';
    require '/usr/share/php/Illuminate/Bus/autoload.php';
    require '/usr/share/php/Illuminate/Events/autoload.php';
    require '/usr/share/php/Pheanstalk/autoload.php';
}

namespace App\Jobs {
    use Illuminate\Bus\Batchable;
    use Illuminate\Bus\Queueable;
    use Illuminate\Contracts\Queue\ShouldQueue;
    use Illuminate\Queue\InteractsWithQueue;
    use Illuminate\Queue\SerializesModels;

    enum Kind: string { case Reminder = 'r'; case Last = 'l'; }

    abstract class Job implements ShouldQueue
    {
        use Batchable, InteractsWithQueue, Queueable, SerializesModels;

        public $file = '/dev/null';

        public function handle()
        {
            file_put_contents($this->file, "php {$this->job->uuid()} {$this->job->attempts()}\n", FILE_APPEND);
        }
    }

    class SendInvoice extends Job
    {
        public int $invoice = 7;
        protected array $to = ['ann@example.org', 'jürgen@example.org'];
        private $total = 19.5;
        public $kind = Kind::Reminder;
        public $customer;
        public $copy;
        public $options = ['paper' => 'A4', 'pages' => [1, 2]];

        public function __construct()
        {
            $this->customer = (object) ['id' => 3, 'name' => 'Ann'];
            $this->copy = $this->customer;
        }
    }

    // The limits of Laravel's documentation.
    class Limited extends Job
    {
        public $tries = 3;
        public $backoff = [0, 5];
        public $timeout = 1;
        public $failOnTimeout = true;
    }

    class Expiring extends Job
    {
        public $until = 0;

        public function retryUntil() { return $this->until; }
    }

    class Secret extends Job implements \Illuminate\Contracts\Queue\ShouldBeEncrypted {}
    class ForLaravel extends Job {}
}

namespace {
    use Illuminate\Bus\Dispatcher;
    use Illuminate\Container\Container;
    use Illuminate\Contracts\Debug\ExceptionHandler;
    use Illuminate\Contracts\Encryption\Encrypter;
    use Illuminate\Queue\Capsule\Manager;
    use Illuminate\Queue\Worker;
    use Illuminate\Queue\WorkerOptions;

    // What a job is encrypted with does not matter here.
    class Reversed implements Encrypter
    {
        public function encrypt($value, $serialize = true) { return strrev($value); }
        public function decrypt($payload, $unserialize = true) { return strrev($payload); }
    }

    // How Laravel's Foundation puts the next job of a chain.
    function dispatch($job) { $GLOBALS['queue']->push($job, '', $GLOBALS['name']); }

    class PrintErrors implements ExceptionHandler
    {
        public function report(\Throwable $e) { echo get_class($e), ': ', $e->getMessage(), "\n"; }
        public function shouldReport(\Throwable $e) { return true; }
        public function render($request, \Throwable $e) {}
        public function renderForConsole($output, \Throwable $e) {}
    }

    [, $port, $action, $name, $job, $json, $delay] = [...$argv, null, null, null, null];
    if ($action === 'serialize') {
        while (($line = fgets(STDIN)) !== false) {
            echo json_encode(serialize((object) ['value' => json_decode($line, true, 512, JSON_THROW_ON_ERROR)])), "\n";
        }
        exit;
    }

    $container = Container::getInstance();
    $container->instance(\Illuminate\Contracts\Container\Container::class, $container);
    $manager = new Manager($container);
    $manager->addConnection([
        'driver' => 'beanstalkd', 'host' => '127.0.0.1', 'port' => (int) $port,
        'queue' => 'default', 'retry_after' => 60, 'block_for' => 5,
    ]);
    $container->instance(Encrypter::class, new Reversed());
    $container->singleton(\Illuminate\Contracts\Bus\Dispatcher::class, fn ($app) => new Dispatcher($app));
    $events = new \Illuminate\Events\Dispatcher($container);
    $container->instance(\Illuminate\Contracts\Events\Dispatcher::class, $events);
    $queue = $manager->getConnection();
    switch ($action) {
        case 'put':
            $class = "App\\Jobs\\$job";
            $object = new $class();
            foreach (json_decode($json ?? '{}', true) as $key => $value) {
                $object->$key = $value;
            }
            if (isset($object->chain)) {
                $object->chain(array_map(fn ($next) => new ("App\\Jobs\\$next")(), $object->chain));
                unset($object->chain);
            }
            echo $delay ? $queue->later((int) $delay, $object, '', $name)->getId()
                        : $queue->push($object, '', $name)->getId();
            break;
        case 'string':
            echo $queue->push($job, json_decode($json, true), $name)->getId();
            break;
        case 'work':
            $worker = new Worker($manager->getQueueManager(), $events, new PrintErrors(), fn () => false);
            // Deliveries to beanwatch's worker count as attempts, and `--tries` is 1 by default.
            $worker->runNextJob('default', $name, new WorkerOptions(maxTries: 5));
            break;
    }
}
