"""Parses addresses, resolves host names, and opens connections, within a time limit.

This is one module because every check loads all of it: a second one would cost a check 0.25 ms.
"""

import socket
import threading
import time
from collections.abc import Callable

from beanwatch.light_typing import Any, Generic, NamedTuple, TypeVar
from beanwatch.net.errors import LookupTimeoutError

BEANSTALKD_PORT = 11300

SocketAddress = tuple[int, Any]  # the address family, and the argument of socket.connect
T = TypeVar("T")


class AddressError(ValueError):
    """Raised if a text is not a valid address; the message quotes it and says what was expected."""


class Address(NamedTuple):
    """A TCP host and port, or the path of a unix socket (then `host` is empty and `port` 0)."""

    host: str
    port: int
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_local(self) -> bool:
        """True for a unix socket and for an address of the loopback interface."""
        return bool(self.path) or self.host in ("localhost", "::1") or self.host.startswith("127.")


def parse_address(text: str, default_port: int = BEANSTALKD_PORT) -> Address:
    """Parse `host`, `host:port`, `[v6]:port`, `v6` or `unix:/path`. Raises AddressError."""
    text = text.strip()
    if text.startswith("unix:"):
        path = text.removeprefix("unix:").removeprefix("//")
        if not path.startswith("/"):
            raise AddressError(
                f"invalid address {text!r}: a unix socket needs an absolute path: unix:/path"
            )
        return Address("", 0, path)
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise AddressError(
                f"invalid address {text!r}: write an IPv6 address as [::1]:{default_port}"
            )
        port = rest[1:]
    elif text.count(":") > 1:
        host, port = text, ""
    else:
        host, _, port = text.partition(":")
    if not host or any(c.isspace() or c == "/" for c in host):
        raise AddressError(
            f"invalid address {text!r}: expected host, host:port, [v6]:port or unix:/path"
        )
    if not port:
        return Address(host, default_port)
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise AddressError(f"invalid address {text!r}: the port must be a number from 1 to 65535")
    return Address(host, int(port))


class BackgroundCall(Generic[T]):
    """Runs `function` once in a new thread, so that the caller can stop waiting for it.

    Use it for calls that cannot be interrupted, such as a name lookup. The thread starts at once
    and does not keep the process alive. The constructor raises RuntimeError if the system allows
    no more threads.
    """

    def __init__(self, function: Callable[[], T], name: str) -> None:
        self._function = function
        self._result: T
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def is_running(self) -> bool:
        """True until `function` has ended; false in a forked child, which has no such thread."""
        return self._thread.is_alive()

    def wait(self, timeout: float) -> T:
        """Return the result of `function`, or raise its exception.

        Raises TimeoutError if `function` has not ended after `timeout` seconds.
        """
        self._thread.join(timeout)
        if self._thread.is_alive():
            raise TimeoutError
        if self._error is not None:
            raise self._error
        return self._result

    def _run(self) -> None:
        try:
            self._result = self._function()
        except BaseException as error:  # raised again in the thread that waits
            self._error = error


# The running lookups by host and port. A second call with the same name waits for the first lookup:
# otherwise each retry would leave one more thread behind while a name server does not reply.
_lookups: "dict[tuple[str, int], BackgroundCall[list[SocketAddress]]]" = {}


def resolve(host: str, port: int, timeout: float) -> list[SocketAddress]:
    """Return the addresses of a host, in the order in which they should be tried.

    A name is resolved in a thread: the resolver cannot be interrupted, and takes up to a minute if
    the name server does not reply. IP addresses and the names in /etc/hosts need no name server, so
    they are resolved without a thread, which would cost a check 0.3 ms. The file is read here:
    the resolver may ask the name server first (nsswitch.conf). Raises LookupTimeoutError after
    `timeout` seconds, socket.gaierror for a name that does not exist, and OSError if the system
    allows no more threads.
    """
    known: list[SocketAddress] = []
    for number in (host, *_find_in_hosts_file(host)):
        try:
            known += _look_up(number, port, socket.AI_NUMERICHOST)
        except socket.gaierror:  # a name, or an invalid line of /etc/hosts
            continue
    if known:
        return known
    lookup = _lookups.get((host, port))
    if lookup is None or not lookup.is_running:
        try:
            lookup = BackgroundCall(lambda: _look_up(host, port), "beanwatch-lookup")
        except RuntimeError as error:
            raise OSError(f"the host name cannot be resolved: {error}") from None
        _lookups[host, port] = lookup
    try:
        found = lookup.wait(timeout)
    except TimeoutError:
        raise LookupTimeoutError from None
    except OSError:
        _lookups.pop((host, port), None)
        raise
    _lookups.pop((host, port), None)
    return found


def _find_in_hosts_file(host: str) -> list[str]:
    """Return the IP addresses that /etc/hosts gives to a name."""
    name = host.lower().encode("utf-8", "replace")
    try:
        with open("/etc/hosts", "rb") as hosts:
            lines = [line.partition(b"#")[0].lower().split() for line in hosts]
    except OSError:
        return []
    return [line[0].decode("ascii", "replace") for line in lines if name in line[1:]]


def _look_up(host: str, port: int, flags: int = 0) -> list[SocketAddress]:
    # Pass bytes: for a str, getaddrinfo imports the IDNA codec, which takes 2 ms.
    name = host.encode() if host.isascii() else host
    try:
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=flags)
    except UnicodeError:  # the name has no IDNA form, for example because a label is too long
        raise socket.gaierror(socket.EAI_NONAME, "this is not a valid host name") from None
    return [(family, where) for family, _, _, _, where in found]


def connect(
    address: Address, timeout: float, *, clock: Callable[[], float] = time.monotonic
) -> socket.socket:
    """Connect to an address and return the socket; try all IP addresses of a name in turn.

    `timeout` (seconds) covers the name lookup and all attempts together. Each attempt gets an equal
    share of what is left, so that an address that does not answer leaves time for the next ones.
    Raises OSError: the error of the last attempt.
    """
    if address.path:
        return _open(socket.AF_UNIX, address.path, timeout)
    end = clock() + timeout
    last: OSError = TimeoutError(f"no answer within {timeout:g} s")
    found = resolve(address.host, address.port, timeout)
    for number, (family, where) in enumerate(found):
        left = end - clock()
        if left <= 0:
            break
        try:
            sock = _open(family, where, left / (len(found) - number))
        except OSError as error:
            last = error
            continue
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        keep_alive(sock)
        return sock
    raise last


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
    """Have the kernel close a TCP connection whose peer no longer responds (tcp(7)).

    The kernel probes after `idle` seconds without data. It closes the connection after three
    unanswered probes, 5 s apart, or when sent data is unacknowledged for `unacknowledged_ms`.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", idle),
        ("TCP_KEEPINTVL", 5),
        ("TCP_KEEPCNT", 3),
        ("TCP_USER_TIMEOUT", unacknowledged_ms),
    ):
        option = getattr(
            socket, name, None
        )  # Linux has all of these options, other systems only some
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
