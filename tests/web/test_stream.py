"""Streams of changes: made once for all viewers, bounded, and ended when the viewer goes."""

import asyncio
import json
from typing import Any

import pytest

from beanwatch.store.heartbeats import WORKERS_KEY
from beanwatch.web.access import Viewer
from beanwatch.web.events import format_event
from beanwatch.web.look_ups import LookUp, LookUps
from beanwatch.web.site import PAGES, hash_fragment
from beanwatch.web.stream import EventStream, Streams
from tests.web.conftest import Fleet, Pages

BY_PATH = {page.path: page for page in PAGES}


class Client:
    """Takes the events of a stream, and goes when it has `most`."""

    def __init__(self, most: int) -> None:
        self.most, self.received = most, b""
        self.messages: list[dict[str, Any]] = []
        self.is_full = asyncio.Event()

    async def send(self, message: dict[str, Any]) -> None:
        self.messages.append(message)
        self.received += message.get("body", b"")
        if self.received.count(b"event: beat") >= self.most:
            self.is_full.set()

    async def receive(self) -> dict[str, Any]:
        await self.is_full.wait()
        return {"type": "http.disconnect"}

    @property
    def events(self) -> list[tuple[str, Any]]:
        found = []
        for part in self.received.decode().split("\n\n"):
            lines = dict(line.split(": ", 1) for line in part.splitlines() if ": " in line)
            if "event" in lines:
                found.append((lines["event"], json.loads(lines["data"])))
        return found


def stream(
    pages: Pages,
    most: int,
    viewers: int = 1,
    change: Any = None,
    path: str = "/queues",
    **query: str,
) -> list[Client]:
    """Let viewers look at a page until each has `most` updates.

    `change` is called before each snapshot, with the first viewer.
    """
    site = pages.app._app.state.site

    async def look() -> list[Client]:
        streams = Streams()
        clients = [Client(most) for _ in range(viewers)]
        tasks = [
            asyncio.ensure_future(
                EventStream(site, streams, BY_PATH[path], query, Viewer())(
                    {}, one.receive, one.send
                )
            )
            for one in clients
        ]
        while not all(task.done() for task in tasks):
            await asyncio.sleep(0)
            if change:
                change(clients[0])
            await site.publish(pages.reader.snapshot())
        assert streams.open == 0, "each stream ended when its viewer went"
        return clients

    assert pages.client.portal is not None
    found: list[Client] = pages.client.portal.call(look)
    return found


def test_a_stream_sends_fragments_at_first_and_then_what_has_changed(fleet: Fleet) -> None:
    fleet.put("email")
    with fleet.pages() as pages:

        def change(_: Client) -> None:
            fleet.put("email")
            pages.reader.read_once()

        (client,) = stream(pages, 2, change=change)
        fragments = [data for name, data in client.events if name == "fragment"]
        assert {one["id"] for one in fragments} == {"table"}
        assert len({one["html"] for one in fragments}) == len(fragments) >= 2


def test_many_viewers_of_a_page_cost_one_rendering_each_tick(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.put("email")
    with fleet.pages() as pages:
        site, made = pages.app._app.state.site, []
        fill = site.fill
        monkeypatch.setattr(
            site, "fill", lambda *args, **data: made.append(1) or fill(*args, **data)
        )

        def change(_: Client) -> None:
            fleet.put("email")
            pages.reader.read_once()

        numbers = site.now.number
        stream(pages, 2, viewers=50, change=change)
        assert 0 < len(made) <= site.now.number - numbers + 1


def test_times_alone_change_nothing() -> None:
    one = '<p>x <time datetime="2026-01-01T00:00:00Z" title="x">3s ago</time></p>'
    assert hash_fragment(one) == hash_fragment(one.replace("3s ago", "5s ago"))
    assert hash_fragment(one) != hash_fragment(one.replace("2026", "2027"))


def test_an_event_has_no_line_end_in_its_data() -> None:
    event = format_event("fragment", {"id": "x", "html": "a\n\ndata: b\r\u2028"})
    assert event.count(b"\n") == 3
    assert event.endswith(b"\n\n")


def test_no_more_streams_than_the_limit_are_opened(fleet: Fleet) -> None:
    streams = Streams(1)
    assert not streams.are_full
    streams.open += 1
    assert streams.are_full


def test_equal_look_ups_run_once_and_a_slow_one_delays_nobody() -> None:
    async def look() -> None:
        read: list[int] = []
        look_ups = LookUps()
        wanted = LookUp("key", lambda: read.append(1) or "value")
        found = await asyncio.gather(*(look_ups.find(wanted) for _ in range(100)))
        assert {one.value for one in found} == {"value"}
        assert len(read) == 1
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        slow = LookUp("slow", lambda: asyncio.run_coroutine_threadsafe(ended.wait(), loop).result())
        late = await look_ups.find(slow, 0.01)
        assert late.error == "no answer within 0.01 s"
        ended.set()
        assert (await look_ups.find(slow)).value is True

    asyncio.run(look())


def test_a_look_up_that_fails_says_why() -> None:
    reports: list[str] = []

    async def look() -> Any:
        def fail() -> None:
            raise ZeroDivisionError("x")

        return await LookUps(reports.append).find(LookUp("key", fail))

    assert "internal error" in asyncio.run(look()).error
    assert len(reports) == 1


def test_a_page_that_cannot_be_rendered_begins_no_stream(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the browser would think that it is connected to a live page."""
    with fleet.pages() as pages:
        site, client = pages.app._app.state.site, Client(1)

        def fail(*_: Any, **__: Any) -> None:
            raise ZeroDivisionError("no page")

        monkeypatch.setattr(site, "fill", fail)

        async def look() -> None:
            stream = EventStream(site, Streams(), BY_PATH["/queues"], {"q": "x"}, Viewer())
            await stream({}, client.receive, client.send)

        assert pages.client.portal is not None
        with pytest.raises(ZeroDivisionError):
            pages.client.portal.call(look)
        assert client.messages == []


def test_what_comes_back_is_sent_whole_after_it_was_gone(fleet: Fleet) -> None:
    fleet.beat("web1.a")
    with fleet.pages() as pages:
        client = fleet.redis.client()

        def change(viewer: Client) -> None:
            """Let it be there, then gone, then there again."""
            if viewer.received.count(b"event: beat") == 1:
                client.zrem(WORKERS_KEY, "web1.a")
            else:
                fleet.beat("web1.a")
            pages.part("workers").read_once()

        (viewer,) = stream(pages, 3, change=change, path="/worker", id="web1.a")
        beats = [place for place, (name, _) in enumerate(viewer.events) if name == "beat"]
        gone = next(place for place, (name, _) in enumerate(viewer.events) if name == "gone")
        assert beats[0] < gone < beats[1]
        sent = [
            {data["id"] for name, data in events if name == "fragment"}
            for events in (viewer.events[: beats[0]], viewer.events[gone:])
        ]
        assert sent[0] == sent[1] == {"state", "actions", "facts", "failures"}


def test_the_title_of_the_tab_is_sent_with_the_verdict(fleet: Fleet) -> None:
    fleet.beat("web1.a", queues=("email",))
    with fleet.pages() as pages:
        assert "<title>All is well · Overview · beanwatch</title>" in pages.html("/")

        def change(viewer: Client) -> None:
            if b"event: beat" in viewer.received:
                fleet.put("email")
                pages.part("q1").read_once()

        (viewer,) = stream(pages, 2, change=change, path="/")
        found = [data["html"] for name, data in viewer.events if data.get("id") == "verdict"]
        assert 'data-title="All is well · Overview · beanwatch"' in found[0]
        assert 'data-title="critical · Overview · beanwatch"' in found[-1]
