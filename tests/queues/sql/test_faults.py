"""Databases that refuse, hang, restart or talk nonsense: one clear line, and never a 0."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from beanwatch.net.address import AddressError
from beanwatch.queues.base import ServerError, Wanted
from tests.queues.sql.databases import (
    grant,
    laravel,
    password_file,
    read,
    read_queues,
    reader_of,
    server_of,
)
from tests.real.process import closed_port
from tests.real.sql_servers import Database, PostgreSQL, SqlServer, make_certificate
from tests.real.waiting import wait_until

QUEUES = Wanted(server=False, heads=("ready",))
SCHEMES = ("postgresql", "mysql")


@pytest.fixture
def filled(database: Database) -> Database:
    laravel(database, ["migrate"], ["push", "mail", {}])
    return database


def error_of(url: str, timeout: float = 10.0, **config: str) -> str:
    """Return the text of the error of a reading. It is one line, names the server, and is short."""
    server = server_of(url, **config)
    with pytest.raises(ServerError) as caught:
        reader_of(server, timeout).read(QUEUES)
    text = str(caught.value)
    assert text.startswith(f"{server}: ")
    assert text.isprintable()
    assert len(text) < 500
    return text


def test_a_wrong_password_is_refused(filled: Database, tmp_path: Path) -> None:
    text = error_of(filled.url, password_file=password_file(tmp_path, "wrong one"))
    denied = {"postgresql": "password authentication failed", "mysql": "Access denied for user"}
    assert denied[filled.server.scheme] in text
    assert "wrong one" not in text


def test_a_database_that_does_not_exist_is_named(filled: Database) -> None:
    text = error_of(filled.admin_url + "x")
    assert f"{filled.name}x" in text.partition(": ")[2]


def test_a_missing_table_is_named(filled: Database) -> None:
    filled.run("ALTER TABLE jobs RENAME TO gone")
    text = error_of(filled.admin_url)
    assert "the table is missing" in text
    assert "jobs" in text.partition("missing")[2]
    reading = read(server_of(filled.admin_url))
    assert reading.queues is None
    assert "the table is missing" in reading.trouble
    assert reading.server is not None


def test_a_missing_column_is_named(filled: Database) -> None:
    filled.run("ALTER TABLE jobs RENAME COLUMN available_at TO due")
    text = error_of(filled.admin_url)
    assert "not those of a supported version" in text
    assert "available_at" in text


def test_a_table_that_may_not_be_read_is_named(filled: Database, tmp_path: Path) -> None:
    grant(filled, "failed_jobs")
    text = error_of(filled.url, password_file=password_file(tmp_path))
    assert "the user lacks a right" in text


def test_a_locked_table_ends_in_time(filled: Database) -> None:
    holder = filled.connect(autocommit=filled.server.scheme == "mysql")
    cursor = holder.cursor()
    is_mysql = filled.server.scheme == "mysql"
    cursor.execute("LOCK TABLES jobs WRITE" if is_mysql else "ALTER TABLE jobs ADD more int")
    started = time.monotonic()
    text = error_of(filled.admin_url, timeout=3.0)
    assert time.monotonic() - started < 6
    assert "another transaction has locked its tables" in text
    holder.close()
    assert read_queues(server_of(filled.admin_url))["mail"].ready == 1


def test_a_query_that_takes_too_long_is_cancelled_by_the_server(filled: Database) -> None:
    is_mysql = filled.server.scheme == "mysql"
    sleep = "sleep(60)" if is_mysql else "(SELECT pg_sleep(60)) IS NULL"
    filled.run(
        "ALTER TABLE jobs RENAME TO hidden",
        f"CREATE VIEW jobs AS SELECT * FROM hidden WHERE {sleep}",
    )
    assert "the query took longer than 2 s" in error_of(filled.admin_url, timeout=2.0)


def test_a_long_reading_has_its_own_limit_also_after_a_short_one(mariadb: SqlServer) -> None:
    database = mariadb.database()
    laravel(database, ["migrate"], ["push", "mail", {}])
    reader = reader_of(server_of(database.admin_url))
    reader.read(QUEUES, timeout=2.0)
    # The query takes longer than the first limit, and less than the second one.
    database.run(
        "ALTER TABLE jobs RENAME TO hidden",
        "CREATE VIEW jobs AS SELECT * FROM hidden WHERE sleep(3) = 0",
    )
    assert (reader.read(QUEUES, timeout=20.0).queues or {})["mail"].ready == 1
    reader.close()
    database.drop()


@pytest.mark.parametrize("is_silent", [True, False])
def test_a_name_with_an_address_that_does_not_answer_is_read_by_the_next_one(
    postgres_db: Database, monkeypatch: pytest.MonkeyPatch, is_silent: bool
) -> None:
    laravel(postgres_db, ["migrate"], ["push", "mail", {}])
    port = postgres_db.server.port
    found = [(socket.AF_INET, (host, port)) for host in ("127.0.0.2", "127.0.0.1")]
    monkeypatch.setattr("beanwatch.queues.sql.postgresql.resolve", lambda *_: found)
    with socket.socket() as silent:
        if is_silent:
            silent.bind(found[0][1])
            silent.listen()
        assert read_queues(server_of(postgres_db.admin_url))["mail"].ready == 1


def test_a_connection_that_was_cut_is_opened_anew(filled: Database) -> None:
    reader = reader_of(server_of(filled.admin_url))
    first = reader.read(QUEUES)
    if filled.server.scheme == "mysql":
        for (process,) in filled.run(
            f"SELECT id FROM information_schema.processlist WHERE db = '{filled.name}'"
            " AND id <> CONNECTION_ID()"
        ):
            filled.run(f"KILL {process}")
    else:
        filled.run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            f" WHERE datname = '{filled.name}' AND application_name = 'beanwatch'"
        )
    again = reader.read(QUEUES)
    assert [queue.ready for queue in (first.queues or {}).values()] == [1]
    assert [queue.ready for queue in (again.queues or {}).values()] == [1]


def test_a_connection_that_is_cut_during_the_query_is_an_error(filled: Database) -> None:
    is_mysql = filled.server.scheme == "mysql"
    sleep = "sleep(60)" if is_mysql else "(SELECT pg_sleep(60)) IS NULL"
    filled.run(
        "ALTER TABLE jobs RENAME TO hidden",
        f"CREATE VIEW jobs AS SELECT * FROM hidden WHERE {sleep}",
    )

    def kill() -> None:
        column, table = ("id", "information_schema.processlist")
        where = f"db = '{filled.name}' AND info LIKE '%FROM `jobs`%' AND id <> CONNECTION_ID()"
        if not is_mysql:
            column, table = "pid", "pg_stat_activity"
            where = f"datname = '{filled.name}' AND wait_event = 'PgSleep'"
        query = f"SELECT {column} FROM {table} WHERE {where}"
        ((process,),) = wait_until(lambda: filled.run(query), 20)
        end = f"KILL {process}" if is_mysql else f"SELECT pg_terminate_backend({process})"
        filled.run(end)

    thread = threading.Thread(target=kill)
    thread.start()
    text = error_of(filled.admin_url, timeout=30.0)
    thread.join()
    assert "terminat" in text or "Lost connection" in text or "interrupted" in text


def test_a_server_that_restarts_is_seen_as_another_instance(own_server: SqlServer) -> None:
    database = own_server.database()
    laravel(database, ["migrate"], ["push", "mail", {}])
    reader = reader_of(server_of(database.admin_url), 20.0)
    before = reader.read(Wanted())
    same = reader.read(Wanted())
    # MariaDB tells its uptime in whole seconds.
    wait_until(lambda: (reader.read(Wanted()).server or before.server).uptime > 4)  # type: ignore[union-attr,operator]
    own_server.restart()
    after = reader.read(Wanted())
    assert before.server is not None
    assert same.server is not None
    assert after.server is not None
    if isinstance(own_server, PostgreSQL):
        assert before.server.instance == same.server.instance
    assert before.server.instance != after.server.instance
    assert (after.queues or {})["mail"].ready == 1
    assert before.server.version == after.server.version


def test_a_server_that_hangs_ends_at_the_timeout(own_server: SqlServer) -> None:
    database = own_server.database()
    laravel(database, ["migrate"])
    reader = reader_of(server_of(database.admin_url), 2.0)
    reader.read(QUEUES)
    own_server.freeze()
    try:
        started = time.monotonic()
        with pytest.raises(ServerError, match=r"no answer within 2 s"):
            reader.read(QUEUES)  # over the open connection
        assert "no answer within 1 s" in error_of(database.admin_url, timeout=1.0)
        assert time.monotonic() - started < 8
    finally:
        own_server.thaw()
    assert reader.read(QUEUES).queues == {}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_port_where_nothing_listens_is_refused(scheme: str) -> None:
    text = error_of(f"{scheme}://u@127.0.0.1:{closed_port()}/app")
    assert "refused" in text


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_name_that_does_not_exist_is_not_looked_up_for_long(scheme: str) -> None:
    text = error_of(f"{scheme}://u@nowhere.invalid/app", timeout=3.0)
    assert "cannot be resolved" in text


@contextlib.contextmanager
def serve(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """Let `talk` answer each connection to a port of this host."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection, contextlib.suppress(OSError):
                    talk(connection)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


MYSQL_GREETING = (
    b"\x0a5.5.5-10.11.19-MariaDB\0\1\0\0\0abcdefgh\0\xff\xf7\x2d\2\0\xff\x81\x15" + b"\0" * 10
)
STARTS = (
    b"",
    b"R\0\0\0\x08\0\0\0\0",
    len(MYSQL_GREETING).to_bytes(3, "little") + b"\0" + MYSQL_GREETING,
)


@pytest.mark.parametrize("scheme", SCHEMES)
@settings(max_examples=40)
@given(start=st.sampled_from(STARTS), answer=st.binary(max_size=200))
@example(start=b"", answer=b"\x01")  # libpq puts it into its message
def test_nonsense_is_an_error(scheme: str, start: bytes, answer: bytes) -> None:
    def talk(connection: socket.socket) -> None:
        connection.settimeout(5)
        connection.sendall(start + answer)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(4096):
            pass

    with serve(talk) as port:
        error_of(f"{scheme}://u@127.0.0.1:{port}/app", timeout=3.0)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_server_that_sends_single_bytes_ends_at_the_timeout(scheme: str) -> None:
    is_over = threading.Event()
    greeting = STARTS[2] if scheme == "mysql" else b"S"

    def talk(connection: socket.socket) -> None:
        connection.settimeout(5)
        for byte in greeting[:4]:
            connection.sendall(bytes([byte]))
        while not is_over.wait(0.2):
            connection.sendall(b"\1")

    with serve(talk) as port:
        started = time.monotonic()
        error_of(f"{scheme}://u@127.0.0.1:{port}/app", timeout=2.0)
        assert time.monotonic() - started < 5
        is_over.set()


@pytest.mark.parametrize(
    ("url", "settings", "cause"),
    [
        ("postgresql://db", {}, "expected one database"),
        ("postgresql://db/a/b", {}, "expected one database"),
        ("postgresql://db/a?sslmode=require", {}, "no parameters"),
        ("postgresql://db1,db2/a", {}, "expected one host"),
        ("mysql://db/a", {"table": "jobs; DROP TABLE x"}, "table = 'jobs; DROP TABLE x' is not"),
        ("postgresql://db/a", {"table": "a.b.c"}, "is not the name of a table"),
        ("postgresql://db/a", {"table": 'x"y'}, "is not the name of a table"),
        ("mysql://db/a", {"failed": "a`b"}, "failed = 'a`b' is not"),
        ("mysql://db/a", {"layout": "procrastinate"}, "expected layout = one of laravel"),
        ("postgresql://db/a", {"layout": ""}, "layout = one of laravel, procrastinate, pgqueuer"),
        ("postgresql://db/a", {"group": "x"}, "group has no meaning for laravel-sql"),
        ("postgresql://db/a", {"layout": "pgqueuer", "failed": "x"}, "failed has no meaning"),
    ],
)
def test_a_wrong_setting_is_named(url: str, settings: dict[str, str], cause: str) -> None:
    with pytest.raises(AddressError) as caught:
        server_of(url, **settings)
    assert cause in str(caught.value)


def test_the_default_ports_are_those_of_the_servers() -> None:
    assert server_of("postgresql://db/a").address.port == 5432
    assert server_of("mysql://db/a").address.port == 3306


def test_a_socket_is_given_as_a_percent_encoded_host(own_server: SqlServer) -> None:
    database = own_server.database()
    laravel(database, ["migrate"], ["push", "mail", {}])
    is_mysql = own_server.scheme == "mysql"
    path = str(own_server.home / "socket" if is_mysql else own_server.home).replace("/", "%2F")
    port = "" if is_mysql else f":{own_server.port}"
    server = server_of(f"{own_server.scheme}://root@{path}{port}/{database.name}")
    assert read_queues(server)["mail"].ready == 1


def test_a_ca_file_requires_tls_and_its_certificate(own_server: SqlServer, tmp_path: Path) -> None:
    database = own_server.database()
    laravel(database, ["migrate"], ["push", "mail", {}])
    ca_file = own_server.use_tls()
    text = error_of(database.admin_url, ca_file=str(ca_file))
    assert "SSL" in text  # the server does not offer TLS yet
    own_server.restart()
    server = server_of(database.admin_url, ca_file=str(ca_file))
    assert read_queues(server)["mail"].ready == 1
    other = tmp_path / "other.pem"
    make_certificate(other, tmp_path / "key.pem", tmp_path / "cert.pem")
    assert "certificate verify failed" in error_of(database.admin_url, ca_file=str(other))
    assert "ca.txt" in error_of(database.admin_url, ca_file=str(tmp_path / "ca.txt"))


def test_reading_changes_nothing_though_the_user_could(filled: Database) -> None:
    reader = reader_of(server_of(filled.admin_url))
    reader.read(QUEUES)
    connection = reader._connection  # type: ignore[attr-defined]
    from beanwatch.queues.sql.connection import Deadline

    with pytest.raises(ServerError, match=r"(?i)read.only"):
        connection.read(["DELETE FROM jobs"], Deadline(5.0))
    assert filled.ask("SELECT count(*) FROM jobs") == [["1"]]
