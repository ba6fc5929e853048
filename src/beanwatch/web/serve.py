"""Runs the web application with uvicorn until the process is told to stop."""

import socket
from collections.abc import Callable, Sequence
from typing import NamedTuple

import uvicorn
from structlog.typing import FilteringBoundLogger

from beanwatch.config import Config
from beanwatch.net.redis_url import RedisUrl
from beanwatch.queues.servers import Server
from beanwatch.web.access import Rules
from beanwatch.web.app import make_app
from beanwatch.web.snapshot import SnapshotReader

MAX_CONNECTIONS = 1_000  # further ones get 503
IDLE_SECONDS = 15  # for which a connection stays open between two requests
MAX_HEAD = 16 * 1024  # bytes of a request's line and headers
STOP_SECONDS = 3  # for which requests may go on after the process was told to stop


class Settings(NamedTuple):
    """The things to show, and to whom. `timeout` is in seconds, for each wait for a server."""

    config: Config
    servers: Sequence[Server]
    redis: RedisUrl | None
    rules: Rules
    base: str
    timeout: float
    find_present: Callable[[Config], Config]


def serve(settings: Settings, listening: socket.socket, log: FilteringBoundLogger) -> None:
    """Serve the page on a socket that listens, until SIGTERM or SIGINT."""
    reader = SnapshotReader(
        settings.config,
        settings.servers,
        settings.redis,
        timeout=settings.timeout,
        find_present=settings.find_present,
        report=log.error,
    )
    app = make_app(reader, settings.rules, log.warning, base=settings.base)
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,  # the peer is the proxy, by which it is known
        lifespan="on",
        ws="none",
        http="h11",
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=STOP_SECONDS,
        h11_max_incomplete_event_size=MAX_HEAD,
    )
    uvicorn.Server(config).run([listening])
