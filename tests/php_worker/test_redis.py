"""The ways in which a PHP worker reaches Redis, with both of PHP's clients."""

import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import redis

from beanwatch.store.heartbeats import decode_heartbeat, worker_key
from tests.php_worker.conftest import PREDIS
from tests.real.redis_server import SpecialRedis

SCRIPT = Path(__file__).with_name("reach.php")


@pytest.fixture(params=[(), PREDIS], ids=["ext-redis", "Predis"])
def php(request: pytest.FixtureRequest) -> Sequence[str]:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SpecialRedis]:
    """A Redis with a password, a user and a Unix socket."""
    options = ["--user", "watch", "on", ">s/c:t", "~{{beanwatch}}:*", "+@all"]
    options += ["--requirepass", "p:w@/%", "--unixsocket", str(tmp_path / "r.sock")]
    with SpecialRedis(tmp_path / "redis", *options) as found:
        yield found


def report(php: Sequence[str], url: str, env: dict[str, str] | None = None) -> str:
    """Run the script, and return what it logged, without the line about its job."""
    argv = ["php", *php, str(SCRIPT), url]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, env=env)
    assert done.returncode == -9, done.stderr
    assert not done.stderr
    return "".join(line for line in done.stdout.splitlines() if "buried" not in line)


def read(client: "redis.Redis") -> Any:
    body = client.get(worker_key("here.reach"))
    assert isinstance(body, bytes)
    assert client.zcard("{beanwatch}:jobs") == 1
    return decode_heartbeat(body)


def test_by_password_user_database_and_unix_socket(
    server: SpecialRedis, php: Sequence[str], tmp_path: Path
) -> None:
    path = {"PATH": "/usr/bin:/bin"}
    where = f"127.0.0.1:{server.port}"
    by_password = {**path, "BEANWATCH_REDIS_PASSWORD": "p:w@/%"}
    for db, (url, env) in enumerate(
        [
            (f"redis://{where}/0", by_password),
            (f"redis://:p%3Aw%40%2F%25@{where}/1", path),
            (f"redis://watch:s%2Fc%3At@{where}/2", path),
            (f"unix://{tmp_path}/r.sock?db=3", by_password),
        ]
    ):
        assert report(php, url, env) == ""
        assert read(redis.Redis(port=server.port, db=db, password="p:w@/%")).processed == 1


def test_a_wrong_password_is_told_but_not_shown(
    server: SpecialRedis, php: Sequence[str], tmp_path: Path
) -> None:
    said = report(php, f"redis://:s3cret@127.0.0.1:{server.port}/0")
    assert "cannot write the heartbeat, jobs keep running: redis: WRONGPASS" in said
    assert "s3cret" not in said


def test_by_tls_with_the_authority_of_the_url(
    php: Sequence[str], certificate: Path, tmp_path: Path
) -> None:
    options = ["--port", "0", "--tls-port", "{port}", "--tls-auth-clients", "no"]
    options += ["--tls-cert-file", str(certificate), "--tls-key-file", str(certificate)]
    with SpecialRedis(tmp_path / "redis", *options) as server:
        url = f"rediss://127.0.0.1:{server.port}/0"
        assert "cannot write the heartbeat" in report(php, url)
        assert report(php, f"{url}?ssl_ca_certs={certificate}") == ""
        trusted = {"ssl": True, "ssl_ca_certs": str(certificate)}
        assert read(redis.Redis(port=server.port, **trusted)).processed == 1


def test_by_a_client_of_the_application(
    php: Sequence[str], tmp_path: Path, redis_server: SpecialRedis
) -> None:
    assert report(php, f"127.0.0.1:{redis_server.port}") == ""
    assert read(redis.Redis(port=redis_server.port)).processed == 1


def test_a_url_that_is_none_is_told(php: Sequence[str], tmp_path: Path) -> None:
    said = report(php, "http://user:s3cret@h/")
    assert "expected a URL with redis://, rediss:// or unix://" in said
    assert "s3cret" not in said
