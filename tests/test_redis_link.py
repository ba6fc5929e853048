"""The Redis connection of the quick readers: every way a Redis is reached, every way it fails."""

import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beanwatch.net.address import Address
from beanwatch.net.redis_link import RedisError, RedisLink, parse_redis_url, redact
from tests.real import Proxy, Redis


class SpecialRedis(Redis):
    """A Redis started with more options than most."""

    def __init__(self, directory: Path, *options: str) -> None:
        super().__init__(directory)
        self.options = options

    def argv(self) -> list[str]:
        return [*super().argv(), *(option.format(port=self.port) for option in self.options)]


class Sentinel(Redis):
    """Watches one Redis under the name `main`."""

    name = "sentinel"

    def __init__(self, directory: Path, watched: Redis) -> None:
        super().__init__(directory)
        self.watched = watched

    def argv(self) -> list[str]:
        conf = self.directory / "sentinel.conf"
        conf.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {self.directory}\n"
            f"sentinel monitor main 127.0.0.1 {self.watched.port} 1\n"
        )
        return ["redis-server", str(conf), "--sentinel"]


def ping(url: str, password: str = "") -> object:
    with RedisLink(parse_redis_url(url, password), timeout=5.0) as link:
        link.execute([("SET", "a", "1")])
        return link.execute([("GET", "a")])[0]


def test_a_plain_server_and_a_numbered_database(redis_server: Redis) -> None:
    assert ping(f"redis://127.0.0.1:{redis_server.port}/3") == b"1"
    assert redis_server.client().execute_command("DBSIZE") == 0
    assert redis_server.client().info("keyspace")["db3"]["keys"] == 1


def test_a_password_from_the_url_or_from_a_file(tmp_path: Path) -> None:
    with SpecialRedis(tmp_path, "--requirepass", "p:w@/%") as server:
        assert ping(f"redis://:p%3Aw%40%2F%25@127.0.0.1:{server.port}") == b"1"
        assert ping(f"redis://127.0.0.1:{server.port}", "p:w@/%") == b"1"
        with pytest.raises(RedisError, match="NOAUTH"):
            ping(f"redis://127.0.0.1:{server.port}")
        with pytest.raises(RedisError, match="WRONGPASS") as caught:
            ping(f"redis://:hunter2@127.0.0.1:{server.port}")
        assert "hunter2" not in str(caught.value)


def test_an_acl_user(tmp_path: Path) -> None:
    with SpecialRedis(tmp_path, "--user", *["watch", "on", ">secret", "~*", "+@all"]) as server:
        assert ping(f"redis://watch:secret@127.0.0.1:{server.port}") == b"1"


def test_a_unix_socket(tmp_path: Path) -> None:
    with SpecialRedis(tmp_path, "--unixsocket", str(tmp_path / "r.sock")):
        assert ping(f"unix://{tmp_path}/r.sock?db=2") == b"1"


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    return tmp_path / "cert.pem"


@pytest.fixture
def tls_redis(tmp_path: Path, certificate: Path) -> Iterator[Redis]:
    options = ["--port", "0", "--tls-port", "{port}", "--tls-auth-clients", "no"]
    files = ["--tls-cert-file", str(certificate), "--tls-key-file", str(tmp_path / "key.pem")]
    with SpecialRedis(tmp_path / "redis", *options, *files) as server:
        yield server


def test_tls_with_the_authority_named_in_the_url(tls_redis: Redis, certificate: Path) -> None:
    url = f"rediss://127.0.0.1:{tls_redis.port}/0"
    assert ping(f"{url}?ssl_ca_certs={certificate}") == b"1"
    with pytest.raises(RedisError, match="certificate"):
        ping(url)


def test_sentinel_names_the_master(redis_server: Redis, tmp_path: Path) -> None:
    with Sentinel(tmp_path / "sentinel", redis_server) as sentinel:
        hosts = f"127.0.0.1:1,127.0.0.1:{sentinel.port}"  # the first one refuses
        assert ping(f"redis+sentinel://{hosts}/main/1") == b"1"
        with socket.create_server(("127.0.0.1", 0)) as silent:
            hosts = f"127.0.0.1:{silent.getsockname()[1]},127.0.0.1:{sentinel.port}"
            assert ping(f"redis+sentinel://{hosts}/main/1") == b"1"
        with pytest.raises(RedisError, match="knows no service 'other'"):
            ping(f"redis+sentinel://{hosts}/other")


def test_a_refused_connection_is_one_line() -> None:
    with pytest.raises(RedisError, match=r"redis 127.0.0.1:1: connection refused"):
        ping("redis://127.0.0.1:1")


def test_a_frozen_server_costs_the_timeout_and_no_more(redis_server: Redis) -> None:
    redis_server.freeze()
    with pytest.raises(RedisError, match=r"no answer within 0.3 s"):
        RedisLink(parse_redis_url(redis_server.url), timeout=0.3).execute([("PING",)])


@pytest.mark.parametrize("reply", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x00\x01\x02\r\n"])
def test_something_that_is_no_redis(
    redis_server: Redis, proxy: Callable[[str], Proxy], reply: bytes
) -> None:
    front = proxy(f"127.0.0.1:{redis_server.port}")
    front.garble(reply)
    with pytest.raises(RedisError, match="this is no Redis"):
        ping(f"redis://{front.address}/0")


def test_a_reply_cut_short(redis_server: Redis, proxy: Callable[[str], Proxy]) -> None:
    redis_server.client().set("long", "x" * 1000)
    front = proxy(f"127.0.0.1:{redis_server.port}")
    front.truncate(100)
    with (
        RedisLink(parse_redis_url(f"redis://{front.address}/0")) as link,
        pytest.raises(RedisError, match="closed the connection"),
    ):
        link.execute([("GET", "long")])


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("http://h", "expected redis://"),
        ("redis://h:port", "the port must be a number"),
        ("redis://h/zero", "invalid literal|database"),
        ("redis+sentinel://h:26379", "name the service"),
        ("unix://relative", "absolute path|expected"),
    ],
)
def test_a_bad_url_says_what_was_expected(url: str, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        parse_redis_url(url)


def test_the_defaults_of_a_url() -> None:
    assert parse_redis_url("redis://").address == Address("127.0.0.1", 6379)
    assert parse_redis_url("redis://[::1]:7000/5").address == Address("::1", 7000)


@pytest.mark.parametrize("mark", "/?#")
def test_a_password_that_was_not_encoded_is_not_told(mark: str) -> None:
    with pytest.raises(ValueError, match="write / as %2F") as error:
        parse_redis_url(f"redis://:s3c{mark}ret@redis.example.org/0")
    assert "s3c" not in str(error.value)


@given(st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=30))
def test_no_password_survives_redaction(secret: str) -> None:
    from urllib.parse import quote

    url = f"redis://user:{quote(secret, safe='')}@h:1/0"
    assert parse_redis_url(url).password == secret
    assert redact(url) == "redis://h:1/0"


def test_a_file_of_authorities_that_is_not_there_is_named(redis_server: Redis) -> None:
    url = parse_redis_url(f"rediss://127.0.0.1:{redis_server.port}/0?ssl_ca_certs=/no/such/file")
    with pytest.raises(RedisError, match="ssl_ca_certs=/no/such/file: No such file"):
        RedisLink(url)
