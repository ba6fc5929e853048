"""Laravel's job tables in PostgreSQL and MariaDB, filled by Laravel's own queue."""

import json
import time
from contextlib import closing
from pathlib import Path

import pytest

from beanwatch.fleet.server_failures import read_server
from beanwatch.queues.base import Chosen, ServerError, UnsupportedError, Wanted
from tests.queues.sql.databases import (
    FACTS,
    counts,
    grant,
    laravel,
    password_file,
    read,
    read_queues,
    reader_of,
    server_of,
)
from tests.real.sql_servers import Database

ODD = "übel/ 'na\\me\" %s {}"
# What an operator would ask the server's own client.
COUNT = (
    "SELECT queue, count(CASE WHEN reserved_at IS NULL AND available_at <= {now} THEN 1 END),"
    " count(reserved_at), count(CASE WHEN available_at > {now} AND reserved_at IS NULL THEN 1 END)"
    " FROM jobs GROUP BY queue ORDER BY queue"
)
NOW = {"postgresql": "extract(epoch from now())", "mysql": "unix_timestamp()"}


@pytest.fixture
def filled(database: Database) -> Database:
    laravel(
        database,
        ["migrate"],
        *(["push", "mail", {"n": n}] for n in range(3)),
        ["later", "mail", 600],
        ["push", ODD, {}],
        ["take", "mail"],
        ["fail", "mail", "no such host"],
    )
    return database


def test_the_numbers_are_those_of_the_servers_own_client(filled: Database, tmp_path: Path) -> None:
    grant(filled, "jobs", "failed_jobs")  # these rights are enough
    server = server_of(filled.url, password_file=password_file(tmp_path))
    queues = read_queues(server)
    told = filled.ask(COUNT.format(now=NOW[filled.server.scheme]))
    assert sorted(queues) == sorted([ODD, "mail"])
    assert counts(queues["mail"]) == (1, 1, 1, 1)
    assert counts(queues[ODD]) == (1, 0, 0, 0)
    assert [[str(n) for n in counts(queues["mail"])[:3]]] == [
        row[1:] for row in told if row[0] == "mail"
    ]
    age = queues["mail"].head_ready_age
    assert age is not None
    assert 0 <= age < 60
    assert queues["mail"].consumers is None
    assert queues["mail"].puts is None
    reserved = queues["mail"].native["oldest_reserved_age"]
    assert 0 <= reserved < 60


def test_ages_are_by_the_databases_clock(filled: Database) -> None:
    shift = "UPDATE jobs SET available_at = available_at - 1000, reserved_at = reserved_at - 500"
    filled.run(f"{shift} WHERE queue = 'mail'")
    mail = read_queues(server_of(filled.admin_url))["mail"]
    assert counts(mail) == (2, 1, 0, 1)
    assert mail.head_ready_age == pytest.approx(1000, abs=60)
    assert mail.native["oldest_reserved_age"] == pytest.approx(500, abs=60)


def test_a_worker_whose_clock_is_ahead_has_just_taken_its_job(filled: Database) -> None:
    """MySQL refuses the whole query if an unsigned number falls below 0."""
    filled.run("UPDATE jobs SET reserved_at = reserved_at + 500 WHERE reserved_at IS NOT NULL")
    filled.run("UPDATE jobs SET created_at = created_at + 500")
    server = server_of(filled.admin_url)
    reading = read(server)
    assert (reading.queues or {})["mail"].native["oldest_reserved_age"] == 0
    assert list(reading.implausible) == []
    with closing(server.system.open_actions(server)) as actions:
        assert [job.age for job in actions.list_jobs("mail", "ready", 5)] == [0]


def test_only_the_queues_that_are_asked_for_are_read(filled: Database) -> None:
    server = server_of(filled.admin_url)
    assert list(read_queues(server, Wanted(names=(ODD, "none", "a\0b")))) == [ODD]
    reading = read(server, Wanted(choose=lambda names: Chosen([n for n in names if n == "mail"])))
    assert list(reading.queues or ()) == ["mail"]
    assert list(reading.received_at) == ["mail"]
    assert read(server, Wanted(names=())).queues == {}
    many = tuple(f"queue{n}" for n in range(2000))
    assert list(read_queues(server, Wanted(names=(*many, "mail")))) == ["mail"]


def test_names_that_differ_in_case_are_two_queues(filled: Database) -> None:
    laravel(filled, ["push", "MAIL", {}], ["push", "é", {}], ["push", "e", {}])
    queues = read_queues(server_of(filled.admin_url))
    assert [queues[name].ready for name in ("mail", "MAIL", "é", "e")] == [1, 1, 1, 1]
    only = read_queues(server_of(filled.admin_url), Wanted(names=("mail",)))
    assert {name: queue.ready for name, queue in only.items()} == {"mail": 1}


def test_a_name_may_have_255_characters(database: Database) -> None:
    name = "ü" * 255
    laravel(database, ["migrate"], ["push", name, {}])
    assert read_queues(server_of(database.admin_url))[name].ready == 1
    assert read_queues(server_of(database.admin_url), Wanted(names=(name,)))[name].ready == 1


def test_a_queue_that_is_drained_vanishes(filled: Database) -> None:
    laravel(filled, ["finish", ODD])
    assert list(read_queues(server_of(filled.admin_url))) == ["mail"]


def test_failed_jobs_are_unknown_without_their_table(filled: Database, tmp_path: Path) -> None:
    grant(filled, "jobs")
    server = server_of(filled.url, password_file=password_file(tmp_path))
    assert counts(read_queues(server)["mail"]) == (1, 1, 1, None)
    filled.run("DROP TABLE failed_jobs")
    assert counts(read_queues(server)["mail"]) == (1, 1, 1, None)
    assert counts(read_queues(server_of(filled.admin_url))["mail"]) == (1, 1, 1, None)


def test_a_drained_queue_has_no_failed_jobs_only_if_their_table_can_be_read(
    filled: Database, tmp_path: Path
) -> None:
    assert counts(read(server_of(filled.admin_url)).absent) == (0, 0, 0, 0)
    grant(filled, "jobs")
    server = server_of(filled.url, password_file=password_file(tmp_path))
    assert counts(read(server).absent) == (0, 0, 0, None)


def test_a_job_is_found_by_its_id_without_the_table_of_failed_jobs(filled: Database) -> None:
    filled.run("DROP TABLE failed_jobs")
    server = server_of(filled.admin_url)
    with closing(server.system.open_actions(server, 10.0)) as actions:
        (job,) = actions.list_jobs("mail", "ready", 5)
        located = actions.locate(job.id)
        assert located is not None
        assert (located.id, located.state, located.body) == (job.id, "ready", job.body)
        with pytest.raises(ServerError, match="table is missing"):
            actions.locate("999999")


def test_failed_jobs_of_other_connections_do_not_count(filled: Database) -> None:
    laravel(filled, ["push", "mail", {}], ["fail", "mail", "x", "redis"])
    server = server_of(filled.admin_url)
    assert read_queues(server)["mail"].buried == 1


def test_failed_jobs_are_failures_with_their_class_their_error_and_their_time(
    filled: Database,
) -> None:
    server = server_of(filled.admin_url)
    found = read_server(server, 10.0)
    (failure,) = found.failures
    assert (failure.queue, failure.outcome, failure.node) == ("mail", "failed", server.node)
    assert failure.reason.startswith("RuntimeException: no such host")
    # Laravel's time zone is UTC, unless the application sets another one.
    assert failure.failed_at == pytest.approx(time.time(), abs=120)
    with closing(server.system.open_actions(server, 10.0)) as actions:
        (job,) = actions.list_jobs("mail", "buried", 5)
        assert failure.job == job.facts["job"]
        assert json.loads(job.body or b"")["displayName"] == failure.job
        located = actions.locate(failure.job_id)
        assert located is not None
        assert (located.queue, located.body) == ("mail", job.body)
        assert actions.locate("no number") is None
        assert actions.locate("999999") is None


def test_the_names_of_the_tables_are_settings(filled: Database) -> None:
    filled.run("ALTER TABLE jobs RENAME TO Work", "ALTER TABLE failed_jobs RENAME TO dead")
    table = "public.work" if filled.server.scheme == "postgresql" else f"{filled.name}.Work"
    server = server_of(filled.admin_url, table=table, failed="dead")
    assert counts(read_queues(server)["mail"]) == (1, 1, 1, 1)


def test_jobs_are_listed_with_their_bodies(filled: Database) -> None:
    server = server_of(filled.admin_url)
    actions = server.system.open_actions(server, 10.0)
    found = {state: actions.list_jobs("mail", state, 10) for state in FACTS}
    assert {state: len(jobs) for state, jobs in found.items()} == dict.fromkeys(FACTS, 1)
    body = json.loads(found["ready"][0].body or b"")
    assert body["data"] == {"n": 2}
    assert found["reserved"][0].attempts == 1
    assert found["delayed"][0].ready_in == pytest.approx(600, abs=60)
    error = str(found["buried"][0].facts["error"])
    assert error.startswith("RuntimeException: no such host")
    assert actions.peek("none", "ready") is None
    peeked = actions.peek(ODD, "ready")
    assert peeked is not None
    assert peeked.queue == ODD
    actions.close()


def test_a_retried_job_is_taken_by_laravel(filled: Database) -> None:
    server = server_of(filled.admin_url)
    actions = server.system.open_actions(server, 10.0)
    (failed,) = actions.list_jobs("mail", "buried", 10)
    assert list(actions.kick("mail", 10)) == [1]
    assert filled.ask("SELECT count(*) FROM failed_jobs") == [["0"]]
    assert counts(read_queues(server)["mail"]) == (2, 1, 1, 0)
    taken = laravel(filled, ["take", "mail"], ["take", "mail"])
    assert [attempts for _, attempts, _ in taken] == [1, 1]
    assert (failed.body or b"").decode() in [body for _, _, body in taken]


def test_only_the_jobs_with_the_given_ids_are_retried_or_deleted(filled: Database) -> None:
    laravel(filled, ["push", "mail", {}], ["fail", "mail", "a"], ["fail", "mail", "b"])
    server = server_of(filled.admin_url)
    actions = server.system.open_actions(server, 10.0)
    ids = [job.id for job in actions.list_jobs("mail", "buried", 10)]
    assert len(ids) == 3
    assert list(actions.kick_jobs(ODD, ids)) == [0]  # of another queue
    assert list(actions.delete_jobs("mail", [ids[0], "1 OR 1=1", "999"])) == [1]
    assert list(actions.kick_jobs("mail", ids[:2])) == [1]
    assert [job.id for job in actions.list_jobs("mail", "buried", 10)] == ids[2:]


def test_jobs_that_no_worker_has_can_be_deleted(filled: Database) -> None:
    server = server_of(filled.admin_url)
    actions = server.system.open_actions(server, 10.0)
    for state in ("ready", "delayed", "buried"):
        assert list(actions.empty("mail", state, 10)) == [1]
    with pytest.raises(UnsupportedError, match=r"laravel-sql cannot delete a job that a worker"):
        list(actions.empty("mail", "reserved", 10))
    assert counts(read_queues(server)["mail"]) == (0, 1, 0, 0)
    assert read_queues(server)[ODD].ready == 1


def test_only_php_can_retry_a_job_with_a_time_for_its_last_try(filled: Database) -> None:
    until = (
        "UPDATE failed_jobs SET payload = "
        'replace(payload, \'"maxTries"\', \'"retryUntil":9,"maxTries"\')'
    )
    laravel(filled, ["push", "mail", {}], ["fail", "mail", "x"])
    filled.run(f"{until} WHERE id = 1")
    server = server_of(filled.admin_url)
    kicked = server.system.open_actions(server, 10.0).kick("mail", 10)
    assert next(kicked) == 1
    with pytest.raises(ServerError, match=r"1 failed job of mail cannot be retried.*artisan"):
        next(kicked)
    assert read_queues(server)["mail"].buried == 1


def test_failed_jobs_of_several_connections_are_not_retried(filled: Database) -> None:
    laravel(filled, ["push", "mail", {}], ["fail", "mail", "x", "other"])
    server = server_of(filled.admin_url)
    with pytest.raises(UnsupportedError, match=r"several connections \(database, other\)"):
        list(server.system.open_actions(server, 10.0).kick("mail", 10))
    assert counts(read_queues(server)["mail"])[3] == 2
    assert filled.ask("SELECT count(*) FROM jobs") == [["4"]]


def test_an_action_without_the_right_changes_nothing(filled: Database, tmp_path: Path) -> None:
    grant(filled, "jobs", "failed_jobs")
    server = server_of(filled.url, password_file=password_file(tmp_path))
    actions = server.system.open_actions(server, 10.0)
    assert actions.peek("mail", "buried") is not None  # reading needs no more rights
    with pytest.raises(ServerError, match="lacks a right"):
        list(actions.kick("mail", 10))
    assert counts(read_queues(server)["mail"]) == (1, 1, 1, 1)


def test_the_documented_rights_are_enough_to_retry_and_delete(
    filled: Database, tmp_path: Path
) -> None:
    rights = "SELECT, INSERT, UPDATE, DELETE"
    if filled.server.scheme == "postgresql":
        filled.run(
            f"GRANT {rights} ON jobs, failed_jobs TO monitor",
            "GRANT USAGE ON SEQUENCE jobs_id_seq TO monitor",
        )
    else:
        for table in ("jobs", "failed_jobs"):
            filled.run(f"GRANT {rights} ON {filled.name}.{table} TO monitor@'127.0.0.1'")
    server = server_of(filled.url, password_file=password_file(tmp_path))
    actions = server.system.open_actions(server, 10.0)
    assert list(actions.kick("mail", 10)) == [1]
    assert list(actions.empty("mail", "ready", 10)) == [2]


def test_a_large_table_without_an_index_is_a_problem(filled: Database) -> None:
    name = "jobs_queue_index"
    is_postgresql = filled.server.scheme == "postgresql"
    copy = "INSERT INTO jobs (queue, payload, attempts, available_at, created_at)"
    filled.run(
        f"DROP INDEX {name}" if is_postgresql else f"DROP INDEX {name} ON jobs",
        *(f"{copy} SELECT 'mail', '', 0, 1, 1 FROM jobs" for _ in range(13)),
        "ANALYZE jobs" if is_postgresql else "ANALYZE TABLE jobs",
    )
    server = server_of(filled.admin_url)
    reader = reader_of(server)
    (problem,) = reader.problems(reader.read(Wanted(problems=True)))
    assert problem.severity == "warning"
    assert "no index" in problem.text
    assert "(queue, reserved_at, available_at)" in problem.text
    filled.run("CREATE INDEX one ON jobs (queue, reserved_at, available_at)")
    reader.close()
    reader = reader_of(server)
    assert list(reader.problems(reader.read(Wanted(problems=True)))) == []


def test_a_thousand_queues_take_one_query(database: Database) -> None:
    laravel(database, ["migrate"])
    rows = ", ".join(f"('queue{n}', '', 0, 1, 1)" for n in range(1000))
    database.run(
        f"INSERT INTO jobs (queue, payload, attempts, available_at, created_at) VALUES {rows}"
    )
    server = server_of(database.admin_url)
    reader = reader_of(server)
    reader.read(Wanted(server=False))
    connection = reader._connection  # type: ignore[attr-defined]
    statements = []
    read_statements = connection.read

    def note(queries: list[str], deadline: object) -> object:
        statements.extend(queries)
        return read_statements(queries, deadline)

    connection.read = note
    reading = reader.read(Wanted(server=False, heads=("ready",)))
    assert len(reading.queues or ()) == 1000
    assert len(statements) == 1
