"""What the collector remembers of a server between two polls, and between two runs."""

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from beanwatch.collectors.poll.memory import PollMemory
from beanwatch.net.files import read_private, write_private

FORMAT = 2
MAX_COUNTER = 2**64
LONGEST_NAME = 255  # bytes; no system has longer names of queues
BOOT_ID = "/proc/sys/kernel/random/boot_id"  # Linux has it


class QueueSample(NamedTuple):
    """One queue as it was at `at` (seconds). None: not known."""

    at: float
    puts: int | None
    deletes: int | None
    ready: int | None
    held: int | None  # by its consumers
    idle: int | None


@dataclass
class ServerSamples:
    """One server. `instance` tells its process from the one before; `restarts` counts the changes.

    `rest` are those of the queues that had no series of their own. `memory` is its reader's.
    """

    instance: str = ""
    restarts: int = 0
    queues: dict[str, QueueSample] = field(default_factory=dict)
    rest: frozenset[str] = frozenset()
    memory: PollMemory = field(default_factory=PollMemory)

    def enter_instance(self, instance: str | None) -> None:
        """Note which process answered: after a restart nothing can be compared.

        None is a server that did not tell: nothing is known of a restart.
        """
        if instance is None:
            return
        if self.instance and self.instance != instance:
            self.restarts += 1
            self.queues = {}
        self.instance = instance


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
            "instance": known.instance,
            "restarts": known.restarts,
            "queues": known.queues,
            "rest": sorted(known.rest),
            "memory": known.memory.dump(),
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
                str(known["instance"]),
                _count(known["restarts"]) or 0,
                _queues(known["queues"], shift, moment.now),
                frozenset(map(str, known["rest"])),
                _memory(known["memory"], shift, moment.now),
            )
            for address, known in record["servers"].items()
        }
    except (
        *(KeyError, TypeError, IndexError, AttributeError),
        *(OverflowError, RecursionError),
    ) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None


def _queues(queues: Mapping[str, list[Any]], shift: float, now: float) -> dict[str, QueueSample]:
    samples = {_name(queue): _sample(values, shift) for queue, values in queues.items()}
    return {queue: sample for queue, sample in samples.items() if sample.at <= now}


def _name(queue: str) -> str:
    # It will be asked for. A line end in it would start another command, and a long one would be
    # read as two.
    if not queue.isprintable() or len(queue.encode()) > LONGEST_NAME:
        raise ValueError(f"a queue cannot be called {queue[:40]!r}")
    return queue


def _sample(values: list[Any], shift: float) -> QueueSample:
    at, *counts = values
    puts, deletes, ready, held, idle = map(_count, counts)
    return QueueSample(_time(at, shift), puts, deletes, ready, held, idle)


def _memory(record: Any, shift: float, now: float) -> PollMemory:
    memory = PollMemory()
    memory.load(record, shift, now)
    return memory


def _count(value: Any) -> int | None:
    if value is None:
        return None
    number = int(value)
    if not -MAX_COUNTER < number < MAX_COUNTER:
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
