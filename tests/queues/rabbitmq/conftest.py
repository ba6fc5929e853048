"""A vhost of the one RabbitMQ for each test."""

from collections.abc import Iterator

import pytest

from tests.real.rabbitmq import RabbitMQ, Vhost


@pytest.fixture
def vhost(rabbitmq: RabbitMQ) -> Iterator[Vhost]:
    found = rabbitmq.add_vhost()
    yield found
    rabbitmq.api("DELETE", "vhosts", found.name)
