"""What causes and fixes the troubles of a night: functions of the fleet."""

import contextlib
import signal
from collections.abc import Callable

from tests.demo.programs import ProgramError
from tests.night.fleet import Fleet

Act = Callable[[Fleet], object]


def kill(name: str) -> Act:
    """Kill a worker. It stays dead until it is started."""
    return lambda fleet: fleet.workers[name].kill()


def start(name: str) -> Act:
    return lambda fleet: fleet.workers[name].start()


def stop(name: str) -> Act:
    """Stop a worker, as its supervisor does. It is not started again."""
    return lambda fleet: fleet.workers[name].stop()


def send(name: str, number: signal.Signals) -> Act:
    """Send a signal to a worker, which is supervised."""
    return lambda fleet: fleet.signal_worker(name, number)


def put(server: str, queue: str, job: str, times: int = 1, **data: object) -> Act:
    return lambda fleet: fleet.put(server, queue, job, times, **data)


def empty(server: str, queue: str, *only: str) -> Act:
    return lambda fleet: fleet.empty(server, queue, *only)


def beanwatch(*argv: str) -> Act:
    return lambda fleet: fleet.beanwatch(*argv)


def refused(*argv: str) -> Act:
    """Run a command of beanwatch that must fail."""

    def act(fleet: Fleet) -> None:
        with contextlib.suppress(ProgramError):
            fleet.beanwatch(*argv)
            raise AssertionError(f"{' '.join(argv)} did not fail")

    return act


def break_app(name: str) -> Act:
    return lambda fleet: fleet.break_app(name)


def mend_app(name: str) -> Act:
    return lambda fleet: fleet.mend_app(name)


def forget_runs(fleet: Fleet) -> None:
    fleet.forget_runs()


def nothing(fleet: Fleet) -> None:
    """Do nothing: the trouble ends by itself."""


def each(*acts: Act) -> Act:
    """Do several things, one after the other."""

    def act(fleet: Fleet) -> None:
        for one in acts:
            one(fleet)

    return act
