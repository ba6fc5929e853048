"""What an operator does to a tube never takes more than was meant."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from beanwatch.net.address import parse_address
from beanwatch.queues.base import UnsupportedError
from beanwatch.queues.beanstalkd.actions import BeanstalkdActions
from tests.real import Beanstalkd, wait_until


@pytest.fixture
def actions(beanstalkd: Beanstalkd) -> Iterator[BeanstalkdActions]:
    with closing(BeanstalkdActions(parse_address(beanstalkd.address))) as opened:
        yield opened


def bury(beanstalkd: Beanstalkd, tube: str, number: int) -> list[str]:
    """Buried jobs; their ids."""
    with beanstalkd.client(use=tube, watch=tube) as client:
        ids = []
        for _ in range(number):
            client.put("x")
            job = client.reserve()
            client.bury(job)
            ids.append(str(job.id))
    return ids


def test_kick_never_takes_delayed_jobs_though_others_kick_too(
    beanstalkd: Beanstalkd, actions: BeanstalkdActions
):
    bury(beanstalkd, "t", 4)
    with beanstalkd.client(use="t", watch="t") as client:
        for _ in range(5):
            client.put("x", delay=3600)
        assert client.kick(2) == 2  # somebody else, after the four were counted
        assert list(actions.kick("t", 4)) == [2]
        assert list(actions.kick("t", 4)) == []
        stats = client.stats_tube("t")
    assert (stats["current-jobs-delayed"], stats["current-jobs-ready"]) == (5, 4)


def test_by_id_only_jobs_that_are_still_buried_in_that_tube_are_touched(
    beanstalkd: Beanstalkd, actions: BeanstalkdActions
):
    one, two, three = bury(beanstalkd, "t", 3)
    (other,) = bury(beanstalkd, "u", 1)
    ids = [one, two, other, "99999", "no id"]
    assert sum(actions.kick_jobs("t", [one])) == 1
    assert sum(actions.delete_jobs("t", ids)) == 1  # two: one is ready, the other elsewhere
    found = {job.id: (job.queue, job.state) for job in actions.find([*ids, three])}
    assert found == {one: ("t", "ready"), other: ("u", "buried"), three: ("t", "buried")}


def test_a_job_is_told_with_its_attempts_kicks_and_delay(
    beanstalkd: Beanstalkd, actions: BeanstalkdActions
):
    (job_id,) = bury(beanstalkd, "t", 1)
    list(actions.kick_jobs("t", [job_id]))
    with beanstalkd.client(use="t") as client:
        late = str(client.put("y", delay=100))
    kicked, delayed = actions.find([job_id, late])
    assert (kicked.attempts, kicked.kicks, kicked.ready_in) == (1, 1, None)
    assert (delayed.attempts, delayed.kicks) == (0, 0)
    assert delayed.ready_in is not None
    assert 90 < delayed.ready_in <= 100
    assert actions.body(late) == b"y"
    assert actions.body("99999") is None


def test_a_peek_leaves_no_tube_behind(beanstalkd: Beanstalkd, actions: BeanstalkdActions):
    assert actions.peek("nothing-there", "ready") is None
    wait_until(lambda: not beanstalkd.stats_tube("nothing-there"))
    with pytest.raises(UnsupportedError, match="no queue called"):
        actions.peek("a\r\ndelete 1", "ready")
    with pytest.raises(UnsupportedError, match="cannot show the first reserved job"):
        actions.peek("t", "reserved")


def test_nothing_is_opened_before_the_first_action(beanstalkd: Beanstalkd):
    before = beanstalkd.stats()["total-connections"]
    BeanstalkdActions(parse_address(beanstalkd.address)).close()
    assert beanstalkd.stats()["total-connections"] == before + 1  # the one that asks
