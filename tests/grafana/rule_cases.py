"""Series with which each alert rule for Prometheus fires, and others with which it is quiet."""

from collections.abc import Mapping
from typing import NamedTuple

SERVER_PAGE = "d/beanwatch-server-prometheus?var-server=q1"
QUEUE_PAGE = "d/beanwatch-queue-prometheus?var-server=q1&var-queue=a%26b"
WORKER_PAGE = "d/beanwatch-worker-prometheus?var-host=web1&var-worker=mail.1"
FLEET_PAGE = "d/beanwatch-fleet-prometheus"
JOBS_PAGE = "d/beanwatch-queue-prometheus?var-queue=mail"
ON_Q1: Mapping[str, str] = {"server": "q1"}
IN_QUEUE: Mapping[str, str] = {"server": "q1", "queue": "a&b"}
WORKER: Mapping[str, str] = {"worker": "web1.mail.1"}
JOB: Mapping[str, str] = {"queue": "mail", "job": "send"}
SCRAPE = 'system="beanstalkd",instance="c:9137"'  # labels that no alert has
RUNS = f'beanwatch_fleet_job_runs_total{{server="q1",queue="mail",job="send",{SCRAPE},outcome='
OF_SERVER = f'{{server="q1",{SCRAPE}}}'
OF_QUEUE = f'{{server="q1",queue="a&b",{SCRAPE}}}'


class Case(NamedTuple):
    """Series (one value each minute) with which a rule fires at `minute`, and others with which
    it is quiet. `_` is a missing value: what promtool writes for a scrape without the series."""

    alert: str
    severity: str
    labels: Mapping[str, str]
    summary: str
    path: str
    minute: int
    fires: Mapping[str, str]
    quiet: tuple[Mapping[str, str], ...]


def case_of(
    alert: str,
    severity: str,
    labels: Mapping[str, str],
    summary: str,
    path: str,
    minute: int,
    series: str,
    fires: str,
    *quiet: str,
) -> Case:
    """A case with one series."""
    return Case(
        alert,
        severity,
        labels,
        summary,
        path,
        minute,
        {series: fires},
        tuple({series: values} for values in quiet),
    )


def of_queue(
    alert: str, severity: str, summary: str, minute: int, series: str, fires: str, *quiet: str
) -> Case:
    return case_of(alert, severity, IN_QUEUE, summary, QUEUE_PAGE, minute, series, fires, *quiet)


def of_worker(
    alert: str, severity: str, summary: str, minute: int, series: str, fires: str, *quiet: str
) -> Case:
    return case_of(alert, severity, WORKER, summary, WORKER_PAGE, minute, series, fires, *quiet)


def of_server(
    alert: str, severity: str, summary: str, minute: int, series: str, fires: str, *quiet: str
) -> Case:
    return case_of(alert, severity, ON_Q1, summary, SERVER_PAGE, minute, series, fires, *quiet)


def state(family: str, name: str, labels: str) -> str:
    return f'{family}{{state="{name}",{labels},{SCRAPE}}}'


QUEUE_LABELS, WORKER_LABELS = 'server="q1",queue="a&b"', 'worker="web1.mail.1"'
POLL_AGE = f"beanwatch_collector_poll_age_seconds{OF_SERVER}"
READY = state("beanwatch_queue_jobs", "ready", QUEUE_LABELS)
HEAD_AGE = f"beanwatch_queue_head_ready_age_seconds{OF_QUEUE}"
RESTARTS = f'beanwatch_worker_restarts{{worker="web1.mail.1",{SCRAPE}}}'
PROBLEM = f"beanwatch_server_problem{OF_SERVER}"
MISSING = f'beanwatch_worker_group_missing{{group="k8s.*",{SCRAPE}}}'


def consumers(name: str) -> str:
    return state("beanwatch_queue_consumer_state", name, QUEUE_LABELS)


def health(name: str) -> str:
    return state("beanwatch_worker_state", name, WORKER_LABELS)


CASES = (
    of_server(
        "BeanwatchServerDown",
        "critical",
        "The collector cannot read server q1",
        3,
        f"beanwatch_server_up{OF_SERVER}",
        "1 1 0 0",
        "1 1 1 1",
        "1 1 1 0",
        "_ _ _ _",
    ),
    of_server(
        "BeanwatchQueuesNotRead",
        "critical",
        "The queues of server q1 cannot be read",
        6,
        f"beanwatch_collector_queues_success{OF_SERVER}",
        "1 0 0 0 0 0 0",
        "1 1 1 1 1 1 1",
        "0.5x6",
        "0 0 0 1 0 0 0",
        "_ _ _ _ _ _ _",
    ),
    of_server(
        "BeanwatchQueuesPartlyRead",
        "warning",
        "Some numbers of the queues of server q1 cannot be read",
        16,
        f"beanwatch_collector_queues_success{OF_SERVER}",
        "1 0.5x15",
        "1x16",
        "0x16",
        "0.5x9 1 0.5x6",
    ),
    of_server(
        "BeanwatchServerProblem",
        "warning",
        "Server q1 shows a problem itself",
        6,
        PROBLEM,
        "0 1 1 1 1 1 1",
        "0 0 0 0 0 0 0",
        "1 1 1 0 1 1 1",
    ),
    of_server(
        "BeanwatchServerProblem",
        "critical",
        "Server q1 shows a problem itself",
        6,
        PROBLEM,
        "0 2x5",
        "0 1x5",
        "2 2 2 2 2 0 2",
    ),
    Case(
        "BeanwatchCollectorSilent",
        "warning",
        ON_Q1,
        "No point of q1 has arrived for 2 minutes",
        FLEET_PAGE,
        4,
        {POLL_AGE: "1 1 stale", "up": "1 1 0 0 0"},  # the collector, or the way to it
        ({POLL_AGE: "1x4", "up": "1x4"}, {POLL_AGE: "1x3 stale", "up": "1x3 0"}),
    ),
    Case(
        "BeanwatchCollectorSilent",
        "critical",
        ON_Q1,
        "No point of q1 has arrived for 5 minutes",
        FLEET_PAGE,
        8,
        # The part of the collector that polls this server.
        {POLL_AGE: "1 1 121 181 241 301 361 421 481", "up": "1x8"},
        ({POLL_AGE: "1 1 1 1 1 1 121 181 241", "up": "1x8"},),
    ),
    of_server(
        "BeanwatchServerRestarted",
        "warning",
        "Restarts of server q1 in 10 minutes: 1",
        12,
        f"beanwatch_server_restarts_total{OF_SERVER}",
        # Its series are away while it is down. Then the collector is started anew, too.
        "3 3 3 3 3 3 stale _ 4 4 0 0 0",
        "3 3 3 3 3 3 3 3 3 3 3 3 3",
        "3 3 3 3 3 3 3 stale _ 0 0 0 0",  # a collector that was started anew
        "0 1 1 1 1 1 1 1 1 1 1 1 1",
    ),
    of_server(
        "BeanwatchServerDraining",
        "warning",
        "Server q1 is draining: it refuses new jobs",
        1,
        f"beanwatch_server_draining{OF_SERVER}",
        "0 1",
        "0 0",
    ),
    of_server(
        "BeanwatchRejectedPuts",
        "warning",
        "beanstalkd q1 refused jobs in the last 10 minutes: 6",
        12,
        f'beanwatch_server_stat{{stat="rejected_puts",server="q1",{SCRAPE}}}',
        "2 2 2 2 2 2 2 2 2 8 8 8 8",
        "8 8 8 8 8 8 8 8 8 8 8 8 8",
        "8 8 8 8 8 8 8 8 8 0 0 0 0",  # a server that was started anew
    ),
    of_server(
        "BeanwatchMissingJobs",
        "warning",
        "Jobs that server q1 has lost: 4",
        6,
        f"beanwatch_server_missing_jobs{OF_SERVER}",
        "0 4x5",
        "0x6",
        "0 0 4x4",
    ),
    of_queue(
        "BeanwatchBacklog",
        "warning",
        "Ready jobs in a&b on q1: 1001",
        16,
        READY,
        "0 1001x15",
        "0 1000x15",
        "1001x9 1000 1001x5",
    ),
    of_queue(
        "BeanwatchHeadAge",
        "warning",
        "The first ready job in a&b on q1 has been waiting for 5m 1s",
        1,
        HEAD_AGE,
        "0 301",
        "0 300",
    ),
    of_queue(
        "BeanwatchHeadAge",
        "critical",
        "The first ready job in a&b on q1 has been waiting for 30m 1s",
        1,
        HEAD_AGE,
        "0 1801",
        "0 1800",
    ),
    of_queue(
        "BeanwatchBuried",
        "warning",
        "Buried jobs in a&b on q1: 2",
        1,
        state("beanwatch_queue_jobs", "buried", QUEUE_LABELS),
        "0 2",
        "0 0",
        "_ _",
    ),
    of_queue(
        "BeanwatchConsumersNoConsumer",
        "critical",
        "No consumer: a&b on q1",
        3,
        consumers("no_consumer"),
        "0 1 1 1",
        "0 0 0 0",
        "1 1 0 1",
    ),
    of_queue(
        "BeanwatchConsumersStalled",
        "critical",
        "Stalled: a&b on q1",
        3,
        consumers("stalled"),
        "0 1 1 1",
        "0 0 0 0",
    ),
    of_queue(
        "BeanwatchConsumersSaturated",
        "warning",
        "Saturated: a&b on q1",
        16,
        consumers("saturated"),
        "0 1x15",
        "1x9 0 1x5",
    ),
    Case(
        "BeanwatchHeartbeatsNotRead",
        "critical",
        {},
        "The heartbeats of the workers cannot be read",
        FLEET_PAGE,
        3,
        {"beanwatch_workers_success": "1 0 0 0"},
        (
            {"beanwatch_workers_success": "1 1 1 1"},
            {"beanwatch_workers_success": "0 0 1 0"},
            {"beanwatch_workers_success": "_ _ _ _"},
        ),
    ),
    Case(
        "BeanwatchWorkersMissing",
        "critical",
        {"group": "k8s.*"},
        "Missing workers, expected as k8s.*: 2",
        FLEET_PAGE,
        3,
        {MISSING: "0 1 2 2"},
        ({MISSING: "0 0 0 0"}, {MISSING: "1 1 0 1"}),
    ),
    Case(
        "BeanwatchNoWorker",
        "critical",
        {},
        "No worker sends a heartbeat",
        FLEET_PAGE,
        2,
        {"beanwatch_workers_live": "1 0 0"},
        ({"beanwatch_workers_live": "1 1 1"}, {"beanwatch_workers_live": "_ _ _"}),
    ),
    of_worker(
        "BeanwatchWorkerDead",
        "critical",
        "Worker web1.mail.1 is dead",
        2,
        health("dead"),
        "0 1 1",
        "0 0 0",
        "1 0 1",
    ),
    of_worker(
        "BeanwatchWorkerHung",
        "warning",
        "Worker web1.mail.1 is hung",
        1,
        health("hung"),
        "0 1",
        "0 0",
    ),
    of_worker(
        "BeanwatchWorkerHungLong",
        "critical",
        "Worker web1.mail.1 has been hung for 10 minutes",
        11,
        health("hung"),
        "0 1x10",
        "1x9 0 1 1",
    ),
    of_worker(
        "BeanwatchWorkerBlocked",
        "warning",
        "Worker web1.mail.1 is blocked",
        6,
        health("blocked"),
        "0 1x5",
        "1 1 1 0 1 1 1",
    ),
    of_worker(
        "BeanwatchWorkerRestarted",
        "warning",
        "Restarts of worker web1.mail.1 in 10 minutes: 1",
        12,
        RESTARTS,
        "0 0 0 0 0 0 0 0 0 1 1 1 1",
        "2 2 2 2 2 2 2 2 2 0 0 0 0",  # a worker that was told to stop begins at 0
        "_ _ _ _ _ _ _ _ _ 2 2 2 2",  # known since Redis answers again
    ),
    Case(
        "BeanwatchFailures",
        "warning",
        JOB,
        "10 % of the runs of job send in queue mail fail",
        JOBS_PAGE,
        12,
        {f'{RUNS}"ok"}}': "0+9x12", f'{RUNS}"retry"}}': "0+1x12"},
        (
            {f'{RUNS}"ok"}}': "0+100x12", f'{RUNS}"retry"}}': "0+1x12"},
            {f'{RUNS}"ok"}}': "0+1x12", f'{RUNS}"retry"}}': "0 0 0 0 0 1x7"},  # few runs
        ),
    ),
    Case(
        "BeanwatchFailures",
        "critical",
        JOB,
        "50 % of the runs of job send in queue mail fail",
        JOBS_PAGE,
        12,
        {f'{RUNS}"ok"}}': "0+9x12", f'{RUNS}"buried"}}': "0+9x12"},
        ({f'{RUNS}"ok"}}': "0+9x12", f'{RUNS}"retry"}}': "0+1x12"},),
    ),
    Case(
        "BeanwatchJobsLost",
        "warning",
        JOB,
        "Runs of job send in queue mail that were poison, timed out or lost: 1",
        JOBS_PAGE,
        12,
        {f'{RUNS}"poison"}}': "0 0 0 0 0 0 0 0 0 1 1 1 1", f'{RUNS}"lost"}}': "5x12"},
        ({f'{RUNS}"poison"}}': "1x12", f'{RUNS}"retry"}}': "0+5x12"},),
    ),
)
