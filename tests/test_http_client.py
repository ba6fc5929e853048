"""The client of HTTP: what it says when an answer or a setting is wrong."""

import socket

import pytest

from beanwatch.net.http import HttpError, parse_response, request


def test_a_ca_file_that_cannot_be_used_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"https://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(HttpError) as caught:
            request("GET", url, 5.0, ca_file="/nowhere/ca.pem")
    assert "cannot use ca_file /nowhere/ca.pem: No such file or directory" in str(caught.value)


@pytest.mark.parametrize("length", [b"2", b"02", b" 2 "])
def test_an_answer_of_the_announced_length_is_read(length: bytes) -> None:
    assert parse_response(b"HTTP/1.0 200 OK\r\nContent-Length:%b\r\n\r\nok" % length, "h") == b"ok"


@pytest.mark.parametrize("length", [b"3", b"1", b"-2", b"two", b"9" * 5000])
def test_an_answer_of_another_length_was_cut_off(length: bytes) -> None:
    with pytest.raises(HttpError, match="the answer was cut off"):
        parse_response(b"HTTP/1.0 200 OK\r\nContent-Length: %b\r\n\r\nok" % length, "h")


@pytest.mark.parametrize("status", [b"9" * 5000, b"20", b"two"])
def test_a_status_that_is_none_is_not_http(status: bytes) -> None:
    with pytest.raises(HttpError, match="the reply is not HTTP"):
        parse_response(b"HTTP/1.0 %b OK\r\n\r\n" % status, "h")
