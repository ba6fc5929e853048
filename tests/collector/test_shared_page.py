"""The collector's page of metrics when many clients ask for it at once."""

import gzip
import http.client
import threading
from collections.abc import Iterator, Mapping

import pytest

from beanwatch.collectors.serve.board import Board
from beanwatch.collectors.serve.pages import make_pages
from beanwatch.net.address import Address
from beanwatch.net.http_server import HttpServer, Response
from beanwatch.telemetry.prometheus import Page, labels
from tests.real import wait_until

CLIENTS = 20


class SlowBoard(Board):
    """A board whose pages have their number as value. Each is made when `may_end` is set."""

    def __init__(self) -> None:
        super().__init__(30.0)
        self.made = 0
        self.may_end = threading.Event()

    def page(self) -> Page:
        self.made += 1
        number, page = self.made, Page()
        assert self.may_end.wait(20)
        for server in range(200):
            page.add("collector_poll_age_seconds", labels(server=f"q{server}"), number)
        return page


class Collector:
    """The pages of a slow board on a real server."""

    def __init__(self) -> None:
        self.board = SlowBoard()
        self.asked: list[str] = []  # one for each request that has come to the page
        self.errors: list[str] = []
        pages = dict(make_pages(self.board, [], lambda: True))
        metrics = pages["/metrics"]

        def count(headers: Mapping[str, str]) -> Response:
            self.asked.append("")
            return metrics(headers)

        pages["/metrics"] = count
        self.server = HttpServer(Address("127.0.0.1", 0), pages, self.errors.append)

    def get(self, path: str, coding: str = "identity") -> tuple[int, str]:
        """Return the status and the text. A page of status 200 comes in this coding."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=20)
        connection.request("GET", path, headers={"Accept-Encoding": coding})
        reply = connection.getresponse()
        body = reply.read()
        connection.close()
        used = reply.headers.get("Content-Encoding", "identity")
        assert used == coding or reply.status != 200
        return reply.status, (gzip.decompress(body) if used == "gzip" else body).decode()


@pytest.fixture
def collector() -> Iterator[Collector]:
    running = Collector()
    yield running
    running.board.may_end.set()
    running.server.close()
    assert running.errors == []


def number_of(text: str) -> int:
    """Return the number of the page, which is the value of all its samples."""
    (number,) = {line.split()[-1] for line in text.splitlines() if not line.startswith("#")}
    return int(number)


def test_clients_that_ask_while_a_page_is_made_share_it(collector: Collector) -> None:
    answers: list[tuple[int, str]] = []

    def ask(coding: str) -> None:
        answers.append(collector.get("/metrics", coding))

    threads = [
        threading.Thread(target=ask, args=(("gzip", "identity")[number % 2],))
        for number in range(CLIENTS)
    ]
    for number, thread in enumerate(threads, 1):
        thread.start()
        wait_until(lambda number=number: len(collector.asked) == number)
    assert collector.get("/livez") == (200, "ok\n")  # a probe does not wait for the page
    collector.board.may_end.set()
    for thread in threads:
        thread.join(30)
    assert [status for status, _ in answers] == [200] * CLIENTS
    # One page in each coding, and perhaps one for a client that was interrupted before it waited.
    assert collector.board.made <= 4
    assert {number_of(text) for _, text in answers} <= set(range(1, collector.board.made + 1))


def test_a_client_that_asks_later_gets_a_new_page(collector: Collector) -> None:
    collector.board.may_end.set()
    codings = ("gzip", "gzip", "identity", "identity", "gzip")
    answers = [collector.get("/metrics", coding)[1] for coding in codings]
    assert [number_of(text) for text in answers] == [1, 2, 3, 4, 5]


def test_a_page_that_fails_leaves_the_next_client_its_own(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector.board.may_end.set()
    with monkeypatch.context() as patch:
        patch.setattr(collector.board, "page", lambda: 1 / 0)
        assert collector.get("/metrics")[0] == 500
    assert number_of(collector.get("/metrics")[1]) == 1
    (error,) = collector.errors
    assert "ZeroDivisionError" in error
    collector.errors.clear()
