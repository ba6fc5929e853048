"""The pages as HTML, JSON and fragments, each made once for all of its viewers."""

import asyncio
import hashlib
import re
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from beanwatch.config import Config
from beanwatch.quoting import html_text
from beanwatch.web.access import Viewer
from beanwatch.web.events import format_event
from beanwatch.web.look_ups import LookUps
from beanwatch.web.pages import (
    action,
    actions,
    checks,
    failure,
    failures,
    job,
    overview,
    queue,
    queues,
    search,
    servers,
    worker,
    workers,
)
from beanwatch.web.render import Renderer
from beanwatch.web.runner import Runner
from beanwatch.web.snapshot import Snapshot
from beanwatch.web.sources import Sources
from beanwatch.web.urls import MAX_VALUE, Urls
from beanwatch.web.view import Page, View

PAGES: tuple[Page, ...] = tuple(
    module.PAGE
    for module in (
        *(overview, queues, queue, workers, worker, failures, failure, job, checks, servers),
        *(search, actions, action),
    )
)
MENU = (
    ("/", "Overview"),
    ("/queues", "Queues"),
    ("/workers", "Workers"),
    ("/failures", "Failures"),
    ("/checks", "Checks"),
    ("/servers", "Servers"),
)
MAX_PARAMETERS = 20
MAX_RENDERED = 300  # pages of one snapshot that are kept
VIEWER_MARK = "<!--viewer-->"
_TIME_TEXT = re.compile(r"(?<=>)[^<>]*(?=</time>)")
STATIC = Path(__file__).parent / "static"


class Rendered(NamedTuple):
    """A page, and an event for each of its live fragments, by id, with a hash of its text."""

    html: str
    events: Mapping[str, tuple[str, bytes]]


class Site:
    """Makes pages from the last snapshot. For the event loop's thread only."""

    def __init__(
        self, config: Config, sources: Sources, look_ups: LookUps, runner: Runner, urls: Urls
    ) -> None:
        self.urls = urls
        self._runner = runner
        self.assets = hash_assets()
        self._config, self._sources, self._look_ups = config, sources, look_ups
        self._renderer = Renderer(urls)
        self._now: Snapshot | None = None
        self._changed = asyncio.Condition()
        self._rendered: OrderedDict[Any, asyncio.Future[Rendered]] = OrderedDict()

    @property
    def now(self) -> Snapshot:
        """The last snapshot."""
        if self._now is None:
            raise RuntimeError("there is no snapshot yet")
        return self._now

    async def publish(self, snapshot: Snapshot) -> None:
        """Show this snapshot from now on."""
        self._now = snapshot
        self._rendered.clear()
        async with self._changed:
            self._changed.notify_all()

    async def next_after(self, number: int) -> None:
        """Wait until there is a later snapshot than the one with this number."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.now.number > number)

    async def data(self, page: Page, query: Mapping[str, str]) -> dict[str, Any]:
        """Return the data of a page. Raises NotFoundError."""
        view = View(self.now, query, self._config, runner=self._runner)
        wanted = page.look_up(view, self._sources) if page.look_up else None
        if wanted is not None:
            view = view._replace(found=await self._look_ups.find(wanted), now=self.now)
        return page.data(view)

    async def render(self, page: Page, query: Mapping[str, str], viewer: Viewer) -> Rendered:
        """Return a page as it is now; it is made once for all viewers with the same rights.

        Raises NotFoundError.
        """
        viewer = viewer._replace(name="")
        key = page.path, tuple(sorted(query.items())), viewer
        known = self._rendered.get(key)
        if known is None:
            known = asyncio.ensure_future(self._make(page, query, viewer))
            self._rendered[key] = known
            while len(self._rendered) > MAX_RENDERED:
                self._rendered.popitem(last=False)
        return await asyncio.shield(known)

    async def _make(self, page: Page, query: Mapping[str, str], viewer: Viewer) -> Rendered:
        data = await self.data(page, query)
        html, fragments = self.fill(page.template, page.path, page.group, query, viewer, **data)
        events = {
            name: (hash_fragment(text), format_event("fragment", {"id": name, "html": text}))
            for name, text in fragments.items()
        }
        return Rendered(html, events)

    def fill(
        self,
        template: str,
        path: str,
        group: str,
        query: Mapping[str, str],
        viewer: Viewer,
        **data: Any,
    ) -> tuple[str, Mapping[str, str]]:
        """Return a template filled with data as HTML, and its live fragments."""

        def here(**changes: object) -> Any:
            return self._renderer.mark(self.urls.change(path, query, **changes))

        return self._renderer.page(
            template,
            self.now.at,
            path=path,
            group=group,
            query=query,
            viewer=viewer,
            menu=MENU,
            redis_url=self._config.redis.url,
            assets=self.assets,
            here=here,
            **data,
        )


def name_viewer(html: str, viewer: Viewer) -> str:
    """Put the name of the viewer into a page that was made for all viewers."""
    words = " (view only)" if viewer.name and not viewer.may_act else ""
    return html.replace(VIEWER_MARK, html_text(viewer.name, 100) + words, 1)


def hash_fragment(text: str) -> str:
    """Return a hash of a fragment, without the texts of its times: the browser writes those."""
    lasting = _TIME_TEXT.sub("", text)
    return hashlib.blake2b(lasting.encode(), digest_size=8).hexdigest()


def limit_query(items: Any) -> dict[str, str]:
    """Return the query of an address, without what is too much of it."""
    return {
        name: value[:MAX_VALUE] for name, value in list(items)[:MAX_PARAMETERS] if len(name) < 50
    }


def hash_assets() -> str:
    """Return a hash of the style and the script, so that browsers can keep them."""
    content = b"".join(path.read_bytes() for path in sorted(STATIC.iterdir()))
    return hashlib.blake2b(content, digest_size=6).hexdigest()
