"""The meanings of the names in the generated pages; tests compare them with the names in the code.

Times are in seconds unless another unit is named. Series have theirs in telemetry/series.py.
"""

# Fields of the model that have no series of their own.
QUEUE_FIELDS = {"paused": "1 while taking jobs is stopped on purpose"}
SERVER_FIELDS = {
    "version": "version of the server's program",
    "instance": "identifies one start of the server: another one after each restart",
}
# Native series that beanwatch computes, by system.
NATIVE = {
    "beanstalkd": {
        "rejected_puts": "puts refused since the server's start: too big, draining, out of memory",
        "binlog_bytes": "size of the binlog's files; 0 without a binlog",
    }
}
OUTCOMES = {
    "ok": "done and deleted",
    "retry": "failed, released with a delay, will run again",
    "buried": "failed for the last time, or by `Bury(reason)`",
    "discarded": "deleted undone, by `Discard(reason)`",
    "timeout": "did not end by its hard deadline; the worker was replaced",
    "lost": "done, but the job was no longer this worker's: it may have run twice",
    "poison": "buried before it ran: it has killed its workers, or outlasted its TTR, too often",
    "invalid": "buried before it ran: no envelope, or a job that no application registered",
}
REDIS = {
    "beanwatch:workers": (
        "sorted set: worker ids by the time of their last beat, by Redis's clock",
        "a clean stop removes it, unless expected; a dead one goes with its record",
    ),
    "beanwatch:worker:<id>": ("the heartbeat record, JSON, see below", "1 hour; expected: never"),
    "beanwatch:version": ("raised by `beanwatch workers restart`", "never"),
    "beanwatch:outcomes:<minute>": ("hash: `queue|job|outcome` to count", "2 hours"),
    "beanwatch:job:<uuid>": ("sorted set: the runs of a job, JSON, by their start", "{ledger}"),
    "beanwatch:job:<server id>:<job id>": ("the same for a job without a uuid", "{ledger}"),
    "beanwatch:job-uuid:<server id>:<job id>": ("the uuid of that job", "{ledger}"),
    "beanwatch:buried:<server id>:<queue>": ("sorted set: buried jobs by job id", "30 days"),
    "beanwatch:jobs": ("sorted set: all keys of the ledger, which bounds it as a whole", "never"),
    "beanwatch:probe": ("a write that confirms the writes before it", "1 minute"),
}
BEAT = {
    "instance": "random, new with every start of the process",
    "host": "the worker id is `<host>.<name>`",
    "pid": "process id on that host",
    "name": "what `--name` said",
    "server": "the beanstalkd it takes jobs from",
    "queues": "the queues it watches",
    "state": "{beat_states}",
    "reason": "why it is blocked, waiting or stopping",
    "job": "the running job's name",
    "job_id": "its id in beanstalkd",
    "job_uuid": "its id in the envelope",
    "queue": "its queue",
    "where": "the handler's topmost frame: file, line, function",
    "note": "what the handler said by `ctx.note`",
    "progress": "(n, total), by `ctx.progress`",
    "app_version": "of the application",
    "started_at": "when the process started",
    "job_started_at": "when the job started, 0 without a job",
    "job_cpu": "processor time that the job has used: a loop, or a wait",
    "deadline": "when the job is interrupted",
    "hard_deadline": "when the process ends itself",
    "loop_at": "when the main thread last moved",
    "beat_at": "when this was written, by the worker's clock, as all times here",
    "processed": "jobs ended, since the start",
    "failed": "of them, not ok",
    "rss": "bytes of resident memory",
    "disk_free": "bytes free",
    "interval": "between two beats",
    "reserve_timeout": "how long it waits for a job before it looks up",
    "version": "of beanwatch",
    "restarts": "starts under this id since it was last told to stop",
    "last_exit": "how the instance before ended; empty if it was told to",
    "last_words": "why this instance ended itself; empty while it lives",
    "is_over": "it ended as it was told to, and the next instance is to come",
}
LOG = {
    "worker": "worker id",
    "instance": "of the process",
    "queue": "the job's queue",
    "job_id": "id in beanstalkd",
    "id": "id in the envelope, if it has one",
    "job": "the job's name",
    "attempt": "1 for the first",
    "wait_ms": "milliseconds it was ready before it was taken",
    "duration_ms": "milliseconds that the handler took",
    "outcome": "as in the metrics",
    "reason": "why, when it is not ok",
    "traceback": "of a handler that raised",
    "delay": "before the next attempt",
    "follow_ups": "ids of the jobs that were put after it",
    "parent": "id of the job whose follow-up this is",
}
CONFIG = {
    "prefix": "first node of all metric paths",
    "log_format": "of worker and collector",
    "log_file": "instead of standard output; reopened on SIGHUP",
    "redis.url": "where heartbeats and the ledger are; `redis://`, `rediss://`, `unix://`, "
    "`redis+sentinel://`",
    "redis.password_file": "a file whose first line is the password",
    "graphite.address": "carbon's plaintext port, `host:2003`",
    "graphite.url": "the render API, `http://host`",
    "collect.interval": "between two polls of a server",
    "collect.queues_interval": "between two sweeps of the queues; 0: as the interval",
    "collect.timeout": "for a server's whole answer",
    "collect.include": "queues to send",
    "collect.exclude": "queues to leave out",
    "collect.max_queues": "queues with series of their own, beside those configured; 0: any",
    "collect.head_ages": "peek at the heads of the queues",
    "collect.state": "file that remembers counters between two runs of `--once`",
    "collect.spool": "directory that keeps what Graphite cannot take now",
    "worker.server": "name or address of the beanstalkd to take jobs from",
    "worker.metrics": "`statsd://host:8125` or `graphite://host:2003`",
    "worker.reserve_timeout": "wait so long for a job before looking up",
    "worker.job_timeout": "for jobs that set no timeout",
    "worker.grace": "from a job's timeout to its hard deadline",
    "worker.max_attempts": "for jobs that set none",
    "worker.shutdown_timeout": "for the running job to end at a stop",
    "worker.heartbeat_interval": "between two heartbeats",
    "worker.max_jobs": "restart after so many jobs; 0: never",
    "worker.max_time": "restart after so long; 0: never",
    "worker.max_memory": "restart above so much resident memory; 0: never",
    "worker.tmp_root": "where jobs get their temporary directories; empty: the system's",
    "worker.min_free_disk": "take no jobs with less free there",
    "worker.ledger": "which runs to record",
    "worker.restart_spread": "restart within so long after `beanwatch workers restart`",
    "workers.expected": "ids of workers whose absence is an alert",
    "links.runbook": "what alerts link to; `{name}` is filled in",
    "links.graphs": "the same for graphs",
}
EXIT_CODES = {
    "worker": {
        0: "told to stop",
        1: "fatal: the reason is on stderr",
        2: "wrong usage or configuration",
        10: "recycled, or told to restart",
        11: "a job did not end by its hard deadline",
        12: "another worker with this id runs",
    },
    "collect": {
        0: "told to stop; with `--once`: all servers answered",
        1: "with `--once`: some servers answered",
        2: "wrong usage or configuration; with `--once`: no server was polled",
    },
    "doctor": {0: "nothing failed", 1: "something failed", 2: "wrong usage or configuration"},
    "config check": {0: "fine", 2: "something is wrong: one line each on stderr"},
    "every other command": {
        0: "done",
        1: "not done, or not all of it: the reason is on stderr",
        2: "wrong usage or configuration",
        130: "interrupted",
    },
    "check_*": {0: "OK", 1: "WARNING", 2: "CRITICAL", 3: "UNKNOWN; also wrong usage, `--help`"},
}
