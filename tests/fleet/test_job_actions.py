"""`beanwatch job ID kick|delete`: one job is changed, and it is the one that was named."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from beanwatch.cli.job import change
from beanwatch.cli.lib.plan_runner import RunFlags
from beanwatch.config.reader import parse
from beanwatch.fleet.job_actions import JobStep, plan_job
from beanwatch.fleet.job_story import JobLocation, JobServer, Story
from beanwatch.fleet.queue_actions import Step, Target
from beanwatch.queues.base import Job, UnsupportedError
from beanwatch.queues.model import QueueState
from beanwatch.queues.registry import MODULES
from beanwatch.queues.servers import resolve_servers
from beanwatch.store.audit import AUDIT_KEY
from beanwatch.store.ledger import job_key
from tests.collector.parts import Terminal
from tests.conftest import Result
from tests.real import Beanstalkd, Redis, closed_port, wait_until
from tests.worker_core.conftest import Broker

Run = Callable[..., Result]
Act = Callable[..., Result]


class Queue(Broker):
    """A queue `work` with jobs that were buried."""

    def bury(self, name: str = "send", ident: str = "") -> int:
        number = self.put(name, envelope={"id": ident} if ident else {})
        with self.server.client(watch="work") as client:
            client.bury(client.reserve_job(number))
        return number


@pytest.fixture
def queue(beanstalkd: Beanstalkd) -> Queue:
    return Queue(beanstalkd)


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Queue]:
    with Beanstalkd(tmp_path / "other") as server:
        yield Queue(server)


@pytest.fixture
def act(run: Run, redis_server: Redis, beanstalkd: Beanstalkd, tmp_path: Path) -> Act:
    """`act(7, "kick")` runs the command; without --server, on the server q1 of a configuration."""
    file = tmp_path / "beanwatch.toml"
    file.write_text(f'[servers]\nq1 = "{beanstalkd.address}"\n')
    where = ("--redis", redis_server.url, "--config", file)
    return lambda *argv: run("beanwatch", "job", *argv, *where)


def test_a_buried_job_is_kicked_and_no_other_and_the_audit_list_names_it(
    act: Act, queue: Queue, redis_server: Redis
) -> None:
    number, other = queue.bury(ident="order-7"), queue.bury()
    code, out, err = act(number, "kick", "--yes")
    assert (code, err) == (0, "")
    assert out == f"q1 work: buried job {number} (send order-7), kicked\n"
    assert queue.job(number)["state"] == "ready"
    assert queue.job(other)["state"] == "buried"
    entries = [json.loads(one) for one in redis_server.client().lrange(AUDIT_KEY, 0, -1)]
    assert [(one["action"], one["state"], one["jobs"]) for one in entries] == [
        ("job kick", "done", 1),
        ("job kick", "started", 1),
    ]
    assert entries[0]["what"] == f"kick q1 work: buried job {number} (send order-7)"


def test_a_buried_job_is_deleted_by_the_id_of_its_envelope_if_a_run_was_recorded(
    act: Act, queue: Queue, beanstalkd: Beanstalkd, redis_server: Redis
) -> None:
    number = queue.bury(ident="order-7")
    run = {"uuid": "order-7", "job": "send", "server": beanstalkd.stats()["id"],
           "job_id": str(number), "queue": "work", "outcome": "buried", "attempt": 1}  # fmt: skip
    redis_server.client().zadd(job_key("order-7", "", 0), {json.dumps(run): 1})
    done = act("order-7", "delete", "--yes", "--json")
    assert (done.code, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {
        "action": "delete", "dry_run": False, "job_id": str(number), "server": "q1",
        "queue": "work", "state": "buried", "planned": 1, "done": 1,
    }  # fmt: skip
    assert queue.job(number) == {}
    assert act("order-7", "delete", "--yes") == (
        1,
        "",
        "beanwatch: cannot delete job order-7: no longer in beanstalkd: it was deleted\n",
    )


def test_nothing_is_changed_by_a_dry_run_or_without_a_confirmation(act: Act, queue: Queue) -> None:
    number = queue.bury("mail")
    assert act(number, "kick", "--dry-run") == (
        0,
        f"would kick q1 work: buried job {number} (mail)\n",
        "",
    )
    code, out, err = act(number, "delete")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "add --yes to do it without asking, or --dry-run to see what would be done" in err
    code, _, err = act(number, "--yes")
    assert (code, "--yes and --dry-run need an action: kick or delete" in err) == (2, True)
    assert queue.job(number)["state"] == "buried"


def test_whoever_says_no_changes_nothing(queue: Queue, redis_server: Redis) -> None:
    number = queue.bury("mail")
    where = ("--redis", redis_server.url, "--server", queue.server.address)
    with Terminal("beanwatch", "job", str(number), "delete", *where) as terminal:
        wait_until(lambda: "Delete this job? [y/N]" in terminal.shown)
        assert f"buried job {number} (mail)" in terminal.shown
        terminal.type("n\n")
        assert terminal.process.wait(30) == 1
    assert queue.job(number)["state"] == "buried"


@pytest.mark.parametrize("action", ["kick", "delete"])
def test_a_job_that_is_not_buried_is_left_alone(act: Act, queue: Queue, action: str) -> None:
    ready, delayed = queue.put("send"), queue.put("send", delay=60)
    for number, state in ((ready, "ready"), (delayed, "delayed")):
        assert act(number, action, "--yes") == (
            1,
            "",
            f"beanwatch: cannot {action} job {number}: it is {state} in work, not buried\n",
        )
        assert queue.job(number)["state"] == state
    code, out, err = act(4711, action, "--yes")
    assert (code, out) == (1, "")
    assert err.startswith("beanwatch: nothing is known of job 4711. ")


def test_a_number_that_several_servers_gave_needs_the_server(
    act: Act, queue: Queue, other: Queue
) -> None:
    number = queue.bury()
    assert other.bury() == number
    both = ("--server", "q1", "--server", other.server.address)
    code, out, err = act(number, "kick", "--yes", *both)
    assert (code, out) == (1, "")
    assert err == (
        f"beanwatch: cannot kick job {number}: several jobs have this id "
        f"({number} on {queue.server.address}, {number} on {other.server.address}): name one by "
        "its number, with --server\n"
    )
    assert act(number, "kick", "--yes", "--server", other.server.address).code == 0
    assert (queue.job(number)["state"], other.job(number)["state"]) == ("buried", "ready")


def test_while_a_server_cannot_be_asked_it_may_have_a_job_of_this_number(
    act: Act, queue: Queue
) -> None:
    number, dead = queue.bury(), f"127.0.0.1:{closed_port()}"
    code, out, err = act(number, "kick", "--yes", "--server", "q1", "--server", dead)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith(
        f"beanwatch: cannot kick job {number}: it cannot be looked up on {dead}: connection refused"
    )
    assert err.endswith(" (--server chooses the servers)\n")
    assert queue.job(number)["state"] == "buried"


def test_a_system_without_the_action_is_named(act: Act, monkeypatch: pytest.MonkeyPatch) -> None:
    assert act("u-7", "kick", "--yes", "--server", "gearman://127.0.0.1") == (
        1,
        "",
        "beanwatch: cannot kick job u-7: gearman has no action 'find' (see beanwatch queues "
        "systems)\n",
    )
    monkeypatch.setitem(MODULES, "other", "tests.fleet.other_system")
    (server,) = resolve_servers({}, ("other://q9",))
    now = JobLocation(str(server), 7, "buried", Job("7", "mail", "buried"))
    with pytest.raises(UnsupportedError, match="q9: other has no action 'delete_jobs'"):
        plan_job("delete", [Story("u-7", [], [now])], [JobServer(server)])


def test_what_another_person_or_the_server_prevents_is_said_and_is_exit_1(
    queue: Queue, capsys: pytest.CaptureFixture[str]
) -> None:
    config, flags = parse('[redis]\nurl = ""\n'), RunFlags(dry_run=False, yes=True, as_json=False)
    number = queue.put("send")  # kicked meanwhile
    dead = f"127.0.0.1:{closed_port()}"
    said = []
    for address in (queue.server.address, dead):
        (server,) = resolve_servers({}, (address,))
        target = Target(server, "", QueueState("work"))
        step = Step(target, "delete", state="buried", ids=(str(number),))
        assert change(JobStep(step, f"buried job {number}"), flags, config) == 1
        said.append(capsys.readouterr())
        assert said[-1].out == ""
    assert said[0].err.endswith(
        f" work: buried job {number}: not deleted, because it is not buried any more\n"
    )
    assert f"stopped before the end: {dead}: connection refused" in said[1].err
    assert said[1].err.count("\n") == 1
    assert queue.job(number)["state"] == "ready"
