"""Fixtures: the brokers that all workers of a test process share."""

from collections.abc import Iterator

import pytest

from tests.adapters.brokers import Brokers


@pytest.fixture(scope="session")
def brokers(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Brokers]:
    """A Redis for heartbeats, and the brokers of the workers."""

    def find_rabbitmq():  # type: ignore[no-untyped-def]
        return request.getfixturevalue("rabbitmq")

    with Brokers(tmp_path_factory.mktemp("brokers"), find_rabbitmq) as found:
        yield found
