"""One poll of a server, and its points."""

import re
from typing import Any

from beanwatch.collectors.deliver.outbox import Outbox
from beanwatch.collectors.poll.observer import Observer
from beanwatch.collectors.poll.points import GraphitePoints
from beanwatch.collectors.poll.poller import Poller
from beanwatch.collectors.poll.samples import ServerSamples
from beanwatch.queues.selection import Selection
from beanwatch.queues.servers import Server, parse_server
from tests.collector.parts import Memory

Points = dict[str, float]


class Station:
    """A poller of one server, whose points are kept."""

    def __init__(
        self,
        address: str,
        selection: Selection | None = None,
        *,
        only_essential: bool = False,
        **options: Any,
    ) -> None:
        self.now = 1000.0
        self.memory = Memory()
        self.outbox = Outbox()
        self.samples = options.pop("samples", None) or ServerSamples()
        selection = selection or Selection()
        self.observer = Observer(
            Server("q1", parse_server(address)),
            self.samples,
            selection,
            **{"clock": lambda: self.now, **options},
        )
        points = GraphitePoints(self.outbox, only_essential=only_essential)
        self.poller = Poller(self.observer, selection, self.memory.problems, [points.publish])

    def poll(self, after: float = 10.0, *, queues: bool = True) -> Points:
        """The points of the next poll by their path."""
        self.now += after
        self.poller.poll(1_700_000_000, queues=queues)
        points = {}
        while parcel := self.outbox.next(late=True):
            self.outbox.mark_sent(parcel)
            for line in self.outbox.read(parcel).decode().splitlines():
                path, value, stamp = line.removeprefix("beanwatch.").split()
                assert stamp == "1700000000"
                assert path not in points, "one point a series and poll"
                points[path] = float(value)
        return points


def stats_with(body: bytes, **fields: object) -> bytes:
    """The same body with these values in place of its own."""
    for field, value in fields.items():
        key = field.replace("_", "-").encode()
        body, count = re.subn(rb"(?m)^%b: .*$" % key, b"%b: %b" % (key, str(value).encode()), body)
        assert count == 1
    return body


def measures(points: Points, stem: str) -> Points:
    """The points of one thing, by the measure."""
    stem += "."
    return {path.removeprefix(stem): points[path] for path in points if path.startswith(stem)}
