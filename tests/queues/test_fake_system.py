"""Adding a queue system takes a module and a line; a field that it does not declare is unknown."""

import json
from pathlib import Path

import pytest

from beanwatch.queues.model import QUEUE_FIELDS
from tests.queues.conftest import MakeServer, Run

DECLARED = ("ready", "reserved")


@pytest.fixture
def run(run_fake: Run) -> Run:
    return run_fake


@pytest.fixture
def url(make_server: MakeServer) -> str:
    """The URL of a fake server with two queues."""
    return make_server("fake", {"orders": {"ready": 3, "reserved": 1}, "mail": {"ready": 0}})


def test_queues_commands_show_it_and_show_no_unknown_value_as_0(run: Run, url: str) -> None:
    done = run("beanwatch", "queues", "list", "--server", url, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    rows = {row["queue"]: row for row in json.loads(done.stdout)}
    assert (rows["orders"]["ready"], rows["orders"]["reserved"]) == (3, 1)
    for field in ("delayed", "buried", "consumers", "idle_consumers", "missing_jobs"):
        assert rows["orders"][field] is None
    assert rows["mail"]["reserved"] is None
    done = run("beanwatch", "queues", "list", "--server", url)
    line = next(line for line in done.stdout.splitlines() if "orders" in line)
    assert "n/a" in line.split()
    shown = json.loads(
        run("beanwatch", "queues", "show", "orders", "--server", url, "--json").stdout
    )
    assert "orders" in json.dumps(shown)
    systems = json.loads(run("beanwatch", "queues", "systems", "--json").stdout)
    fake = next(system for system in systems if system["system"] == "fake")
    assert set(fake["fields"]) == set(DECLARED)
    assert fake["actions"] == []


def test_an_action_that_it_does_not_have_is_refused_with_its_name(run: Run, url: str) -> None:
    for action in ("kick", "pause", "empty"):
        done = run("beanwatch", "queues", action, "orders", "--server", url, "--yes")
        assert done.returncode == 1
        assert "fake" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["depth", "buried", "age", "consumers"])
def test_a_check_of_a_field_that_it_does_not_declare_is_unknown(
    run: Run, url: str, name: str
) -> None:
    done = run(f"check_queue_{name}", "--server", url, "-Q", "orders")
    if name == "depth":
        assert done.returncode == 0
        assert "3 jobs ready" in done.stdout
        return
    assert done.returncode == 3
    assert "fake" in done.stdout.splitlines()[0]


def test_check_queue_server_shows_its_problems(run: Run, url: str) -> None:
    done = run("check_queue_server", "--server", url)
    assert done.returncode == 1
    assert "is only a fake" in done.stdout


def test_only_declared_fields_become_series(run: Run, url: str, tmp_path: Path) -> None:
    done = run(
        *("beanwatch", "collect", "--once", "--server", url, "--graphite", "-"),
        *("--state", tmp_path / "collect.json"),
    )
    assert done.returncode == 0, done.stderr
    sent = dict(line.rsplit(" ", 1)[0].rsplit(" ", 1) for line in done.stdout.splitlines())
    stem = next(path for path in sent if path.endswith(".orders.ready")).removesuffix("ready")
    assert (sent[f"{stem}ready"], sent[f"{stem}reserved"]) == ("3", "1")
    for field in set(QUEUE_FIELDS) - set(DECLARED):
        assert f"{stem}{field}" not in sent
    assert f"{stem}consumer_state" not in sent
    assert [path for path in sent if path.endswith(".fake_number")]
    assert not [path for path in sent if path.endswith(".uptime")]


def test_no_service_is_generated_for_a_field_that_it_does_not_declare(
    run: Run, url: str, tmp_path: Path
) -> None:
    config = tmp_path / "beanwatch.toml"
    config.write_text(f'[servers]\nq = "{url}"\n[queues."orders".depth]\nwarning = "10"\n')
    done = run("beanwatch", "install", "nagios", "--dest", tmp_path / "root", "--config", config)
    assert done.returncode == 0, done.stderr
    written = "".join(path.read_text() for path in (tmp_path / "root").rglob("*.cfg"))
    assert "depth of orders" in written
    for check in ("buried", "age", "consumers"):
        assert f"{check} of orders" not in written


def test_the_doctor_knows_it(run: Run, url: str) -> None:
    done = run("beanwatch", "doctor", "--server", url, "--user", "", "--json")
    assert "Traceback" not in done.stderr
    assert "fake" in done.stdout
