"""One real RabbitMQ for all tests of a process, because it takes long to start; a vhost each."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.rabbitmq import BIN, RabbitMQ, Vhost


@pytest.fixture(scope="session")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    if not BIN.exists():
        pytest.skip("rabbitmq-server is not installed")
    with RabbitMQ(tmp_path_factory.mktemp("rabbitmq")) as server:
        yield server


@pytest.fixture
def vhost(rabbitmq: RabbitMQ) -> Iterator[Vhost]:
    found = rabbitmq.add_vhost()
    yield found
    rabbitmq.api("DELETE", "vhosts", found.name)


@pytest.fixture
def state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of the checks' state files."""
    monkeypatch.setitem(os.environ, "BEANWATCH_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"
