"""beanstalkd's protocol as functions of bytes, on any bytes; one test asks a real server."""

import itertools
import tracemalloc
from collections.abc import Iterable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from beanwatch.net.address import parse_address
from beanwatch.queues.beanstalkd.connection import QueryConnection
from beanwatch.queues.beanstalkd.protocol import (
    MAX_BODY,
    MAX_JOB,
    MAX_LINE,
    WITH_BODY,
    WORDS,
    NonsenseError,
    Reply,
    ReplyBuffer,
    is_tube_name,
    peek,
    stats_job,
    stats_tube,
    use,
)
from tests.real import Beanstalkd


def take(feeds: Iterable[bytes]) -> list[Reply]:
    """All replies in these pieces of a stream, in order. Raises NonsenseError."""
    buffer, replies = ReplyBuffer(), []
    for data in feeds:
        buffer.feed(data)
        while (reply := buffer.next()) is not None:
            replies.append(reply)
    return replies


def cut(stream: bytes, places: Iterable[int]) -> list[bytes]:
    """The stream in pieces, cut at these places."""
    edges = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[start:end] for start, end in itertools.pairwise(edges)]


def encode(reply: Reply) -> bytes:
    """A reply as a server sends it."""
    body = reply.body + b"\r\n" if reply.word in WITH_BODY else b""
    return b" ".join((reply.word, *reply.args)) + b"\r\n" + body


WORD = st.binary(max_size=12).filter(lambda word: not set(word) & set(b" \r\n"))
PLAIN = st.builds(
    Reply,
    st.sampled_from(sorted(WORDS - WITH_BODY)),
    st.lists(WORD, max_size=3).map(tuple),
    st.just(b""),
)
BODIES = st.binary(max_size=200) | st.sampled_from(
    [b"", b"\r\n", b"\r", b"\r\nOK 3\r\nabc\r\n", bytes(range(256)), b"x" * 5000]
)
WITH_BODIES = st.builds(
    lambda word, args, body: Reply(word, (*args, b"%d" % len(body)), body),
    st.sampled_from(sorted(WITH_BODY)),
    st.lists(WORD, max_size=2).map(tuple),
    BODIES,
)
REPLIES = st.lists(PLAIN | WITH_BODIES, max_size=8)
PLACES = st.lists(st.integers(0, 10_000), max_size=30)


@given(REPLIES, PLACES)
def test_replies_are_the_same_however_their_bytes_arrive(replies: list[Reply], places: list[int]):
    stream = b"".join(map(encode, replies))
    assert take([stream]) == replies
    assert take(cut(stream, places)) == replies
    assert take(bytes([byte]) for byte in stream) == replies


LONGEST_LINE = b"USING " + b"x" * (MAX_LINE - 6)
# What is near to a reply reaches further than any bytes.
FRAGMENTS = st.lists(
    st.binary(max_size=20)
    | st.sampled_from([*sorted(WORDS), b" ", b"\r", b"\n", b"\r\n", b"0", b"3", b"-1", b"99999999"])
    | st.builds(encode, PLAIN | WITH_BODIES),
    max_size=12,
).map(b"".join)


@given(FRAGMENTS | st.binary(), PLACES)
@example(b"OK", [])
@example(b"OK \r\n", [])
@example(b"OK " + b"1" * 5000 + b"\r\n", [4000])
@example(b"OK 00000000000000003\r\nabc\r\n", [])
@example("OK ٣\r\nabc\r\n".encode(), [])
@example(LONGEST_LINE + b"\r\n", [MAX_LINE, MAX_LINE + 1])
@example(LONGEST_LINE + b"x\r\n", [MAX_LINE, MAX_LINE + 1, MAX_LINE + 2])
@example(b"NOT_FOUND " + b"x" * 9000 + b"\r\n", [1500])
@example(b"x" * 9000, [1500, 3000])
def test_any_bytes_are_replies_or_nonsense_however_they_arrive(stream: bytes, places: list[int]):
    def read(feeds: Iterable[bytes]) -> tuple[list[Reply], bool]:
        buffer, replies = ReplyBuffer(), []
        try:
            for data in feeds:
                buffer.feed(data)
                while (reply := buffer.next()) is not None:
                    replies.append(reply)
        except NonsenseError as error:
            assert str(error).startswith("this is not beanstalkd, it answered ")
            assert len(str(error)) < 250
            return replies, True
        return replies, False

    whole = read([stream])
    assert read(cut(stream, places)) == whole
    assert read(bytes([byte]) for byte in stream) == whole


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"OK\r\n",
        b"OK many\r\n",
        b"OK -1\r\n",
        b"OK 99999999999\r\n",
        b"OK %d\r\n" % (MAX_BODY + 1),
        b"FOUND 7 " + b"1" * 5000 + b"\r\n",
        b"OK 3\r\nabcXX",
        b"OK 3\r\nabcdef\r\n",
        b"\r\n\r\n",
        b"x" * 3000,
        b"ok 3\r\nabc\r\n",
        b"OK 3\nabc\n" + b"x" * MAX_LINE,
        b"SSH-2.0-OpenSSH_9.2p1\r\n",
    ],
)
def test_what_no_beanstalkd_sends_is_nonsense(answer: bytes):
    with pytest.raises(NonsenseError, match="this is not beanstalkd, it answered "):
        take([answer])


@pytest.mark.parametrize("stream", [b"", b"O", b"OK 5", b"OK 5\r", b"OK 5\r\nab", b"OK 2\r\nab\r"])
def test_the_start_of_a_reply_waits_for_the_rest(stream: bytes):
    assert take([stream]) == []


def test_a_line_without_end_is_refused_before_it_fills_the_memory():
    longest = b"x" * (MAX_LINE + 1)  # its line end may still come
    assert take(bytes([byte]) for byte in longest) == []
    with pytest.raises(NonsenseError):
        take(bytes([byte]) for byte in longest + b"x")


@pytest.mark.parametrize(
    ("reply", "piece"),
    [
        (Reply(b"OK", (b"100000",), b"x" * 100_000), 1000),
        (Reply(b"OK", (b"100000",), b"x" * 100_000), 65_536),
        (Reply(b"OK", (b"100000",), b"x" * 100_000), 300_000),
        (Reply(b"INSERTED", (b"1234567",)), 1000),
    ],
)
def test_replies_that_were_taken_out_take_no_memory(reply: Reply, piece: int):
    """3 MB in pieces smaller and larger than a reply: only a few of them are held at once."""
    one = encode(reply)
    count = 300_000 // len(one)
    stream = one * count
    tracemalloc.start()
    try:
        buffer, taken = ReplyBuffer(), 0
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        for _ in range(10):
            for start in range(0, len(stream), piece):
                buffer.feed(stream[start : start + piece])
                while (found := buffer.next()) is not None:
                    taken += found == reply
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert taken == 10 * count
    assert peak < 10_000 + 5 * (len(one) + piece)


def test_the_largest_body_is_still_one():
    body = b"x" * MAX_BODY
    stream = encode(Reply(b"OK", (b"%d" % MAX_BODY,), body))
    (reply,) = take(stream[start : start + 65_536] for start in range(0, len(stream), 65_536))
    assert reply.body == body


TUBE_NAMES = st.from_regex(r"[A-Za-z0-9+/;.$_()][A-Za-z0-9+/;.$_()-]{0,199}", fullmatch=True)


@given(TUBE_NAMES)
@example("a")
@example("x" * 200)
@example("1_000")
@example("true")
@example("$(id)")
def test_a_tubes_name_is_one_and_stays_one_word(name: str):
    assert is_tube_name(name)
    for command in (stats_tube(name), use(name)):
        assert command.split() == [command.split()[0], name.encode()]


@given(st.text(max_size=250))
@example("")
@example("-a")
@example("a b")
@example("a\n")
@example("a\r\nput 0 0 60 1")
@example("x" * 201)
@example("é")
@example("٣")
@example("\ud800")
@example("a\x00")
def test_nothing_else_is_a_tubes_name(name: str):
    allowed = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-+/;.$_()")
    is_name = 1 <= len(name) <= 200 and set(name) <= allowed and name[0] != "-"
    assert is_tube_name(name) is is_name


def test_a_real_server_takes_the_names_that_we_do(beanstalkd: Beanstalkd):
    names = [chr(code) for code in range(33, 127)]
    names += [f"a{name}" for name in names] + ["x" * 200, "x" * 201, "-a", "a-", "1_000"]
    with QueryConnection(parse_address(beanstalkd.address)) as link:
        replies = link.ask(list(map(use, names)))
    taken = {name: reply.word == b"USING" for name, reply in zip(names, replies, strict=True)}
    assert taken == {name: is_tube_name(name) for name in names}


def test_commands_are_those_of_the_protocol():
    assert stats_tube("email") == b"stats-tube email"
    assert use("email") == b"use email"
    assert stats_job(b"7") == b"stats-job 7"
    assert [peek(state) for state in ("ready", "delayed", "buried")] == [
        *(b"peek-ready", b"peek-delayed", b"peek-buried")
    ]


@given(st.binary(max_size=300), st.integers(0, 60), st.lists(st.integers(0, 400), max_size=8))
def test_a_job_too_large_to_be_kept_is_skipped(rest: bytes, small: int, places: list[int]):
    """However the stream is cut, the replies before and after it are whole."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("beanwatch.queues.beanstalkd.protocol.MAX_BODY", 60)
        large = b"FOUND 8 %d\r\n%b\r\n" % (len(rest) + 61, rest + b"x" * 61)
        kept = Reply(b"FOUND", (b"7", b"%d" % small), b"y" * small)
        stream = encode(kept) + large + encode(kept) + b"NOT_FOUND\r\n"
        skipped = Reply(b"FOUND", (b"8", b"%d" % (len(rest) + 61)))
        expected = [kept, skipped, kept, Reply(b"NOT_FOUND")]
        assert take(cut(stream, places)) == expected
        assert take(bytes([byte]) for byte in stream) == expected
    with pytest.raises(NonsenseError):
        take([b"FOUND 8 %d\r\n" % (MAX_JOB + 1)])
    with pytest.raises(NonsenseError):
        take([b"OK %d\r\n" % (MAX_BODY + 1)])
