"""Makes the environment of a watched program: its own notify socket, watchdog and open sockets."""

import os
from collections.abc import Mapping

NOTIFY, WATCHDOG, WATCHDOG_PID = "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"
LISTEN_PID = "LISTEN_PID"


def read_watchdog(environ: Mapping[str, str]) -> float:
    """Return after how many seconds of silence systemd kills this process; 0: never.

    Source: sd_watchdog_enabled(3).
    """
    if environ.get(WATCHDOG_PID) not in (None, str(os.getpid())):
        return 0.0
    try:
        return max(0.0, int(environ.get(WATCHDOG, "")) / 1e6)
    except ValueError:
        return 0.0


def make_environment(
    environ: Mapping[str, str], parent: int, address: str, watchdog: float
) -> dict[str, str]:
    """Return the environment of the program; call this in its process.

    `environ` is that of beanwatch, whose pid is `parent`: what systemd tells this one pid is told
    to the program. `address` is that of the notify socket. `watchdog` is in seconds; 0: none.
    """
    own = {key: value for key, value in environ.items() if key not in (WATCHDOG, WATCHDOG_PID)}
    own[NOTIFY] = address
    if own.get(LISTEN_PID) == str(parent):
        own[LISTEN_PID] = str(os.getpid())
    if watchdog:
        own |= {WATCHDOG: str(round(watchdog * 1e6)), WATCHDOG_PID: str(os.getpid())}
    return own
