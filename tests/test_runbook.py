"""The runbook at the command line: the part for an alert, under every name it goes by."""

from collections.abc import Callable

import pytest

from beanwatch.checks.lib.runbook_page import find_entry, parse_headings, read_runbook
from beanwatch.checks.lib.services import answers_services, plan_services
from beanwatch.checks.registry import CHECKS, find_check
from beanwatch.cli.runbook import find_section
from beanwatch.config.reader import parse
from beanwatch.queues.servers import resolve_servers

Run = Callable[..., tuple[int, str, str]]

# By heading: an alert, and the title of the entry that has its remedy.
ALERTS = {
    "queue-server": {
        "q1 (10.0.0.5:11300): the server closed the connection in mid-reply": (
            "the server closed the connection, connection reset by peer"
        ),
        "q1 (10.0.0.5:11300): Connection reset by peer": (
            "the server closed the connection, connection reset by peer"
        ),
        "mq: HTTP 404 Not Found: not in vhost 'x', or there is no such vhost": "not in vhost ...",
        "mq: HTTP 401 Unauthorized: the password of user 'a' is wrong, or it lacks the tag "
        "monitoring or a permission on vhost '/'": "HTTP 401 ... the password of user ... is wrong",
        "mq cannot use queue mail: minority": "cannot use queue ..., cannot use 3 queues ...",
        "mq cannot use 3 queues (a, b, c): down": "cannot use queue ..., cannot use 3 queues ...",
        "r1 has evicted 1 key since its start (maxmemory-policy allkeys-lru): jobs may be": (
            "has evicted ... since its start"
        ),
        "r1 has 1 scheduled job more than 60 s overdue: no RQ scheduler moves them to a queue": (
            "more than 60 s overdue"
        ),
        "r1 accepts no new jobs: Redis takes no writes: OOM, its memory is full": (
            "accepts no new jobs"
        ),
        "r1 has evicted 3 keys since its start (maxmemory-policy allkeys-lru): jobs may be among "
        "them": "has evicted ... since its start",
        "r1 lists 1 worker whose heartbeat has expired (dead, frozen, or cut off from Redis): w1": (
            "lists ... whose heartbeat has expired"
        ),
        "r1 has 40 scheduled jobs more than 60 s overdue: no RQ scheduler moves them to a queue": (
            "more than 60 s overdue"
        ),
    },
    "queue-depth": {"mail: no such queue": "no such queue"},
    "queue-buried": {
        "mail: no such queue": "no such queue",
        "mail: 1 job buried (limit 0), see: beanwatch queues peek mail": "",
        "jobs: 1 failed job on this server (limit 0), see: beanwatch failures list": (
            "1 failed job on this server, 7 failed jobs on this server"
        ),
        "jobs: 7 failed jobs on this server (limit 0), see: beanwatch failures list": (
            "1 failed job on this server, 7 failed jobs on this server"
        ),
    },
    "queue-age": {"mail: no such queue": "no such queue"},
    "queue-consumers": {
        "mail: no such queue": "no such queue",
        "a: 7 jobs ready, and web1.a is connected but sends no heartbeat (frozen?)": (
            "connected but ... no heartbeat (frozen?)"
        ),
        "a: 7 jobs ready and none gets done: web1.a, web1.b are connected but send no heartbeat "
        "(frozen?)": "connected but ... no heartbeat (frozen?)",
        "a: 7 jobs ready and no consumer: there are no live workers of the queue": (
            "no consumer watches it, no consumer ... there are no ..."
        ),
        "a: 1 consumer (allowed 2:), no heartbeat: web1.a": "1 consumer (allowed 2:)",
        "a: 7 jobs ready, but its one consumer takes none": (
            "none of 3 consumers takes one, its one consumer takes none"
        ),
        "a: 7 jobs ready and no consumer watches it, no heartbeat: web1.mailer": (
            "no consumer watches it, no consumer ... there are no ..."
        ),
    },
    "worker-heartbeat": {
        "web1.a: restarted 1m 30s ago, an earlier process ended: killed while idle": (
            "restarted ... ago, the previous process ended: ..."
        ),
        "web1.rq-1: ended 5s ago: killed by signal 9, last seen running shop.pay (job 4f1c); "
        "web1.rq started it": "ended ... ago ...; ... started it",
        "web1.a: ended 2m ago (it has run for max_time), and was not started again": (
            "ended 2m ago ... and was not started again"
        ),
        "1 live worker (allowed 2:)": "live ... (allowed 2:)",
        "2 live workers (allowed 3:)": "live ... (allowed 2:)",
        "k8s.*: 1 live worker, 3 are expected, no heartbeat: k8s.web-7f9": (
            "live ... 3 are expected"
        ),
        "web1.a: hung in resize (job 7, queue a) at jobs.py:12 in resize, 30s past its deadline": (
            "hung in JOB at FILE:LINE, past its deadline"
        ),
        "web1.a: hung in resize (job 7, queue a), 30s past its deadline": (
            "hung in JOB at FILE:LINE, past its deadline"
        ),
        "k8s.*: 0 live workers, 3 are expected": "live ... 3 are expected",
        "web1.a: hung while it stops, 40s past its shutdown timeout": "hung while it stops",
        "web1.m: hung, has sent no WATCHDOG=1 for 40s": "hung, has sent no WATCHDOG=1 for 40s",
    },
    "metrics-fresh": {
        "cannot read Graphite: 10.0.0.7:8080: HTTP 502 Bad Gateway": "cannot read Graphite",
        "cannot read Graphite: 10.0.0.7:8080: connection refused: no server listens there": (
            "cannot read Graphite"
        ),
        "Graphite has no series beanwatch.collector.queue2.success": "",
    },
    "unknown": {
        "mail: no such queue": "no such queue",
        "cannot read Graphite: 10.0.0.7:8080: no answer within 9 s": "cannot read Graphite",
        "q1 (10.0.0.5:11300): the server closed the connection in mid-reply": (
            "connection refused, no answer within ..., the host name cannot be resolved, the "
            "server closed the connection"
        ),
    },
    "redis": {
        "redis queue1:6379: NOAUTH Authentication required.": "NOAUTH, WRONGPASS",
        "redis queue1:6379: connection refused: no server listens there": (
            "connection refused, no answer within ..., the server closed the connection"
        ),
        "redis queue1:6379: the server closed the connection": (
            "connection refused, no answer within ..., the server closed the connection"
        ),
        "the used memory is not known: this Redis user may not run INFO": (
            "the used memory is not known"
        ),
    },
}


@pytest.mark.parametrize(
    "name", ["queue-depth", "check_queue_depth", "QUEUE_DEPTH", "#queue-depth"]
)
def test_the_part_for_an_alert_is_printed_under_any_of_its_names(run: Run, name: str) -> None:
    code, out, _ = run("beanwatch", "runbook", name)
    assert code == 0
    assert out.startswith("## queue-depth\n")
    assert out.count("\n## ") == 0


@pytest.mark.parametrize(
    ("service", "heading"),
    [
        *((check.service, check.heading) for check in CHECKS),
        ("depth of email.regular", "queue-depth"),
        ("Consumers of all queues", "queue-consumers"),
        ("worker web1.image-1", "worker-heartbeat"),
        ("other job failures", "job-failures"),
    ],
)
def test_the_name_of_a_service_in_nagios_is_enough(run: Run, service: str, heading: str) -> None:
    code, out, _ = run("beanwatch", "runbook", service)
    assert code == 0
    assert out.startswith(f"## {heading}\n")


SITE = """
[servers]
q1 = "127.0.0.1:11300"
[servers.jobs]
url = "redis://127.0.0.1/2"
layout = "sidekiq"
[workers]
expected = ["web1.image-1", { glob = "k8s.*", least = 2 }]
[queues."email.*".depth]
warning = 5
"""


@pytest.mark.parametrize("text", ["", SITE])
def test_each_name_that_a_service_can_have_leads_to_the_section_of_its_check(text: str) -> None:
    config, parts = parse(text), parse_headings(read_runbook())
    kinds = [("images", "crop")] if text else []
    planned = plan_services(config, resolve_servers(config.servers), kinds=kinds)
    services = [*planned, *answers_services(planned)]
    assert {one.check for one in services} == {check.name for check in CHECKS}
    found = {one.name: find_section(parts, one.name).partition("\n")[0] for one in services}
    assert found == {one.name: f"## {find_check(one.check).heading}" for one in services}


@pytest.mark.parametrize(
    ("heading", "alert", "title"),
    [(heading, alert, ALERTS[heading][alert]) for heading in ALERTS for alert in ALERTS[heading]],
)
def test_the_page_shows_the_remedy_of_this_alert_and_of_no_other(
    heading: str, alert: str, title: str
) -> None:
    found = find_entry(heading, alert)
    assert found is not None
    assert found.title == title


def test_without_a_name_all_of_it_is_printed(run: Run) -> None:
    code, out, _ = run("beanwatch", "runbook")
    assert code == 0
    assert out.startswith("# Runbook\n")
    assert "\n## worker-heartbeat\n" in out


def test_a_near_miss_is_named(run: Run) -> None:
    code, out, err = run("beanwatch", "runbook", "queue-dept")
    assert (code, out) == (2, "")
    assert "did you mean queue-depth?" in err
