"""Any message is read as far as it makes sense; the rest is named without its value."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from beanwatch.outcomes import NAMES
from beanwatch.worker.wrapper.messages import (
    MAX_NAME,
    MAX_SIZE,
    VARIABLES,
    Message,
    parse_message,
)
from beanwatch.worker.wrapper.watchdog import Watchdog

NAME = st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=MAX_NAME)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "READY": st.just("1"),
            "STOPPING": st.just("1"),
            "STATUS": st.text(st.characters(exclude_characters="\n\0", exclude_categories=["Cs"])),
            "WATCHDOG": st.sampled_from(["1", "trigger"]),
            "MAINPID": st.integers(1, 2**31 - 1).map(str),
            "X_BEANWATCH_JOB": NAME,
            "X_BEANWATCH_QUEUE": NAME,
            "X_BEANWATCH_ID": NAME,
            "X_BEANWATCH_DONE": st.sampled_from(NAMES),
            "X_BEANWATCH_REASON": NAME,
            "FDSTORE": st.just("1"),
        },
    ).filter(lambda one: sum(map(len, one.values())) < MAX_SIZE / 8)
)
def test_what_is_sent_is_read(variables: dict[str, str]) -> None:
    body = "\n".join(f"{name}={value}" for name, value in variables.items()).encode()
    message, faults = parse_message(body)
    assert faults == []
    for name, variable in VARIABLES.items():
        read = getattr(message, variable.field)
        if name not in variables:
            assert read == getattr(Message(), variable.field)
        else:
            assert (
                read in (variables[name], variables[name] == "1" or int(variables[name]))
                if (variables[name].isdecimal())
                else read == variables[name]
            )


@given(st.binary(max_size=MAX_SIZE + 10))
@example(b"x" * (MAX_SIZE + 1))
def test_any_bytes_are_a_message_or_faults(body: bytes) -> None:
    message, faults = parse_message(body)
    assert isinstance(message, Message)
    assert all(faults)


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"READY", "a line has no `=`"),
        (b"READY=yes", "READY: expected 1"),
        (b"WATCHDOG=0", "WATCHDOG: expected one of 1, trigger"),
        (b"MAINPID=0", "MAINPID: expected a process id"),
        (b"MAINPID=-1", "MAINPID: expected a process id"),
        (b"MAINPID=99999999999", "MAINPID: expected a process id"),
        (b"X_BEANWATCH_JOB=", "X_BEANWATCH_JOB: expected 1 to 200 printable characters"),
        (b"X_BEANWATCH_JOB=\x1b[31m", "X_BEANWATCH_JOB: expected 1 to 200 printable characters"),
        (b"X_BEANWATCH_ID=" + b"x" * 201, "X_BEANWATCH_ID: expected 1 to 200 printable"),
        (b"X_BEANWATCH_DONE=fine", "X_BEANWATCH_DONE: expected one of ok, retry"),
        (b"X_BEANWATCH_JBO=x", "no variable with its name that begins with X_BEANWATCH_"),
        (b"STATUS=\xff", "it is not valid UTF-8"),
        (b"STATUS=\0", "it contains a NUL byte"),
        (b"x" * 4097, "it has more than 4096 bytes"),
    ],
)
def test_what_is_wrong_is_left_out_and_named(body: bytes, fault: str) -> None:
    message, faults = parse_message(body)
    assert message == Message()
    assert len(faults) == 1
    assert fault in faults[0]


def test_one_wrong_line_does_not_make_the_others_wrong() -> None:
    message, faults = parse_message(b"\nWATCHDOG=1\nnonsense\nSTATUS=a=b\nUNKNOWN=1\n")
    assert (message.watchdog, message.status) == ("1", "a=b")
    assert faults == ["a line has no `=`"]


def test_a_watchdog_expires_only_when_it_was_armed_and_not_fed() -> None:
    now = 0.0
    armed, unarmed, none = (
        Watchdog(timeout, is_armed=is_armed, clock=lambda: now)
        for timeout, is_armed in ((5, True), (5, False), (0, True))
    )
    now = 5.1
    assert (armed.is_expired, unarmed.is_expired, none.is_expired) == (True, False, False)
    for one in (armed, unarmed, none):
        one.feed()
    assert not armed.is_expired
    now = 10.3
    assert (armed.is_expired, unarmed.is_expired, none.is_expired) == (True, True, False)
    unarmed.feed()
    unarmed.trigger()
    unarmed.feed()
    assert unarmed.is_expired, "it said itself that it hangs"
