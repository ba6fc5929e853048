"""beanwatch_notify tries again what no target accepted, and only that, within its timeout."""

import contextlib
import socketserver
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beanwatch.checks.channels.alert import Alert, ChannelOptions, DeliveryError
from beanwatch.checks.channels.mail import send
from beanwatch.checks.channels.retry import Attempts, NotAcceptedError
from beanwatch.checks.channels.webhook import parse_retry_after, send_webhook
from tests.real import HttpSink, SmtpSink, closed_port

ARGV = ("--kind", "PROBLEM", "--host", "q1", "--state", "DOWN", "--output", "it is down")
ALERT = Alert("PROBLEM", "q1", "", "DOWN", "it is down")
A, B = "a@example.org", "b@example.org"
START = 8.0  # a loaded machine takes its time to start a process


class Moody:
    """A TCP server. It counts connections and messages, and leaves the client alone at some point.

    `serve` gets the files of a connection to read and to write, and returns to close it.
    """

    def __init__(self, serve: "Callable[[Moody, socketserver.StreamRequestHandler], None]") -> None:
        self.connections = 0
        self.messages = 0
        self.is_over = threading.Event()
        moody = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                moody.connections += 1
                with contextlib.suppress(OSError):
                    serve(moody, self)

        # It has a port that refuses connections until `listen`.
        self._server = socketserver.ThreadingTCPServer(
            ("127.0.0.1", 0), Handler, bind_and_activate=False
        )
        self._server.daemon_threads = True
        self._server.server_bind()
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), daemon=True
        )
        self.address = f"127.0.0.1:{self._server.server_address[1]}"

    def listen(self) -> None:
        self._server.server_activate()
        self._thread.start()

    def __enter__(self) -> Self:
        self.listen()
        return self

    def __exit__(self, *exc: object) -> None:
        self.is_over.set()
        self._server.shutdown()
        self._server.server_close()


def web(reply: bytes | None) -> Callable[[Moody, socketserver.StreamRequestHandler], None]:
    """A web server: it reads a request, sends the reply and closes; without one, it is silent."""

    def serve(moody: Moody, connection: socketserver.StreamRequestHandler) -> None:
        length = 0
        while (line := connection.rfile.readline()) not in (b"\r\n", b""):
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        if connection.rfile.read(length):
            moody.messages += 1
            if reply is None:
                moody.is_over.wait(20)
            else:
                connection.wfile.write(reply)

    return serve


def smtp(
    *greetings: bytes, reply: bytes | None = b""
) -> Callable[[Moody, socketserver.StreamRequestHandler], None]:
    """A mail server: the first connections get these greetings, a mail the reply; None: silence."""

    def serve(moody: Moody, connection: socketserver.StreamRequestHandler) -> None:
        if moody.connections <= len(greetings):
            connection.wfile.write(greetings[moody.connections - 1])
            return
        connection.wfile.write(b"220 here\r\n")
        while line := connection.rfile.readline():
            if not line.upper().startswith(b"DATA"):
                connection.wfile.write(b"250 OK\r\n")
                continue
            connection.wfile.write(b"354 go on\r\n")
            while connection.rfile.readline() != b".\r\n":
                pass
            moody.messages += 1
            if reply is None:
                moody.is_over.wait(20)
            if not reply:
                return
            connection.wfile.write(reply)

    return serve


class Post:
    """Sends an alert to a webhook, with pauses that take no time."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.pauses: list[float] = []
        self.sleep: Callable[[float], object] = self.pauses.append

    def __call__(self, url: str, *, timeout: float = 20.0, clock=time.monotonic) -> None:
        self._file.write_text(f"{url}\n")
        attempts = Attempts(timeout, clock=clock, sleep=self.sleep, draw=lambda: 0.5)
        send_webhook(b"{}", str(self._file), attempts)


@pytest.fixture
def post(tmp_path: Path) -> Post:
    return Post(tmp_path / "url")


def mail(address: str, *recipients: str, timeout: float = 20.0, clock=time.monotonic) -> None:
    """Send an alert by mail, with pauses that take no time."""
    attempts = Attempts(timeout, clock=clock, sleep=lambda _seconds: None)
    options = ChannelOptions(timeout, sender="me@example.org", smtp=address)
    send(ALERT, recipients or (A,), options, attempts)


def stopped_clock() -> float:
    """Whatever an attempt takes: there is time for another one."""
    return 0.0


# -- the command


def test_a_webhook_that_is_busy_gets_the_alert_after_the_time_that_it_says(run, tmp_path: Path):
    with HttpSink(first=[429], retry_after="2") as sink:
        (tmp_path / "url").write_text(f"{sink.url}/x\n")
        started = time.monotonic()
        assert run("beanwatch_notify", "--webhook-file", tmp_path / "url", *ARGV) == (0, "", "")
        assert time.monotonic() - started >= 2
    assert [one.json()["text"] for one in sink.requests] == ["PROBLEM: q1 is DOWN: it is down"] * 2


def test_a_mail_that_is_greylisted_is_accepted_at_the_second_attempt(run):
    with SmtpSink(first={A: ["451 4.7.1 greylisted"]}) as sink:
        argv = ("--mail", A, "--smtp", sink.address)
        assert run("beanwatch_notify", *argv, *ARGV) == (0, "", "")
    assert [sent.recipients for sent in sink.mails] == [[A]]


def test_all_attempts_together_end_with_the_timeout(run, tmp_path: Path):
    with HttpSink(status=429, retry_after="3600") as busy:
        (tmp_path / "url").write_text(f"{busy.url}/x\n")
        argv = ("--webhook-file", tmp_path / "url", "--mail", A)
        address = f"127.0.0.1:{closed_port()}"
        started = time.monotonic()
        code, _, stderr = run("beanwatch_notify", "--timeout", "5", *argv, "--smtp", address, *ARGV)
        assert time.monotonic() - started < 5 + START
    assert code == 1
    assert stderr.splitlines() == [
        f"beanwatch_notify: cannot send mail through {address}: [Errno 111] Connection refused",
        f"beanwatch_notify: cannot post the alert to the webhook in {tmp_path / 'url'}: HTTP 429",
    ]
    assert len(busy.requests) == 2


# -- webhooks


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_busy_webhook_is_tried_three_times(post: Post, status: int):
    with HttpSink(first=[status, status]) as sink:
        post(sink.url)
    assert len(sink.requests) == 3
    assert post.pauses == [1.5, 4.5]


def test_a_webhook_is_left_alone_for_the_time_that_it_says(post: Post):
    with HttpSink(first=[429], retry_after="7") as sink:
        post(sink.url)
    assert post.pauses == [10.5]


def test_a_webhook_that_stays_busy_is_said_after_three_attempts(post: Post):
    with HttpSink(status=503) as sink, pytest.raises(DeliveryError, match="HTTP 503"):
        post(sink.url)
    assert len(sink.requests) == 3


@pytest.mark.parametrize("status", [400, 403, 404, 410, 500, 501])
def test_a_webhook_that_refuses_is_tried_once(post: Post, status: int):
    with HttpSink(status, retry_after="1") as sink, pytest.raises(DeliveryError):
        post(sink.url)
    assert (len(sink.requests), post.pauses) == (1, [])


def test_a_webhook_that_refuses_connections_is_tried_three_times(post: Post):
    with pytest.raises(DeliveryError, match="Connection refused"):
        post(f"http://127.0.0.1:{closed_port()}/")
    assert len(post.pauses) == 2


def test_a_webhook_that_comes_back_gets_the_alert(post: Post):
    moody = Moody(web(b"HTTP/1.1 200 OK\r\n\r\n"))
    starting = contextlib.ExitStack()
    post.sleep = lambda _seconds: starting.enter_context(moody)
    with starting:
        post(f"http://{moody.address}/")
        assert moody.messages == 1


def test_a_webhook_that_ends_the_tls_handshake_was_sent_nothing_and_is_tried_again(post: Post):
    with Moody(lambda _moody, _connection: None) as moody, pytest.raises(DeliveryError):
        post(f"https://{moody.address}/")
    assert moody.connections == 3


@pytest.mark.parametrize("reply", [b"", b"HTTP/1.1 50", b"HTTP/1.1 \r\n\r\n", b"SSH-2.0-x\r\n"])
def test_a_request_whose_reply_is_missing_or_cut_off_is_sent_once(post: Post, reply: bytes):
    with Moody(web(reply)) as moody, pytest.raises(DeliveryError):
        post(f"http://{moody.address}/")
    assert (moody.messages, post.pauses) == (1, [])


def test_a_request_whose_reply_takes_too_long_is_sent_once(post: Post):
    with Moody(web(None)) as moody, pytest.raises(DeliveryError, match="TimeoutError"):
        post(f"http://{moody.address}/", timeout=1.5, clock=stopped_clock)
    assert (moody.messages, post.pauses) == (1, [])


def test_the_time_that_a_server_says_is_a_number_of_seconds():
    assert parse_retry_after("7") == 7.0
    for text in ("", "-1", "1.5", "x", "\u00b2", "Wed, 21 Oct 2026 07:28:00 GMT"):
        assert parse_retry_after(text) == 0.0
    assert parse_retry_after("9" * 5000) == float("inf")


# -- mails


@pytest.mark.parametrize("where", [A, "DATA"])
def test_a_mail_that_is_not_accepted_yet_is_tried_three_times(where: str):
    with SmtpSink(first={where: ["451 4.3.0 later", "421 4.3.2 shutting down"]}) as sink:
        mail(sink.address)
    assert [sent.recipients for sent in sink.mails] == [[A]]


def test_a_mail_that_is_never_accepted_is_said_after_three_attempts():
    replies = ["451 4.7.1 greylisted"] * 9
    with SmtpSink(first={A: replies}) as sink, pytest.raises(DeliveryError) as caught:
        mail(sink.address)
    assert (len(replies), sink.mails) == (6, [])
    assert str(caught.value) == f"{sink.address} refused the mail to {A}: 451 4.7.1 greylisted"


def test_only_recipients_that_were_not_accepted_are_tried_again():
    with (
        SmtpSink(refused="no@example.org", first={B: ["450 4.2.0 greylisted"]}) as sink,
        pytest.raises(DeliveryError) as caught,
    ):
        mail(sink.address, A, B, "no@example.org")
    assert [sent.recipients for sent in sink.mails] == [[A], [B]]
    refused = "refused the mail to no@example.org: 550 5.1.1 no such user"
    assert str(caught.value) == f"{sink.address} {refused}"


def test_after_a_session_that_ended_between_recipients_all_of_them_get_the_mail():
    with SmtpSink(first={B: ["421 4.3.2 shutting down"]}) as sink:
        mail(sink.address, A, B, "c@example.org")
    assert [sent.recipients for sent in sink.mails] == [[A, B, "c@example.org"]]


def test_a_mail_that_was_accepted_is_not_sent_again_for_the_reply_to_quit():
    with SmtpSink(first={"QUIT": ["421 4.3.2 shutting down"]}) as sink:
        mail(sink.address)
    assert len(sink.mails) == 1


def test_a_mail_that_is_refused_is_tried_once():
    refusals = ["550 5.7.1 no", "250 OK"]
    with SmtpSink(first={"DATA": refusals}) as sink, pytest.raises(DeliveryError, match="550"):
        mail(sink.address)
    assert (refusals, sink.mails) == (["250 OK"], [])


def test_a_mail_server_that_is_too_busy_to_greet_gets_the_mail_later():
    with Moody(smtp(b"421 too busy\r\n", b"", reply=b"250 OK\r\n")) as moody:
        mail(moody.address)
    assert (moody.connections, moody.messages) == (3, 1)


def test_a_mail_server_that_wants_no_mail_is_tried_once():
    with Moody(smtp(b"554 no\r\n")) as moody, pytest.raises(DeliveryError, match="554"):
        mail(moody.address)
    assert moody.connections == 1


def test_a_mail_whose_reply_is_missing_is_sent_once():
    with Moody(smtp(reply=b"")) as moody, pytest.raises(DeliveryError, match="closed"):
        mail(moody.address)
    assert moody.messages == 1


def test_a_mail_whose_reply_takes_too_long_is_sent_once():
    with Moody(smtp(reply=None)) as moody, pytest.raises(DeliveryError, match="timed out"):
        mail(moody.address, timeout=1.5, clock=stopped_clock)
    assert moody.messages == 1


def test_a_mail_to_nobody_is_a_failure():
    with pytest.raises(DeliveryError, match="it has no recipient"):
        mail("127.0.0.1", "")


# -- the rule

seconds = st.floats(0, 100)


@given(
    st.floats(0.01, 100),
    st.lists(seconds, min_size=3, max_size=3),
    st.lists(st.one_of(seconds, st.just(float("inf"))), min_size=3, max_size=3),
    st.floats(0, 1),
)
def test_no_attempt_begins_after_the_timeout(timeout, costs, requested, draw):
    now = 0.0
    begun = []

    def sleep(pause: float) -> None:
        nonlocal now
        assert pause > 0
        now += pause

    def attempt(left: float) -> None:
        nonlocal now
        assert left == pytest.approx(max(0.001, timeout - now))
        begun.append(now)
        now += min(left, costs[len(begun) - 1])
        raise NotAcceptedError("busy", requested[len(begun) - 1])

    attempts = Attempts(timeout, clock=lambda: now, sleep=sleep, draw=lambda: draw)
    with pytest.raises(NotAcceptedError):
        attempts.run(attempt)
    assert all(moment < timeout for moment in begun)
    assert 1 <= len(begun) <= 3


def test_a_requested_pause_is_kept_if_there_is_time_for_it():
    pauses: list[float] = []
    errors = [NotAcceptedError("", 4.0), NotAcceptedError("", 30.0)]

    def attempt(_left: float) -> None:
        if errors:
            raise errors.pop(0)

    Attempts(20.0, clock=lambda: 0.0, sleep=pauses.append, draw=lambda: 0.0).run(attempt)
    assert pauses == [4.0, 15.0]
