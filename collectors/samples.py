"""What the collector remembers of a server between two polls, and between two runs."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from beanwatch.collectors.files import read_private, write_private

FORMAT = 1


class Head(NamedTuple):
    """A job at the head of its queue, and when it was first seen there (seconds)."""

    job: int
    since: float


class TubeSample(NamedTuple):
    """One tube as it was. `drift` is the first value of the conservation sum in its life."""

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
    """Puts that looked refused at the last look, and those that surely were."""

    seen: int
    sure: int


@dataclass
class ServerSamples:
    """One server. `life` tells its process from the one before; `restarts` counts the changes.

    `rest` are those of the tubes that had no series of their own.
    """

    life: str = ""
    restarts: int = 0
    tubes: dict[str, TubeSample] = field(default_factory=dict)
    rest: frozenset[str] = frozenset()
    rejected: Rejected | None = None


State = dict[str, ServerSamples]  # by the server's address


class StateError(Exception):
    """The state file cannot be used; the text names it and the cause."""


def dump_state(state: Mapping[str, ServerSamples], offset: float) -> bytes:
    """The state as JSON. `offset` is wall clock minus monotonic clock: `at` is monotonic."""
    servers = {
        address: {
            "life": known.life,
            "restarts": known.restarts,
            "tubes": known.tubes,
            "rest": sorted(known.rest),
            "rejected": known.rejected,
        }
        for address, known in state.items()
    }
    return json.dumps({"format": FORMAT, "offset": offset, "servers": servers}).encode()


def parse_state(content: bytes, offset: float) -> State:
    """Read it back onto the monotonic clock of this boot. Raises ValueError."""
    try:
        record = json.loads(content)
        if record["format"] != FORMAT:
            raise ValueError(f"format {record['format']!r}")
        shift = record["offset"] - offset
        return {
            str(address): ServerSamples(
                str(known["life"]),
                int(known["restarts"]),
                {str(tube): _sample(values, shift) for tube, values in known["tubes"].items()},
                frozenset(map(str, known["rest"])),
                _rejected(known.get("rejected")),
            )
            for address, known in record["servers"].items()
        }
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None


def _sample(values: list[Any], shift: float) -> TubeSample:
    at, puts, deletes, ready, held, waiting, drift, ready_head, buried_head = values
    return TubeSample(
        at + shift,
        int(puts),
        int(deletes),
        int(ready),
        int(held),
        int(waiting),
        int(drift),
        _head(ready_head, shift),
        _head(buried_head, shift),
    )


def _head(value: list[Any] | None, shift: float) -> Head | None:
    return Head(int(value[0]), value[1] + shift) if value else None


def _rejected(value: list[Any] | None) -> Rejected | None:
    return Rejected(int(value[0]), int(value[1])) if value else None


class StateFile:
    """The state on disk. A file that cannot be understood is no reason to stop: start anew."""

    def __init__(
        self,
        path: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.path = path
        self._offset = wall() - clock()

    def load(self) -> State:
        """What was saved, {} if there is nothing. Raises StateError."""
        try:
            content = read_private(self.path)
            return parse_state(content, self._offset) if content else {}
        except OSError as error:
            raise StateError(f"state file {self.path}: {error.strerror}") from None
        except ValueError as error:
            raise StateError(f"state file {self.path} cannot be understood: {error}") from None

    def save(self, state: Mapping[str, ServerSamples]) -> None:
        """Replace the file. Raises StateError."""
        try:
            write_private(self.path, dump_state(state, self._offset))
        except OSError as error:
            raise StateError(f"state file {self.path}: {error.strerror}") from None
