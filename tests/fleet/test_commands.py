"""Commands on a server of a system that tells and does little."""

import json

import pytest

from beanwatch.cli import main
from beanwatch.queues.registry import MODULES
from tests.real import Beanstalkd, Redis

SERVER = ("--server", "other://host")


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODULES, "other", "tests.fleet.other_system")
    monkeypatch.setenv("BEANWATCH_CONFIG", "")


def call(*argv: str) -> int:
    """Run a command in this process; its exit code."""
    with pytest.raises(SystemExit) as end:
        main(list(argv))
    return int(end.value.code or 0)


def test_without_a_command_the_help_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert call() == 2
    text = "".join(capsys.readouterr())
    assert text.startswith("Usage: beanwatch ")
    assert "\n  doctor " in text


def test_lists_show_what_is_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("queues", "list", "--json", *SERVER) == 0
    rows = {row["queue"]: row for row in json.loads(capsys.readouterr().out)}
    assert (rows["orders"]["ready"], rows["mail"]["ready"]) == (3, None)
    assert call("queues", "show", "orders", *SERVER) == 0
    shown = dict(line.split() for line in capsys.readouterr().out.splitlines()[1:])
    assert (shown["ready"], shown["buried"]) == ("3", "n/a")


@pytest.mark.parametrize("action", ["kick", "delete", "empty", "pause", "resume", "peek"])
def test_an_action_that_it_does_not_have_is_exit_1(
    action: str, capsys: pytest.CaptureFixture[str]
) -> None:
    yes = () if action == "peek" else ("--yes",)
    assert call("queues", action, "orders", *yes, *SERVER) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "other has no action" in err
    assert err.count("\n") == 1


def test_a_job_cannot_be_looked_up(redis_server: Redis, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("job", "7", *SERVER, "--redis", redis_server.url) == 1
    text = "no run of job 7 was recorded, and jobs cannot be looked up: other has no action 'find'"
    assert text in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv",
    [
        ("put", "orders", "job"),
        ("worker", "beanwatch.worker.example:app", "--queue", "orders", "--name", "w"),
    ],
)
def test_jobs_are_put_and_run_on_beanstalkd_only(
    argv: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*argv, *SERVER) == 2
    assert "on beanstalkd only; use the tools of other" in capsys.readouterr().err


def test_a_server_that_is_down_can_be_left_out(
    beanstalkd: Beanstalkd, capsys: pytest.CaptureFixture[str]
) -> None:
    """Which queues the other one has is not known, so nothing is done until it is left out."""
    up, down = ("--server", beanstalkd.address), ("--server", "127.0.0.1:1")
    with beanstalkd.client(use="mail") as client:
        client.put("x")
        assert call("queues", "pause", "mail", "--for", "1h", "--yes", *up, *down) == 1
        assert "of all servers (choose some with --server): 127.0.0.1:1" in capsys.readouterr().err
        assert client.stats_tube("mail")["pause"] == 0
        assert call("queues", "pause", "mail", "--for", "1h", "--yes", *up) == 0
        assert client.stats_tube("mail")["pause"] == 3600
