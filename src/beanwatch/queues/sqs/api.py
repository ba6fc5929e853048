"""Calls the API of SQS: opens clients, finds queues, reads attributes, translates errors."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager

from beanwatch.light_typing import TYPE_CHECKING, Any, NamedTuple
from beanwatch.queues.base import ProtocolError, ServerError
from beanwatch.queues.parallel import THREADS
from beanwatch.words import install_command

if TYPE_CHECKING:
    from beanwatch.queues.servers import Server

QUEUE_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}|[A-Za-z0-9_-]{1,75}\.fifo")
COUNTS = {
    "ready": "ApproximateNumberOfMessages",
    "reserved": "ApproximateNumberOfMessagesNotVisible",
    "delayed": "ApproximateNumberOfMessagesDelayed",
}
RETENTION = "MessageRetentionPeriod"  # seconds
ATTRIBUTES = [*COUNTS.values(), "RedrivePolicy", RETENTION]
MAX_PAGE = 1000  # queues in one reply
Client = Any  # its methods are made from a description of the API when it is created


class Page(NamedTuple):
    """A part of the list of queues: their URLs by name. `token` is that of the next page, or ""."""

    urls: dict[str, str]
    token: str


class Sqs:
    """The queues of one account in one region. Every method may raise ServerError.

    `timeout` (seconds) limits the connect and each wait for bytes. With 2 `attempts`, a call that
    fails by the network or by a fault of AWS is made again. Use it from several threads.
    """

    def __init__(self, server: "Server", timeout: float, attempts: int = 1) -> None:
        self.server, self.timeout, self.attempts = server, timeout, attempts
        with self.translated():
            self._client = open_client(server, "sqs", timeout, attempts)

    def call(self, method: str, **arguments: Any) -> dict[str, Any]:
        """Call a method of the API and return its reply.

        botocore reads any text as an empty reply, so the type of the reply is checked here.
        """
        with self.translated():
            reply: dict[str, Any] = getattr(self._client, method)(**arguments)
            kind = reply["ResponseMetadata"]["HTTPHeaders"].get("content-type", "")
            if "x-amz-json" not in kind and "xml" not in kind:
                raise ProtocolError(
                    f"{self.server}: this is not SQS, it answered {_shorten(kind)!r}"
                )
            return reply

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turn every error inside the block into a ServerError."""
        try:
            yield
        except ServerError:
            raise
        except ImportError as error:
            raise ServerError(
                f"{self.server}: SQS needs a package: {install_command('sqs')} ({error})"
            ) from None
        except Exception as error:  # botocore lets errors of other libraries through
            raise _translate(self.server, error, self.timeout)  # noqa: B904

    def list_page(self, prefix: str, token: str = "") -> Page:
        """Return up to MAX_PAGE queues whose names have this prefix; `token` is the last page's."""
        arguments = {"QueueNamePrefix": prefix, "NextToken": token}
        given = {name: value for name, value in arguments.items() if value}
        reply = self.call("list_queues", MaxResults=MAX_PAGE, **given)
        found = reply.get("QueueUrls", ())
        more = str(reply.get("NextToken", ""))
        if more and more == token:
            raise ProtocolError(f"{self.server}: this is not SQS, its list of queues does not end")
        return Page({str(url).rpartition("/")[2]: str(url) for url in found}, more)

    def find_url(self, name: str) -> str | None:
        """Return the URL of a queue; None if it does not exist."""
        if not QUEUE_NAME.fullmatch(name):
            return None
        try:
            url: str = self.call("get_queue_url", QueueName=name)["QueueUrl"]
        except AbsentError:
            return None
        return url

    def attributes(self, url: str) -> dict[str, str] | None:
        """Return ATTRIBUTES of a queue; None if it does not exist any more."""
        try:
            reply = self.call("get_queue_attributes", QueueUrl=url, AttributeNames=ATTRIBUTES)
        except AbsentError:
            return None
        found: dict[str, str] = reply.get("Attributes", {})
        return found

    def is_shared(self, url: str) -> bool:
        """Return True if a dead-letter queue has several source queues."""
        return self._has_sources(url, 2)

    def is_dead_letter(self, url: str) -> bool:
        """Return True if a queue gets the dead letters of another one; False without the right."""
        try:
            return self._has_sources(url, 1)
        except DeniedError:
            return False

    def _has_sources(self, url: str, count: int) -> bool:
        reply = self.call("list_dead_letter_source_queues", QueueUrl=url, MaxResults=count)
        return len(reply.get("queueUrls", ())) >= count


class AbsentError(ServerError):
    """The queue does not exist."""


class DeniedError(ServerError):
    """The credentials, or the policy of the queue, do not allow this call."""


def open_client(server: "Server", service: str, timeout: float, attempts: int) -> Client:
    """Return a client of a service, such as `sqs`. It finds credentials as all AWS tools do.

    Raises ImportError without botocore, and the errors of botocore.
    """
    from botocore.config import Config
    from botocore.session import get_session

    config = Config(
        connect_timeout=timeout,
        read_timeout=timeout,
        retries={"total_max_attempts": attempts},
        max_pool_connections=THREADS,
    )
    return get_session().create_client(
        service,
        region_name=server.address.host,
        endpoint_url=server.config.endpoint_url or None,
        config=config,
    )


def find_dead_letters(attributes: dict[str, str]) -> str | None:
    """Return the name of the dead-letter queue in a queue's attributes; None if it has none.

    It is in the same account and region.
    """
    try:
        arn = json.loads(attributes["RedrivePolicy"])["deadLetterTargetArn"]
    except (KeyError, TypeError, ValueError):
        return None
    return str(arn).rpartition(":")[2]


def parse_count(attributes: dict[str, str], name: str) -> int | None:
    """Return an attribute as a number; None if it is missing or not a number."""
    text = attributes.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def _translate(server: "Server", error: Exception, timeout: float) -> ServerError:
    """Return a ServerError of one line. It has no credentials: the text is AWS's or botocore's."""
    from botocore import exceptions

    if isinstance(error, exceptions.ClientError):
        found = error.response.get("Error", {})
        code = str(found.get("Code", "unknown error"))
        kind = ServerError
        if code.endswith(("NonExistentQueue", "DoesNotExist")):
            kind = AbsentError
        elif "AccessDenied" in code:
            kind = DeniedError
        return kind(f"{server}: AWS answered {_shorten(code)}: {_shorten(found.get('Message'))}")
    if isinstance(error, exceptions.ReadTimeoutError | exceptions.ConnectTimeoutError):
        told = ServerError(f"{server}: no answer within {timeout:g} s")
        told.__cause__ = TimeoutError()  # a check has a state of its own for it
        return told
    if isinstance(error, exceptions.EndpointConnectionError):
        return ServerError(f"{server}: cannot connect ({_shorten(error)})")
    if isinstance(error, exceptions.BotoCoreError):
        return ServerError(f"{server}: {_shorten(error)}")
    return ProtocolError(
        f"{server}: this is not SQS, its answer cannot be read ({_shorten(error)})"
    )


def _shorten(text: object) -> str:
    return " ".join(str(text).split())[:200]
