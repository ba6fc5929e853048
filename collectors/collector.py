"""Run the collector: a thread polls each server, one sends to Graphite, one watches the others."""

import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from beanwatch.collectors.deliver.delivery import Delivery
from beanwatch.collectors.deliver.outbox import Outbox
from beanwatch.collectors.poll.poller import Poller
from beanwatch.collectors.poll.samples import ServerSamples, StateError, StateFile
from beanwatch.collectors.poll.schedule import EveryNthTick, Schedule
from beanwatch.net.systemd import SystemdNotifier
from beanwatch.telemetry.logging.problems import ProblemLog
from beanwatch.words import count

HOUSEKEEPING_SECONDS = 60.0  # between two saves of the state and reports of dropped points
POLL_SPACING = 0.025  # seconds between the starts of two polls; 50 queues take 3 ms of CPU time
SPREAD = 0.5  # the share of the interval in which all polls start
SHUTDOWN_SECONDS = 5.0  # time for threads to end, and again for sending the remaining points
WATCH_SECONDS = 1.0  # between two checks that the threads live, and after an unexpected error


class Extra(Protocol):
    """A source of points other than a queue server. It is polled in its own thread."""

    def poll(self, stamp: int) -> str:
        """Poll the source once. Return an error text, "" if there was no error.

        `stamp` is the time of its points, in seconds since the epoch.
        """


class Collector:
    """Runs each poller in its own thread, so that one that hangs does not delay the others.

    Servers are polled every `interval` seconds, their queues every `queues_interval` seconds.
    `targets` names where the numbers go, for the log.
    """

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
        targets: Sequence[str] = (),
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
        # Queues are read at every n-th poll: `queues_interval` is rounded to whole intervals.
        self._every = max(1, round(queues_interval / interval))
        self._targets = targets
        self._state = state
        self._notifier = notifier or SystemdNotifier()
        self._clock = clock
        self._stop = threading.Event()
        self._threads: tuple[threading.Thread, ...] = ()
        self._reported: Counter[str] = Counter()  # dropped points, by cause

    def run(self, wait: Callable[[float], bool]) -> None:
        """Poll and send until `wait` returns true; then send the remaining points, save the state.

        `wait` sleeps for the given number of seconds and returns false. If the collector has to
        stop, it returns true at once.
        """
        threads = [
            threading.Thread(target=self._poll, args=(one, delay))
            for one, delay in zip(self._pollers, self._delays(), strict=True)
        ]
        threads += [threading.Thread(target=self._poll_extra, args=(one,)) for one in self._extras]
        sender = threading.Thread(target=self._deliver)
        threads.append(sender)
        self._threads = tuple(threads)
        for thread in threads:
            # A thread that hangs in a name lookup must not keep the process alive.
            thread.daemon = True
            thread.start()
        self._notifier.send("READY=1")
        self._log.info(
            f"collecting every {self._interval:g} s",
            servers=[str(poller) for poller in self._pollers],
            extras=[str(extra) for extra in self._extras],
            targets=list(self._targets),
        )
        housekeeping_at = self._clock() + HOUSEKEEPING_SECONDS
        while not wait(WATCH_SECONDS):
            if self.is_alive():
                self._notifier.send("WATCHDOG=1")
            self._notifier.status(
                f"{count(len(self._pollers), 'server')}, backlog "
                f"{count(self._outbox.total_backlog, 'point')}, "
                f"{self._outbox.total_dropped} dropped"
            )
            if self._clock() >= housekeeping_at:
                housekeeping_at += HOUSEKEEPING_SECONDS
                self._keep_house()
        self._stop.set()
        self._notifier.send("STOPPING=1")
        end = self._clock() + SHUTDOWN_SECONDS
        for thread in threads:
            thread.join(max(0.0, end - self._clock()))
        if not sender.is_alive():
            self._delivery.finish(SHUTDOWN_SECONDS)
            self._delivery.close()
        self._log_unsent()
        self._keep_house()

    def is_alive(self) -> bool:
        """Return True if all threads that `run` has started still run."""
        return bool(self._threads) and all(thread.is_alive() for thread in self._threads)

    def once(self, stamp: int, timeout: float) -> tuple[int, bool]:
        """Poll every server and extra once, within `timeout` seconds, and send the points.

        Return how many servers answered, and True if nothing failed: every part of every server was
        read, and all points were sent. A server of which a part is missing counts as answered.
        """
        answered: list[Poller] = []
        succeeded: list[Poller | Extra] = []

        def poll(poller: Poller) -> None:
            with self._surviving(f"polling {poller}"):
                seen = poller.poll(stamp)
                if seen.state is not None:
                    answered.append(poller)
                if not seen.trouble:
                    succeeded.append(poller)

        def poll_extra(extra: Extra) -> None:
            with self._surviving(f"polling {extra}"):
                if not extra.poll(stamp):
                    succeeded.append(extra)

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
                self._log.error(f"{one}: the poll did not end within {timeout:g} s")
        # Count here, and only once: a late thread may still append to both lists.
        count, all_succeeded = len(answered), len(succeeded) == len(polled)
        sent = self._delivery.finish(SHUTDOWN_SECONDS)
        self._delivery.close()
        self._log_unsent()
        dropped = self._report_drops()
        self._save()
        return count, all_succeeded and sent and not dropped

    def _log_unsent(self) -> None:
        unsent, unconfirmed = self._outbox.total_backlog, self._outbox.unconfirmed
        if not unsent + unconfirmed:
            return
        self._outbox.save()
        lost = self._outbox.only_in_memory
        kept = unsent + unconfirmed - lost
        if not self._outbox.has_spool:
            fate = "they are lost (no spool is set)"
        elif not lost:
            fate = "they are kept in the spool"
        elif not kept:
            fate = "they are lost: the spool could not be written"
        else:
            fate = f"{kept} are kept in the spool, {lost} are lost: the spool could not be written"
        what = f"{count(unsent, 'point was', 'points were')} not sent" if unsent else ""
        if unconfirmed:
            sent = count(unconfirmed, "point was", "points were")
            also = f"{sent} sent, but not confirmed by Graphite"
            what = f"{what}, and {also}" if what else also
        self._log.error(f"{what}; {fate}")

    def _delays(self) -> Iterator[float]:
        """Yield for each poller how long after a tick it polls, in seconds.

        If all polled at once, their threads would take each other's turns: each of 200 polls would
        take twice the CPU time.
        """
        step = min(POLL_SPACING, self._interval * SPREAD / max(1, len(self._pollers)))
        return (number * step for number in range(len(self._pollers)))

    def _poll(self, poller: Poller, delay: float) -> None:
        schedule = Schedule(self._interval, delay)
        queue_ticks = EveryNthTick(self._every)
        while tick := schedule.wait(self._stop.wait):
            is_due = queue_ticks.is_due(tick.number)
            with self._surviving(f"polling {poller}"):
                poller.poll(tick.stamp, queues=is_due, missed_ticks=schedule.missed)
        poller.observer.close()

    def _poll_extra(self, extra: Extra) -> None:
        schedule = Schedule(self._interval)
        while tick := schedule.wait(self._stop.wait):
            with self._surviving(f"polling {extra}"):
                extra.poll(tick.stamp)

    def _deliver(self) -> None:
        while not self._stop.is_set():
            with self._surviving("sending to Graphite"):
                self._delivery.run(self._stop)

    @contextmanager
    def _surviving(self, step: str) -> Iterator[None]:
        # Log an unexpected error and go on: a bug met at one server must not stop the others.
        try:
            yield
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            self._log.error(
                f"{step} failed with an unexpected {type(error).__name__}: {error}",
                where=f"{frame.filename}:{frame.lineno}",
            )
            self._stop.wait(WATCH_SECONDS)

    def _keep_house(self) -> None:
        self._report_drops()
        self._save()

    def _report_drops(self) -> int:
        causes = self._outbox.causes
        new = causes - self._reported
        self._reported = causes
        if new:
            reasons = ", ".join(f"{points}: {cause}" for cause, points in new.items())
            self._log.error(
                f"{count(new.total(), 'point was', 'points were')} dropped and lost ({reasons})",
                backlog=self._outbox.total_backlog,
            )
        return new.total()

    def _save(self) -> None:
        if self._state is None:
            return
        state: Mapping[str, ServerSamples] = {
            poller.observer.server.node: poller.observer.samples for poller in self._pollers
        }
        try:
            self._state.save(state)
        except StateError as error:
            self._problems.report("state", str(error))
        else:
            self._problems.clear("state", "the state file can be written again")
