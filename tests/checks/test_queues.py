"""Depth, buried jobs and age of queues on a real beanstalkd."""

import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beanwatch.checks.lib.plugin import Warn
from beanwatch.checks.lib.queues import CheckedQueue
from beanwatch.checks.queue_age import decide
from beanwatch.config import Threshold
from beanwatch.durations import format_duration
from beanwatch.queues.model import QueueState
from beanwatch.queues.servers import resolve_servers
from tests.checks.conftest import Check
from tests.real import Beanstalkd, closed_port, wait_until
from tests.real.full_disk import full_disk

OK, WARNING, CRITICAL, UNKNOWN = range(4)


def put(server: Beanstalkd, queue: str, count: int = 1, **options: int) -> None:
    with server.client(use=queue) as client:
        for _ in range(count):
            client.put("x", **options)


# -- which queues


def test_without_a_queue_named_all_are_looked_at_but_not_our_own(
    check: Check, beanstalkd: Beanstalkd
):
    for queue in ("a", "b", "beanwatch.control.web1.x", "beanwatch.reply.1"):
        put(beanstalkd, queue)
    answer = check("queue_depth", "--server", beanstalkd.address)
    assert set(answer.perfdata) == {"a", "b", "default"}
    assert answer.text == "QUEUE_DEPTH OK - 3 queues: 2 jobs ready, most in a: 1"


def test_globs_choose_and_exclude(check: Check, beanstalkd: Beanstalkd):
    for queue in ("email.a", "email.b", "images"):
        put(beanstalkd, queue)
    arguments = ("--server", beanstalkd.address, "-Q", "email.*", "--exclude", "*.b")
    assert set(check("queue_depth", *arguments).perfdata) == {"email.a"}


@pytest.mark.parametrize("missing", ["ok", "warning", "critical", "unknown"])
def test_an_absent_queue_is_zero_jobs_unless_that_is_wrong(
    check: Check, beanstalkd: Beanstalkd, missing: str
):
    arguments = ("--server", beanstalkd.address, "--missing", missing)
    answer = check("queue_depth", *arguments, "-Q", "gone")
    assert answer.code == ("ok", "warning", "critical", "unknown").index(missing)
    assert answer.perfdata == {"gone": "0"}
    answer = check("queue_depth", *arguments, "-Q", "gone.*")
    assert answer.code == ("ok", "warning", "critical", "unknown").index(missing)
    assert answer.perfdata == {}


def test_limits_come_from_the_first_rule_that_fits_and_flags_win(
    check: Check, beanstalkd: Beanstalkd, tmp_path: Path
):
    put(beanstalkd, "email.bulk", 5)
    put(beanstalkd, "email.fast", 5)
    config = tmp_path / "beanwatch.toml"
    config.write_text(
        f'[servers]\nq1 = "{beanstalkd.address}"\n'
        '[queues."email.bulk".depth]\nwarning = 100\n'
        '[queues."email.*".depth]\ncritical = 4\n'
        "[queues.expected.depth]\nwarning = 1\n"
    )
    answer = check("queue_depth", "--config", config)
    assert answer.code == CRITICAL
    assert "email.fast: 5 jobs ready (limit 4), no consumer watches it" in answer.text
    assert "email.bulk" not in answer.text
    assert answer.perfdata["expected"] == "0"
    assert check("queue_depth", "--config", config, "-w", "10").code == OK


def test_several_servers_are_told_apart(check: Check, beanstalkd: Beanstalkd, tmp_path: Path):
    with Beanstalkd(tmp_path / "two") as other:
        put(other, "images", 3)
        put(beanstalkd, "images", 1)
        config = tmp_path / "beanwatch.toml"
        config.write_text(f'[servers]\nq1 = "{beanstalkd.address}"\nq2 = "{other.address}"\n')
        answer = check("queue_depth", "--config", config, "-Q", "images", "-w", "2")
    assert answer.text.startswith("QUEUE_DEPTH WARNING - q2/images: 3 jobs ready (limit 2)")
    assert answer.perfdata == {"q1/images": "1", "q2/images": "3"}


def test_a_server_that_is_away_keeps_its_name_and_an_alert_of_another_its_heading(
    check: Check, beanstalkd: Beanstalkd, tmp_path: Path
):
    put(beanstalkd, "images", 3)
    away = f"127.0.0.1:{closed_port()}"
    config = tmp_path / "beanwatch.toml"
    config.write_text(f'[servers]\nq1 = "{beanstalkd.address}"\nq2 = "{away}"\n')
    arguments = ("--config", config, "-Q", "images")
    refused = f"q2 ({away}): connection refused: no server listens there"
    for name in ("queue_depth", "queue_age", "queue_consumers", "queue_server"):
        assert (
            refused in check(name, *(arguments if name != "queue_server" else arguments[:2])).text
        )
    answer = check("queue_depth", *arguments, "-c", "2")
    assert answer.code == CRITICAL
    told = [line for line in answer.long if line.startswith("What to do")]
    assert [line.split()[-1] for line in told] == ["queue-depth", "queue-server"]
    answer = check("queue_depth", "--server", away)  # nobody gave it a name
    assert answer.text.startswith(f"QUEUE_DEPTH UNKNOWN - {away}: connection refused")


@pytest.mark.parametrize("how", ["host", "server", "unix"])
def test_a_server_is_found_every_way_it_can_be_named(
    check: Check, beanstalkd: Beanstalkd, tmp_path: Path, how: str
):
    if how == "unix":
        with Beanstalkd(tmp_path / "unix", unix=True) as server:
            assert check("queue_depth", "-H", server.address).code == OK
    elif how == "host":
        assert check("queue_depth", "-H", "localhost", "-p", beanstalkd.port).code == OK
    else:
        assert check("queue_depth", "--server", f"127.0.0.1:{beanstalkd.port}").code == OK


def test_json_says_the_same(run, beanstalkd: Beanstalkd):
    import json

    put(beanstalkd, "a", 2)
    argv = ("--server", beanstalkd.address, "-Q", "a", "-w", "1", "--json")
    code, stdout, _ = run("check_queue_depth", *argv)
    said = json.loads(stdout)
    assert (code, said["state"], said["exit_code"]) == (WARNING, "warning", 1)
    assert said["perfdata"] == ["'a'=2;1;;0"]


@pytest.mark.parametrize(
    "argv", [("--config", "/no/such/file"), ("--server", "q:x"), ("--nonsense",), ("-w", "10:5")]
)
def test_json_is_json_when_nothing_can_be_checked_too(run, argv: tuple[str, ...]):
    import json

    code, stdout, _ = run("check_queue_depth", *argv, "--json")
    assert (code, json.loads(stdout)["state"]) == (3, "unknown")


# -- for how long


def test_for_waits_until_it_has_lasted(check: Check, beanstalkd: Beanstalkd):
    put(beanstalkd, "a", 2)
    arguments = ("--server", beanstalkd.address, "-Q", "a", "-w", "1", "--for", "1")
    first = check("queue_depth", *arguments)
    assert (first.code, first.text) == (
        OK,
        "QUEUE_DEPTH OK - a: 2 jobs ready (limit 1), no consumer watches it, for 0s",
    )
    wait_until(lambda: check("queue_depth", *arguments).code == WARNING)


def test_for_forgets_when_it_was_well_in_between(check: Check, beanstalkd: Beanstalkd):
    arguments = ("--server", beanstalkd.address, "-Q", "a", "-w", "1", "--for", "3600")
    put(beanstalkd, "a", 2)
    assert check("queue_depth", *arguments).text.endswith("for 0s")
    time.sleep(1.1)  # the text counts whole seconds
    assert not check("queue_depth", *arguments).text.endswith("for 0s")
    with beanstalkd.client(watch="a") as client:
        client.delete(client.reserve(timeout=5))
    assert check("queue_depth", *arguments).text == "QUEUE_DEPTH OK - a: 1 job ready"
    put(beanstalkd, "a", 2)
    assert check("queue_depth", *arguments).text.endswith("for 0s")


def test_a_run_that_cannot_read_the_server_forgets_nothing(check: Check, beanstalkd: Beanstalkd):
    arguments = ("--server", beanstalkd.address, "-Q", "a", "-w", "1", "-t", "2")
    with beanstalkd.client(use="a", watch="a") as client:
        client.put("x")
        client.release(client.reserve(timeout=5))  # the age of this job is not known to the server
        client.put("x")

    def ages() -> tuple[str, int]:
        """For how long the queue is too deep, and how old its first job is."""
        deep = check("queue_depth", *arguments, "--for", "3600").text.rpartition(" ")[2]
        return deep, int(check("queue_age", *arguments).perfdata.get("a", "-1s")[:-1])

    assert ages() == ("0s", 0)
    wait_until(lambda: ages()[1] >= 1)
    beanstalkd.freeze()
    assert ages() == ("s", -1)
    beanstalkd.thaw()
    deep, age = ages()
    assert deep != "0s"
    assert age >= 1


def test_without_a_memory_for_judges_the_moment_and_says_so(
    check: Check, beanstalkd: Beanstalkd, tmp_path: Path
):
    put(beanstalkd, "a", 2)
    arguments = ("--server", beanstalkd.address, "-Q", "a", "-w", "1", "--for", "3600")
    state = tmp_path / "file"
    state.write_text("")
    answer = check("queue_depth", *arguments, BEANWATCH_STATE_DIR=str(state))
    assert answer.code == WARNING
    assert any(
        line.startswith("State file unusable, judged on the current value only: ")
        for line in answer.long
    )


def test_a_full_disk_ends_no_alert_and_delays_none(check: Check, beanstalkd: Beanstalkd):
    arguments = ("--server", beanstalkd.address, "-Q", "a", "-w", "1", "--for", "3600")
    assert check("queue_depth", *arguments).code == OK  # the directory and the file are there
    put(beanstalkd, "a", 2)
    with full_disk():
        answers = [check("queue_depth", *arguments) for _ in range(2)]
    for answer in answers:
        assert answer.code == WARNING
        assert any(line.startswith("State file unusable, judged on ") for line in answer.long)
    assert check("queue_depth", *arguments).code == OK


def test_of_the_queue_default_nothing_is_said_about_workers(check: Check, beanstalkd: Beanstalkd):
    put(beanstalkd, "default")
    with beanstalkd.client() as producer:  # watches it, as every connection does
        producer.stats()
        answer = check("queue_depth", "--server", beanstalkd.address, "-w", "0")
    assert answer.text == "QUEUE_DEPTH WARNING - default: 1 job ready (limit 0)"


# -- buried


def test_buried_jobs_are_a_warning_with_the_way_to_look(check: Check, beanstalkd: Beanstalkd):
    with beanstalkd.client(use="images", watch="images") as client:
        client.put("x")
        client.bury(client.reserve(timeout=5))
    answer = check("queue_buried", "--server", beanstalkd.address)
    assert answer.code == WARNING
    assert answer.text == (
        "QUEUE_BURIED WARNING - images: 1 job buried (limit 0), see: beanwatch queues peek images"
    )


# -- age


def test_the_age_is_of_the_wait_and_not_of_the_delay(check: Check, beanstalkd: Beanstalkd):
    put(beanstalkd, "now")
    put(beanstalkd, "later", delay=1)
    wait_until(lambda: beanstalkd.stats_tube("later")["current-jobs-ready"] == 1)
    answer = check(
        "queue_age", "--server", beanstalkd.address, "-Q", "later", "-Q", "now", "-w", "0"
    )
    assert answer.code == WARNING
    assert "now: the next job has waited" in answer.text
    assert int(answer.perfdata["later"].removesuffix("s")) < int(
        answer.perfdata["now"].removesuffix("s")
    )


def test_where_no_job_is_ready_none_waits(check: Check, beanstalkd: Beanstalkd):
    arguments = ("--server", beanstalkd.address, "-Q", "bulk", "-Q", "images")
    put(beanstalkd, "bulk", delay=999)
    assert check("queue_age", *arguments).text == "QUEUE_AGE OK - 2 queues: no job waits"
    put(beanstalkd, "images")
    text = check("queue_age", *arguments).text
    assert re.search(r"2 queues: the longest wait is \d+s, in images$", text), text


def test_a_retried_job_has_waited_since_it_was_seen(check: Check, beanstalkd: Beanstalkd):
    def age() -> float:
        answer = check("queue_age", "--server", beanstalkd.address, "-Q", "images")
        return float(answer.perfdata["images"].removesuffix("s"))

    def put_and_release() -> None:
        with beanstalkd.client(use="images", watch="images") as client:
            client.put("x")
            time.sleep(1.1)  # does not count: a worker has had the job since
            client.release(client.reserve(timeout=5))

    put_and_release()
    assert age() == 0
    time.sleep(1.1)
    assert age() >= 1
    beanstalkd.restart()  # without a binlog: another job has the same id
    put_and_release()
    assert age() == 0


def test_one_job_of_several_queues_is_one_job(check: Check, beanstalkd: Beanstalkd):
    put(beanstalkd, "a")
    answer = check("queue_depth", "--server", beanstalkd.address)
    assert answer.text == "QUEUE_DEPTH OK - 2 queues: 1 job ready, most in a: 1"


def test_a_range_that_starts_with_a_minus_is_accepted(check: Check, beanstalkd: Beanstalkd):
    put(beanstalkd, "a")
    limits = ("-w", "-0.5:0", "-c", "-7:23")
    answer = check("queue_depth", "--server", beanstalkd.address, "-Q", "a", *limits)
    assert (answer.code, answer.perfdata) == (WARNING, {"a": "1"})


@pytest.mark.parametrize(
    "limits", [("-w", "10", "-c", "5"), ("-w", "5:", "-c", "10:"), ("-w", "10", "-c", "~:5")]
)
def test_limits_that_never_warn_are_refused(run, limits: tuple[str, ...]):
    code, stdout, _ = run("check_queue_depth", *limits)
    assert code == UNKNOWN
    assert "no value would be a WARNING" in stdout
    assert " ".join(limits) in stdout


@given(st.floats(0, 10_000), st.integers(0, 3599))
def test_an_age_is_judged_as_it_is_shown(age: float, limit: int):
    (server,) = resolve_servers({}, ["q1"])
    queue = CheckedQueue("q", server, QueueState("q", ready=1, head_ready_age=age))
    state, text = decide(queue, Threshold(str(limit)))
    assert (state == Warn) == (int(age) > limit)
    assert f"has waited {format_duration(age)}" in text


def test_a_job_that_others_overtake_is_judged_too(check: Check, beanstalkd: Beanstalkd):
    argv = ("queue_age", "--server", beanstalkd.address, "-Q", "a", "-w", "0", "-c", "1800")
    put(beanstalkd, "a", priority=100_000)
    check(*argv)
    put(beanstalkd, "a", priority=1)
    wait_until(lambda: "overtook" in (answer := check(*argv)).text and answer.code == WARNING)
    answer = check(*argv)
    assert re.search(
        r"a: a job that others overtook by their priority has waited \d+s "
        r"\(limit 0 s\), 2 jobs ready$",
        answer.text,
    )
    assert int(answer.perfdata["a"].partition("s")[0]) >= 1
