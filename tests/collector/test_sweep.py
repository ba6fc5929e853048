"""One poll of a real server: what was there the last time is asked for in one go."""

from collections.abc import Iterator
from itertools import count

import pytest

from beanwatch.net.address import parse_address
from beanwatch.queues.beanstalkd.connection import Link
from beanwatch.queues.beanstalkd.sweep import Reading, read
from beanwatch.queues.selection import Chosen
from tests.real import Beanstalkd


def test_each_tube_of_a_long_sweep_has_the_time_of_its_own_part(beanstalkd: Beanstalkd) -> None:
    ticks = count()
    with beanstalkd.client() as client:
        for number in range(1000):
            client.use(f"t{number}")
            client.put("x")
    with Link(parse_address(beanstalkd.address), 1e6, clock=lambda: float(next(ticks))) as link:
        first = read(link, Chosen)
        looks = next(ticks)
        again = read(link, Chosen, first.heard)
    for reading in (first, again):
        assert reading.tubes is not None
        assert list(reading.heard) == list(reading.tubes)
        times = list(reading.heard.values())
        assert times == sorted(times)
        assert len(set(times)) > 1
    assert again.heard["default"] > looks > first.heard["t999"]


class CountingLink(Link):
    """Counts its writes: each is a round trip, as long as the parts are few."""

    writes = 0

    def _send(self, data: bytes) -> None:
        self.writes += 1
        super()._send(data)


@pytest.fixture
def link(beanstalkd: Beanstalkd) -> Iterator[CountingLink]:
    with CountingLink(parse_address(beanstalkd.address)) as link:
        yield link


def jobs_in(reading: Reading) -> dict[str, object]:
    assert reading.tubes is not None
    return {name: stats["current-jobs-ready"] for name, stats in reading.tubes.items()}


def test_known_tubes_cost_one_write_and_new_and_gone_ones_are_right(
    beanstalkd: Beanstalkd, link: CountingLink
) -> None:
    with beanstalkd.client() as client:
        for name in ("a", "b"):
            client.use(name)
            client.put("x")
        first = read(link, Chosen)
        assert jobs_in(first) == {"default": 0, "a": 1, "b": 1}
        assert link.writes == 2  # the list, then the tubes in it
        client.use("a")
        client.put("x")
        again = read(link, Chosen, jobs_in(first))
        assert jobs_in(again) == {"default": 0, "a": 2, "b": 1}
        assert link.writes == 3
        client.use("b")
        client.delete(client.peek_ready())
        client.use("c")
        client.put("x")
        last = read(link, Chosen, jobs_in(again))
        assert jobs_in(last) == {"default": 0, "a": 2, "c": 1}
        assert last.server["current-jobs-ready"] == 3


def test_a_known_name_that_the_server_does_not_take_is_as_good_as_gone(
    beanstalkd: Beanstalkd, link: CountingLink
) -> None:
    with beanstalkd.client(use="b") as client:
        client.put("x")
        reading = read(link, Chosen, ["a b", "gone", "", "default"])
        assert jobs_in(reading) == {"default": 0, "b": 1}
        assert not reading.trouble


def test_known_tubes_that_are_not_chosen_any_more_are_left_out(
    beanstalkd: Beanstalkd, link: CountingLink
) -> None:
    with beanstalkd.client(use="a") as client:
        client.put("x")
        reading = read(link, lambda names: Chosen([n for n in names if n != "a"]), ["a", "default"])
        assert jobs_in(reading) == {"default": 0}
