"""One real RabbitMQ for all tests here, because it takes long to start, and a vhost for each."""

from collections.abc import Iterator

import pytest

from tests.real.rabbitmq import RabbitMQ, Vhost


@pytest.fixture(scope="session")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    with RabbitMQ(tmp_path_factory.mktemp("rabbitmq")) as server:
        yield server
        server.kill()  # to stop in order would take seconds


@pytest.fixture
def vhost(rabbitmq: RabbitMQ) -> Iterator[Vhost]:
    found = rabbitmq.add_vhost()
    yield found
    rabbitmq.api("DELETE", "vhosts", found.name)
