"""What the collector remembers of a server between two polls, and between two runs."""

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from beanwatch.net.files import read_private, write_private
from beanwatch.queues.beanstalkd.stats import MOST

FORMAT = 1
LONGEST_NAME = 200  # bytes, of a queue in beanstalkd's protocol
BOOT_ID = "/proc/sys/kernel/random/boot_id"  # Linux has it


class Head(NamedTuple):
    """A job at the head of its queue, and when it was first seen there (seconds)."""

    job: int
    since: float


class QueueSample(NamedTuple):
    """One queue as it was. `drift` is the first value of the conservation sum in its life."""

    at: float
    puts: int
    deletes: int
    ready: int
    held: int  # by its consumers
    waiting: int
    drift: int
    ready_head: Head | None = None
    buried_head: Head | None = None


class Rejected(NamedTuple):
    """Puts that looked refused at the last look, and those that were, as far as can be told."""

    seen: int
    sure: int
    is_first: bool = False  # at a first look some may have been under way


@dataclass
class ServerSamples:
    """One server. `life` tells its process from the one before; `restarts` counts the changes.

    `rest` are those of the queues that had no series of their own.
    """

    life: str = ""
    restarts: int = 0
    queues: dict[str, QueueSample] = field(default_factory=dict)
    rest: frozenset[str] = frozenset()
    rejected: Rejected | None = None


State = dict[str, ServerSamples]  # by the server's address


class StateError(Exception):
    """The state file cannot be used; the text names it and the cause."""


class Moment(NamedTuple):
    """Now, by the monotonic and by the wall clock (seconds), and in which boot of the host.

    Times in a state are monotonic, which within a boot says all: the wall clock may be set.
    """

    now: float
    wall: float
    boot: str = ""

    @property
    def offset(self) -> float:
        """What makes wall clock of monotonic time."""
        return self.wall - self.now


def dump_state(state: Mapping[str, ServerSamples], moment: Moment) -> bytes:
    """The state as JSON, saved at this moment."""
    servers = {
        address: {
            "life": known.life,
            "restarts": known.restarts,
            "queues": known.queues,
            "rest": sorted(known.rest),
            "rejected": known.rejected,
        }
        for address, known in state.items()
    }
    record = {
        "format": FORMAT,
        "boot": moment.boot,
        "offset": moment.offset,
        "servers": servers,
    }
    return json.dumps(record).encode()


def parse_state(content: bytes, moment: Moment) -> State:
    """Read it back onto the monotonic clock of this boot. Raises ValueError.

    What would lie in the future, as after a boot with a wall clock that was set back, is left out.
    """
    try:
        record = json.loads(content)
        if record["format"] != FORMAT:
            raise ValueError(f"format {record['format']!r}")
        is_this_boot = moment.boot and record.get("boot") == moment.boot
        shift = 0.0 if is_this_boot else record["offset"] - moment.offset
        return {
            str(address): ServerSamples(
                str(known["life"]),
                _count(known["restarts"]),
                _queues(known["queues"], shift, moment.now),
                frozenset(map(str, known["rest"])),
                _rejected(known.get("rejected")),
            )
            for address, known in record["servers"].items()
        }
    except (
        *(KeyError, TypeError, IndexError, AttributeError),
        *(OverflowError, RecursionError),
    ) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None


def _queues(queues: Mapping[str, list[Any]], shift: float, now: float) -> dict[str, QueueSample]:
    samples = {_name(queue): _sample(values, shift, now) for queue, values in queues.items()}
    return {queue: sample for queue, sample in samples.items() if sample.at <= now}


def _name(queue: str) -> str:
    # It will be asked for: a line end in it, or more bytes than a server reads as one command,
    # would be in the way of all others.
    if not queue.isprintable() or len(queue.encode()) > LONGEST_NAME:
        raise ValueError(f"a queue cannot be called {queue[:40]!r}")
    return queue


def _sample(values: list[Any], shift: float, now: float) -> QueueSample:
    at, puts, deletes, ready, held, waiting, drift, ready_head, buried_head = values
    return QueueSample(
        _time(at, shift),
        _count(puts),
        _count(deletes),
        _count(ready),
        _count(held),
        _count(waiting),
        _count(drift),
        _head(ready_head, shift, now),
        _head(buried_head, shift, now),
    )


def _head(value: list[Any] | None, shift: float, now: float) -> Head | None:
    if not value or (since := _time(value[1], shift)) > now:
        return None
    return Head(_count(value[0]), since)


def _rejected(value: list[Any] | None) -> Rejected | None:
    return Rejected(_count(value[0]), _count(value[1]), value[2:] == [True]) if value else None


def _count(value: Any) -> int:
    number = int(value)
    if not -MOST < number < MOST:
        raise ValueError("a count of more than 64 bits")
    return number


def _time(value: Any, shift: float) -> float:
    moved: float = value + shift
    if not math.isfinite(moved):
        raise ValueError(f"the time {value!r}")
    return moved


def read_boot() -> str:
    """What tells this boot of the host from all others; "" where that cannot be known."""
    try:
        with open(BOOT_ID, encoding="ascii") as stream:
            return stream.read().strip()
    except OSError:
        return ""


class StateFile:
    """The state on disk. A file that cannot be understood is no reason to stop: start anew."""

    def __init__(
        self,
        path: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        boot: Callable[[], str] = read_boot,
    ) -> None:
        self.path = path
        self._clock = clock
        self._wall = wall
        self._boot = boot

    def load(self) -> State:
        """What was saved, {} if there is nothing. Raises StateError."""
        try:
            content = read_private(self.path)
            return parse_state(content, self._moment()) if content else {}
        except OSError as error:
            raise StateError(f"state file {self.path}: {error.strerror}") from None
        except ValueError as error:
            raise StateError(f"state file {self.path} cannot be understood: {error}") from None

    def save(self, state: Mapping[str, ServerSamples]) -> None:
        """Replace the file. Raises StateError."""
        try:
            write_private(self.path, dump_state(state, self._moment()))
        except OSError as error:
            raise StateError(f"state file {self.path}: {error.strerror}") from None

    def _moment(self) -> Moment:
        # Made anew each time: over weeks the wall clock is set now and then.
        return Moment(self._clock(), self._wall(), self._boot())
