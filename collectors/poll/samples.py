"""The numbers of the last poll of each server, in memory and in the state file between two runs."""

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from beanwatch.collectors.poll.memory import PollMemory
from beanwatch.net.files import read_private, write_private

STATE_FORMAT = 2
MAX_COUNTER = 2**64
BOOT_ID_FILE = "/proc/sys/kernel/random/boot_id"  # Linux only


class QueueSample(NamedTuple):
    """The numbers of a queue at the time `at` (seconds of a monotonic clock). None: unknown."""

    at: float
    puts: int | None
    deletes: int | None
    ready: int | None
    held: int | None  # jobs that its consumers may have reserved, as in QueueState
    idle: int | None  # consumers that wait for a job


@dataclass
class ServerSamples:
    """Holds the samples of one server that are kept between two polls.

    `instance` identifies the server's process; `restarts` counts how often it changed. `rest` has
    the names of the queues that share one series. `memory` belongs to the server's reader.
    """

    instance: str = ""
    restarts: int = 0
    queues: dict[str, QueueSample] = field(default_factory=dict)
    rest: frozenset[str] = frozenset()
    memory: PollMemory = field(default_factory=PollMemory)
    # When the list of all queues was last read, by the clock of QueueSample, and the globs by which
    # queues were chosen from it. None: not since the server's start.
    swept_at: float | None = None
    selection: str = ""

    def enter_instance(self, instance: str | None) -> None:
        """Set the instance that answered. If it changed, count a restart and drop the samples.

        None means that the server did not send its instance. Then nothing changes.
        """
        if instance is None:
            self.swept_at = None
            return
        if self.instance and self.instance != instance:
            self.restarts += 1
            self.queues, self.swept_at = {}, None
        self.instance = instance

    def absent_at(self, selection: str) -> float | None:
        """Return when a queue without a sample did not exist; None if that is unknown.

        `selection` has the globs that choose queues now: other globs may have skipped the queue.
        """
        return self.swept_at if self.selection == selection else None


State = dict[str, ServerSamples]  # the key is the address of the server


class StateError(Exception):
    """The state file cannot be read or written; the text has its path and the cause."""


class Moment(NamedTuple):
    """The present time by the monotonic and the wall clock (seconds), and the id of the boot.

    Times in the state file are monotonic, since the wall clock may be set. They are valid until the
    host reboots; after that, they are converted by means of the wall clock.
    """

    now: float
    wall: float
    boot: str = ""

    @property
    def offset(self) -> float:
        """The difference in seconds: wall clock minus monotonic clock."""
        return self.wall - self.now


def dump_state(state: Mapping[str, ServerSamples], moment: Moment) -> bytes:
    """Encode the samples of all servers as JSON. `moment` is the time of saving."""
    servers = {
        address: {
            "instance": known.instance,
            "restarts": known.restarts,
            "queues": known.queues,
            "rest": sorted(known.rest),
            "memory": known.memory.dump(),
            "swept_at": known.swept_at,
            "selection": known.selection,
        }
        for address, known in state.items()
    }
    record = {
        "format": STATE_FORMAT,
        "boot": moment.boot,
        "offset": moment.offset,
        "servers": servers,
    }
    return json.dumps(record).encode()


def parse_state(content: bytes, moment: Moment) -> State:
    """Decode what `dump_state` encoded, and convert its times to this boot's monotonic clock.

    Samples with a time in the future are left out: the wall clock was set back. Raises ValueError.
    """
    try:
        record = json.loads(content)
        if record["format"] != STATE_FORMAT:
            raise ValueError(f"unknown format {record['format']!r}")
        is_this_boot = moment.boot and record.get("boot") == moment.boot
        shift = 0.0 if is_this_boot else record["offset"] - moment.offset
        return {
            str(address): ServerSamples(
                str(known["instance"]),
                _count(known["restarts"]) or 0,
                _queues(known["queues"], shift, moment.now),
                frozenset(map(str, known["rest"])),
                _memory(known["memory"], shift, moment.now),
                _past_time(known.get("swept_at"), shift, moment.now),
                str(known.get("selection", "")),
            )
            for address, known in record["servers"].items()
        }
    except (
        *(KeyError, TypeError, IndexError, AttributeError),
        *(OverflowError, RecursionError),
    ) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None


def _queues(queues: Mapping[str, list[Any]], shift: float, now: float) -> dict[str, QueueSample]:
    # A name is not judged here: each reader asks only for those that its system allows.
    samples = {queue: _sample(values, shift) for queue, values in queues.items()}
    return {queue: sample for queue, sample in samples.items() if sample.at <= now}


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
        raise ValueError("a count has more than 64 bits")
    return number


def _time(value: Any, shift: float) -> float:
    moved: float = value + shift
    if not math.isfinite(moved):
        raise ValueError(f"the time {value!r} is not finite")
    return moved


def _past_time(value: Any, shift: float, now: float) -> float | None:
    moved = None if value is None else _time(value, shift)
    return moved if moved is not None and moved <= now else None


def read_boot() -> str:
    """Return an id that changes with each boot of the host; "" on systems that have none."""
    try:
        with open(BOOT_ID_FILE, encoding="ascii") as stream:
            return stream.read().strip()
    except OSError:
        return ""


class StateFile:
    """The file that keeps the samples of all servers between two runs of the collector."""

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
        """Return the saved samples, {} if there are none. Raises StateError for an unusable file.

        The caller may then start with an empty state.
        """
        try:
            content = read_private(self.path)
            return parse_state(content, self._moment()) if content else {}
        except OSError as error:
            raise StateError(f"cannot read state file {self.path}: {error.strerror}") from None
        except ValueError as error:
            raise StateError(f"state file {self.path} cannot be understood: {error}") from None

    def save(self, state: Mapping[str, ServerSamples]) -> None:
        """Replace the file by these samples in one step (by a rename). Raises StateError."""
        try:
            write_private(self.path, dump_state(state, self._moment()))
        except OSError as error:
            raise StateError(f"cannot write state file {self.path}: {error.strerror}") from None

    def _moment(self) -> Moment:
        # Read both clocks each time: the wall clock may have been set since the last save.
        return Moment(self._clock(), self._wall(), self._boot())
