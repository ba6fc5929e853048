"""The meanings of the names in the generated pages; tests compare them with the names in the code.

Times are in seconds unless another unit is named. Series have theirs in telemetry/series.py.
"""

# Fields of the model that have no series of their own.
QUEUE_FIELDS = {"paused": "1 while taking jobs is stopped on purpose"}
SERVER_FIELDS = {
    "version": "version of the server's program",
    "instance": "identifies one start of the server: another one after each restart",
}
# The starts of the names of families that a worker serves on its own page, and those families that
# begin so, but come from the collector, which reads the workers' records.
OF_A_WORKER = ("job_", "worker_")
OF_RECORDS = ("worker_last_beat_timestamp_seconds", "worker_state")
# Native series that beanwatch computes, by system.
NATIVE = {
    "beanstalkd": {
        "rejected_puts": "puts refused since the server's start: too big, draining, out of memory",
        "binlog_bytes": "size of the binlog's files; 0 without a binlog",
    },
}
REDIS = {
    "{beanwatch}:workers": (
        "sorted set: worker ids by the time of their last heartbeat, by Redis's clock",
        "removed at a clean stop, unless the worker is expected; else with its record",
    ),
    "{beanwatch}:worker:<id>": (
        "the [heartbeat record](worker-record.md), JSON",
        "1 hour; of an expected worker: never",
    ),
    "{beanwatch}:ended": (
        "sorted set: workers that stopped, need not run, but still have a crash or recycles to "
        "tell; by the time of the stop",
        "1 hour, or until the worker starts again",
    ),
    "{beanwatch}:version": ("raised by `beanwatch workers restart`", "never"),
    "{beanwatch}:outcomes:<minute>": ("hash: `queue|job|outcome` to count", "2 hours"),
    "{beanwatch}:job:<uuid>": ("sorted set: the runs of a job, JSON, by their start", "{ledger}"),
    "{beanwatch}:job-number:<server id>:<job id>": ("the runs of a job without a uuid", "{ledger}"),
    "{beanwatch}:job-uuid:<server id>:<job id>": ("the uuid of a job", "{ledger}"),
    "{beanwatch}:buried:<server id>:<queue>": ("sorted set: buried jobs by job id", "30 days"),
    "{beanwatch}:buried-on:<queue>": (
        "sorted set: ids of the servers on which jobs of the queue were buried, by the last time",
        "30 days",
    ),
    "{beanwatch}:jobs": (
        "sorted set: all keys of the ledger, so that it can be limited as a whole",
        "never",
    ),
    "{beanwatch}:started:<server id>:<job id>": (
        "set: deliveries (`reserves`) of a job that started to run and were not acknowledged",
        "7 days",
    ),
    "{beanwatch}:started": (
        "sorted set: the keys `{beanwatch}:started:...`, so that at most 10000 are kept",
        "never",
    ),
    "{beanwatch}:stops": (
        "sorted set: stops that a command caused, JSON, by Redis's clock; at most 1000",
        "10 minutes",
    ),
    "{beanwatch}:failures": (
        "sorted set: the keys of the last failed runs, at most 10000, by Redis's clock",
        "7 days each",
    ),
    "{beanwatch}:failure:<id>": (
        "hash: `entry` (a failed run, JSON), `body` of its job (up to 64 KiB), `traceback`, `size`",
        "7 days; the oldest go if all together have more than 64 MiB",
    ),
    "{beanwatch}:failures-bytes": ("the sum of their sizes", "never"),
    "{beanwatch}:audit": (
        "list: what people did by the live page and `beanwatch failures`, `queues`, `job`, JSON, "
        "the newest first",
        "never; at most 1000",
    ),
    "{beanwatch}:commands:<id>": (
        "list: commands for a worker without a beanstalkd, JSON",
        "when the command expires",
    ),
    "{beanwatch}:answers:<sender>": (
        "list: the answers to one sender of such commands, JSON",
        "1 minute",
    ),
    "{beanwatch}:probe": (
        "written to test that Redis takes writes, and that those before it arrived",
        "1 minute",
    ),
}
LOG = {
    "worker": "the worker's id",
    "instance": "the instance, as in the heartbeat record",
    "queue": "the job's queue",
    "job_id": "the job's id on the server",
    "id": "the job's id in the envelope, if it has one",
    "job": "the job's name",
    "attempt": "1 for the first; deliveries to workers that died before they ran it do not count, "
    "if it is known which these are",
    "wait_ms": "milliseconds that the job was ready before it was taken",
    "duration_ms": "milliseconds that the handler took; missing if the worker was killed in it",
    "outcome": "the outcome, as in the metrics",
    "reason": "why it is not ok",
    "traceback": "the traceback, if the handler raised",
    "delay": "time before the next attempt",
    "follow_ups": "ids of the jobs that were put after it",
    "parent": "id of the job whose follow-up this is",
}
CONFIG = {
    "prefix": "first node of all metric paths",
    "log_format": "format of the log lines of worker and collector",
    "log_file": "log file instead of standard output (worker) or standard error (collector, live "
    "page, `beanwatch run`); all but the live page reopen it on SIGHUP",
    "servers.NAME.url": "URL of a queue server. Where no other setting is needed, "
    '`[servers]` takes it as `NAME = "URL"`',
    "servers.NAME.layout": "how the jobs are stored, for Redis and SQL "
    "(see [Queue systems](queues.md))",
    "servers.NAME.queues": "names of queues, or globs. A system that cannot list its queues "
    "needs it",
    "servers.NAME.password_file": "file whose first line is the password; without it: "
    "`$BEANWATCH_SERVER_NAME_PASSWORD`",
    "servers.NAME.ca_file": "certificates to trust in place of the system's, in PEM form",
    "servers.NAME.prefix": "prefix of all keys in Redis",
    "servers.NAME.failed": "list of a queue's failed jobs in Redis, with `{queue}` for its name",
    "servers.NAME.group": "consumer group of a stream",
    "servers.NAME.table": "SQL table of the jobs",
    "servers.NAME.endpoint_url": "where the API is, in place of the provider's own address",
    "servers.NAME.cloudwatch": "read ages and counters from CloudWatch, which bills each request",
    "servers.NAME.unknown": "fields that this server cannot tell, though its system can, such as "
    "`head_ready_age` of a RabbitMQ whose publishers set no timestamp: no service needs them",
    "redis.url": "the Redis of the heartbeats and the ledger; empty: off; `redis://`, "
    "`rediss://`, `unix://`, `redis+sentinel://`, `redis+cluster://`, `rediss+cluster://`",
    "redis.password_file": "a file whose first line is the password",
    "graphite.address": "carbon's plaintext port; empty: off",
    "graphite.url": "the render API, without `/render`; empty: off",
    "collect.interval": "time between two polls of a server; above 1m, alerts say that the "
    "collector is silent",
    "collect.queues_interval": "time between two polls of the queues; 0: as the interval",
    "collect.timeout": "longest time for a server's whole reply",
    "collect.include": "queues to send",
    "collect.exclude": "queues to leave out",
    "collect.max_queues": "most queues with series of their own, besides configured ones; 0: any",
    "collect.head_ages": "ask for the ages of the first ready and the first buried job",
    "collect.series": "which numbers to send to Graphite; essential: eight measures of each queue, "
    "and of the numbers under a server's own names only `rejected_puts`",
    "worker.listen": "host:port, or a port of the loopback interface, where Prometheus and probes "
    "ask the worker; empty: off. Each worker of a host needs another one",
    "collect.listen": "host:port, or a port of the loopback interface, where Prometheus scrapes "
    "the collector; empty: off",
    "collect.state": "file that remembers counters between two runs of `--once`",
    "collect.spool": "directory that keeps what Graphite cannot take now",
    "workers.secret_file": "file with the secret that signs commands to workers (at least 32 "
    "characters); empty: commands are not signed",
    "worker.server": "name or address of the server to take jobs from",
    "worker.metrics_per_worker": "with StatsD: series of its own for each worker, not one for all",
    "worker.metrics": "where metrics go: `statsd://host:8125` or `graphite://host:2003`",
    "worker.reserve_timeout": "longest wait for a job before checking for commands",
    "worker.job_timeout": "timeout of jobs that set none",
    "worker.grace": "time from a job's timeout to its hard deadline",
    "worker.max_attempts": "attempts of jobs that set no number",
    "worker.shutdown_timeout": "time for the running job to end when the worker stops",
    "worker.heartbeat_interval": "time between two heartbeats",
    "worker.max_jobs": "restart after this many jobs; 0: never",
    "worker.max_time": "restart after this time; 0: never",
    "worker.max_memory": "restart above this resident memory; 0: never",
    "worker.tmp_root": "directory for the jobs' temporary directories; empty: the system's",
    "worker.min_free_disk": "take no jobs while less is free in that directory",
    "worker.ledger": "which runs to record",
    "worker.restart_spread": "restart within this time after `beanwatch workers restart`",
    "workers.expected": "ids of workers whose absence is an alert; and tables "
    '`{ glob = "k8s.*", least = 3 }`: fewer than 3 live workers with such ids are an alert',
    "web.history": "source of the hour before the start of the live page, for its charts: "
    "`graphite` (at `graphite.url`), or the URL of a Prometheus, `http://HOST:9090`; empty: none",
    "links.runbook": "page that alerts link to; `{name}` is replaced",
    "links.graphs": "dashboard that alerts link to; `{name}` is replaced",
}
EXIT_CODES = {
    "worker": {
        0: "told to stop",
        1: "fatal: the reason is on stderr",
        2: "wrong usage or configuration",
        10: "recycled, or told to restart",
        11: "a job did not end by its hard deadline",
        12: "another worker with this id runs",
        13: "the application cannot be imported; with `--check` too",
    },
    "collect": {
        0: "told to stop; with `--once`: all servers answered",
        1: "the address of `--listen` is not free, or another collector has locked the state; "
        "with `--once`: some servers answered",
        2: "wrong usage or configuration; with `--once`: no server was polled",
    },
    "doctor": {
        0: "nothing failed",
        1: "something failed, or a check is CRITICAL",
        2: "wrong usage or configuration",
    },
    "config check": {0: "no errors found", 2: "errors found: one line each on stderr"},
    "run": {
        0: "stopped by `beanwatch workers stop`; else the exit code is that of the program",
        2: "wrong usage or configuration",
        10: "told to restart",
        126: "the program cannot be executed",
        127: "the program was not found",
    },
    "every other command": {
        0: "done",
        1: "not done, or not all of it: the reason is on stderr",
        2: "wrong usage or configuration",
        130: "interrupted",
    },
    "check_*": {0: "OK", 1: "WARNING", 2: "CRITICAL", 3: "UNKNOWN; also wrong usage, `--help`"},
    "beanwatch_probe": {0: "yes", 1: "no, or not known", 2: "wrong usage"},
    "beanwatch_notify": {
        0: "every target got the alert",
        1: "one did not: the reason is on stderr",
        2: "wrong usage",
    },
}
