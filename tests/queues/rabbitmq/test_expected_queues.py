"""A queue that the configuration names, on the vhosts of a real RabbitMQ and on a beanstalkd."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.queues.rabbitmq.helpers import queues_of
from tests.real import Beanstalkd, wait_until
from tests.real.rabbitmq import RabbitMQ, Vhost

OFF = '[redis]\nurl = ""\n[graphite]\naddress = ""\nurl = ""\n[queues.orders.depth]\nwarning = 5\n'


@pytest.fixture
def other(rabbitmq: RabbitMQ) -> Iterator[Vhost]:
    found = rabbitmq.add_vhost()
    yield found
    rabbitmq.api("DELETE", "vhosts", found.name)


def test_a_queue_is_missed_only_if_no_vhost_has_it(
    vhost: Vhost, other: Vhost, tmp_path: Path, run: Callable[..., Any]
) -> None:
    config = write(tmp_path, {"shop": vhost.url, "blog": other.url})
    vhost.declare("orders")
    wait_until(lambda: "orders" in queues_of(vhost), 30)
    # The vhost that lacks the queue is well, and has no service for it
    done = run("check_queue_depth", "--server", "blog", "-Q", "orders", "--config", config)
    assert (done.code, "orders: not on this server" in done.stdout) == (0, True), done.stdout
    assert "depth of orders" not in services(run, config, "blog")
    assert "depth of orders" in services(run, config, "shop")
    # When nobody has it any more, both say so
    vhost.server.api("DELETE", "queues", vhost.name, "orders")
    wait_until(lambda: "orders" not in queues_of(vhost), 30)
    for name in ("shop", "blog"):
        done = run("check_queue_depth", "--server", name, "-Q", "orders", "--config", config)
        assert (done.code, "orders: no such queue" in done.stdout) == (3, True), done.stdout


def test_a_queue_of_beanstalkd_is_not_missed_on_rabbitmq(
    vhost: Vhost, beanstalkd: Beanstalkd, tmp_path: Path, run: Callable[..., Any]
) -> None:
    config = write(tmp_path, {"shop": vhost.url, "beans": beanstalkd.address})
    done = run("check_queue_depth", "--config", config)
    assert done.code == 0, done.stdout
    assert "depth of orders" not in services(run, config, "shop")
    assert "depth of orders" in services(run, config, "beans")
    # With `server`, it must be on that one
    config.write_text(config.read_text() + '[queues.mail]\nserver = "shop"\n')
    done = run("check_queue_depth", "--server", "shop", "--config", config)
    assert (done.code, "mail: no such queue" in done.stdout) == (3, True), done.stdout


def write(directory: Path, servers: dict[str, str]) -> Path:
    config = directory / "beanwatch.toml"
    lines = "".join(f'{name} = "{url}"\n' for name, url in servers.items())
    config.write_text(f"[servers]\n{lines}{OFF}")
    return config


def services(run: Callable[..., Any], config: Path, host: str) -> str:
    """The services of a host that `install nagios --discover` makes."""
    root = config.parent / "root"
    dest = ("--dest", root, "--family", "debian", "--config", config)
    done = run("beanwatch", "install", "nagios", "--discover", *dest)
    assert done.code == 0, done.stdout + done.stderr
    text = (root / "etc/nagios4/conf.d/beanwatch-services.cfg").read_text()
    return "".join(part for part in text.split("define ") if f" {host}\n" in part)
