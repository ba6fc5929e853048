"""What an operator does to a tube never takes more than was meant."""

from beanwatch.net.address import parse_address
from beanwatch.queues.beanstalkd.actions import kick
from beanwatch.queues.beanstalkd.connection import Link
from tests.real import Beanstalkd


def test_kick_never_takes_delayed_jobs_though_others_kick_too(beanstalkd: Beanstalkd):
    with beanstalkd.client(use="t", watch="t") as client:
        for _ in range(4):
            client.put("x")
            client.bury(client.reserve())
        for _ in range(5):
            client.put("x", delay=3600)
        with Link(parse_address(beanstalkd.address)) as link:
            assert client.kick(2) == 2  # somebody else, after the four were counted
            assert list(kick(link, "t", 4)) == [2]
            assert list(kick(link, "t", 4)) == []
        stats = client.stats_tube("t")
    assert (stats["current-jobs-delayed"], stats["current-jobs-ready"]) == (5, 4)
