"""The web application: which address is answered by what, in which form."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from beanwatch.web.access import Gate, Guard, Rules
from beanwatch.web.actions import Actions
from beanwatch.web.answers import NO_STORE, answer_error, viewer_of, wants_json
from beanwatch.web.look_ups import LookUps
from beanwatch.web.runner import Runner
from beanwatch.web.site import PAGES, STATIC, Site, limit_query, name_viewer
from beanwatch.web.snapshot import INTERVAL, SnapshotReader
from beanwatch.web.sources import Sources
from beanwatch.web.stream import EventStream, Streams
from beanwatch.web.urls import Urls
from beanwatch.web.view import NotFoundError, NotReadError, Page

Log = Callable[[str], object]
REFRESH = "5"  # seconds after which a browser asks again for what is not known now


def make_app(
    reader: SnapshotReader,
    rules: Rules,
    log: Log,
    *,
    base: str = "",
    interval: float = INTERVAL,
) -> Guard:
    """Return the application. It starts `reader` when it starts, and closes it when it ends.

    `base` is the path at which a reverse proxy serves it. `log` gets a text for each fault and for
    each refused login. `interval` is the time between two snapshots in seconds.
    """
    urls = Urls(base)
    sources = Sources(reader.servers, lambda: reader.redis, reader.timeout, log)
    runner = Runner(sources, log)
    site = Site(reader.config, sources, LookUps(log), runner, urls)
    streams = Streams()
    routes: list[BaseRoute] = [
        Route(page.path, partial(show, site, streams, page), name=page.path) for page in PAGES
    ]
    if rules.allow_actions:
        routes += Actions(site, sources, reader.config, runner).routes()
    routes += [
        Route("/livez", is_alive),
        Route("/readyz", partial(is_ready, site)),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]
    app = Starlette(
        routes=[Mount(urls.base, routes=routes)] if urls.base else routes,
        lifespan=partial(live, reader, site, log, interval),
        exception_handlers={
            NotFoundError: partial(show_not_found, site),
            HTTPException: partial(show_http_error, site),
            Exception: partial(show_fault, log),
        },
    )
    app.state.site = site
    return Guard(app, Gate(rules, log), urls.base)


@asynccontextmanager
async def live(
    reader: SnapshotReader, site: Site, log: Log, interval: float, _: Starlette
) -> AsyncIterator[None]:
    """Read and publish snapshots as long as the application runs."""
    await site.publish(reader.snapshot())
    reader.start()

    async def publish() -> None:
        while True:
            await asyncio.sleep(interval)
            try:
                await site.publish(reader.snapshot())
            except Exception as error:  # the next one may be better
                log(f"cannot make a snapshot: {type(error).__name__}: {error}")

    task = asyncio.ensure_future(publish())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        reader.close()


async def show(
    site: Site, streams: Streams, page: Page, request: Request
) -> Response | EventStream:
    """Answer with a page as HTML, as JSON or as a stream of changes, as the client accepts."""
    query = limit_query(request.query_params.items())
    viewer = viewer_of(request)
    accept = request.headers.get("accept", "")
    if "text/event-stream" in accept:
        if streams.are_full:
            text = f"{streams.most} viewers are connected already\n"
            return PlainTextResponse(text, 503, {"retry-after": "30"})
        return EventStream(site, streams, page, query, viewer)
    if wants_json(request):
        return Response(
            msgspec.json.encode(await site.data(page, query)), 200, NO_STORE, "application/json"
        )
    rendered = await site.render(page, query, viewer)
    return HTMLResponse(name_viewer(rendered.html, viewer), 200, NO_STORE)


async def is_alive(_: Request) -> Response:
    """Answer that the process runs its loop. What it watches may be down."""
    return PlainTextResponse("ok\n", 200, NO_STORE)


async def is_ready(site: Site, _: Request) -> Response:
    """Answer 200 if every part was tried at least once, and snapshots are made; else 503."""
    waiting = [node for node, part in site.now.servers.items() if not part.tried_at]
    if waiting:
        return PlainTextResponse("the servers were not read yet\n", 503, NO_STORE)
    return PlainTextResponse("ok\n", 200, NO_STORE)


async def show_not_found(site: Site, request: Request, error: Exception) -> Response:
    """Answer for something that does not exist, or of which nobody can say whether it does."""
    assert isinstance(error, NotFoundError)  # noqa: S101 - starlette calls it for this only
    answer = answer_error(site, request, error.status, error.heading, str(error))
    if isinstance(error, NotReadError):
        answer.headers["refresh"] = REFRESH
    return answer


async def show_http_error(site: Site, request: Request, error: Exception) -> Response:
    """Answer for an address without a page, or a method that it does not have."""
    assert isinstance(error, HTTPException)  # noqa: S101 - starlette calls it for this only
    text = {404: "There is no such page.", 405: "This address has no such method."}
    heading = "Not found" if error.status_code == 404 else "Not allowed"
    answer = answer_error(
        site, request, error.status_code, heading, text.get(error.status_code, error.detail)
    )
    answer.headers.update(error.headers or {})
    return answer


async def show_fault(log: Log, request: Request, error: Exception) -> Response:
    """Answer for a fault of beanwatch, and log it without the query, which may have names."""
    log(f"{request.url.path} failed: {type(error).__name__}: {error}")
    return PlainTextResponse("internal error; see the log of beanwatch web\n", 500, NO_STORE)
