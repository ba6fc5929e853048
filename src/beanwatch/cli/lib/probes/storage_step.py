"""Compare the collector's intervals with the step at which Graphite stores the series."""

import time
from collections.abc import Callable, Iterator, Sequence

from beanwatch.cli.lib.probes.render import render
from beanwatch.collectors.deliver.carbon import GraphiteError
from beanwatch.config import CollectConfig
from beanwatch.telemetry.logging.problems import ProblemLog
from beanwatch.telemetry.series import collector

SHIPPED_STEP = 10.0  # seconds; of the finest archives in collectors/graphite/storage-schemas.conf
FIRST_CHECK = 60.0  # seconds after the collector's start; a new series needs time to be created
CHECK_INTERVAL = 3600.0  # seconds
CURE = (
    "set both to the same time: the interval under [collect], or the first retention of "
    "beanwatch's series in storage-schemas.conf (existing files: whisper-resize.py)"
)


def find_step_problems(
    url: str, prefix: str, nodes: Sequence[str], collect: CollectConfig
) -> Iterator[str]:
    """Yield a text if an interval is longer than the step at which Graphite stores its series.

    Then there are steps without a point. Functions such as perSecond() need points in two
    consecutive steps, so they return nothing. `nodes` are the names of the servers in series.
    Raises GraphiteError if the render API cannot be queried.
    """
    queues_interval = collect.queues_interval or collect.interval
    for key, interval, target in (
        ("interval", collect.interval, [collector(prefix, node, "success") for node in nodes]),
        (
            "queues_interval",
            queues_interval,
            [f"limit({prefix}.queue.{node}.*.ready,1)" for node in nodes],
        ),
    ):
        if key == "queues_interval" and not queues_interval > collect.interval:
            continue
        steps = [series.step for series in render(url, target) if series.step]
        if steps and interval > min(steps):
            yield (
                f"collect.{key} is {interval:g} s, but Graphite stores a point every "
                f"{min(steps):g} s: steps without a point make rates empty"
            )


class StepWatch:
    """Warns in the collector's log if Graphite's step does not fit the intervals.

    It is polled like a source of points (`collector.Extra`), but makes none. It queries the render
    API one minute after its first poll, then once an hour. `url` is "" if none is configured. Then
    it cannot know the step, and warns if the step of the shipped schema would not fit.
    """

    def __init__(
        self,
        url: str,
        prefix: str,
        nodes: Sequence[str],
        collect: CollectConfig,
        problems: ProblemLog,
        *,
        clock: Callable[[], float] = time.monotonic,
        first_check: float = FIRST_CHECK,
    ) -> None:
        self._url, self._prefix, self._nodes = url, prefix, nodes
        self._collect, self._problems, self._clock = collect, problems, clock
        self._next = clock() + first_check

    def __str__(self) -> str:
        return "storage step"

    def poll(self, _stamp: int) -> str:
        """Query Graphite if that is due. A failure is not reported: the points are not affected."""
        if not self._url:
            self._warn_unknown()
        elif self._clock() >= self._next:
            self._next = self._clock() + CHECK_INTERVAL
            try:
                found = list(
                    find_step_problems(self._url, self._prefix, self._nodes, self._collect)
                )
            except GraphiteError:
                return ""
            if found:
                self._problems.report("storage step", f"{'; '.join(found)}; {CURE}")
            else:
                self._problems.clear("storage step", "the intervals fit Graphite's step again")
        return ""

    def _warn_unknown(self) -> None:
        longest = max(self._collect.interval, self._collect.queues_interval)
        if longest > SHIPPED_STEP:
            self._problems.report(
                "storage step",
                f"polling every {longest:g} s: if Graphite stores points every {SHIPPED_STEP:g} s, "
                "as the shipped storage-schemas.conf says, rates are empty; set url under "
                "[graphite], so that the collector can compare",
            )
