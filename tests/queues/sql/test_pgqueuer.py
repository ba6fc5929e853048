"""PgQueuer's job tables, filled by PgQueuer itself."""

from pathlib import Path
from typing import Any

import pytest

from beanwatch.queues.base import ServerError
from tests.queues.sql.databases import (
    counts,
    framework,
    grant,
    password_file,
    read,
    read_queues,
    server_of,
)
from tests.real.sql_servers import Database


def steps(database: Database, *steps: list[object]) -> list[Any]:
    return framework("pgqueuer", database, *steps)


@pytest.fixture
def filled(postgres_db: Database) -> Database:
    steps(
        postgres_db,
        ["migrate"],
        ["put", "bad", "body of b\u00e4d", 0],
        ["work", "bad", "no such host"],
        ["put", "mail", "1", 0],
        ["put", "mail", "2", 0],
        ["put", "mail", "3", 600],
    )
    # A job that a worker runs for long is only seen while it runs.
    postgres_db.run(
        "UPDATE pgqueuer SET status = 'picked', heartbeat = now() - interval '90 seconds',"
        " queue_manager_id = gen_random_uuid() WHERE payload = '2'"
    )
    return postgres_db


def test_the_numbers_are_those_of_pgqueuer(filled: Database, tmp_path: Path) -> None:
    grant(filled, "pgqueuer")  # this right is enough
    server = server_of(filled.url, "pgqueuer", password_file=password_file(tmp_path))
    queues = read_queues(server)
    assert counts(queues["mail"]) == (1, 1, 1, 0)
    assert counts(queues["bad"]) == (0, 0, 0, 1)
    (sizes,) = steps(filled, ["sizes"])
    assert sorted(sizes) == [["bad", "failed", 1], ["mail", "picked", 1], ["mail", "queued", 2]]
    mail, bad = queues["mail"], queues["bad"]
    assert mail.head_ready_age is not None
    assert 0 <= mail.head_ready_age < 60
    assert bad.head_buried_age is not None
    assert 0 <= bad.head_buried_age < 60
    assert mail.native["oldest_heartbeat_age"] == pytest.approx(90, abs=60)
    assert mail.consumers is None


def test_a_version_that_keeps_no_failed_jobs_does_not_know_their_number(filled: Database) -> None:
    filled.run(
        "DELETE FROM pgqueuer WHERE status = 'failed'",
        "ALTER TYPE pgqueuer_status RENAME VALUE 'failed' TO 'other'",
    )
    assert counts(read_queues(server_of(filled.admin_url, "pgqueuer"))["mail"]) == (1, 1, 1, None)


def test_failed_jobs_are_listed_with_their_error_and_retried(filled: Database) -> None:
    server = server_of(filled.admin_url, "pgqueuer")
    actions = server.system.open_actions(server, 10.0)
    (failed,) = actions.list_jobs("bad", "buried", 10)
    assert failed.body == "body of bäd".encode()
    assert failed.facts["error"] == "RuntimeError: no such host"
    assert list(actions.kick("bad", 10)) == [1]
    assert counts(read_queues(server)["bad"]) == (1, 0, 0, 0)
    steps(filled, ["work", "bad", ""])  # PgQueuer runs it
    assert "bad" not in read_queues(server)
    log = filled.ask(f"SELECT status FROM pgqueuer_log WHERE job_id = {failed.id} ORDER BY id")
    states = [status for (status,) in log]
    assert states == ["queued", "picked", "failed", "queued", "picked", "successful"]


def test_jobs_can_be_deleted(filled: Database) -> None:
    server = server_of(filled.admin_url, "pgqueuer")
    actions = server.system.open_actions(server, 10.0)
    for state in ("ready", "delayed"):
        assert list(actions.empty("mail", state, 10)) == [1]
    assert list(actions.empty("bad", "buried", 10)) == [1]
    assert counts(read_queues(server)["mail"]) == (0, 1, 0, 0)
    assert "bad" not in read_queues(server)
    log = "SELECT count(*) FROM pgqueuer_log WHERE status = 'deleted'"
    assert filled.ask(log) == [["3"]]


def test_the_table_is_a_setting(filled: Database) -> None:
    filled.run(
        "CREATE SCHEMA app",
        "ALTER TABLE pgqueuer SET SCHEMA app",
        "ALTER TABLE app.pgqueuer RENAME TO x_pgqueuer",
        "ALTER TABLE pgqueuer_log SET SCHEMA app",
        "ALTER TABLE app.pgqueuer_log RENAME TO x_pgqueuer_log",
    )
    server = server_of(filled.admin_url, "pgqueuer", table="app.x_pgqueuer")
    assert counts(read_queues(server)["mail"]) == (1, 1, 1, 0)
    assert list(server.system.open_actions(server, 10.0).kick("bad", 10)) == [1]


def test_another_version_of_the_table_is_an_error(filled: Database) -> None:
    filled.run("ALTER TABLE pgqueuer DROP COLUMN execute_after")
    server = server_of(filled.admin_url, "pgqueuer")
    trouble = read(server).trouble
    assert 'not those of a supported version: column "execute_after" does not exist' in trouble
    with pytest.raises(ServerError, match=r"execute_after"):
        server.system.open_actions(server, 10.0).peek("mail", "ready")


def test_the_documented_rights_are_enough_to_retry_and_delete(
    filled: Database, tmp_path: Path
) -> None:
    filled.run(
        "GRANT SELECT, UPDATE, DELETE ON pgqueuer TO monitor",
        "GRANT SELECT, INSERT ON pgqueuer_log TO monitor",
    )
    server = server_of(filled.url, "pgqueuer", password_file=password_file(tmp_path))
    actions = server.system.open_actions(server, 10.0)
    assert actions.peek("bad", "buried") is not None
    assert list(actions.kick("bad", 10)) == [1]
    assert list(actions.empty("bad", "ready", 10)) == [1]
