"""The pages of `beanwatch worker --listen`: /metrics, /livez and /readyz."""

import os
import time
from collections.abc import Callable, Mapping

from structlog.typing import FilteringBoundLogger

from beanwatch.net.address import Address
from beanwatch.net.http_server import HttpServer, Page, Response, describe_listen_error
from beanwatch.store.worker_status import WorkerStatus, why_not_live, why_not_ready
from beanwatch.telemetry.prometheus import OPENMETRICS, PLAIN, wants_openmetrics
from beanwatch.telemetry.prometheus import Page as MetricsText
from beanwatch.worker.api.errors import WorkerError

STARTING = "the worker is starting"
OK = Response(b"ok\n")


class WorkerPages:
    """Answers from the parts of a worker, or says that it is starting until it has them.

    The server listens before the parts are made: an address that is not free ends the worker before
    it writes anything.
    """

    def __init__(self) -> None:
        self._status: Callable[[], WorkerStatus] | None = None
        self._metrics: Callable[[], MetricsText] | None = None

    def show(self, status: Callable[[], WorkerStatus], metrics: Callable[[], MetricsText]) -> None:
        """Answer with what these functions return, from now on."""
        self._status, self._metrics = status, metrics

    def by_path(self) -> Mapping[str, Page]:
        """Return the pages."""
        return {"/metrics": self._answer_metrics, "/livez": self._livez, "/readyz": self._readyz}

    def _answer_metrics(self, headers: Mapping[str, str]) -> Response:
        if self._metrics is None:
            return _refuse(STARTING)
        is_open = wants_openmetrics(headers.get("accept", ""))
        body = self._metrics().text(openmetrics=is_open)
        return Response(body, OPENMETRICS if is_open else PLAIN)

    def _livez(self, _: Mapping[str, str]) -> Response:
        if self._status is None:
            return OK
        reason = why_not_live(self._status(), time.monotonic())
        return _refuse(reason) if reason else OK

    def _readyz(self, _: Mapping[str, str]) -> Response:
        reason = STARTING if self._status is None else why_not_ready(self._status())
        return _refuse(reason) if reason else OK


def _refuse(reason: str) -> Response:
    return Response(f"{reason}\n".encode("utf-8", "replace"), status=503)


def listen(address: Address, pages: WorkerPages, log: FilteringBoundLogger) -> HttpServer:
    """Serve the pages. Raises WorkerError if the address is not free."""
    try:
        server = HttpServer(
            address,
            pages.by_path(),
            lambda problem: log.error("--listen: {problem}", problem=problem),
        )
    except OSError as error:
        raise WorkerError(f"--listen: {describe_listen_error(address, error)}") from None
    # A child process that outlives the worker must not keep the address from the next one.
    os.register_at_fork(after_in_child=server.close_in_child)
    return server
