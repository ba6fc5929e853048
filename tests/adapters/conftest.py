"""Fixtures: the brokers that all workers of a test process share."""

from collections.abc import Iterator

import pytest

from tests.adapters.brokers import Brokers
from tests.real.rabbitmq import RabbitMQ


@pytest.fixture(scope="session")
def brokers(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Brokers]:
    """A Redis for heartbeats, and the brokers of the workers."""

    def find_rabbitmq() -> RabbitMQ:
        found: RabbitMQ = request.getfixturevalue("rabbitmq")
        return found

    with Brokers(tmp_path_factory.mktemp("brokers"), find_rabbitmq) as found:
        yield found
