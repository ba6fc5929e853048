"""Signals: TERM and INT stop, twice force; HUP reopens the log; USR1 dumps the stacks."""

import math
import os
import signal
from collections.abc import Callable
from types import FrameType

from structlog.typing import FilteringBoundLogger

from beanwatch.worker.api.errors import JobStopped
from beanwatch.worker.control.orders import Orders
from beanwatch.worker.core.state import Life
from beanwatch.worker.guard.deadline import Alarm


def handle_signals(
    life: Life,
    alarm: Alarm,
    orders: Orders,
    reopen_log: Callable[[], None],
    log: FilteringBoundLogger,
) -> Callable[[], None]:
    """Install the handlers. They run in the main thread, between two of its steps.

    To be called again between jobs is what it returns: a job may have taken signals away.
    """

    def on_stop(number: int, _frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if life.patience_ends == math.inf:  # also while it finishes a job before a restart
            orders.stop(f"told to by {name}")
        else:
            life.force()
            alarm.throw(JobStopped(f"the worker had to stop: a second {name}"))

    handlers: dict[signal.Signals, Callable[[int, FrameType | None], None]] = {
        signal.SIGTERM: on_stop,
        signal.SIGINT: on_stop,
        signal.SIGHUP: lambda _number, _frame: reopen_log(),
        signal.SIGUSR1: lambda _number, _frame: orders.want_dump(),
        signal.SIGALRM: alarm.ring,
    }
    for number, handler in handlers.items():
        signal.signal(number, handler)

    def keep() -> None:
        taken = [number for number in handlers if signal.getsignal(number) != handlers[number]]
        for number in taken:
            signal.signal(number, handlers[number])
            log.warning("a job took {signal} away, the worker takes it back", signal=number.name)

    def forget() -> None:
        """A child that a handler forks is no worker: multiprocessing ends it by SIGTERM."""
        for number in handlers:
            signal.signal(number, signal.SIG_DFL)
        unblock()

    def block() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, handlers)

    def unblock() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, handlers)

    # What comes in between waits, so that no child takes a signal of its own for the worker's.
    os.register_at_fork(before=block, after_in_parent=unblock, after_in_child=forget)
    return keep


def ignore_signals() -> None:
    """From here the process ends by itself: Python, as it ends, lets one more TERM kill it."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
