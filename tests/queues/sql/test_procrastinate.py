"""Procrastinate's job tables, filled by Procrastinate itself."""

import json
from pathlib import Path

import pytest

from beanwatch.queues.base import ServerError, Wanted
from tests.queues.sql.databases import (
    counts,
    framework,
    grant,
    password_file,
    read,
    read_queues,
    reader_of,
    server_of,
)
from tests.real.sql_servers import Database

TABLES = ("procrastinate_jobs", "procrastinate_workers", "procrastinate_events")


def steps(database: Database, *steps: list[object]) -> list[object]:
    return framework("procrastinate", database, *steps)


@pytest.fixture
def filled(postgres_db: Database) -> Database:
    steps(
        postgres_db,
        ["migrate"],
        ["worker"],
        ["put", "mail", {"n": 1}, 0],
        ["put", "mail", {"n": 2}, 0],
        ["put", "mail", {}, 600],
        ["take", "mail"],
        ["put", "bad", {"error": "no such host"}, 0],
        ["put", "bad", {}, 0],
        ["work", "bad"],
    )
    return postgres_db


def test_the_numbers_are_those_of_procrastinate(filled: Database, tmp_path: Path) -> None:
    grant(filled, *TABLES)  # these rights are enough
    server = server_of(filled.url, "procrastinate", password_file=password_file(tmp_path))
    queues = read_queues(server)
    assert counts(queues["mail"]) == (1, 1, 1, 0)
    assert counts(queues["bad"]) == (0, 0, 0, 1)
    ((told,),) = (steps(filled, ["counts", "mail"]),)
    assert isinstance(told, list)
    assert (told[0]["todo"], told[0]["doing"], told[0]["failed"]) == (2, 1, 0)
    by_psql = filled.ask("SELECT status, count(*) FROM procrastinate_jobs GROUP BY 1 ORDER BY 1")
    assert by_psql == [["todo", "2"], ["doing", "1"], ["succeeded", "1"], ["failed", "1"]]
    age = queues["mail"].head_ready_age
    assert age is not None
    assert 0 <= age < 60
    assert queues["bad"].head_ready_age is None
    assert queues["mail"].puts is None


def test_a_worker_with_an_old_heartbeat_is_no_consumer(filled: Database) -> None:
    server = server_of(filled.admin_url, "procrastinate")
    workers = int(filled.ask("SELECT count(*) FROM procrastinate_workers")[0][0])
    assert workers == 1
    assert read_queues(server)["mail"].consumers == 1
    filled.run("UPDATE procrastinate_workers SET last_heartbeat = now() - interval '31 seconds'")
    assert read_queues(server)["mail"].consumers == 0


def test_a_job_is_ready_since_its_last_event_or_its_time(filled: Database) -> None:
    server = server_of(filled.admin_url, "procrastinate")
    filled.run("UPDATE procrastinate_events SET at = at - interval '1000 seconds'")
    assert read_queues(server)["mail"].head_ready_age == pytest.approx(1000, abs=60)
    past = "UPDATE procrastinate_jobs SET scheduled_at = now() - interval '2000 seconds'"
    filled.run(f"{past} WHERE scheduled_at > now()")
    assert read_queues(server)["mail"].head_ready_age == pytest.approx(2000, abs=60)


def test_an_age_without_an_event_is_unknown_and_not_0(filled: Database) -> None:
    filled.run("TRUNCATE procrastinate_events")
    reading = read(server_of(filled.admin_url, "procrastinate"))
    assert (reading.queues or {})["mail"].head_ready_age is None
    assert not reading.unread_heads  # to read it again would not help


def test_what_may_not_be_read_is_unknown(filled: Database, tmp_path: Path) -> None:
    grant(filled, "procrastinate_jobs")
    server = server_of(filled.url, "procrastinate", password_file=password_file(tmp_path))
    mail = read_queues(server)["mail"]
    assert counts(mail) == (1, 1, 1, 0)
    assert mail.consumers is None
    assert mail.head_ready_age is None


def test_a_drained_queue_has_the_consumers_that_any_queue_has(
    filled: Database, tmp_path: Path
) -> None:
    assert read(server_of(filled.admin_url, "procrastinate")).absent.consumers == 1
    grant(filled, "procrastinate_jobs")
    server = server_of(filled.url, "procrastinate", password_file=password_file(tmp_path))
    assert read(server).absent.consumers is None


def test_a_job_that_was_put_while_the_query_waited_has_the_age_0(filled: Database) -> None:
    filled.run("UPDATE procrastinate_events SET at = at + interval '600 seconds'")
    assert read_queues(server_of(filled.admin_url, "procrastinate"))["mail"].head_ready_age == 0


def test_version_2_has_no_workers(filled: Database) -> None:
    filled.run("DROP TABLE procrastinate_workers CASCADE")
    mail = read_queues(server_of(filled.admin_url, "procrastinate"))["mail"]
    assert counts(mail) == (1, 1, 1, 0)
    assert mail.consumers is None
    assert mail.head_ready_age is not None


def test_a_retried_job_is_run_by_procrastinate(filled: Database) -> None:
    server = server_of(filled.admin_url, "procrastinate")
    actions = server.system.open_actions(server, 10.0)
    (failed,) = actions.list_jobs("bad", "buried", 10)
    assert json.loads(failed.body or b"") == {"error": "no such host"}
    assert failed.facts["task"] == "work"
    assert list(actions.kick("bad", 10)) == [1]
    assert counts(read_queues(server)["bad"]) == (1, 0, 0, 0)
    filled.run(f"UPDATE procrastinate_jobs SET args = '{{}}' WHERE id = {failed.id}")
    steps(filled, ["work", "bad"])
    by_psql = f"SELECT status FROM procrastinate_jobs WHERE id = {failed.id}"
    assert filled.ask(by_psql) == [["succeeded"]]


def test_a_job_whose_queueing_lock_is_taken_stays_failed(filled: Database) -> None:
    filled.run(
        "UPDATE procrastinate_jobs SET queueing_lock = 'one' WHERE status = 'failed'",
        "INSERT INTO procrastinate_jobs (queue_name, task_name, queueing_lock)"
        " VALUES ('bad', 'work', 'one')",
    )
    server = server_of(filled.admin_url, "procrastinate")
    assert list(server.system.open_actions(server, 10.0).kick("bad", 10)) == []
    assert counts(read_queues(server)["bad"]) == (1, 0, 0, 1)


def test_jobs_can_be_deleted(filled: Database) -> None:
    server = server_of(filled.admin_url, "procrastinate")
    actions = server.system.open_actions(server, 10.0)
    (failed,) = actions.list_jobs("bad", "buried", 10)
    assert list(actions.delete_jobs("bad", [failed.id])) == [1]
    assert list(actions.empty("mail", "ready", 10)) == [1]
    assert list(actions.empty("mail", "delayed", 10)) == [1]
    assert counts(read_queues(server)["mail"]) == (0, 1, 0, 0)
    assert "bad" not in read_queues(server)


def test_a_version_without_the_function_says_so(filled: Database) -> None:
    filled.run("DROP FUNCTION procrastinate_retry_job_v2")
    server = server_of(filled.admin_url, "procrastinate")
    with pytest.raises(ServerError, match=r"not those of a supported version.*retry_job_v2"):
        list(server.system.open_actions(server, 10.0).kick("bad", 10))
    assert counts(read_queues(server)["bad"]) == (0, 0, 0, 1)


def test_the_schema_is_a_setting(filled: Database) -> None:
    filled.run(
        "CREATE SCHEMA app",
        *(f"ALTER TABLE {table} SET SCHEMA app" for table in TABLES),
    )
    server = server_of(filled.admin_url, "procrastinate", table="app.procrastinate_jobs")
    mail = read_queues(server, Wanted(names=("mail",)))["mail"]
    assert counts(mail) == (1, 1, 1, 0)
    assert mail.consumers == 1


def test_many_finished_jobs_need_an_index_on_the_failed_ones(filled: Database) -> None:
    filled.run(
        "INSERT INTO procrastinate_jobs (queue_name, task_name, status)"
        " SELECT 'mail', 'work', 'succeeded' FROM generate_series(1, 20000)",
        "ANALYZE procrastinate_jobs",
    )
    server = server_of(filled.admin_url, "procrastinate")
    reader = reader_of(server)
    (problem,) = reader.problems(reader.read(Wanted(problems=True)))
    advice = problem.text.partition("create one ")[2]
    assert advice
    filled.run(f"CREATE INDEX {advice.replace('on', 'ON procrastinate_jobs', 1)}")
    reader.close()
    reader = reader_of(server)
    assert list(reader.problems(reader.read(Wanted(problems=True)))) == []
    filled.run("ANALYZE procrastinate_jobs")
    query = "SELECT * FROM procrastinate_jobs WHERE status IN ('failed', 'aborting')"
    plan = " ".join(row[0] for row in filled.ask(f"EXPLAIN {query}"))
    assert "Index" in plan


def test_the_documented_rights_are_enough_to_retry_and_delete(
    filled: Database, tmp_path: Path
) -> None:
    grant(filled, *TABLES)
    filled.run(
        "GRANT UPDATE, DELETE ON procrastinate_jobs TO monitor",
        "GRANT INSERT ON procrastinate_events TO monitor",
        "GRANT USAGE ON SEQUENCE procrastinate_events_id_seq TO monitor",
        "GRANT SELECT, UPDATE ON procrastinate_periodic_defers TO monitor",
    )
    server = server_of(filled.url, "procrastinate", password_file=password_file(tmp_path))
    actions = server.system.open_actions(server, 10.0)
    assert list(actions.kick("bad", 10)) == [1]
    assert list(actions.empty("bad", "ready", 10)) == [1]
