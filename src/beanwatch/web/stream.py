"""Server-sent events: the fragments of a page that changed, for each viewer of the page.

A stream holds no queue: after each snapshot it compares what the page is now with what it sent
last. A viewer with a slow line gets fewer, newer fragments.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress

from starlette.types import Receive, Scope, Send

from beanwatch.web.access import Viewer
from beanwatch.web.events import format_event
from beanwatch.web.site import Site
from beanwatch.web.view import NotFoundError, Page

MAX_STREAMS = 500
SEND_TIMEOUT = 30.0  # seconds in which a viewer must take an event
BEAT = 10.0  # seconds after which an event is sent though nothing changed
RETRY = 3_000  # ms after which a browser connects again


class Streams:
    """Counts the open streams."""

    def __init__(self, most: int = MAX_STREAMS) -> None:
        self.open, self.most = 0, most

    @property
    def are_full(self) -> bool:
        """True if no further stream may be opened."""
        return self.open >= self.most


class EventStream:
    """The answer to one viewer of a page: it ends when the viewer goes."""

    def __init__(
        self, site: Site, streams: Streams, page: Page, query: Mapping[str, str], viewer: Viewer
    ) -> None:
        self._site, self._streams = site, streams
        self._page, self._query, self._viewer = page, query, viewer
        self._sent: dict[str, str] = {}  # by fragment: the hash of what was sent last

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._streams.open += 1
        writer = asyncio.ensure_future(self._write(send))
        gone = asyncio.ensure_future(wait_until_gone(receive))
        try:
            await asyncio.wait((writer, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._streams.open -= 1
            for task in (writer, gone):
                task.cancel()
            with suppress(asyncio.CancelledError, OSError, TimeoutError):
                await writer

    async def _write(self, send: Send) -> None:
        headers = [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"),  # nginx must not wait for more
        ]
        loop = asyncio.get_running_loop()
        said_at = 0.0
        while True:
            now = self._site.now
            events = await self._events()
            if not said_at:  # not before: a page that cannot be rendered is no live page
                await send({"type": "http.response.start", "status": 200, "headers": headers})
                events = f"retry: {RETRY}\n\n".encode() + events
            if events or loop.time() - said_at >= BEAT:
                said_at = loop.time()
                await self._send(send, events + format_event("beat", {"at": now.at}))
            await self._site.next_after(now.number)

    async def _events(self) -> bytes:
        """Return the events for what has changed since the last call."""
        try:
            rendered = await self._site.render(self._page, self._query, self._viewer)
        except NotFoundError as error:
            self._sent = {}  # when it is back, the viewer gets all of it
            return format_event("gone", {"text": str(error)})
        changed = [
            event
            for name, (digest, event) in rendered.events.items()
            if self._sent.get(name) != digest
        ]
        self._sent = {name: digest for name, (digest, _) in rendered.events.items()}
        return b"".join(changed)

    async def _send(self, send: Send, body: bytes) -> None:
        message = {"type": "http.response.body", "body": body, "more_body": True}
        await asyncio.wait_for(send(message), SEND_TIMEOUT)


async def wait_until_gone(receive: Receive) -> None:
    """Return when the client has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass
