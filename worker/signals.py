"""Signals: TERM and INT stop, twice force; HUP reopens the log; USR1 dumps the stacks."""

import math
import signal
from collections.abc import Callable
from types import FrameType

from beanwatch.worker.deadline import Alarm
from beanwatch.worker.errors import JobStopped
from beanwatch.worker.life import Life
from beanwatch.worker.orders import Orders


def handle_signals(
    life: Life,
    alarm: Alarm,
    orders: Orders,
    reopen_log: Callable[[], None],
) -> None:
    """Install the handlers. They run in the main thread, between two of its steps."""

    def on_stop(number: int, _frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if life.patience_ends == math.inf:  # also while it finishes a job before a restart
            orders.stop(f"told to by {name}")
        else:
            life.force()
            alarm.throw(JobStopped(f"the worker had to stop: a second {name}"))

    signal.signal(signal.SIGTERM, on_stop)
    signal.signal(signal.SIGINT, on_stop)
    signal.signal(signal.SIGHUP, lambda _number, _frame: reopen_log())
    signal.signal(signal.SIGUSR1, lambda _number, _frame: orders.want_dump())
