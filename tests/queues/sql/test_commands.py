"""The checks and the commands read and change job tables through their real entry points."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from beanwatch.words import install_command
from tests.conftest import Result
from tests.queues.sql.databases import framework, laravel, password_file
from tests.real.sql_servers import Database

Run = Callable[..., Result]
# Per layout: the fields that it does not report, among those below.
UNKNOWN = {
    "laravel": {"consumers", "puts"},
    "procrastinate": {"puts"},
    "pgqueuer": {"consumers", "puts"},
}
FIELDS = ("queue", "ready", "reserved", "delayed", "buried")
SYSTEM = {"laravel": "laravel-sql", "procrastinate": "procrastinate", "pgqueuer": "pgqueuer"}


def fill(database: Database, layout: str) -> None:
    """Put two ready jobs, one delayed and two failed jobs into the queue `mail`."""
    if layout == "laravel":
        put = ["push", "mail", {"n": 1}]
        failed = [put, ["fail", "mail", "no such host"]]
        laravel(database, ["migrate"], *failed, *failed, put, put, ["later", "mail", 600])
        return
    body = {"error": "x"} if layout == "procrastinate" else "x"
    work = ["work", "mail"] if layout == "procrastinate" else ["work", "mail", "no such host"]
    puts = [["put", "mail", {} if layout == "procrastinate" else "", s] for s in (0, 0, 600)]
    framework(layout, database, ["migrate"], *[["put", "mail", body, 0]] * 2, work, *puts)


@pytest.fixture(
    params=[
        ("postgresql", "laravel"),
        ("mariadb", "laravel"),
        ("postgresql", "procrastinate"),
        ("postgresql", "pgqueuer"),
    ],
    ids="-".join,
)
def layout(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A layout, with a filled database that the configuration calls `app`."""
    server, layout = request.param
    database: Database = request.getfixturevalue(server).database()
    fill(database, layout)
    (tmp_path / "beanwatch.toml").write_text(
        f'[servers.app]\nurl = "{database.admin_url}"\nlayout = "{layout}"\n'
    )
    yield str(layout)
    database.drop()


@pytest.fixture
def call(run: Run, tmp_path: Path) -> Run:
    environment = {
        "BEANWATCH_CONFIG": str(tmp_path / "beanwatch.toml"),
        "BEANWATCH_STATE_DIR": str(tmp_path / "state"),
    }
    return lambda *argv: run(*argv, env=environment, timeout=60.0)


def test_failed_jobs_that_cannot_be_read_are_not_0_in_a_drained_queue(
    database: Database, call: Run, tmp_path: Path
) -> None:
    laravel(database, ["migrate"])
    database.run("DROP TABLE failed_jobs")
    (tmp_path / "beanwatch.toml").write_text(
        f'[servers.app]\nurl = "{database.admin_url}"\nlayout = "laravel"\n'
    )
    for options in (("-Q", "mail"), ()):
        judged = call("check_queue_buried", *options)
        assert (judged.code, "is not known" in judged.stdout) == (3, True), judged.stdout


def test_commands_show_the_queues_and_change_them(layout: str, call: Run) -> None:
    done = call("beanwatch", "queues", "list", "--json")
    assert (done.code, done.stderr) == (0, "")
    (row,) = json.loads(done.stdout)
    assert [row[field] for field in FIELDS] == ["mail", 2, 0, 1, 2]
    assert row["age"] >= 0
    shown = json.loads(call("beanwatch", "queues", "show", "mail", "--json").stdout)
    for field in UNKNOWN[layout]:
        assert f'"{field}": null' in json.dumps(shown)
    peeked = call("beanwatch", "queues", "peek", "mail")
    assert peeked.code == 0
    assert "first buried job" in peeked.stdout
    if layout != "procrastinate":
        assert "no such host" in peeked.stdout
    done = call("beanwatch", "queues", "kick", "mail", "--count", "1", "--yes")
    assert "1 failed job, kicked" in done.stdout
    done = call("beanwatch", "queues", "delete", "mail", "--yes")
    assert "1 failed job, deleted" in done.stdout
    done = call("beanwatch", "queues", "empty", "mail", "--only", "ready", "--yes")
    assert "3 ready jobs, deleted" in done.stdout
    done = call("beanwatch", "queues", "pause", "mail", "--yes")
    assert done.code == 1
    assert f"{SYSTEM[layout]} has no action 'pause'" in done.stderr
    (row,) = json.loads(call("beanwatch", "queues", "list", "--json").stdout)
    assert [row[field] for field in FIELDS] == ["mail", 0, 0, 1, 0]


def test_the_checks_judge_the_numbers(layout: str, call: Run) -> None:
    done = call("check_queue_server", "-H", "app")
    assert done.code == 0
    assert "up for" in done.stdout
    done = call("check_queue_depth", "-H", "app", "-Q", "mail", "-w", "1")
    assert done.code == 1
    assert "mail: 2 jobs ready" in done.stdout
    assert call("check_queue_age", "-H", "app", "-Q", "mail").code == 0
    done = call("check_queue_buried", "-H", "app", "-Q", "mail")
    assert done.code == 1
    assert "2 jobs buried" in done.stdout
    done = call("check_queue_depth", "-H", "app", "-Q", "none")
    assert done.code == 0  # a queue without jobs is in no table
    done = call("check_queue_consumers", "-H", "app", "-Q", "mail")
    if "consumers" in UNKNOWN[layout]:
        assert done.code == 3
        assert f"{SYSTEM[layout]} does not report the number of consumers" in done.stdout
    else:
        assert done.code == 2  # the worker of the failed jobs has ended
        assert "2 jobs ready and no consumer" in done.stdout


def test_only_reported_fields_become_series(layout: str, call: Run, tmp_path: Path) -> None:
    done = call("beanwatch", "collect", "--once", "--graphite", "-", "--state", tmp_path / "c.json")
    assert done.code == 0
    sent = dict(line.rsplit(" ", 2)[:2] for line in done.stdout.splitlines())
    queue = {path.rpartition(".")[2]: value for path, value in sent.items() if ".app.mail." in path}
    assert (queue["ready"], queue["delayed"], queue["buried"]) == ("2", "1", "2")
    assert not UNKNOWN[layout] & queue.keys()
    assert sent["beanwatch.server.app.up"] == "1"


@pytest.mark.parametrize("scheme", ["postgresql", "mysql"])
def test_a_missing_library_is_named_with_its_extra(
    scheme: str, call: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = {"postgresql": "psycopg", "mysql": "pymysql"}[scheme]
    (tmp_path / "beanwatch.toml").write_text(
        f'[servers.app]\nurl = "{scheme}://u@127.0.0.1:1/app"\nlayout = "laravel"\n'
    )
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / f"{package}.py").write_text(f"raise ImportError('no {package}')\n")
    monkeypatch.setenv("PYTHONPATH", str(hidden))
    for argv, code in (
        (("check_queue_server", "-H", "app"), 2),
        (("check_queue_depth", "-H", "app", "-Q", "mail"), 3),
        (("beanwatch", "queues", "list"), 1),
    ):
        done = call(*argv)
        text = done.stdout + done.stderr
        assert f"{scheme} needs the package {package}: {install_command(scheme)}" in text
        assert "Traceback" not in text
        assert done.code == code


def test_a_check_of_a_database_that_refuses_is_one_line(
    database: Database, call: Run, tmp_path: Path
) -> None:
    secret = password_file(tmp_path, "wrong one")
    (tmp_path / "beanwatch.toml").write_text(
        f'[servers.app]\nurl = "{database.url}"\nlayout = "laravel"\npassword_file = "{secret}"\n'
    )
    done = call("check_queue_server", "-H", "app")
    assert done.code == 2
    done = call("check_queue_depth", "-H", "app", "-Q", "mail")
    assert done.code == 3
    assert "wrong one" not in done.stdout + done.stderr
    assert "monitor" in done.stdout.splitlines()[0]
