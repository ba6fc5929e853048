"""Where a server listens: `host`, `host:port`, `[::1]:11300` or `unix:/path`; and connecting."""

import socket
import time
from collections.abc import Callable
from typing import Any, NamedTuple

BEANSTALKD_PORT = 11300


class AddressError(ValueError):
    """An address that cannot be read; the text says what was expected."""


class Address(NamedTuple):
    """A TCP host and port, or the path of a unix socket (then host is empty and port 0)."""

    host: str
    port: int
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_local(self) -> bool:
        """True for a unix socket and for the loopback interface."""
        return bool(self.path) or self.host in ("localhost", "::1") or self.host.startswith("127.")


def parse_address(text: str, default_port: int = BEANSTALKD_PORT) -> Address:
    """Read `host`, `host:port`, `[v6]:port`, `v6` or `unix:/path`. Raises AddressError."""
    text = text.strip()
    if text.startswith("unix:"):
        path = text.removeprefix("unix:").removeprefix("//")
        if not path.startswith("/"):
            raise AddressError(
                f"address {text!r}: a unix socket needs an absolute path: unix:/path"
            )
        return Address("", 0, path)
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise AddressError(f"address {text!r}: write an IPv6 address as [::1]:{default_port}")
        port = rest[1:]
    elif text.count(":") > 1:
        host, port = text, ""
    else:
        host, _, port = text.partition(":")
    if not host or any(c.isspace() or c == "/" for c in host):
        raise AddressError(f"address {text!r}: expected host, host:port, [v6]:port or unix:/path")
    if not port:
        return Address(host, default_port)
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise AddressError(f"address {text!r}: the port must be a number from 1 to 65535")
    return Address(host, int(port))


def connect(
    address: Address, timeout: float, *, clock: Callable[[], float] = time.monotonic
) -> socket.socket:
    """Open a socket within `timeout` seconds in all, tried addresses included. Raises OSError.

    The name lookup itself cannot be bounded here: a caller that must not hang in it
    has a watchdog of its own (the checks use an alarm, the worker its pulse thread).
    """
    if address.path:
        return _open(socket.AF_UNIX, address.path, timeout)
    end = clock() + timeout
    last: OSError = TimeoutError(f"no answer within {timeout:g} s")
    for family, *_, where in _resolve(address):
        left = end - clock()
        if left <= 0:
            break
        try:
            sock = _open(family, where, left)
        except OSError as error:
            last = error
            continue
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        keep_alive(sock)
        return sock
    raise last


def _resolve(address: Address) -> list[tuple[Any, ...]]:
    # As bytes: of a str getaddrinfo makes IDNA, which takes 2 ms to import.
    host = address.host.encode() if address.host.isascii() else address.host
    try:
        return socket.getaddrinfo(host, address.port, type=socket.SOCK_STREAM)
    except UnicodeError:  # IDNA has no spelling for it, as for a label that is too long
        raise socket.gaierror(socket.EAI_NONAME, "no host can have this name") from None


def _open(family: int, where: Any, timeout: float) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout)
        sock.connect(where)
    except BaseException:
        sock.close()
        raise
    return sock


def keep_alive(sock: socket.socket, *, idle: int = 10, unacknowledged_ms: int = 20_000) -> None:
    """Let the kernel notice a peer that is gone: probes when idle, a limit when data is unacked."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", idle),
        ("TCP_KEEPINTVL", 5),
        ("TCP_KEEPCNT", 3),
        ("TCP_USER_TIMEOUT", unacknowledged_ms),
    ):
        option = getattr(socket, name, None)  # Linux has all of them, others some
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
