"""Plans of actions: nothing happens by guess, and what a system cannot do is named."""

import pytest

from beanwatch.fleet.failed_jobs import BuriedFilter, plan_by_ledger
from beanwatch.fleet.first_jobs import peek_queue
from beanwatch.fleet.queue_actions import (
    Target,
    find_targets,
    list_queue_names,
    plan_jobs,
    plan_pause,
    plan_resume,
)
from beanwatch.queues.base import ServerError, UnsupportedError
from beanwatch.queues.model import FREE_STATES, QueueState
from beanwatch.queues.registry import MODULES
from beanwatch.queues.servers import resolve_servers
from tests.real import Beanstalkd

SERVER = resolve_servers({"q1": "queue1:11300"})[0]


@pytest.fixture
def other(monkeypatch: pytest.MonkeyPatch) -> list[Target]:
    """The queues of a server whose system has no action."""
    monkeypatch.setitem(MODULES, "other", "tests.fleet.other_system")
    return find_targets(resolve_servers({"o1": "other://host"}), "*", 1.0)


def test_an_action_that_a_system_does_not_have_is_named_with_the_system(
    other: list[Target],
) -> None:
    assert [target.name for target in other] == ["orders", "mail"]
    for plan, action in (
        (lambda: plan_jobs(other, "kick", ["buried"]), "kick"),
        (lambda: plan_jobs(other, "delete", FREE_STATES), "empty"),
        (lambda: plan_pause(other, 60), "pause"),
        (lambda: plan_resume(other), "pause"),
        (
            lambda: plan_by_ledger(list, other, "kick", BuriedFilter("*"), timeout=1.0),
            "find",
        ),
        (lambda: list(peek_queue(other[0], 1.0)), "peek"),
    ):
        with pytest.raises(UnsupportedError, match=f"^o1: other has no action '{action}'"):
            plan()


def test_a_count_that_is_not_known_is_no_plan() -> None:
    targets = [Target(SERVER, "id", QueueState("a", ready=1, delayed=0, buried=None))]
    assert [step.jobs for step in plan_jobs(targets, "delete", ["ready", "delayed"])] == [1]
    with pytest.raises(ServerError, match="q1 a: the number of buried jobs is unknown"):
        plan_jobs(targets, "kick", ["buried"])


def test_jobs_that_their_system_cannot_delete_are_named_before_any_is_deleted() -> None:
    (server,) = resolve_servers({"aws": "sqs://eu-west-1"})
    orders = Target(server, "id", QueueState("orders", ready=2, delayed=3, buried=1))
    with pytest.raises(
        UnsupportedError,
        match="aws orders: sqs cannot delete its 3 delayed jobs; leave them out: "
        "--only ready --only buried",
    ):
        plan_jobs([orders], "delete", FREE_STATES)
    steps = plan_jobs([orders], "delete", ["ready", "buried"])
    assert [step.jobs for step in steps] == [2, 1]
    without = orders._replace(queue=orders.queue._replace(delayed=0))
    assert len(plan_jobs([without], "delete", FREE_STATES)) == 2


def test_a_queue_that_may_be_paused_is_resumed() -> None:
    targets = [Target(SERVER, "id", QueueState(f"{paused}", paused=paused))
               for paused in (True, False, None)]  # fmt: skip
    assert [step.target.name for step in plan_resume(targets)] == ["True", "None"]


def test_names_are_listed_without_reading_each_queue(beanstalkd: Beanstalkd) -> None:
    with beanstalkd.client(use="a", watch="beanwatch.control.x"):
        (server,) = resolve_servers({"q1": beanstalkd.address})
        before = beanstalkd.stats()["cmd-stats-tube"]
        assert sorted(list_queue_names(server, 5.0)) == ["a", "default"]
        assert beanstalkd.stats()["cmd-stats-tube"] == before
