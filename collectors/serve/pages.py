"""The pages of `beanwatch collect --listen`: /metrics, /livez and /readyz."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from beanwatch.collectors.serve.board import Board
from beanwatch.net.http_server import Page, Response, accepts_gzip, compress
from beanwatch.telemetry.prometheus import OPENMETRICS, PLAIN, wants_openmetrics


class MetricsPage:
    """Makes the page of a board for one client at a time.

    With thousands of queues, making it takes much memory. So clients that ask while it is made for
    another one, in the same form, wait for that page and share its bytes. A later client gets a new
    page. One thread makes all pages: the allocator keeps freed memory for each thread that makes
    one.
    """

    def __init__(self, board: Board) -> None:
        self._board = board
        self._maker = ThreadPoolExecutor(1, "beanwatch-page")
        # By form (is it OpenMetrics, is it gzipped): the last page, and when it was ready.
        self._made: dict[tuple[bool, bool], tuple[float, Response]] = {}

    def answer(self, headers: Mapping[str, str]) -> Response:
        """Return the page in the form that these headers ask for."""
        return self._maker.submit(self._find_or_make, time.monotonic(), headers).result()

    def _find_or_make(self, asked_at: float, headers: Mapping[str, str]) -> Response:
        is_open = wants_openmetrics(headers.get("accept", ""))
        form = is_open, accepts_gzip(headers)
        # Free the older pages before a new one is made.
        self._made = {key: made for key, made in self._made.items() if made[0] >= asked_at}
        if form not in self._made:
            body = self._board.page().text(openmetrics=is_open)
            response = compress(Response(body, OPENMETRICS if is_open else PLAIN), headers)
            self._made[form] = time.monotonic(), response
        return self._made[form][1]


def make_pages(
    board: Board, servers: Sequence[str], is_alive: Callable[[], bool]
) -> Mapping[str, Page]:
    """Return the pages by path. `servers` are the nodes of the servers that are polled.

    `is_alive` says whether all threads of the collector run.
    """

    def livez(_: Mapping[str, str]) -> Response:
        if is_alive():
            return Response(b"ok\n")
        return Response(b"a thread of the collector has ended\n", status=503)

    def readyz(_: Mapping[str, str]) -> Response:
        if board.knows(servers):
            return Response(b"ok\n")
        return Response(b"not every server has been polled yet\n", status=503)

    return {"/metrics": MetricsPage(board).answer, "/livez": livez, "/readyz": readyz}
