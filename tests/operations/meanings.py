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
    "beanwatch:workers": (
        "sorted set: worker ids by the time of their last heartbeat, by Redis's clock",
        "removed at a clean stop, unless the worker is expected; else with its record",
    ),
    "beanwatch:worker:<id>": (
        "the heartbeat record, JSON, see below",
        "1 hour; of an expected worker: never",
    ),
    "beanwatch:ended": (
        "sorted set: workers that stopped, need not run, but still have a crash or recycles to "
        "tell; by the time of the stop",
        "1 hour, or until the worker starts again",
    ),
    "beanwatch:version": ("raised by `beanwatch workers restart`", "never"),
    "beanwatch:outcomes:<minute>": ("hash: `queue|job|outcome` to count", "2 hours"),
    "beanwatch:job:<uuid>": ("sorted set: the runs of a job, JSON, by their start", "{ledger}"),
    "beanwatch:job-number:<server id>:<job id>": ("the runs of a job without a uuid", "{ledger}"),
    "beanwatch:job-uuid:<server id>:<job id>": ("the uuid of a job", "{ledger}"),
    "beanwatch:buried:<server id>:<queue>": ("sorted set: buried jobs by job id", "30 days"),
    "beanwatch:buried-on:<queue>": (
        "sorted set: ids of the servers on which jobs of the queue were buried, by the last time",
        "30 days",
    ),
    "beanwatch:jobs": (
        "sorted set: all keys of the ledger, so that it can be limited as a whole",
        "never",
    ),
    "beanwatch:started:<server id>:<job id>": (
        "set: deliveries (`reserves`) of a job that started to run and were not acknowledged",
        "7 days",
    ),
    "beanwatch:started": (
        "sorted set: the keys `beanwatch:started:...`, so that at most 10000 are kept",
        "never",
    ),
    "beanwatch:stops": (
        "sorted set: stops that a command caused, JSON, by Redis's clock; at most 1000",
        "10 minutes",
    ),
    "beanwatch:probe": (
        "written to test that Redis takes writes, and that those before it arrived",
        "1 minute",
    ),
}
BEAT = {
    "instance": "a random id, new with every start of the process",
    "host": "the short host name; the worker's id is `<host>.<name>`",
    "hostname": "the whole host name",
    "pid": "process id on that host",
    "name": "the worker's name, from `--name`",
    "server": "the server that it takes jobs from",
    "queues": "the queues that it takes jobs from",
    "state": "{beat_states}",
    "reason": "why it is blocked, waiting or stopping",
    "is_disconnected": "true: it is blocked because it cannot use its queue server",
    "job": "the running job's name",
    "job_id": "the running job's id on the server",
    "job_uuid": "the running job's id in the envelope",
    "queue": "the running job's queue",
    "where": "the handler's topmost frame: file, line, function",
    "note": "text that the handler set with `ctx.note`",
    "progress": "(n, total), set with `ctx.progress`",
    "app_version": "version of the application",
    "started_at": "when the process started",
    "redis_started_at": "the same by Redis's clock; 0 before Redis has answered",
    "job_started_at": "when the running job started, 0 without a job",
    "job_cpu": "processor time of the running job: much in a loop, little in a wait",
    "deadline": "when the job is interrupted",
    "hard_deadline": "when the process ends itself",
    "loop_at": "when the main thread last moved",
    "beat_at": "when the record was written; by the worker's clock, as all times here",
    "processed": "runs that ended since the process started",
    "failed": "those of them that were not ok",
    "errors": "exceptions in the worker's sinks, hooks, ticks and closes since the process started",
    "ignored_values": "values in envelopes that were ignored, as they cannot be right",
    "rss": "resident memory in bytes",
    "disk_free": "free bytes where jobs get their temporary directories",
    "interval": "time between two heartbeats",
    "reserve_timeout": "longest wait for a job before it checks for orders",
    "shutdown_timeout": "time that the running job has to end after a stop",
    "shutdown_deadline": "when that time ends; 0 while the worker was not told to stop",
    "version": "version of beanwatch",
    "restarts": "starts after a crash or failure under this id; 0 again an hour after the last",
    "last_exit": "how the last instance that crashed or failed ended; kept for an hour, also over "
    "planned restarts and stops",
    "crashed_at": "when the instance after that one started",
    "last_words": "why this instance ended itself; empty while it runs",
    "recycles": "exits at a limit of its own (`--max-...`) since it was last told to stop",
    "recycled_at": "when the last of these were, at most 20 within an hour",
    "recycled_why": "which limit the last one reached, and after how many jobs",
    "restart_refused": "why it runs on though it was told to restart: the next could not start",
    "failed_starts": "starts in a row that failed, because the application cannot be imported",
    "black_box": "path of the file that says, on its host, how this instance ended",
    "totals_of": "the earlier instance since whose start `totals` count; empty: this one. A stop "
    "on request ends the count, unless the worker is expected, or has crashed lately",
    "totals": "the runs since the start of the instance `totals_of`, for each kind of job: "
    "`[queue, job, {{outcome: runs}}, seconds, [runs in each bucket]]`; the buckets are those of "
    "`beanwatch_job_duration_seconds`, without zeros at the end; `null` if they are not known",
    "is_over": "true if it stopped as requested and the next instance has not started yet",
}
LOG = {
    "worker": "the worker's id",
    "instance": "the instance, as in the heartbeat record",
    "queue": "the job's queue",
    "job_id": "the job's id on the server",
    "id": "the job's id in the envelope, if it has one",
    "job": "the job's name",
    "attempt": "1 for the first; deliveries to workers that died before they ran it do not count",
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
    "log_file": "log file instead of standard output; reopened on SIGHUP",
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
    "`rediss://`, `unix://`, `redis+sentinel://`",
    "redis.password_file": "a file whose first line is the password",
    "graphite.address": "carbon's plaintext port; empty: off",
    "graphite.url": "the render API, without `/render`; empty: off",
    "collect.interval": "time between two polls of a server",
    "collect.queues_interval": "time between two polls of the queues; 0: as the interval",
    "collect.timeout": "longest time for a server's whole reply",
    "collect.include": "queues to send",
    "collect.exclude": "queues to leave out",
    "collect.max_queues": "most queues with series of their own, besides configured ones; 0: any",
    "collect.head_ages": "ask for the ages of the first ready and the first buried job",
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
    "worker.reserve_timeout": "longest wait for a job before checking for orders",
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
        1: "with `--once`: some servers answered",
        2: "wrong usage or configuration; with `--once`: no server was polled",
    },
    "doctor": {
        0: "nothing failed",
        1: "something failed, or a check is CRITICAL",
        2: "wrong usage or configuration",
    },
    "config check": {0: "no errors found", 2: "errors found: one line each on stderr"},
    "every other command": {
        0: "done",
        1: "not done, or not all of it: the reason is on stderr",
        2: "wrong usage or configuration",
        130: "interrupted",
    },
    "check_*": {0: "OK", 1: "WARNING", 2: "CRITICAL", 3: "UNKNOWN; also wrong usage, `--help`"},
}
