"""The session with a real server: the facts are those of the job, whatever the bodies hold."""

import random
import socket
from collections.abc import Iterator

import pytest

from beanwatch.net.address import Address, parse_address
from beanwatch.worker.core.connection import Session, SessionError
from tests.real import Beanstalkd

TTR = 60


def drain(session: Session, jobs: int) -> list[int]:
    """Take and delete so many jobs: the priorities that the facts tell."""
    priorities = []
    for _ in range(jobs):
        reserved = session.reserve(lambda: True)
        assert reserved is not None
        facts = session.facts(reserved.id)
        assert (facts.id, facts.priority) == (reserved.id, int(reserved.body))
        assert (facts.queue, facts.reserves, facts.ttr) == ("work", 1, TTR)
        priorities.append(facts.priority)
        assert session.acknowledge(b"delete %d\r\n" % reserved.id, and_reserve=True) == b"DELETED"
    return priorities


@pytest.fixture
def session(beanstalkd: Beanstalkd) -> Iterator[Session]:
    session = Session(parse_address(beanstalkd.address), ["work"], 1)
    session.open()
    yield session
    session.close()


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
        assert drain(session, len(mine)) == mine


def test_a_queue_that_runs_empty_is_waited_on(beanstalkd: Beanstalkd, session: Session) -> None:
    with beanstalkd.client(use="work") as client:
        for n in range(5):
            client.put(str(n), priority=n, ttr=TTR)
        drain(session, 5)
        assert session.is_promised  # the answer says that there is none
        assert session.reserve(lambda: True) is None
        client.put("5", priority=5, ttr=TTR)
        assert drain(session, 1) == [5]


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
            facts = session.facts(reserved.id)
            assert (facts.id, facts.priority) == (reserved.id, n)
            session.acknowledge(b"delete %d\r\n" % reserved.id, and_reserve=True)
        assert session.reserve(lambda: True) is None


def open_on(near: socket.socket, far: socket.socket) -> Session:
    """A session whose server is `far`."""
    far.sendall(b"WATCHING 1\r\nWATCHING 1\r\nOK 7\r\n- work\n\r\nOK 0\r\n\r\n")
    session = Session(Address("127.0.0.1", 1), ["work"], 1, open_socket=lambda *_: near)
    session.open()
    return session


@pytest.mark.parametrize("answer", [b"OUT_OF_MEMORY", b"INTERNAL_ERROR", b"<html>", b"OK x"])
def test_an_answer_that_is_none_is_told_as_it_came(answer: bytes) -> None:
    near, far = socket.socketpair()
    with near, far:
        session = open_on(near, far)
        far.sendall(b"RESERVED 3 1\r\nx\r\n%b\r\n" % answer)
        reserved = session.reserve(lambda: True)
        assert reserved is not None
        with pytest.raises(SessionError, match=r"it (answered|told of)"):
            session.facts(reserved.id)
        assert not session.is_open


def test_the_facts_of_another_job_are_not_believed() -> None:
    near, far = socket.socketpair()
    names = ("pri", "age", "delay", "ttr", "reserves", "releases", "buries", "kicks")
    stats = b"---\nid: 4\ntube: work\n" + b"".join(b"%b: 1\n" % name.encode() for name in names)
    with near, far:
        session = open_on(near, far)
        far.sendall(b"RESERVED 3 1\r\nx\r\nOK %d\r\n%b\r\n" % (len(stats), stats))
        reserved = session.reserve(lambda: True)
        assert reserved is not None
        with pytest.raises(SessionError, match="asked about job 3, it answered about 4"):
            session.facts(reserved.id)
        assert not session.is_open
