"""A PostgreSQL and a MariaDB for all tests here, and a database for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.sql_servers import Database, MariaDB, PostgreSQL, SqlServer


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgreSQL]:
    with PostgreSQL(tmp_path_factory.mktemp("postgresql")) as server:
        yield server


@pytest.fixture(scope="session")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDB]:
    with MariaDB(tmp_path_factory.mktemp("mariadb")) as server:
        yield server


@pytest.fixture
def postgres_db(postgresql: PostgreSQL) -> Iterator[Database]:
    database = postgresql.database()
    yield database
    database.drop()


@pytest.fixture(params=["postgresql", "mariadb"])
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """A database of each of the two servers."""
    server: SqlServer = request.getfixturevalue(request.param)
    database = server.database()
    yield database
    database.drop()


@pytest.fixture(params=[PostgreSQL, MariaDB])
def own_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqlServer]:
    """A server that the test may stop, kill or freeze."""
    with request.param(tmp_path / "server") as server:
        yield server
