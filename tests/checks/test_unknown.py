"""A number that is missing or cannot be right is UNKNOWN, and never taken for 0."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.checks.conftest import Check
from tests.checks.fake_beanstalkd import fake_beanstalkd

OK, WARNING, CRITICAL, UNKNOWN = range(4)
QUEUE_CHECKS = ("queue_depth", "queue_buried", "queue_age", "queue_consumers")
UNDERFLOW = 2**64 - 1


@pytest.mark.parametrize("name", [*QUEUE_CHECKS, "queue_server"])
def test_the_fake_is_well_when_nothing_is_changed(check: Check, name: str):
    with fake_beanstalkd() as address:
        answer = check(name, "--server", address)
    assert answer.code == OK, answer.text


@pytest.mark.parametrize("name", QUEUE_CHECKS)
@pytest.mark.parametrize(
    ("fake", "reason"),
    [
        ({"tube_changes": {"current-jobs-ready": None}}, "no current-jobs-ready"),
        ({"tube_changes": {"current-watching": None}}, "no current-watching"),
        ({"indent": "  "}, "no current-jobs-ready"),
        ({"is_empty": True}, "no current-jobs-ready"),
    ],
)
@pytest.mark.parametrize("queue", ["images", "*"])
def test_a_reply_without_a_field_is_not_from_such_a_server(
    check: Check, name: str, fake: Mapping[str, object], reason: str, queue: str
):
    with fake_beanstalkd(**fake) as address:
        answer = check(name, "--server", address, "-Q", queue)
    assert answer.code == UNKNOWN
    assert f"this is not beanstalkd: {reason}" in answer.text
    assert answer.perfdata == {}


@pytest.mark.parametrize(
    "fake",
    [
        {"stats_changes": {"current-jobs-ready": None}},
        {"tube_changes": {"current-jobs-ready": None}},
        {"indent": "  "},
        {"is_empty": True},
    ],
)
def test_nor_does_it_count_as_a_server_that_answers(check: Check, fake: Mapping[str, object]):
    with fake_beanstalkd(**fake) as address:
        answer = check("queue_server", "--server", address)
    assert answer.code == CRITICAL
    assert "this is not beanstalkd: no current-jobs-ready" in answer.text
    assert answer.perfdata == {}


@pytest.mark.parametrize(
    ("name", "field", "words", "label"),
    [
        ("queue_depth", "current-jobs-ready", "the number of ready jobs", "images"),
        ("queue_buried", "current-jobs-buried", "the number of buried jobs", "images"),
        ("queue_age", "current-jobs-ready", "the number of ready jobs", "images"),
        ("queue_consumers", "current-watching", "the number of consumers", "images consumers"),
    ],
)
def test_a_number_that_cannot_be_right_is_not_known(
    check: Check, name: str, field: str, words: str, label: str
):
    with fake_beanstalkd(tube_changes={field: UNDERFLOW}) as address:
        answer = check(name, "--server", address, "-Q", "images")
        assert answer.code == UNKNOWN
        assert answer.text.endswith(f"images: {words} is not known")
        assert f"images: {field} is {UNDERFLOW}, which is not a count" in answer.long
        assert answer.perfdata[label] == "U"
        assert str(UNDERFLOW) not in "".join(answer.perfdata.values())


def test_whether_consumers_take_jobs_is_not_known_without_the_number_of_those_waiting(
    check: Check,
):
    with fake_beanstalkd(tube_changes={"current-waiting": UNDERFLOW}) as address:
        answer = check("queue_consumers", "--server", address)
    assert answer.code == UNKNOWN
    assert answer.text.endswith("1 consumer, the number of idle ones is not known")
    assert answer.perfdata["images idle_consumers"] == "U"


@pytest.mark.parametrize("deletes", [9, UNDERFLOW])
def test_busy_workers_are_saturated_though_the_number_of_deletes_is_not_known(
    check: Check, deletes: int
):
    """An unknown number is not 0, which would say that the queue was deleted and created again."""
    busy = {"current-jobs-reserved": 1, "current-waiting": 0, "total-jobs": 13}
    with fake_beanstalkd(tube_changes={**busy, "cmd-delete": 9}) as address:
        assert check("queue_consumers", "--server", address).code == OK
    port = int(address.rpartition(":")[2])
    with fake_beanstalkd(tube_changes={**busy, "cmd-delete": deletes}, port=port) as address:
        answer = check("queue_consumers", "--server", address)
    assert answer.code == WARNING, answer.text


def test_the_age_of_a_head_that_cannot_be_read_is_not_known(check: Check):
    with fake_beanstalkd(stats_changes={"max-job-size": 2**40}) as address:
        answer = check("queue_age", "--server", address, "-Q", "images")
    assert answer.code == UNKNOWN
    assert answer.text.endswith("images: the wait of the next job is not known")
    assert answer.perfdata == {"images": "U"}


@pytest.mark.parametrize("field", ["current-jobs-reserved", "current-connections", "uptime"])
def test_the_check_of_the_server_judges_numbers_that_cannot_be_right(check: Check, field: str):
    with fake_beanstalkd(stats_changes={field: UNDERFLOW}) as address:
        answer = check("queue_server", "--server", address)
    assert answer.code == UNKNOWN
    assert f"gave an answer that cannot be used: server: {field} is {UNDERFLOW}" in answer.text
    assert f"server: {field} is {UNDERFLOW}, which is not a count" in answer.long
    assert "U" in answer.perfdata.values()
    assert str(UNDERFLOW) not in "".join(answer.perfdata.values())


def test_a_limit_on_a_number_that_is_not_known_is_unknown(check: Check):
    with fake_beanstalkd(stats_changes={"current-connections": UNDERFLOW}) as address:
        answer = check("queue_server", "--server", address, "-c", "5")
    assert answer.code == UNKNOWN
    assert f" ({address}) did not report its number of connections" in answer.text


@pytest.mark.parametrize(("limit", "code"), [("1", UNKNOWN), ("1:critical", CRITICAL)])
def test_a_server_that_falls_silent_in_between_is_told_as_one_that_is_silent(
    check: Check, limit: str, code: int
):
    for name, command in (("queue_age", b"peek-ready"), ("queue_consumers", b"stats-tube")):
        with fake_beanstalkd(silent_on=command) as address:
            answer = check(name, "--server", address, "-t", limit)
        assert answer.code == code, answer.text
        assert "no answer within" in answer.text
        assert answer.long[0] == "What to do: beanwatch runbook queue-server"


def test_passive_judges_what_was_read_before_the_server_fell_silent(run, tmp_path: Path):
    env = {"BEANWATCH_STATE_DIR": str(tmp_path / "state"), "BEANWATCH_REDIS_URL": ""}
    with fake_beanstalkd(silent_on=b"peek-ready") as address:
        argv = ("passive", "--once", "-t", "1", "--server", address)
        said = run("beanwatch", *argv, env=env).stdout
    results = dict(line.split("\t")[1:3] for line in said.splitlines())
    assert results == {
        "queue server answers": "0",
        "queue server": "0",
        "depth of all queues": "0",
        "buried of all queues": "0",
        "age of all queues": "3",
        "consumers of all queues": "0",
    }
