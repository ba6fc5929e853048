"""Signals: TERM and INT stop, twice at once; HUP reopens the log; USR1 logs the stacks."""

import math
import os
import signal
from collections.abc import Callable
from types import FrameType

from structlog.typing import FilteringBoundLogger

from beanwatch.worker.api.errors import JobStopped
from beanwatch.worker.control.command_handler import CommandHandler
from beanwatch.worker.core.state import WorkerState
from beanwatch.worker.guard.deadline import Alarm


def handle_signals(
    state: WorkerState,
    alarm: Alarm,
    commands: CommandHandler,
    reopen_log: Callable[[], None],
    log: FilteringBoundLogger,
) -> Callable[[], None]:
    """Install the handlers, which run in the main thread.

    Returns a function that installs them again if a job has replaced them; call it between jobs.
    """

    def on_stop(number: int, _frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if state.shutdown_deadline == math.inf:  # also while a restart waits for a job
            commands.stop(f"told to by {name}")
        else:
            state.shut_down_now()
            alarm.throw(JobStopped(f"the worker had to stop: a second {name}"))

    handlers: dict[signal.Signals, Callable[[int, FrameType | None], None]] = {
        signal.SIGTERM: on_stop,
        signal.SIGINT: on_stop,
        signal.SIGHUP: lambda _number, _frame: reopen_log(),
        signal.SIGUSR1: lambda _number, _frame: commands.request_dump(),
        signal.SIGALRM: alarm.ring,
    }
    for number, handler in handlers.items():
        signal.signal(number, handler)

    def keep() -> None:
        taken = [number for number in handlers if signal.getsignal(number) != handlers[number]]
        for number in taken:
            signal.signal(number, handlers[number])
            log.warning("a job took {signal} away, the worker takes it back", signal=number.name)

    def reset_in_child() -> None:
        """Give a child that a handler forks the default handlers: multiprocessing sends SIGTERM."""
        for number in handlers:
            signal.signal(number, signal.SIG_DFL)
        unblock()

    def block() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, handlers)

    def unblock() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, handlers)

    # Signals are blocked during the fork: otherwise a signal for the child could run the worker's
    # handler in it before `reset_in_child`.
    os.register_at_fork(before=block, after_in_parent=unblock, after_in_child=reset_in_child)
    return keep


def ignore_signals() -> None:
    """Ignore further signals, since the process is exiting: a TERM could kill it half-way."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
