"""An HTTP request with a total timeout. Importing http.client instead would cost a check 13 ms."""

import socket
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from types import MappingProxyType
from urllib.parse import unquote, urlsplit

from beanwatch.net.address import Address, connect
from beanwatch.net.errors import socket_reason

MAX_BYTES = 32 * 1024 * 1024  # of a response, with its headers


class HttpError(Exception):
    """Raised if a request failed or its status is not 2xx. The text has no user or password.

    `status` is the status of the response, None if there was none.
    """

    def __init__(self, text: str, status: int | None = None) -> None:
        super().__init__(text)
        self.status = status


def get(url: str, timeout: float, *, clock: Callable[[], float] = time.monotonic) -> bytes:
    """Request a URL and return the body of the response. See `request`. Raises HttpError."""
    return request("GET", url, timeout, clock=clock)


def request(
    method: str,
    url: str,
    timeout: float,
    *,
    headers: Mapping[str, str] = MappingProxyType({}),
    body: bytes = b"",
    ca_file: str = "",
    clock: Callable[[], float] = time.monotonic,
) -> bytes:
    """Send a request and return the body of the response, which must have a status 2xx.

    A user and a password in the URL become a header for basic authentication. `timeout` (seconds)
    covers everything: the name lookup, TLS and the whole response. The request is HTTP/1.0, so that
    the server sends no chunks and closes the connection at the end. Redirects are not followed.
    `ca_file` names the certificates to trust in place of the system's. Raises HttpError.
    """
    data, where = exchange(
        method, url, timeout, headers=headers, body=body, ca_file=ca_file, clock=clock
    )
    return parse_response(data, where)


def exchange(
    method: str,
    url: str,
    timeout: float,
    *,
    headers: Mapping[str, str] = MappingProxyType({}),
    body: bytes = b"",
    ca_file: str = "",
    clock: Callable[[], float] = time.monotonic,
) -> tuple[bytes, str]:
    """Send a request as `request` does. Return the bytes of the response, and the address.

    The caller passes both to `parse_response`, and may read the fields of the response itself.
    Raises HttpError if the server did not respond.
    """
    try:
        parts = urlsplit(url)
        is_secure = {"http": False, "https": True}[parts.scheme]
        address = Address(parts.hostname or "", parts.port or (443 if is_secure else 80))
        if not address.host:
            raise ValueError
    except (KeyError, ValueError):
        raise HttpError("invalid URL: expected http://HOST[:PORT] or https://HOST[:PORT]") from None
    fields = {
        "Host": parts.netloc.rpartition("@")[2],
        "User-Agent": "beanwatch",
        "Accept": "application/json",
        "Connection": "close",
        **headers,
    }
    if parts.username:
        fields["Authorization"] = basic_login(
            unquote(parts.username), unquote(parts.password or "")
        )
    if body or method not in ("GET", "HEAD"):
        fields["Content-Length"] = str(len(body))
    query = f"?{parts.query}" if parts.query else ""
    head = [f"{method} {parts.path or '/'}{query} HTTP/1.0"]
    head += [f"{name}: {value}" for name, value in fields.items()]
    if any("\r" in line or "\n" in line for line in head):
        raise HttpError(f"{address}: a line break in the request")
    data = "\r\n".join([*head, "", ""]).encode("utf-8", "replace") + body
    end = clock() + timeout
    try:
        with connect(address, timeout) as sock:
            sock.settimeout(max(0.001, end - clock()))
            # TLS takes the connection over: closing `sock` would leave it open.
            with start_tls(sock, address.host, ca_file) if is_secure else sock as stream:
                stream.settimeout(max(0.001, end - clock()))
                stream.sendall(data)
                return read_response(stream, end, clock), str(address)
    except OSError as error:
        raise HttpError(f"{address}: {socket_reason(error, timeout)}") from error


def basic_login(user: str, password: str) -> str:
    """Return the value of the header Authorization for basic authentication (RFC 7617)."""
    return f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"


def start_tls(sock: socket.socket, host: str, ca_file: str = "") -> socket.socket:
    """Start TLS on a connection and verify the certificate for `host`.

    Raises OSError, and HttpError if `ca_file` cannot be used.
    """
    import ssl  # takes 7 ms, so import it only for https

    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except OSError as error:
        raise HttpError(f"cannot use ca_file {ca_file}: {error.strerror or error}") from None
    return context.wrap_socket(sock, server_hostname=host)


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
    """Return the body of a response. Raises HttpError if it is incomplete or not status 2xx.

    `where` is the server's name for the error's text.
    """
    head, gap, body = data.partition(b"\r\n\r\n")
    status, *fields = head.split(b"\r\n")
    words = status.split(b" ", 2)
    is_status = len(words) > 1 and len(words[1]) == 3 and words[1].isdigit()
    if not words[0].startswith(b"HTTP/1.") or not is_status:
        silent = "the server closed the connection without an answer"
        raise HttpError(f"{where}: {'the reply is not HTTP' if data else silent}")
    if not 200 <= int(words[1]) < 300:
        shown = b" ".join(words[1:]).decode("ascii", "replace")
        raise HttpError(f"{where}: HTTP {shown}", int(words[1]))
    for field in fields:
        name, _, value = field.partition(b":")
        is_length = name.lower() == b"content-length"
        if is_length and value.strip().lstrip(b"0") != (b"%d" % len(body)).lstrip(b"0"):
            raise HttpError(f"{where}: the answer was cut off")
    if not gap:
        raise HttpError(f"{where}: the answer was cut off")
    return body
