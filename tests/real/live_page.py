"""The live page in this process, for a real browser."""

import json
import socket
import threading
from base64 import b64encode
from typing import Any, Self
from urllib.request import Request, urlopen

import uvicorn

from beanwatch.config import Config
from beanwatch.net.redis_url import parse_redis_url
from beanwatch.queues.servers import resolve_servers
from beanwatch.web.access import Rules
from beanwatch.web.app import make_app
from beanwatch.web.snapshot import SnapshotReader
from tests.real.waiting import wait_until


class LivePage:
    """Serves the live page on a free port while the context lasts. `log` has what it reported.

    `login` is NAME:PASSWORD, for `json`.
    """

    login = ""

    def __init__(self, config: Config, rules: Rules, *, timeout: float, interval: float) -> None:
        self.log: list[str] = []
        self.reader = SnapshotReader(
            config,
            resolve_servers(config.servers),
            parse_redis_url(config.redis.url),
            timeout=timeout,
            report=self.log.append,
        )
        app: Any = make_app(self.reader, rules, self.log.append, interval=interval)
        self._server = uvicorn.Server(
            uvicorn.Config(app, log_config=None, ws="none", timeout_graceful_shutdown=1)
        )
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],))

    def __enter__(self) -> Self:
        self._thread.start()
        wait_until(lambda: self._server.started)
        return self

    def json(self, path: str) -> Any:
        """Return the data of a page."""
        headers = {"accept": "application/json"}
        if self.login:
            headers["authorization"] = f"Basic {b64encode(self.login.encode()).decode()}"
        request = Request(self.url + path, headers=headers)
        with urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def __exit__(self, *exc: object) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        self._socket.close()
