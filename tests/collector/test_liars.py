"""A server that answers nonsense, at whatever question, is told of and no more than that."""

import math
import socket
import threading
from collections.abc import Iterator
from typing import NamedTuple, Self

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beanwatch.collectors.poll.observer import Observation, Observer
from beanwatch.net.address import parse_address
from beanwatch.queues.servers import Server
from tests.collector.formats import SERVERS, TUBES


class Lie(NamedTuple):
    """What is answered instead of the truth; one that no answer can follow `ends` it all."""

    answer: bytes
    ends: bool = False


class Liar:
    """A beanstalkd with the tube `t`, a job in it ready and one buried, that lies where told.

    `lies` are by the first word of the command.
    """

    def __init__(self) -> None:
        self.lies: dict[bytes, Lie] = {}
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as commands:
            try:
                for command in commands:
                    word, _, argument = command.rstrip(b"\r\n").partition(b" ")
                    lie = self.lies.get(word)
                    connection.sendall(lie.answer if lie else self._truth(word, argument))
                    if lie and lie.ends:
                        return
            except OSError:
                return

    def _truth(self, word: bytes, argument: bytes) -> bytes:
        if word == b"stats":
            return ok(SERVERS["1.12"])
        if word == b"list-tubes":
            return ok(b"---\n- t\n")
        if word == b"stats-tube":
            return (
                ok(TUBES["1.13+"].replace(b"1_000", b"t")) if argument == b"t" else b"NOT_FOUND\r\n"
            )
        if word == b"stats-job":
            state = b"ready" if argument == b"7" else b"buried"
            return ok(b"---\nid: %b\ntube: t\nstate: %b\nage: 3\nreserves: 1\n" % (argument, state))
        if word == b"use":
            return b"USING t\r\n"
        return b"FOUND 7 1\r\nx\r\n" if word == b"peek-ready" else b"FOUND 8 1\r\nx\r\n"


def ok(body: bytes) -> bytes:
    """A reply with a body."""
    return b"OK %d\r\n%b\r\n" % (len(body), body)


QUESTIONS = [
    *(b"stats", b"list-tubes", b"stats-tube"),
    *(b"use", b"peek-ready", b"peek-buried", b"stats-job"),
]
FIELDS = {
    field
    for body in (SERVERS["1.12"], TUBES["1.13+"])
    for field in (line.partition(b": ")[0] for line in body.splitlines())
} | {b"id", b"tube", b"state", b"age", b"delay", b"reserves", b"kicks"}
LINE = st.binary(max_size=300).filter(lambda line: b"\r" not in line and b"\n" not in line)
VALUES = LINE | st.sampled_from(
    [b"", b"-1", b"7", b"t", b"ready", b"nan", b"-inf", b"1e308", b"1e999", b"9" * 400, b"9" * 5000]
)
MAPPINGS = st.lists(st.tuples(st.sampled_from(sorted(FIELDS)), VALUES), max_size=20).map(
    lambda lines: ok(b"---\n" + b"".join(b"%b: %b\n" % line for line in lines))
)
LISTS = st.lists(VALUES, max_size=5).map(
    lambda names: ok(b"---\n" + b"".join(b"- %b\n" % name for name in names))
)
WORDS = st.sampled_from([b"NOT_FOUND", b"BAD_FORMAT", b"OUT_OF_MEMORY", b"USING t", b"BURIED 1"])
LIES = (
    (MAPPINGS | LISTS | st.binary(max_size=300).map(ok)).map(lambda answer: Lie(answer))
    | WORDS.map(lambda word: Lie(word + b"\r\n"))
    | VALUES.map(lambda job: Lie(b"FOUND %b 1\r\nx\r\n" % job))
    | st.binary(max_size=300).map(lambda answer: Lie(answer, ends=True))
)


@pytest.fixture(scope="module")
def liar() -> Iterator[Liar]:
    with Liar() as one:
        yield one


def observe(liar: Liar, lies: dict[bytes, Lie]) -> list[Observation]:
    """What is seen before it lies, twice while it does, and after."""
    observer = Observer(Server("q1", parse_address(liar.address)))
    seen = []
    for told in ({}, lies, lies, {}):
        liar.lies = told
        seen.append(observer.observe())
    observer.close()
    return seen


def are_well(seen: Observation) -> bool:
    return not seen.trouble and seen.queues is not None and seen.queues["t"]["total_jobs"] == 52


@settings(max_examples=300, deadline=None)
@given(lies=st.dictionaries(st.sampled_from(QUESTIONS), LIES, min_size=1, max_size=2))
def test_no_answer_is_more_than_trouble_and_none_outlasts_itself(
    liar: Liar, lies: dict[bytes, Lie]
):
    first, *during, last = observe(liar, lies)
    assert are_well(first)
    assert are_well(last)
    for seen in during:
        for values in (seen.queues or {}).values():
            assert all(math.isfinite(value) for value in values.values())


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize(
    "answer", [b"OK " + b"1" * 5000 + b"\r\n", b"FOUND 7 " + b"1" * 5000 + b"\r\n"]
)
def test_a_size_of_thousands_of_digits_is_no_beanstalkds(
    liar: Liar, question: bytes, answer: bytes
):
    _, seen, _, last = observe(liar, {question: Lie(answer, ends=True)})
    assert "this is no beanstalkd" in seen.trouble
    assert are_well(last)


@pytest.mark.parametrize("job", [b"\xff", b"x", b"9" * 5000])
def test_a_head_whose_id_is_no_number_is_not_known(liar: Liar, job: bytes):
    found = Lie(b"FOUND %b 1\r\nx\r\n" % job)
    its_stats = Lie(ok(b"---\nid: %b\ntube: t\nstate: ready\nreserves: 1\n" % job))
    _, seen, _, _ = observe(liar, {b"peek-ready": found, b"stats-job": its_stats})
    assert not seen.trouble
    assert seen.queues is not None
    assert "head_ready_age" not in seen.queues["t"]


def test_a_head_whose_stats_lack_its_id_is_not_known(liar: Liar):
    its_stats = Lie(ok(b"---\ntube: t\nstate: ready\nreserves: 1\n"))
    _, seen, _, _ = observe(liar, {b"stats-job": its_stats})
    assert not seen.trouble
    assert seen.queues is not None
    assert "head_ready_age" not in seen.queues["t"]


def test_numbers_that_no_counter_reaches_are_none(liar: Liar):
    huge = TUBES["1.13+"].replace(b"1_000", b"t").replace(b": 52", b": 1e308")
    _, seen, _, _ = observe(liar, {b"stats-tube": Lie(ok(huge))})
    assert seen.queues is not None
    assert "total_jobs" not in seen.queues["t"]


def test_a_largest_job_size_that_is_no_number_costs_nothing(liar: Liar):
    odd = Lie(ok(SERVERS["1.12"].replace(b"max-job-size: 65535", b"max-job-size: many")))
    _, seen, _, _ = observe(liar, {b"stats": odd})
    assert are_well(seen)
