"""One HTTP GET within one deadline. Importing http.client instead would cost a check 13 ms."""

import socket
import time
from base64 import b64encode
from collections.abc import Callable
from urllib.parse import unquote, urlsplit

from beanwatch.net.address import Address, connect
from beanwatch.net.errors import socket_reason

MAX_BYTES = 32 * 1024 * 1024


class HttpError(Exception):
    """No answer, or not status 200. The text holds neither user nor password of the URL."""


def get(url: str, timeout: float, *, clock: Callable[[], float] = time.monotonic) -> bytes:
    """Return the body of an answer with status 200. Raises HttpError.

    `timeout` (seconds) covers everything: the name lookup, TLS, and the whole answer. The request
    is HTTP/1.0, so that the server closes the connection at the end and sends no chunks.
    """
    try:
        parts = urlsplit(url)
        is_secure = {"http": False, "https": True}[parts.scheme]
        address = Address(parts.hostname or "", parts.port or (443 if is_secure else 80))
        if not address.host:
            raise ValueError
    except (KeyError, ValueError):
        raise HttpError("URL: expected http://HOST[:PORT] or https://HOST[:PORT]") from None
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
            stream = wrap(sock, address.host) if is_secure else sock
            stream.settimeout(max(0.001, end - clock()))
            stream.sendall(request)
            return parse_answer(read_all(stream, end, clock), str(address))
    except OSError as error:
        raise HttpError(f"{address}: {socket_reason(error, timeout)}") from error


def wrap(sock: socket.socket, host: str) -> socket.socket:
    """Start TLS and check the certificate. Raises OSError."""
    import ssl  # takes 7 ms, so import it only for https

    return ssl.create_default_context().wrap_socket(sock, server_hostname=host)


def read_all(sock: socket.socket, end: float, clock: Callable[[], float]) -> bytes:
    """Read until the server closes, at most MAX_BYTES. Raises OSError, TimeoutError at `end`."""
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


def parse_answer(data: bytes, where: str) -> bytes:
    """Return the body of a complete answer with status 200. Raises HttpError."""
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
