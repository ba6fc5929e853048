"""Calls the API of IronMQ: lists queues, reads them, and changes their messages."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from urllib.parse import quote

import msgspec

from beanwatch.net.http import HttpError, request
from beanwatch.queues.base import ProtocolError, ServerError
from beanwatch.queues.parallel import Parallel
from beanwatch.queues.selection import find_prefixes

if TYPE_CHECKING:
    from beanwatch.queues.servers import Server

MAX_PAGE = 100  # queues, or messages, in one reply
Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Parsed = TypeVar("Parsed")


class Push(msgspec.Struct):
    """The parts of a push queue: its subscribers, and where messages go that none of them took."""

    subscribers: list[dict[str, Any]] = []
    error_queue: str = ""


class DeadLetter(msgspec.Struct):
    """Where messages go that were reserved too often."""

    queue_name: str = ""


class QueueInfo(msgspec.Struct):
    """The numbers and settings of a queue."""

    name: str
    size: Count
    total_messages: Count
    type: str = "pull"
    message_expiration: Count | None = None  # seconds
    push: Push | None = None
    dead_letter: DeadLetter | None = None

    @property
    def failed_queue(self) -> str:
        """The name of the queue that gets the messages that failed here; "": none does."""
        if self.dead_letter and self.dead_letter.queue_name:
            return self.dead_letter.queue_name
        return self.push.error_queue if self.push else ""


class QueueReply(msgspec.Struct):
    """The reply to `GET /queues/NAME`."""

    queue: QueueInfo


class ListedQueue(msgspec.Struct):
    """A queue in a list: only its name."""

    name: str


class ListReply(msgspec.Struct):
    """The reply to `GET /queues`."""

    queues: list[ListedQueue]


class Message(msgspec.Struct):
    """A message, as a look at it shows it."""

    id: str | int
    body: str
    reserved_count: Count = 0


class MessagesReply(msgspec.Struct):
    """The reply to `GET /queues/NAME/messages`."""

    messages: list[Message]


class AbsentError(ServerError):
    """The queue does not exist."""


class Project:
    """The queues of one project. Every method may raise ServerError.

    Every request is made before the time `end` of the clock. Use it from several threads.
    """

    def __init__(self, server: "Server", clock: Callable[[], float]) -> None:
        self._server, self._clock = server, clock
        self._parallel = Parallel(clock)
        scheme = "http" if server.url.scheme == "ironmq+http" else "https"
        self._base = f"{scheme}://{server.address}/3/projects/{server.url.path}"
        token = server.read_password()
        if not token:
            raise ServerError(f"{server}: there is no token: set password_file")
        self._headers = {"Authorization": f"OAuth {token}", "Content-Type": "application/json"}

    def list_names(self, globs: Iterable[str], end: float) -> list[str]:
        """Return the names of all queues that start as one of the globs does, one page a call.

        A page may be shorter than requested, so only an empty one is the last.
        """
        names: list[str] = []
        for prefix in find_prefixes(globs):
            path = f"/queues?per_page={MAX_PAGE}"
            if prefix:
                path += f"&prefix={quote(prefix, safe='')}"
            previous, more = "", ""
            while page := self._get(f"{path}{more}", ListReply, end).queues:
                if page[-1].name == previous:
                    raise ProtocolError(f"{self._server}: its list of queues does not end")
                names += [queue.name for queue in page]
                previous = page[-1].name
                more = f"&previous={quote(previous, safe='')}"
        return names

    def read_queues(
        self, names: Collection[str], end: float
    ) -> tuple[dict[str, QueueInfo], dict[str, ServerError]]:
        """Return the queues that exist, and the errors of those that could not be read.

        There is one request for each, in a few threads. Raises ServerError if all of them fail.
        """

        def read(name: str) -> QueueInfo | None:
            try:
                return self._get(_path(name), QueueReply, end).queue
            except AbsentError:
                return None

        try:
            found, errors = self._parallel.try_each(
                read, list(names), max(0.0, end - self._clock())
            )
        except OSError as error:
            text = str(error) or "no answer for all queues in time"
            raise ServerError(f"{self._server}: {text}") from error
        if errors and not found:
            raise next(iter(errors.values()))
        return {name: info for name, info in found.items() if info}, errors

    def read_failed(
        self, known: Mapping[str, QueueInfo], end: float
    ) -> tuple[dict[str, QueueInfo], frozenset[str]]:
        """Return the queues of failed messages that exist, and the names of the shared ones.

        IronMQ does not tell the sources of such a queue. So if one of the `known` queues has one,
        this reads all other queues of the project too. Raises ServerError if it cannot read one of
        them, which could be a second source.
        """
        wanted = {info.failed_queue for info in known.values()} - {""}
        if not wanted:
            return {}, frozenset()
        others = [name for name in self.list_names(["*"], end) if name not in known]
        read, errors = self.read_queues(others, end)
        if errors:
            raise next(iter(errors.values()))
        queues = {**read, **known}
        sources = Counter(info.failed_queue for info in queues.values())
        shared = frozenset(name for name in wanted if sources[name] > 1)
        return {name: queues[name] for name in wanted if name in queues}, shared

    def peek(self, name: str, count: int, end: float) -> list[Message]:
        """Return up to `count` messages of a queue, at most MAX_PAGE, without reserving them."""
        path = f"{_path(name)}/messages?n={min(count, MAX_PAGE)}"
        return self._get(path, MessagesReply, end).messages

    def post(self, name: str, bodies: Iterable[str], end: float) -> None:
        """Put messages into a queue."""
        messages = [{"body": body} for body in bodies]
        self._request("POST", f"{_path(name)}/messages", end, {"messages": messages})

    def delete(self, name: str, messages: Iterable[Message], end: float) -> None:
        """Delete these messages; the server refuses it if one of them is reserved meanwhile."""
        ids = [{"id": message.id} for message in messages]
        self._request("DELETE", f"{_path(name)}/messages", end, {"ids": ids})

    def _get(self, path: str, kind: type[Parsed], end: float) -> Parsed:
        try:
            return msgspec.json.decode(self._request("GET", path, end), type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ProtocolError(
                f"{self._server}: this is not IronMQ, its answer to GET {path.partition('?')[0]} "
                f"cannot be read: {' '.join(str(error).split())[:200]}"
            ) from None

    def _request(self, method: str, path: str, end: float, body: Any = None) -> bytes:
        data = b"" if body is None else msgspec.json.encode(body)
        left = max(0.01, end - self._clock())
        url, ca_file = f"{self._base}{path}", self._server.config.ca_file
        try:
            return request(method, url, left, headers=self._headers, body=data, ca_file=ca_file)
        except HttpError as error:
            text = str(error).removeprefix(f"{self._server.address}: ")
            if error.status == 401:
                text += " (a wrong token, or one of version 2)"
            kind = AbsentError if error.status == 404 else ServerError
            raise kind(f"{self._server}: {text}") from error.__cause__


def _path(name: str) -> str:
    return f"/queues/{quote(name, safe='')}"
