"""Keeps the numbers of each queue of the last hour, in arrays of a fixed size."""

import math
from array import array
from collections import OrderedDict
from collections.abc import Hashable, Mapping

STEP = 30.0  # seconds for which one point stands
POINTS = 120  # an hour
MAX_KEYS = 2_000  # queues; those that were not read for the longest time are forgotten
MEASURES = ("ready", "put_rate", "delete_rate", "age")


class Ring:
    """The points of one measure; each is the mean of the values that were added in its step."""

    __slots__ = ("_count", "_slot", "_values")

    def __init__(self) -> None:
        self._values = array("f", [math.nan]) * POINTS
        self._slot = 0  # the step of the last value
        self._count = 0  # values in this step

    def add(self, slot: int, value: float) -> None:
        """Add a value to the step with this number; one before the last step is ignored."""
        if slot < self._slot:
            return
        at = slot % POINTS
        if slot > self._slot:
            for passed in range(max(self._slot + 1, slot - POINTS + 1), slot + 1):
                self._values[passed % POINTS] = math.nan
            self._slot, self._count = slot, 0
        before = self._values[at] if self._count else 0.0
        self._count += 1
        self._values[at] = before + (value - before) / self._count

    def fill(self, values: Mapping[int, float]) -> None:
        """Take values of earlier steps, by the number of the step, where none is known."""
        if not self._slot:
            self._slot, self._count = max(values, default=0), 1
        for slot, value in values.items():
            at = slot % POINTS
            if self._has(slot) and math.isnan(self._values[at]) and math.isfinite(value):
                self._values[at] = value

    def points(self, slot: int) -> list[float | None]:
        """Return the points up to this step, the oldest first. None: unknown."""
        found: list[float | None] = []
        for one in range(slot - POINTS + 1, slot + 1):
            value = self._values[one % POINTS] if self._has(one) else math.nan
            found.append(None if math.isnan(value) else float(value))
        return found

    def _has(self, slot: int) -> bool:
        return self._slot - POINTS < slot <= self._slot


class History:
    """The rings of all queues, by any key. Not for several threads at once, except for reading."""

    def __init__(self) -> None:
        self._rings: OrderedDict[Hashable, dict[str, Ring]] = OrderedDict()

    def add(self, key: Hashable, now: float, **values: float | None) -> None:
        """Add the known values of a key at a time in seconds. None: unknown, not added."""
        rings = self._rings.get(key)
        if rings is None:
            rings = self._rings[key] = {}
            while len(self._rings) > MAX_KEYS:
                self._rings.popitem(last=False)
        self._rings.move_to_end(key)
        slot = int(now // STEP)
        for measure, value in values.items():
            if value is not None and math.isfinite(value):
                ring = rings.get(measure) or rings.setdefault(measure, Ring())
                ring.add(slot, value)

    def fill(self, key: Hashable, measure: str, values: Mapping[int, float]) -> None:
        """Take earlier values of a key, by the number of their step, if the key is known."""
        rings = self._rings.get(key)
        if rings is not None and values:
            (rings.get(measure) or rings.setdefault(measure, Ring())).fill(values)

    def points(self, key: Hashable, measure: str, now: float) -> list[float | None]:
        """Return the points of the hour before `now`, the oldest first; [] if none is known."""
        ring = self._rings.get(key, {}).get(measure)
        found = ring.points(int(now // STEP)) if ring else []
        return found if any(point is not None for point in found) else []
