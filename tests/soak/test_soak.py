"""A minute of `make soak`, and its judges."""

import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import pytest

from tests.soak import healthy, troubles
from tests.soak.healthy import GRACES, Transition, judge
from tests.soak.kinds import KINDS, ON_RABBITMQ, PROMISES, make_kind, read_age
from tests.soak.soak import Plan, audit, soak
from tests.soak.stage import Answer, Stage
from tests.soak.troubles import TROUBLES, Tormentor, drain, judge_losses

# Those that recover within seconds.
SHORT = {
    "php": ("killed and started", "connection to the broker reset", "broker restarted"),
    "dramatiq": ("killed and started",),
}


def test_a_few_workers_killed_at_random_lose_no_job(tmp_path: Path) -> None:
    account = soak(tmp_path, Plan(workers=6, jobs=400, seconds=8, kills_per_second=2))
    wrong = audit(account)
    assert not wrong, f"{len(wrong)} things are wrong:\n" + "\n".join(wrong[:20])
    assert len(account.expected) > 400
    assert any(len(attempts) > 1 for attempts in account.begun.values())


def test_workers_of_two_kinds_lose_no_job_and_each_death_is_told(tmp_path: Path) -> None:
    def torment(name: str) -> None:
        directory = tmp_path / name
        kind = make_kind(name, directory / "broker")
        with Stage(kind, directory, has_proxies=True) as stage:
            stage.start()
            tormentor = Tormentor(stage, random.Random(1), print)
            for trouble in SHORT[name]:
                tormentor.do(trouble)
            assert tormentor.wrong == []
            assert drain(stage) == []
            assert stage.put_at

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(torment, SHORT))


def test_a_healthy_worker_that_is_deployed_alerts_nobody(tmp_path: Path) -> None:
    with Stage(make_kind("php", tmp_path / "broker"), tmp_path, has_proxies=False) as stage:
        stage.start()
        account = healthy.play(stage, 6.0, "seed", print)
    assert account.wrong == []
    assert account.answers
    assert {one.name for one in account.transitions} == set(GRACES)


# -- the judges

ALERT = Answer(100.0, "worker web1.a", "CRITICAL", "web1.a: dead")


@pytest.mark.parametrize("state", ["WARNING", "CRITICAL", "UNKNOWN"])
def test_each_answer_but_ok_is_a_false_alert_if_nothing_has_happened(state: str) -> None:
    answers = [ALERT._replace(state=state), ALERT._replace(state="OK")]
    assert judge(answers, [], 30) == answers[:1]


def test_a_deploy_explains_no_alert() -> None:
    assert judge([ALERT], [Transition("deploy", 99, 101)], 30) == [ALERT]


@pytest.mark.parametrize(
    ("name", "ended", "is_false"),
    [("broker", 71, False), ("broker", 69, True), ("redis", 86, False), ("redis", 84, True)],
)
def test_a_restart_explains_an_alert_only_for_its_grace(
    name: str, ended: float, is_false: bool
) -> None:
    found = judge([ALERT], [Transition(name, ended - 1, ended)], 30)
    assert bool(found) == is_false


def test_no_restart_explains_an_alert_before_it_or_of_another_service() -> None:
    assert judge([ALERT], [Transition("redis", 101, 102)], 30) == [ALERT]
    depth = ALERT._replace(service="depth of mail")
    assert judge([depth], [Transition("redis", 99, 99)], 30) == [depth]


def test_a_started_server_is_told_for_ten_minutes_and_nothing_else_of_it() -> None:
    restart = [Transition("broker", 1, 2)]
    told = Answer(600, "queue server", "WARNING", "q1 was started 9m 58s ago, with a binlog")
    down = told._replace(state="CRITICAL", text="q1: connection refused")
    assert judge([told, down, told._replace(at=608)], restart, 30) == [down, told._replace(at=608)]


def test_a_worker_that_its_framework_has_ended_is_told_for_ten_minutes() -> None:
    text = "a: restarted 9m 50s ago, the previous process ended: RQ ended its work loop: Gone"
    told = Answer(600, "worker a", "WARNING", text)
    restart = [Transition("broker", 1, 2)]
    assert judge([told], restart, 30, "RQ ended its work loop") == []
    assert judge([told], restart, 30) == [told]


def test_a_machine_without_time_for_the_checks_is_not_judged_around_that() -> None:
    (span,) = healthy.find_busy([100, 102, 104, 111, 113])
    assert span == (104 - healthy.AROUND, 111 + healthy.AROUND)
    assert healthy.find_busy([100, 102, 107]) == []
    assert healthy.total([(0, 20), (10, 30), (50, 99)], 5, 60) == 35


class _Lossy:
    """A stage of a kind that may lose one job each time that it is killed. One job has begun."""

    class kind:  # noqa: N801 - it is the attribute of a stage
        promise = PROMISES["rq"]._replace(loses={"killed": 1})

    @staticmethod
    def runs(word: str) -> list[str]:
        return ["c"]


def test_more_lost_jobs_than_the_framework_alone_loses_are_wrong() -> None:
    stage = cast("Stage", _Lossy)
    assert judge_losses(stage, ["a", "b"], Counter({"killed": 2})) == []
    (wrong,) = judge_losses(stage, ["a", "b"], Counter({"killed": 1, "deployed": 9}))
    assert "2 jobs are lost, of which the framework alone loses 1" in wrong
    (wrong,) = judge_losses(stage, ["c"], Counter({"killed": 1}))
    assert "lost though they had begun" in wrong


def test_each_kind_has_a_promise_that_names_only_known_troubles() -> None:
    assert set(PROMISES) == {*KINDS, *ON_RABBITMQ}
    for promise in PROMISES.values():
        assert set(promise.loses) <= set(TROUBLES)
        assert promise.source


def test_ages_are_read_from_texts() -> None:
    assert read_age("web1.a: restarted 1m 30s ago and 7 times", "restarted") == 90
    assert read_age("web1.a: restarted 4s ago, the previous", "restarted") == 4
    assert read_age("web1.a: idle", "restarted") is None


def test_an_answer_about_an_earlier_death_does_not_tell_a_new_one(tmp_path: Path) -> None:
    now = time.monotonic()
    text = "a: restarted 20s ago, the previous process ended: killed while idle"
    old = Answer(now + 1, "worker a", "WARNING", text)
    new = old._replace(text=text.replace("20s", "0s"))
    assert not troubles.tells_restart(old, now)
    assert troubles.tells_restart(new, now)
    assert not troubles.tells_restart(new, now + 2)
    later = new._replace(text=new.text.replace("killed", "Celery ended with exit code 1"))
    assert not troubles.tells_restart(later, now)
    assert troubles.tells_restart(later, now, "Celery ended with exit code 1")
