"""HttpServer: serves a few small pages over HTTP, to scrapers and probes.

The server of Python's library (http.server) lets a client that sends one byte every few seconds
hold a thread for ever. Here each client has a total time, and the number of clients is limited.
"""

import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from beanwatch.net.address import Address, AddressError, parse_address, resolve
from beanwatch.net.errors import socket_reason

MAX_CLIENTS = 32  # at once; the next ones wait in the kernel's queue
CLIENT_SECONDS = 5.0  # from the accepted connection to the last byte of the reply
MAX_HEAD = 16 * 1024  # bytes of a request's head
MAX_UNREAD = 2 * 1024 * 1024  # bytes that are read and thrown away after the reply
BACKLOG = 128
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


class HttpServer:
    """Serves `pages`, by path, to at most MAX_CLIENTS at once, in threads of its own.

    A page that raises an exception answers 500; `on_error` gets the text. The constructor starts to
    listen, and raises OSError if it cannot. `port` is the port that it listens on.
    """

    def __init__(
        self,
        address: Address,
        pages: Mapping[str, Page],
        on_error: Callable[[str], object],
        *,
        timeout: float = CLIENT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pages = pages
        self._on_error = on_error
        self._timeout = timeout
        self._clock = clock
        self._free = threading.Semaphore(MAX_CLIENTS)
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
        """Stop listening. Replies that are being sent end within `timeout` seconds."""
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
        end = self._clock() + self._timeout
        try:
            with client:
                response, is_head = self._answer(client, end)
                client.settimeout(max(0.001, end - self._clock()))
                client.sendall(_encode(response, with_body=not is_head))
                client.shutdown(socket.SHUT_WR)
                self._drain(client, end)
        except OSError:
            pass  # the client has gone, or took too long
        finally:
            self._free.release()

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
            return page(headers), method == "HEAD"
        except Exception as error:
            self._on_error(f"the page {path} failed: {type(error).__name__}: {error}")
            return Response(b"the page failed; see the log\n", status=500), False


def describe_listen_error(address: Address, error: OSError) -> str:
    """Return one line for an address on which this process cannot listen."""
    return f"cannot listen on {address}: {socket_reason(error, CLIENT_SECONDS)}"


def _encode(response: Response, *, with_body: bool) -> bytes:
    head = (
        f"HTTP/1.1 {response.status} {REASONS[response.status]}\r\n"
        f"Content-Type: {response.content_type}\r\nContent-Length: {len(response.body)}\r\n"
        "X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + (response.body if with_body else b"")
