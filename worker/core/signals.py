"""Handles signals.

SIGTERM, SIGINT and SIGQUIT stop the worker after its current job; a second one stops it at once.
SIGHUP reopens the log. SIGUSR1 logs the stacks of all threads.
"""

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

# Container images and supervisors also send SIGQUIT, which would end the process within a job.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
SIGNALS = (*STOP_SIGNALS, signal.SIGHUP, signal.SIGUSR1)


def handle_signals(
    state: WorkerState,
    alarm: Alarm,
    commands: CommandHandler,
    reopen_log: Callable[[], None],
    log: FilteringBoundLogger,
) -> Callable[[], None]:
    """Install the signal handlers. They run in the main thread.

    Returns a function that installs them again if a job has replaced them. Call it between jobs.
    """

    has_come = False  # one of STOP_SIGNALS

    def on_stop(number: int, _frame: FrameType | None) -> None:
        nonlocal has_come
        is_second, has_come = has_come, True
        name = signal.Signals(number).name
        if is_second:
            state.shut_down_now()
            alarm.throw(JobStopped(f"the worker has to stop at once: it received a second {name}"))
        elif state.shutdown_deadline == math.inf:  # no command has stopped it before
            commands.stop(f"it received {name}")

    handlers: dict[signal.Signals, Callable[[int, FrameType | None], None]] = {
        **dict.fromkeys(STOP_SIGNALS, on_stop),
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
            log.warning(
                "a job replaced the handler of {signal}, the worker installs its own again",
                signal=number.name,
            )

    def reset_in_child() -> None:
        """Restore the default handlers in a forked child: multiprocessing sends it SIGTERM."""
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
    """Ignore further signals while the process exits; otherwise they could kill it half-way."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
