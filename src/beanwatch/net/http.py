"""An HTTP GET with a total timeout. Importing http.client instead would cost a check 13 ms."""

import socket
import time
from base64 import b64encode
from collections.abc import Callable
from urllib.parse import unquote, urlsplit

from beanwatch.net.address import Address, connect
from beanwatch.net.errors import socket_reason

MAX_BYTES = 32 * 1024 * 1024  # of a response, with its headers


class HttpError(Exception):
    """Raised if a request failed or its status is not 200. The text has no user or password."""


def get(url: str, timeout: float, *, clock: Callable[[], float] = time.monotonic) -> bytes:
    """Request a URL and return the body of the response, which must have status 200.

    `timeout` (seconds) covers everything: the name lookup, TLS and the whole response. The request
    is HTTP/1.0, so that the server sends no chunks and closes the connection at the end. Redirects
    are not followed. Raises HttpError.
    """
    try:
        parts = urlsplit(url)
        is_secure = {"http": False, "https": True}[parts.scheme]
        address = Address(parts.hostname or "", parts.port or (443 if is_secure else 80))
        if not address.host:
            raise ValueError
    except (KeyError, ValueError):
        raise HttpError("invalid URL: expected http://HOST[:PORT] or https://HOST[:PORT]") from None
    head = [
        f"GET {parts.path or '/'}?{parts.query} HTTP/1.0",
        f"Host: {parts.netloc.rpartition('@')[2]}",
    ]
    head += ["User-Agent: beanwatch", "Accept: application/json", "Connection: close"]
    if parts.username:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        head.append(f"Authorization: Basic {b64encode(login.encode()).decode()}")
    request = "\r\n".join([*head, "", ""]).encode("utf-8", "replace")
    end = clock() + timeout
    try:
        with connect(address, timeout) as sock:
            sock.settimeout(max(0.001, end - clock()))
            stream = start_tls(sock, address.host) if is_secure else sock
            stream.settimeout(max(0.001, end - clock()))
            stream.sendall(request)
            return parse_response(read_response(stream, end, clock), str(address))
    except OSError as error:
        raise HttpError(f"{address}: {socket_reason(error, timeout)}") from error


def start_tls(sock: socket.socket, host: str) -> socket.socket:
    """Start TLS on a connection and verify the certificate for `host`. Raises OSError."""
    import ssl  # takes 7 ms, so import it only for https

    return ssl.create_default_context().wrap_socket(sock, server_hostname=host)


def read_response(sock: socket.socket, end: float, clock: Callable[[], float]) -> bytes:
    """Read until the server closes the connection, or MAX_BYTES have arrived.

    Raises OSError, and TimeoutError at the time `end` (by `clock`, in seconds).
    """
    data = bytearray()
    while len(data) < MAX_BYTES:
        left = end - clock()
        if left <= 0:
            raise TimeoutError
        sock.settimeout(left)
        more = sock.recv(65536)
        if not more:
            break
        data += more
    return bytes(data)


def parse_response(data: bytes, where: str) -> bytes:
    """Return the body of a response. Raises HttpError if it is incomplete or not status 200.

    `where` is the server's name for the error's text.
    """
    head, gap, body = data.partition(b"\r\n\r\n")
    status, *fields = head.split(b"\r\n")
    words = status.split(b" ", 2)
    if not words[0].startswith(b"HTTP/1.") or len(words) < 2 or not words[1].isdigit():
        silent = "the server closed the connection without an answer"
        raise HttpError(f"{where}: {'the reply is not HTTP' if data else silent}")
    if words[1] != b"200":
        raise HttpError(f"{where}: HTTP {b' '.join(words[1:]).decode('ascii', 'replace')}")
    for field in fields:
        name, _, value = field.partition(b":")
        is_length = name.lower() == b"content-length"
        if is_length and (not value.strip().isdigit() or int(value) != len(body)):
            raise HttpError(f"{where}: the answer was cut off")
    if not gap:
        raise HttpError(f"{where}: the answer was cut off")
    return body
