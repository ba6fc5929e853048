"""Call a function for several servers at the same time, so that a slow one delays no other."""

import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeVar

from beanwatch.net.address import BackgroundCall
from beanwatch.queues.base import ServerError
from beanwatch.queues.servers import Server

T = TypeVar("T")


def read_together(
    servers: Iterable[Server],
    read: Callable[[Server], T],
    timeout: float,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> list[tuple[Server, T | ServerError]]:
    """Return what `read` returns for each server, or the ServerError that it raised.

    A server that does not answer within `timeout` seconds has a ServerError, too. It may go on in
    its thread, which does not keep the process alive.
    """
    end = clock() + timeout
    calls = [(one, BackgroundCall(partial(read, one), f"read-{one.node}")) for one in servers]
    found: list[tuple[Server, T | ServerError]] = []
    for server, call in calls:
        try:
            found.append((server, call.wait(max(0.0, end - clock()))))
        except TimeoutError:
            found.append((server, ServerError(f"{server}: no answer within {timeout:g} s")))
        except ServerError as error:
            found.append((server, error))
    return found
