"""One real RabbitMQ for all tests of a process, because it takes long to start; a vhost each."""

from collections.abc import Iterator

import pytest

from tests.real.rabbitmq import RabbitMQ, Vhost


@pytest.fixture(scope="session")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    with RabbitMQ(tmp_path_factory.mktemp("rabbitmq")) as server:
        yield server


@pytest.fixture
def vhost(rabbitmq: RabbitMQ) -> Iterator[Vhost]:
    found = rabbitmq.add_vhost()
    yield found
    rabbitmq.api("DELETE", "vhosts", found.name)
