"""The session with a real server: what it is told of the next job is of that job, or it asks."""

import random
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beanwatch.net.address import Address, parse_address
from beanwatch.worker.core.connection import Pace, Session, SessionError
from tests.real import Beanstalkd, wait_until

TTR = 60


def drain(session: Session, jobs: int) -> tuple[list[int], list[int]]:
    """Take and delete so many jobs: the priorities that the facts tell, and whose came along."""
    priorities, told = [], []
    for _ in range(jobs):
        reserved = session.reserve(lambda: True)
        assert reserved is not None
        facts = reserved.facts or session.facts(reserved.id)
        assert int(reserved.body) == facts.priority
        assert (facts.queue, facts.reserves, facts.ttr) == ("work", 1, TTR)
        priorities.append(facts.priority)
        told += [reserved.id] if reserved.facts else []
        assert session.acknowledge(b"delete %d\r\n" % reserved.id, and_reserve=True) == b"DELETED"
    return priorities, told


@pytest.fixture
def session(beanstalkd: Beanstalkd) -> Iterator[Session]:
    session = Session(parse_address(beanstalkd.address), ["work"], 1)
    session.open()
    yield session
    session.close()


def test_the_facts_come_with_the_job_where_ids_count_evenly(
    beanstalkd: Beanstalkd, session: Session
) -> None:
    with beanstalkd.client() as client:
        for n in range(60):
            client.use("work" if n % 3 == 0 else "other")
            client.put(str(n), priority=n, ttr=TTR)
        priorities, told = drain(session, 20)
        assert priorities == list(range(0, 60, 3))
        assert len(told) == 17  # all but those that the step is learnt from
        # One a job, and one for what is not there, which may be on its way.
        wait_until(lambda: client.stats()["cmd-stats-job"] == 21)


def test_the_facts_are_those_of_the_job_whatever_the_ids(
    beanstalkd: Beanstalkd, session: Session
) -> None:
    draw = random.Random(7)
    with beanstalkd.client() as client:
        mine = []
        for n in range(400):
            client.use(draw.choice(["work", "work", "work", "other"]))
            client.put(str(n), priority=n, ttr=TTR)
            mine += [n] if client.using() == "work" else []
        priorities, told = drain(session, len(mine))
        assert priorities == mine
        assert 0 < len(told) < len(mine)


def test_a_queue_that_runs_empty_after_a_guess_is_waited_on(
    beanstalkd: Beanstalkd, session: Session
) -> None:
    with beanstalkd.client(use="work") as client:
        for n in range(5):
            client.put(str(n), priority=n, ttr=TTR)
        drain(session, 5)
        assert session.is_promised  # the answer says that there is none
        assert session.reserve(lambda: True) is None
        client.put("5", priority=5, ttr=TTR)
        assert drain(session, 1)[0] == [5]


def test_a_body_is_never_taken_for_an_answer(beanstalkd: Beanstalkd, session: Session) -> None:
    answer = b"\r\nOK 9\r\n---\nid: 3\n\r\nRESERVED 4 2\r\nxx\r\nNOT_FOUND\r\nTIMED_OUT\r\n"
    bodies = [answer[n:] for n in range(len(answer) + 1)] + [b"x" * 65535, b"\xff\0" * 99] * 3
    with beanstalkd.client(use="work", encoding=None) as client:
        for n, body in enumerate(bodies):
            client.put(body, priority=n, ttr=TTR)
        for n, body in enumerate(bodies):
            reserved = session.reserve(lambda: True)
            assert reserved is not None
            assert reserved.body == body
            facts = reserved.facts or session.facts(reserved.id)
            assert (facts.id, facts.priority) == (reserved.id, n)
            session.acknowledge(b"delete %d\r\n" % reserved.id, and_reserve=True)
        assert session.reserve(lambda: True) is None


@pytest.mark.parametrize("answer", [b"OUT_OF_MEMORY", b"INTERNAL_ERROR", b"<html>", b"OK x"])
def test_an_answer_that_is_none_is_told_as_it_came(answer: bytes) -> None:
    near, far = socket.socketpair()
    with far:
        far.sendall(b"WATCHING 1\r\nWATCHING 1\r\nOK 7\r\n- work\n\r\nOK 0\r\n\r\n")
        session = Session(Address("127.0.0.1", 1), ["work"], 1, open_socket=lambda *_: near)
        session.open()
        for job_id in (1, 2):  # the third is told
            far.sendall(b"RESERVED %d 1\r\nx\r\nDELETED\r\n" % job_id)
            assert session.reserve(lambda: True)
            session.acknowledge(b"delete %d\r\n" % job_id, and_reserve=True)
        far.sendall(b"RESERVED 3 1\r\nx\r\n%b\r\n" % answer)
        with pytest.raises(SessionError, match=r"it (answered|told of)"):
            session.reserve(lambda: True)
        assert not session.is_open


@given(st.lists(st.integers(1, 2**63), max_size=30))
def test_a_guess_is_told_only_after_one_that_was_right(ids: list[int]) -> None:
    pace, seen = Pace(), [0, 0]
    for job_id in ids:
        pace.see(job_id)
        seen.append(job_id)
        before, last, now = seen[-3:]
        expected = now + (now - last) if now - last == last - before else 0
        assert pace.next == max(0, expected)
