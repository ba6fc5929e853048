"""Parses the messages that a program sends to its notify socket, as sd_notify(3) describes them.

READY=1  STATUS=text  WATCHDOG=1  STOPPING=1  MAINPID=4711
X_BEANWATCH_JOB=name  X_BEANWATCH_QUEUE=queue  X_BEANWATCH_ID=id
X_BEANWATCH_DONE=outcome  X_BEANWATCH_REASON=text
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from beanwatch.outcomes import NAMES

MAX_SIZE = 4096  # bytes; systemd's limit too
MAX_NAME = 200  # characters
MAX_TEXT = 1000  # characters of a reason or a status
OWN_PREFIX = "X_BEANWATCH_"
_PID = re.compile(r"[1-9][0-9]{0,9}")


class Message(NamedTuple):
    """The variables of one message; empty values stand for those that it does not have."""

    is_ready: bool = False
    is_stopping: bool = False
    status: str | None = None
    watchdog: str = ""  # 1, or trigger: the program says itself that it hangs
    main_pid: int = 0
    job: str = ""
    queue: str = ""
    id: str = ""
    done: str = ""  # an outcome
    reason: str = ""


class _Variable(NamedTuple):
    """The field for a variable, and a function that reads its value; it raises ValueError."""

    field: str
    read: Callable[[str], Any]


def _read_name(text: str) -> str:
    if not 0 < len(text) <= MAX_NAME or not text.isprintable():
        raise ValueError(f"expected 1 to {MAX_NAME} printable characters")
    return text


def _read_pid(text: str) -> int:
    if not _PID.fullmatch(text):
        raise ValueError("expected a process id")
    return int(text)


def _read_one(text: str) -> bool:
    if text != "1":
        raise ValueError("expected 1")
    return True


def _read_text(text: str) -> str:
    return text[:MAX_TEXT]


def _one_of(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f"expected one of {', '.join(words)}")
        return text

    return read


VARIABLES: Mapping[str, _Variable] = {
    "READY": _Variable("is_ready", _read_one),
    "STOPPING": _Variable("is_stopping", _read_one),
    "STATUS": _Variable("status", _read_text),
    "WATCHDOG": _Variable("watchdog", _one_of("1", "trigger")),
    "MAINPID": _Variable("main_pid", _read_pid),
    "X_BEANWATCH_JOB": _Variable("job", _read_name),
    "X_BEANWATCH_QUEUE": _Variable("queue", _read_name),
    "X_BEANWATCH_ID": _Variable("id", _read_name),
    "X_BEANWATCH_DONE": _Variable("done", _one_of(*NAMES)),
    "X_BEANWATCH_REASON": _Variable("reason", _read_text),
}


def parse_message(body: bytes) -> tuple[Message, list[str]]:
    """Return what a message says, and what is wrong with it. What is wrong is left out.

    The texts name the variable, but not its value. Variables that systemd may know are left out
    without a word.
    """
    if len(body) > MAX_SIZE:
        return Message(), [f"it has more than {MAX_SIZE} bytes"]
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return Message(), ["it is not valid UTF-8"]
    if "\0" in text:
        return Message(), ["it contains a NUL byte"]
    fields: dict[str, Any] = {}
    faults: list[str] = []
    for line in filter(None, text.split("\n")):
        name, equals, value = line.partition("=")
        variable = VARIABLES.get(name)
        if not equals:
            faults.append("a line has no `=`")
        elif variable is not None:
            try:
                fields[variable.field] = variable.read(value)
            except ValueError as error:
                faults.append(f"{name}: {error}")
        elif name.startswith(OWN_PREFIX):
            faults.append(f"there is no variable with its name that begins with {OWN_PREFIX}")
    return Message(**fields), faults
