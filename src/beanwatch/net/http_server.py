"""HttpServer: serves a few pages over HTTP, to scrapers and probes.

The server of Python's library (http.server) lets a client that sends one byte every few seconds
hold a thread for ever. Here each client has a total time. The number of clients is limited, and so
is the memory for the answers that they read slowly.
"""

import re
import socket
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

from beanwatch.net.address import Address, AddressError, parse_address, resolve
from beanwatch.net.errors import socket_reason

MAX_CLIENTS = 32  # at once; the next ones wait in the kernel's queue
REQUEST_SECONDS = 5.0  # from the accepted connection to the end of the request's head
SEND_SECONDS = 30.0  # from the first to the last byte of the answer
MAX_HEAD = 16 * 1024  # bytes of a request's head
MIN_GZIP = 4 * 1024  # bytes; a smaller body is sent as it is
LARGE = 64 * 1024  # bytes; a larger body may not fit into the buffers of a slow client's connection
MAX_LARGE = MAX_CLIENTS // 2  # large bodies sent at once; probes need the other places
MAX_SENDING = 48 * 1024 * 1024  # bytes of all large bodies sent at once
MAX_UNREAD = 2 * 1024 * 1024  # bytes that are read and thrown away after the reply
BACKLOG = 128
REFUSED = re.compile(r"\s*q=0(\.0*)?\s*")  # a coding that the client does not accept
TEXT = "text/plain; charset=utf-8"
REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


class Response(NamedTuple):
    """The answer of a page. `status` is a key of REASONS."""

    body: bytes
    content_type: str = TEXT
    status: int = 200
    header: str = ""  # one more line of the head, without its end


GZIPPED = "Content-Encoding: gzip"
BUSY = Response(b"too many large pages are being sent\n", status=503, header="Retry-After: 5")
Page = Callable[[Mapping[str, str]], Response]  # its argument: the headers, with small letters


def parse_listen(text: str) -> Address:
    """Parse the address to listen on: `host:port`, or a port of the loopback interface.

    Raises AddressError.
    """
    if text.isascii() and text.isdigit():
        text = f"127.0.0.1:{text}"
    address = parse_address(text, 0)
    if address.path or not address.port:
        raise AddressError(f"invalid address {text!r}: expected host:port, or a port")
    return address


def accepts_gzip(headers: Mapping[str, str]) -> bool:
    """Return True if a client with these headers accepts gzip (RFC 9110, 12.5.3)."""
    choices = (choice.partition(";") for choice in headers.get("accept-encoding", "").split(","))
    weights = {name.strip().lower(): weight.lower() for name, _, weight in choices}
    weight = weights.get("gzip", weights.get("*", "q=0"))
    return not REFUSED.fullmatch(weight)


def compress(response: Response, headers: Mapping[str, str]) -> Response:
    """Return the response with its body gzipped, if the client accepts that.

    A body of at most MIN_GZIP bytes is sent as it is, and so is a response with a header of its
    own: it may be gzipped already.
    """
    if response.header or len(response.body) <= MIN_GZIP or not accepts_gzip(headers):
        return response
    body = zlib.compress(response.body, level=1, wbits=31)  # 31: in the format of gzip
    return response._replace(body=body, header=GZIPPED)


class HttpServer:
    """Serves `pages`, by path, to at most MAX_CLIENTS at once, in threads of its own.

    A client has `timeout` seconds for its request, and `send_timeout` seconds to read the answer.
    It gets 503 if the answer is large, and too many large ones are being sent.

    A page that raises an exception answers 500; `on_error` gets the text. The constructor starts to
    listen, and raises OSError if it cannot. `port` is the port that it listens on.
    """

    def __init__(
        self,
        address: Address,
        pages: Mapping[str, Page],
        on_error: Callable[[str], object],
        *,
        timeout: float = REQUEST_SECONDS,
        send_timeout: float = SEND_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pages = pages
        self._on_error = on_error
        self._timeout, self._send_timeout = timeout, send_timeout
        self._clock = clock
        self._free = threading.Semaphore(MAX_CLIENTS)
        self._lock = threading.Lock()
        self._sending: dict[socket.socket, bytes] = {}  # the large bodies
        family, where = resolve(address.host, address.port, timeout)[0]
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind(where)
            self._socket.listen(BACKLOG)
        except OSError:
            self._socket.close()
            raise
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, name="beanwatch-http", daemon=True).start()

    def close(self) -> None:
        """Stop listening. Answers that are being sent end within `send_timeout` seconds."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for a client
        except OSError:
            pass  # it was never connected, or is closed already
        self._socket.close()

    def close_in_child(self) -> None:
        """Close the copy of the socket in a forked child. The parent goes on listening."""
        self._socket.close()

    def fileno(self) -> int:
        """Return the descriptor of the socket that listens."""
        return self._socket.fileno()

    def _accept(self) -> None:
        while True:
            self._free.acquire()
            try:
                client, _ = self._socket.accept()
            except OSError:
                self._free.release()
                if self._socket.fileno() < 0:
                    return
                time.sleep(0.1)  # too many open files, or the client has gone
                continue
            try:
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()
            except RuntimeError:  # the system allows no more threads
                client.close()
                self._free.release()

    def _serve(self, client: socket.socket) -> None:
        try:
            with client:
                response, is_head = self._answer(client, self._clock() + self._timeout)
                if not self._has_room(client, response.body):
                    response = BUSY
                end = self._clock() + self._send_timeout
                for part in (_head(response), b"" if is_head else response.body):
                    client.settimeout(max(0.001, end - self._clock()))
                    client.sendall(part)
                client.shutdown(socket.SHUT_WR)
                self._drain(client, end)
        except OSError:
            pass  # the client has gone, or took too long
        finally:
            with self._lock:
                self._sending.pop(client, None)
            self._free.release()

    def _has_room(self, client: socket.socket, body: bytes) -> bool:
        """Return True if the body may be sent beside the others, and count it if it is large.

        Clients that share a body need its memory once. A body alone may have any size.
        """
        if len(body) <= LARGE:
            return True
        with self._lock:
            sizes = {id(one): len(one) for one in (*self._sending.values(), body)}
            is_too_much = len(sizes) > 1 and sum(sizes.values()) > MAX_SENDING
            if is_too_much or len(self._sending) >= MAX_LARGE:
                return False
            self._sending[client] = body
            return True

    def _drain(self, client: socket.socket, end: float) -> None:
        """Read what the client still sends: closing with unread bytes resets the connection."""
        for _ in range(MAX_UNREAD // 65536):
            client.settimeout(min(0.2, max(0.001, end - self._clock())))
            if not client.recv(65536):
                return

    def _answer(self, client: socket.socket, end: float) -> tuple[Response, bool]:
        """Read a request until `end`, and return the response, and True for a HEAD request."""
        head = bytearray()
        while b"\r\n\r\n" not in head and b"\n\n" not in head:
            if len(head) > MAX_HEAD:
                return Response(b"the request is too long\n", status=431), False
            client.settimeout(max(0.001, end - self._clock()))
            data = client.recv(8192)
            if not data:
                raise ConnectionError
            head += data
        lines = head.decode("latin-1").replace("\r\n", "\n").partition("\n\n")[0].split("\n")
        words = lines[0].split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return Response(b"this is not a request of HTTP/1\n", status=400), False
        method, path = words[0], words[1].partition("?")[0]
        page = self._pages.get(path)
        if page is None:
            known = " ".join(sorted(self._pages))
            return Response(f"no such page; there are: {known}\n".encode(), status=404), False
        if method not in ("GET", "HEAD"):
            return Response(b"only GET and HEAD are allowed\n", status=405), False
        fields = (line.partition(":") for line in lines[1:])
        headers = {name.strip().lower(): value.strip() for name, _, value in fields}
        try:
            return compress(page(headers), headers), method == "HEAD"
        except Exception as error:
            self._on_error(f"the page {path} failed: {type(error).__name__}: {error}")
            return Response(b"the page failed; see the log\n", status=500), False


def describe_listen_error(address: Address, error: OSError) -> str:
    """Return one line for an address on which this process cannot listen."""
    return f"cannot listen on {address}: {socket_reason(error, REQUEST_SECONDS)}"


def _head(response: Response) -> bytes:
    more = f"{response.header}\r\n" if response.header else ""
    return (
        f"HTTP/1.1 {response.status} {REASONS[response.status]}\r\n"
        f"Content-Type: {response.content_type}\r\nContent-Length: {len(response.body)}\r\n{more}"
        "Vary: Accept-Encoding\r\nX-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n"
        "Connection: close\r\n\r\n"
    ).encode()
