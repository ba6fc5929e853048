"""The collector as a whole: a thread a server, one to Graphite, and one that watches over them."""

import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from beanwatch.collectors.deliver.delivery import Delivery
from beanwatch.collectors.deliver.outbox import Outbox
from beanwatch.collectors.poll.poller import Poller
from beanwatch.collectors.poll.samples import ServerSamples, StateError, StateFile
from beanwatch.collectors.poll.schedule import Schedule, Turns
from beanwatch.net.systemd import SystemdNotifier
from beanwatch.telemetry.logging.problems import ProblemLog

MINUTE = 60.0
FAREWELL = 5.0  # seconds that are spent at the end on sending what is left
LOOK = 1.0  # seconds between two looks of the main thread


class Extra(Protocol):
    """Something else that is polled, on a thread of its own; says what was wrong, if anything."""

    def poll(self, stamp: int) -> str: ...


class Collector:
    """Runs pollers side by side: one that hangs delays none of the others."""

    def __init__(
        self,
        pollers: Sequence[Poller],
        extras: Sequence[Extra],
        outbox: Outbox,
        delivery: Delivery,
        log: FilteringBoundLogger,
        *,
        interval: float,
        queues_interval: float,
        state: StateFile | None = None,
        notifier: SystemdNotifier | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pollers = pollers
        self._extras = extras
        self._outbox = outbox
        self._delivery = delivery
        self._log = log
        self._problems = ProblemLog(log)
        self._interval = interval
        # A sweep is on a tick: its own interval is rounded to whole ones.
        self._every = max(1, round(queues_interval / interval))
        self._state = state
        self._notifier = notifier or SystemdNotifier()
        self._clock = clock
        self._stop = threading.Event()
        self._reported = 0

    def run(self, wait: Callable[[float], bool]) -> None:
        """Poll and send until told to stop; then send what is left and save the state.

        `wait` sleeps for that many seconds, or returns true at once when it is told to stop.
        """
        threads = [threading.Thread(target=self._poll, args=(one,)) for one in self._pollers]
        threads += [threading.Thread(target=self._poll_extra, args=(one,)) for one in self._extras]
        sender = threading.Thread(target=self._deliver)
        threads.append(sender)
        for thread in threads:
            thread.daemon = True  # one that hangs in a name lookup must not keep us
            thread.start()
        self._notifier.send("READY=1")
        self._log.info(
            f"collecting every {self._interval:g} s",
            servers=[str(poller) for poller in self._pollers],
            extras=[str(extra) for extra in self._extras],
        )
        next_minute = self._clock() + MINUTE
        while not wait(LOOK):
            if all(thread.is_alive() for thread in threads):
                self._notifier.send("WATCHDOG=1")
            self._notifier.status(
                f"{len(self._pollers)} servers, backlog {self._outbox.total_backlog} points, "
                f"{self._outbox.total_dropped} dropped"
            )
            if self._clock() >= next_minute:
                next_minute += MINUTE
                self._each_minute()
        self._stop.set()
        self._notifier.send("STOPPING=1")
        end = self._clock() + FAREWELL
        for thread in threads:
            thread.join(max(0.0, end - self._clock()))
        if not sender.is_alive():
            self._delivery.finish(FAREWELL)
            self._delivery.close()
        if self._outbox.total_backlog:
            self._say_what_is_left()
        self._each_minute()

    def once(self, stamp: int, timeout: float) -> tuple[int, bool]:
        """Poll everything once and send it: how many servers answered, and if all went well.

        A server that answered in part has answered, and has not gone well.
        """
        answered: list[Poller] = []
        well: list[Poller | Extra] = []

        def poll(poller: Poller) -> None:
            with self._surviving(str(poller)):
                seen = poller.poll(stamp)
                if seen.state is not None:
                    answered.append(poller)
                if not seen.trouble:
                    well.append(poller)

        def poll_extra(extra: Extra) -> None:
            with self._surviving(str(extra)):
                if not extra.poll(stamp):
                    well.append(extra)

        threads = [threading.Thread(target=poll, args=(one,)) for one in self._pollers]
        threads += [threading.Thread(target=poll_extra, args=(one,)) for one in self._extras]
        end = self._clock() + timeout
        for thread in threads:
            thread.daemon = True
            thread.start()
        polled = [*self._pollers, *self._extras]
        for thread, one in zip(threads, polled, strict=True):
            thread.join(max(0.0, end - self._clock()))
            if thread.is_alive():
                self._log.error(f"{one}: no answer within {timeout:g} s")
        # Looked at once: a thread that is late may still add to them.
        count, all_well = len(answered), len(well) == len(polled)
        sent = self._delivery.finish(FAREWELL)
        self._delivery.close()
        if not sent:
            self._say_what_is_left()
        dropped = self._report_drops()
        self._save()
        return count, all_well and sent and not dropped

    def _say_what_is_left(self) -> None:
        where = "kept in the spool" if self._outbox.has_spool else "lost (no spool is set)"
        self._log.error(f"{self._outbox.total_backlog} points were not sent; they are {where}")

    def _poll(self, poller: Poller) -> None:
        schedule = Schedule(self._interval)
        sweeps = Turns(self._every)
        while tick := schedule.wait(self._stop.wait):
            is_due = sweeps.is_due(tick.number)
            with self._surviving(str(poller)):
                poller.poll(tick.stamp, queues=is_due, missed_ticks=schedule.missed)
        poller.observer.close()

    def _poll_extra(self, extra: Extra) -> None:
        schedule = Schedule(self._interval)
        while tick := schedule.wait(self._stop.wait):
            with self._surviving(str(extra)):
                extra.poll(tick.stamp)

    def _deliver(self) -> None:
        while not self._stop.is_set():
            with self._surviving("delivery"):
                self._delivery.run(self._stop)

    @contextmanager
    def _surviving(self, what: str) -> Iterator[None]:
        # A mistake of ours with one server must not blind us for the others.
        try:
            yield
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            self._log.error(
                f"{what}: unexpected {type(error).__name__}: {error}",
                where=f"{frame.filename}:{frame.lineno}",
            )
            self._stop.wait(LOOK)

    def _each_minute(self) -> None:
        self._report_drops()
        self._save()

    def _report_drops(self) -> int:
        dropped = self._outbox.total_dropped - self._reported
        if dropped:
            self._reported += dropped
            self._log.error(
                f"{dropped} points were given up: Graphite was away for longer than there is room",
                backlog=self._outbox.total_backlog,
            )
        return dropped

    def _save(self) -> None:
        if self._state is None:
            return
        state: Mapping[str, ServerSamples] = {
            str(poller.observer.server): poller.observer.samples for poller in self._pollers
        }
        try:
            self._state.save(state)
        except StateError as error:
            self._problems.report("state", str(error))
        else:
            self._problems.clear("state", "the state file is written again")
