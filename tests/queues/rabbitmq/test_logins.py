"""Logins with the least rights, TLS, and the URLs of vhosts."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from beanwatch.config import ServerConfig
from beanwatch.net.address import AddressError
from beanwatch.queues.base import ServerError, Wanted
from beanwatch.queues.servers import parse_server, resolve_servers
from tests.conftest import Result
from tests.queues.rabbitmq.helpers import reader_of, server_of, wait_for
from tests.real.rabbitmq import RabbitMQ, Vhost, rights

Run = Callable[..., Result]


@pytest.fixture
def monitor(rabbitmq: RabbitMQ, vhost: Vhost) -> Iterator[str]:
    """The URL of a vhost, with a user that has exactly the rights that docs/queues.md gives it."""
    rabbitmq.add_user(
        "beanwatch", "s3cret ü", "monitoring", **{vhost.name: rights("^$", "^$", "^$")}
    )
    yield vhost.url.replace("://", "://beanwatch@")
    rabbitmq.api("DELETE", "users", "beanwatch")


def test_reading_needs_only_the_documented_rights(
    run: Run, vhost: Vhost, monitor: str, tmp_path: Path
) -> None:
    vhost.declare("orders")
    vhost.declare("dead")
    vhost.exchange("dlx", "fanout")
    vhost.bind("dlx", "dead")
    vhost.policy("^orders$", dead_letter_exchange="dlx")
    vhost.publish("orders", "x")
    wait_for(vhost, lambda q: q["orders"].ready == 1 and q["dead"].is_dead_letter)
    secret = tmp_path / "password"
    secret.write_text("s3cret ü\n")
    config = tmp_path / "beanwatch.toml"
    config.write_text(f'[servers.mq]\nurl = "{monitor}"\npassword_file = "{secret}"\n')
    env = {"BEANWATCH_CONFIG": str(config), "BEANWATCH_STATE_DIR": str(tmp_path)}
    done = run("beanwatch", "queues", "list", "--json", env=env)
    assert done.code == 0, done.stderr
    rows = {row["queue"]: row for row in json.loads(done.stdout)}
    assert rows["orders"]["ready"] == 1
    assert rows["orders"]["buried"] == 0
    assert run("check_queue_server", env=env).code == 0
    # By the environment, without a file.
    config.write_text(f'[servers]\nmq = "{monitor}"\n')
    env["BEANWATCH_SERVER_MQ_PASSWORD"] = "s3cret ü"
    assert run("check_queue_depth", env=env).code == 0
    # These rights do not allow to look into jobs.
    done = run("beanwatch", "queues", "peek", "orders", env=env)
    assert done.code == 1
    assert "s3cret" not in done.stdout + done.stderr


def test_actions_need_only_the_documented_rights(
    run: Run, rabbitmq: RabbitMQ, vhost: Vhost, monitor: str, tmp_path: Path
) -> None:
    allowed = rights("^$", "^amq\\.default$", ".*")
    rabbitmq.api("PUT", "permissions", vhost.name, "beanwatch", body=allowed)
    vhost.declare("orders", dead_letter_exchange="", dead_letter_routing_key="dead")
    vhost.declare("dead")
    vhost.fail("orders", "x", into="dead")
    wait_for(vhost, lambda q: q["orders"].buried == 1)
    config = tmp_path / "beanwatch.toml"
    config.write_text(f'[redis]\nurl = ""\n[servers]\nmq = "{monitor}"\n')
    env = {"BEANWATCH_CONFIG": str(config), "BEANWATCH_SERVER_MQ_PASSWORD": "s3cret ü"}
    assert run("beanwatch", "queues", "peek", "orders", env=env).code == 0
    done = run("beanwatch", "queues", "kick", "orders", "--yes", env=env)
    assert done.code == 0, done.stderr
    assert vhost.payloads("orders") == ["x"]


def test_a_wrong_password_is_named_and_not_shown(
    run: Run, monitor: str, vhost: Vhost, tmp_path: Path
) -> None:
    config = tmp_path / "beanwatch.toml"
    config.write_text(f'[servers]\nmq = "{monitor}"\n')
    env = {"BEANWATCH_CONFIG": str(config), "BEANWATCH_SERVER_MQ_PASSWORD": "hunter2"}
    code, out, err = run("check_queue_server", env=env)
    assert code == 2
    assert "the password of user 'beanwatch' is wrong, or it lacks the tag monitoring" in out
    assert vhost.url in out
    assert "hunter2" not in out + err


def test_tls_with_an_own_certificate_authority(rabbitmq: RabbitMQ, vhost: Vhost) -> None:
    vhost.declare("orders")
    url = f"rabbitmq+https://127.0.0.1:{rabbitmq.tls}/{vhost.name}"
    server = server_of(url, ca_file=str(rabbitmq.directory / "ca.pem"))
    from beanwatch.queues.base import ReaderOptions

    reader = server.system.open_reader(server, ReaderOptions(30.0))
    assert set(reader.read(Wanted()).queues or ()) == {"orders"}
    with pytest.raises(ServerError, match="certificate verify failed"):
        reader_of(url, timeout=30.0).read(Wanted())


# -- URLs


@pytest.mark.parametrize(
    ("url", "port", "vhost"),
    [
        ("rabbitmq://mq", 15672, "/"),
        ("rabbitmq://mq/", 15672, "/"),
        ("rabbitmq://mq/%2F", 15672, "/"),
        ("rabbitmq://mq:1/shop", 1, "shop"),
        ("rabbitmq+https://mq/a%2Fb", 15671, "a/b"),
        ("rabbitmq+https://[::1]/a%20b", 15671, "a b"),
    ],
)
def test_the_path_of_a_url_is_the_vhost(url: str, port: int, vhost: str) -> None:
    from beanwatch.queues.rabbitmq import vhost_of

    (server,) = resolve_servers({"mq": ServerConfig(url)})
    assert server.address.port == port
    assert vhost_of(server) == vhost


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (ServerConfig("rabbitmq://mq/a/b"), "write %2F for a /"),
        (ServerConfig("rabbitmq://mq/a?b=c"), "the name of one vhost"),
        (ServerConfig("rabbitmq://a:1,b:2/x"), "expected one host"),
        (ServerConfig("rabbitmq://mq/..", ca_file=""), "the name of one vhost"),
        (ServerConfig("rabbitmq://mq", ca_file="ca.pem"), "ca_file needs a URL that begins with"),
        (ServerConfig("rabbitmq://mq", group="g"), "group has no meaning for rabbitmq"),
    ],
)
def test_a_mistake_in_the_settings_is_one_clear_line(config: ServerConfig, reason: str) -> None:
    with pytest.raises(AddressError, match=reason):
        resolve_servers({"mq": config})
    assert parse_server(config.url)
