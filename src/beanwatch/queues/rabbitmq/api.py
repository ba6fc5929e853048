"""Requests to the management API of one RabbitMQ, each within a deadline."""

import json
import time
from collections.abc import Callable
from urllib.parse import quote

from beanwatch.light_typing import TYPE_CHECKING, Any
from beanwatch.net.http import HttpError, basic_login, exchange, parse_response
from beanwatch.queues.base import ProtocolError, ServerError, UnsupportedError
from beanwatch.queues.rabbitmq import TLS_SCHEME, vhost_of

if TYPE_CHECKING:
    from beanwatch.queues.servers import Server

GUEST = "guest"  # RabbitMQ's default user, with the same word as password; only from its own host
MAX_REASON = 200  # characters of RabbitMQ's reason for an error
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class NotFoundError(ServerError):
    """RabbitMQ has no such object: the vhost, the queue or the exchange does not exist."""


class ManagementApi:
    """Sends requests to the management API. Each request has its own connection."""

    def __init__(
        self, server: "Server", timeout: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.server, self.vhost = server, vhost_of(server)
        self._clock = clock
        self._end = clock() + timeout
        self._timeout = timeout
        scheme = "https" if server.url.scheme == TLS_SCHEME else "http"
        self._base = f"{scheme}://{server.address}/api"
        user = server.url.user or GUEST
        password = server.read_password() or (GUEST if user == GUEST else "")
        self._user, self._headers = user, {"Authorization": basic_login(user, password)}
        self.answered_at: float | None = None  # RabbitMQ's time at the last answer; Unix time (s)

    def start_step(self, timeout: float) -> None:
        """Give the next requests together `timeout` seconds."""
        self._timeout, self._end = timeout, self._clock() + timeout

    def get(self, *path: str, columns: tuple[str, ...] = ()) -> Any:
        """Request `/api/PATH` and return the parsed JSON; `columns` are the fields to send.

        Raises NotFoundError and ServerError.
        """
        query = f"?columns={','.join(columns)}" if columns else ""
        return self._request("GET", path, query)

    def get_list(self, *path: str, columns: tuple[str, ...]) -> list[dict[str, Any]]:
        """Return a list of objects, as `get` does. Raises ProtocolError if it is none."""
        found = self.get(*path, columns=columns)
        if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
            raise self.nonsense(f"/{'/'.join(path)} is not a list of objects")
        return found

    def get_object(self, *path: str, columns: tuple[str, ...] = ()) -> dict[str, Any]:
        """Return an object, as `get` does. Raises ProtocolError if it is none."""
        found = self.get(*path, columns=columns)
        if not isinstance(found, dict):
            raise self.nonsense(f"/{'/'.join(path)} is not an object")
        return found

    def post(self, *path: str, body: dict[str, Any]) -> Any:
        """Send `body` as JSON and return the parsed answer. Raises as `get` does."""
        return self._request("POST", path, "", json.dumps(body).encode())

    def nonsense(self, text: str) -> ProtocolError:
        """Return the error for an answer that is not from a management API."""
        return ProtocolError(f"{self.server}: this is not RabbitMQ's management API: {text}")

    def _request(self, method: str, path: tuple[str, ...], query: str, body: bytes = b"") -> Any:
        left = self._end - self._clock()
        if left <= 0:
            raise ServerError(f"{self.server}: no answer within {self._timeout:g} s")
        if not {".", ".."}.isdisjoint(path):
            raise UnsupportedError(
                f"{self.server}: the management API cannot address the names '.' and '..'"
            )
        url = "/".join((self._base, *(quote(part, safe="") for part in path))) + query
        headers = {**self._headers, "Content-Type": "application/json"} if body else self._headers
        ca_file = self.server.config.ca_file
        try:
            data, where = exchange(
                method, url, left, headers=headers, body=body, ca_file=ca_file, clock=self._clock
            )
        except HttpError as error:
            raise ServerError(self._explain(error, b"")) from None
        try:
            answer = parse_response(data, where)
        except HttpError as error:
            raised = NotFoundError if error.status == 404 else ServerError
            raise raised(self._explain(error, data)) from None
        self.answered_at = parse_date(data)
        try:
            return json.loads(answer)
        except (ValueError, RecursionError):
            raise self.nonsense("its answer is not JSON") from None

    def _explain(self, error: HttpError, data: bytes) -> str:
        """Return one line about an error, with RabbitMQ's reason. It has no password."""
        cause = str(error).removeprefix(f"{self.server.address}: ")
        if cause.startswith("no answer within"):
            cause = f"no answer within {self._timeout:g} s"
        if error.status == 401:
            cause += (
                f": the password of user {self._user!r} is wrong, or it lacks the tag monitoring "
                f"or a permission on vhost {self.vhost!r}"
            )
        elif error.status == 404:
            cause += f": not in vhost {self.vhost!r}, or there is no such vhost"
        if reason := parse_reason(data):
            cause += f" ({reason})"
        return f"{self.server}: {cause}"


def parse_reason(data: bytes) -> str:
    """Return RabbitMQ's reason in an error response, as one printable line; "" if it has none."""
    try:
        reason = json.loads(data.partition(b"\r\n\r\n")[2])["reason"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    text = " ".join(str(reason).split())
    return "".join(sign if sign.isprintable() else "?" for sign in text)[:MAX_REASON]


def parse_date(data: bytes) -> float | None:
    """Return the Unix time (s) in the field Date of a response; None if there is none.

    It is the time of the server's clock, in whole seconds.
    """
    from datetime import UTC, datetime

    for line in data.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() != b"date":
            continue
        try:
            _, day, month, year, clock, zone = value.decode("ascii").split()
            hour, minute, second = map(int, clock.split(":"))
            if zone != "GMT":
                return None
            return datetime(
                int(year), MONTHS.index(month) + 1, int(day), hour, minute, min(second, 59),
                tzinfo=UTC,
            ).timestamp()  # fmt: skip
        except ValueError:
            return None
    return None
