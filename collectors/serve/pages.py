"""The pages of `beanwatch collect --listen`: /metrics, /livez and /readyz."""

from collections.abc import Callable, Mapping, Sequence

from beanwatch.collectors.serve.board import Board
from beanwatch.net.http_server import Page, Response
from beanwatch.telemetry.prometheus import OPENMETRICS, PLAIN, wants_openmetrics


def make_pages(
    board: Board, servers: Sequence[str], is_alive: Callable[[], bool]
) -> Mapping[str, Page]:
    """Return the pages by path. `servers` are the nodes of the servers that are polled.

    `is_alive` says whether all threads of the collector run.
    """

    def metrics(headers: Mapping[str, str]) -> Response:
        is_open = wants_openmetrics(headers.get("accept", ""))
        body = board.page().text(openmetrics=is_open)
        return Response(body, OPENMETRICS if is_open else PLAIN)

    def livez(_: Mapping[str, str]) -> Response:
        if is_alive():
            return Response(b"ok\n")
        return Response(b"a thread of the collector has ended\n", status=503)

    def readyz(_: Mapping[str, str]) -> Response:
        if board.knows(servers):
            return Response(b"ok\n")
        return Response(b"not every server has been polled yet\n", status=503)

    return {"/metrics": metrics, "/livez": livez, "/readyz": readyz}
