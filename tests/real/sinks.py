"""Servers that record what they receive: mails, HTTP requests, lines."""

import http.server
import json
import socketserver
import threading
from collections.abc import Sequence
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any, NamedTuple, Self

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.real.process import free_port


class Mail(NamedTuple):
    sender: str
    recipients: list[str]
    message: EmailMessage


class SmtpSink:
    """An SMTP server on a free port. It appends each mail to `mails`, and refuses an address.

    `first` has the replies to the first commands of a kind: to RCPT by address, to DATA, to QUIT.
    """

    def __init__(self, refused: str = "", first: dict[str, list[str]] | None = None) -> None:
        self.mails: list[Mail] = []
        self._refused = refused
        self._first = first or {}
        self.port = free_port()
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port, ready_timeout=30)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address == self._refused:
            return "550 5.1.1 no such user"
        if replies := self._first.get(address):
            return replies.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        if replies := self._first.get("DATA"):
            return replies.pop(0)
        content = envelope.content or b""
        raw = content if isinstance(content, bytes) else content.encode()
        message = message_from_bytes(raw, EmailMessage, policy=policy.default)
        self.mails.append(Mail(envelope.mail_from or "", list(envelope.rcpt_tos), message))
        return "250 OK"

    async def handle_QUIT(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        replies = self._first.get("QUIT")
        return replies.pop(0) if replies else "221 Bye"

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._controller.stop()


class Request(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class HttpSink:
    """An HTTP server on a free port. It records all `requests`, and answers each with `status`.

    `location` is where it sends the client, for a redirect. `first` has the statuses of the first
    replies, and `retry_after` the header of those with another status than 200.
    """

    def __init__(
        self,
        status: int = 200,
        location: str = "",
        *,
        first: Sequence[int] = (),
        retry_after: str = "",
    ) -> None:
        self.requests: list[Request] = []
        self.status = status
        statuses = iter(first)
        sink = self

        class Handler(http.server.BaseHTTPRequestHandler):
            timeout = 10

            def _record(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                sink.requests.append(Request(self.command, self.path, headers, body))
                status = next(statuses, sink.status)
                self.send_response(status)
                self.send_header("Content-Length", "0")
                if location:
                    self.send_header("Location", location)
                if retry_after and status != 200:
                    self.send_header("Retry-After", retry_after)
                self.end_headers()

            do_GET = do_POST = do_PUT = do_DELETE = _record  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                return

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), daemon=True
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class LineSink:
    """A TCP server on a free port that records all lines, in place of carbon."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        sink = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                for line in self.rfile:
                    sink.lines.append(line.decode(errors="replace").rstrip("\r\n"))

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), daemon=True
        )

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
