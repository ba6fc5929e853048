"""What a person does to the queues of a real beanstalkd never takes more than was meant."""

from collections.abc import Callable, Iterator

import greenstalk
import pytest

from beanwatch.queues.base import (
    ACTIONS,
    Actions,
    Job,
    ProtocolError,
    ServerError,
    UnsupportedError,
)
from beanwatch.queues.beanstalkd import actions as module
from beanwatch.queues.beanstalkd.actions import MAX_PAUSE
from beanwatch.queues.registry import find_system
from beanwatch.queues.servers import Server, parse_server
from tests.queues.liar import TUBE, Liar
from tests.real import Beanstalkd, Proxy, closed_port

# Names that a YAML reader takes for a number or a truth, and the longest one.
NAMES = ["1_000", "true", "123", "0x1F", "null", "a.b/c;d+e$f(g)", "x" * 200]
FOREIGN = ["a b", "", "-x", "x" * 201, "é", "t\r\nput 0 0 60 1\r\nx", "t\nkick 9"]
STATES = ["ready", "delayed", "buried"]


def open_actions(address: str, timeout: float = 5.0) -> Actions:
    server = Server("q1", parse_server(address))
    return server.system.open_actions(server, timeout)


@pytest.fixture
def actions(beanstalkd: Beanstalkd) -> Iterator[Actions]:
    one = open_actions(beanstalkd.address)
    yield one
    one.close()


@pytest.fixture
def client(beanstalkd: Beanstalkd) -> Iterator["greenstalk.Client[str]"]:
    with beanstalkd.client(use="t", watch="t") as one:
        yield one


def put_in(client: "greenstalk.Client[str]", state: str, body: str = "x", queue: str = "t") -> str:
    """The id of a new job in this state."""
    client.use(queue)
    client.watch(queue)
    if state == "delayed":
        return str(client.put(body, delay=3600))
    job_id = client.put(body, priority=1)
    if state in ("buried", "reserved"):
        job = client.reserve(timeout=0)
        assert job.id == job_id
        if state == "buried":
            client.bury(job)
    return str(job_id)


def counts(server: Beanstalkd, queue: str = "t") -> dict[str, int]:
    """The jobs of a queue in each state that has some."""
    stats = server.stats_tube(queue)
    states = (*STATES, "reserved")
    return {state: n for state in states if (n := stats.get(f"current-jobs-{state}", 0))}


# -- looking


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("state", STATES)
def test_the_first_job_of_a_queue_is_shown_with_its_body(
    beanstalkd: Beanstalkd, actions: Actions, client, name: str, state: str
):
    job_id = put_in(client, state, "first", name)
    put_in(client, state, "second", name)
    job = actions.peek(name, state)
    assert job is not None
    assert job[:4] == (job_id, name, state, b"first")
    assert job.age is not None
    assert job.age >= 0
    assert job.facts["ttr"] == 60
    assert (job.attempts, job.kicks) == (1 if state == "buried" else 0, 0)
    if state == "delayed":
        assert 3500 < (job.ready_in or 0) <= 3600
    else:
        assert job.ready_in is None
    assert not {"id", "tube", "state"} & set(job.facts)
    for other in set(STATES) - {state}:
        assert actions.peek(name, other) is None


def test_a_queue_that_is_not_there_has_no_first_job_and_is_not_made(
    beanstalkd: Beanstalkd, actions: Actions
):
    assert actions.peek("nosuch", "ready") is None
    assert beanstalkd.stats_tube("nosuch") == {}


def test_a_body_is_bytes_whatever_is_in_it(beanstalkd: Beanstalkd, actions: Actions):
    body = bytes(range(256)) + b"\r\n"
    with beanstalkd.client(use="t", encoding=None) as client:
        job_id = str(client.put(body))
    job = actions.peek("t", "ready")
    assert job is not None
    assert job.body == body
    assert actions.body(job_id) == body
    assert actions.body("999") is None


def test_jobs_are_found_by_their_ids_in_whatever_state(
    beanstalkd: Beanstalkd, actions: Actions, client
):
    ids = {state: put_in(client, state, queue="1_000") for state in (*STATES[1:], "reserved")}
    found = actions.find([*ids.values(), "999"])
    assert [(job.id, job.queue, job.state) for job in found] == [
        (job_id, "1_000", state) for state, job_id in ids.items()
    ]
    assert {job.body for job in found} == {None}
    assert actions.find([]) == []


@pytest.mark.parametrize("job_id", ["", "x", "1 2", "-1", "1\r\nkick 9", "٣", "9" * 21, "1.5"])
def test_what_is_no_id_is_no_job_and_is_not_sent(
    beanstalkd: Beanstalkd, actions: Actions, client, job_id: str
):
    put_in(client, "buried")
    assert actions.find([job_id, "1"])[0].id == "1"
    assert actions.body(job_id) is None
    assert list(actions.kick_jobs("t", [job_id])) == [0]
    assert list(actions.delete_jobs("t", [job_id])) == [0]
    assert counts(beanstalkd) == {"buried": 1}
    assert beanstalkd.stats()["cmd-kick"] == 0


def test_what_the_server_does_not_tell_of_a_job_is_not_known():
    with Liar() as liar:
        liar.lie(b"stats-job", b"---\nid: 7\ntube: t\nstate: delayed\n")
        (job,) = open_actions(liar.address).find(["7"])
    assert (job.age, job.attempts, job.kicks, job.ready_in) == (None, None, None, None)


# -- kicking


@pytest.mark.parametrize("name", NAMES)
def test_buried_jobs_are_kicked_the_longest_buried_first(
    beanstalkd: Beanstalkd, actions: Actions, client, name: str
):
    ids = [put_in(client, "buried", queue=name) for _ in range(3)]
    assert list(actions.kick(name, 2)) == [2]
    found = actions.find(ids)
    assert [job.state for job in found] == ["ready", "ready", "buried"]
    assert [job.kicks for job in found] == [1, 1, 0]


def test_kick_never_takes_delayed_jobs_though_others_kick_too(
    beanstalkd: Beanstalkd, actions: Actions, client
):
    for _ in range(4):
        put_in(client, "buried")
    for _ in range(5):
        put_in(client, "delayed")
    assert client.kick(2) == 2  # somebody else, after the four were counted
    assert list(actions.kick("t", 4)) == [2]
    assert list(actions.kick("t", 4)) == []
    assert counts(beanstalkd) == {"delayed": 5, "ready": 4}


def test_many_are_kicked_in_steps(
    beanstalkd: Beanstalkd, actions: Actions, client, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "KICK_STEP", 2)
    for _ in range(6):
        put_in(client, "buried")
    steps = actions.kick("t", 5)
    assert next(steps) == 2
    assert counts(beanstalkd) == {"buried": 4, "ready": 2}
    assert list(steps) == [2, 1]
    assert counts(beanstalkd) == {"buried": 1, "ready": 5}


@pytest.mark.parametrize("line", [b"", b"current-jobs-buried: 18446744073709551615\n"])
def test_nothing_is_kicked_where_it_is_not_known_what_is_buried(line: bytes):
    with Liar() as liar:
        liar.lie(b"stats-tube", TUBE.replace(b"current-jobs-buried: 3\n", line))
        actions = open_actions(liar.address)
        with pytest.raises(ProtocolError, match="the number of buried jobs is unknown"):
            list(actions.kick("t", 5))
        actions.close()
        assert not [command for command in liar.commands if command.startswith(b"kick")]


def test_a_kick_of_nothing_makes_no_queue(beanstalkd: Beanstalkd, actions: Actions):
    assert list(actions.kick("nosuch", 5)) == []
    actions.close()
    assert beanstalkd.stats()["current-tubes"] == 1


# -- jobs by id


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("act", "left"), [("kick_jobs", {"ready": 2}), ("delete_jobs", {})])
def test_only_jobs_that_are_buried_in_this_queue_are_acted_on(
    beanstalkd: Beanstalkd, actions: Actions, client, name: str, act: str, left: dict[str, int]
):
    mine = [put_in(client, "buried", queue=name) for _ in range(2)]
    others = [put_in(client, state, queue=name) for state in ("delayed", "reserved")]
    elsewhere = put_in(client, "buried", queue="elsewhere")
    ids = [*mine, *others, elsewhere, "999"]
    assert list(getattr(actions, act)(name, ids)) == [2]
    assert counts(beanstalkd, name) == {"delayed": 1, "reserved": 1, **left}
    assert counts(beanstalkd, "elsewhere") == {"buried": 1}


def test_many_ids_are_acted_on_in_steps(
    beanstalkd: Beanstalkd, actions: Actions, client, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "IDS_STEP", 2)
    ids = [put_in(client, "buried") for _ in range(5)]
    assert list(actions.delete_jobs("t", ids)) == [2, 2, 1]
    assert counts(beanstalkd) == {}


def test_a_job_that_somebody_else_deletes_meanwhile_is_not_counted(
    beanstalkd: Beanstalkd, actions: Actions, client, monkeypatch: pytest.MonkeyPatch
):
    ids = [put_in(client, "buried") for _ in range(2)]
    find = actions.find

    def find_then_delete(wanted: list[str]) -> list[Job]:
        found = find(wanted)
        client.delete(int(ids[0]))
        return found

    monkeypatch.setattr(actions, "find", find_then_delete)
    assert list(actions.kick_jobs("t", ids)) == [1]


# -- emptying


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("state", STATES)
def test_a_queue_is_emptied_of_jobs_in_one_state(
    beanstalkd: Beanstalkd, actions: Actions, client, name: str, state: str
):
    for kind in ("reserved", "buried", "delayed"):
        put_in(client, kind, queue=name)
    put_in(client, "ready", queue=name)
    put_in(client, "ready", queue="elsewhere")
    put_in(client, state if state != "buried" else "delayed", queue=name)
    before = counts(beanstalkd, name)
    assert list(actions.empty(name, state, 100)) == [1] * before.pop(state)
    assert counts(beanstalkd, name) == before
    assert counts(beanstalkd, "elsewhere") == {"ready": 1}


def test_no_more_jobs_are_deleted_than_was_said(beanstalkd: Beanstalkd, actions: Actions, client):
    for _ in range(5):
        put_in(client, "ready")
    assert list(actions.empty("t", "ready", 3)) == [1, 1, 1]
    assert counts(beanstalkd) == {"ready": 2}


def test_what_is_done_between_two_steps_does_not_lead_to_another_queue(
    beanstalkd: Beanstalkd, actions: Actions, client
):
    for queue in ("t", "t", "default", "default"):
        put_in(client, "ready", queue=queue)
    for _ in actions.empty("t", "ready", 10):
        actions.peek("t", "ready")  # which uses `default` afterwards
    assert counts(beanstalkd) == {}
    assert counts(beanstalkd, "default") == {"ready": 2}


def test_a_job_that_a_worker_takes_meanwhile_is_left_to_it(
    beanstalkd: Beanstalkd, actions: Actions, client, monkeypatch: pytest.MonkeyPatch
):
    for _ in range(2):
        put_in(client, "ready")
    taken: list[object] = []
    first = actions._first  # type: ignore[attr-defined]

    def first_then_taken(state: str) -> object:
        job = first(state)
        if not taken:
            taken.append(client.reserve(timeout=0))
        return job

    monkeypatch.setattr(actions, "_first", first_then_taken)
    assert list(actions.empty("t", "ready", 10)) == [1]
    assert counts(beanstalkd) == {"reserved": 1}


@pytest.mark.parametrize("state", ["reserved", "nonsense"])
def test_a_state_whose_jobs_cannot_be_shown_is_said(actions: Actions, state: str):
    with pytest.raises(UnsupportedError, match=f"beanstalkd cannot show the first {state} job"):
        actions.peek("t", state)
    with pytest.raises(UnsupportedError):
        list(actions.empty("t", state, 1))


# -- pausing


@pytest.mark.parametrize("name", NAMES)
def test_a_queue_is_paused_and_resumed(beanstalkd: Beanstalkd, actions: Actions, client, name: str):
    put_in(client, "ready", queue=name)
    assert actions.pause(name, 60) is True
    assert beanstalkd.stats_tube(name)["pause"] == 60
    with pytest.raises(greenstalk.TimedOutError):
        client.reserve(timeout=0)
    assert actions.pause(name, 0) is True
    assert client.reserve(timeout=0).body == "x"
    assert actions.pause("nosuch", 60) is False


def test_a_pause_is_no_longer_than_the_server_can_count(
    beanstalkd: Beanstalkd, actions: Actions, client
):
    put_in(client, "ready")
    assert actions.pause("t", 2**40) is True
    assert beanstalkd.stats_tube("t")["pause"] == MAX_PAUSE


# -- what cannot be


Act = Callable[[Actions, str], object]
ACTS: dict[str, Act] = {
    "peek": lambda actions, queue: actions.peek(queue, "ready"),
    "kick": lambda actions, queue: list(actions.kick(queue, 5)),
    "empty": lambda actions, queue: list(actions.empty(queue, "ready", 5)),
    "pause": lambda actions, queue: actions.pause(queue, 5),
    "kick_jobs": lambda actions, queue: list(actions.kick_jobs(queue, ["1"])),
    "delete_jobs": lambda actions, queue: list(actions.delete_jobs(queue, ["1"])),
    "find": lambda actions, queue: actions.find(["1"]),
}


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("act", sorted(set(ACTS) - {"find"}))
def test_a_name_that_no_queue_can_have_is_never_sent(
    beanstalkd: Beanstalkd, actions: Actions, client, act: str, name: str
):
    put_in(client, "buried")
    put_in(client, "ready")
    before = beanstalkd.stats()
    if act in ("peek", "kick", "empty"):
        with pytest.raises(UnsupportedError, match="beanstalkd allows no queue with the name"):
            ACTS[act](actions, name)
    else:
        assert ACTS[act](actions, name) in ([0], False)
    after = beanstalkd.stats()
    for field in ("total-jobs", "cmd-kick", "cmd-delete", "cmd-use", "cmd-pause-tube"):
        assert after[field] == before[field]
    assert counts(beanstalkd) == {"buried": 1, "ready": 1}


@pytest.mark.parametrize("act", ACTS)
def test_a_server_that_goes_away_is_an_error_that_names_it(
    beanstalkd: Beanstalkd, actions: Actions, act: str
):
    beanstalkd.stop()
    with pytest.raises(ServerError, match=beanstalkd.address):
        ACTS[act](actions, "t")


@pytest.mark.parametrize("act", ACTS)
def test_something_else_than_beanstalkd_is_an_error_that_names_it(
    beanstalkd: Beanstalkd, proxy: Callable[[str], Proxy], act: str
):
    liar = proxy(beanstalkd.address)
    actions = open_actions(liar.address)
    liar.garble(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    with pytest.raises(ServerError, match=f"{liar.address}: this is not beanstalkd, it answered"):
        ACTS[act](actions, "t")
    actions.close()


@pytest.mark.parametrize("act", ACTS)
def test_nobody_there_is_said_with_the_address(act: str):
    address = f"127.0.0.1:{closed_port()}"
    actions = open_actions(address)
    with pytest.raises(ServerError, match=f"{address}: connection refused"):
        ACTS[act](actions, "t")
    actions.close()


def test_nothing_is_opened_before_the_first_action(beanstalkd: Beanstalkd):
    before = beanstalkd.stats()["total-connections"]
    open_actions(beanstalkd.address).close()
    assert beanstalkd.stats()["total-connections"] == before + 1  # the one that asks


def test_an_answer_that_comes_late_is_not_taken_for_another(beanstalkd: Beanstalkd, client):
    put_in(client, "ready", "of t")
    put_in(client, "ready", "of u", queue="u")
    actions = open_actions(beanstalkd.address, timeout=0.3)
    assert list(actions.kick("u", 1)) == []
    beanstalkd.freeze()
    for queue in ("t", "u"):
        with pytest.raises(ServerError, match=r"no answer within 0\.3 s"):
            actions.peek(queue, "ready")
    beanstalkd.thaw()
    for queue in ("u", "t"):
        job = actions.peek(queue, "ready")
        assert job is not None
        assert (job.queue, job.body) == (queue, f"of {queue}".encode())
    actions.close()


def test_what_is_declared_is_what_there_is():
    actions = find_system("beanstalkd").actions
    assert actions == set(ACTIONS) - {"list_jobs", "locate"}, (
        "its protocol shows only the first job"
    )
    for name in actions:
        assert getattr(module.BeanstalkdActions, name) is not getattr(Actions, name)


@pytest.mark.parametrize(
    "act", [*ACTS.values(), lambda actions, _: actions.body("1")], ids=[*ACTS, "body"]
)
def test_a_system_without_an_action_names_both(act: Act):
    class Fake(Actions):
        system = "fake"

    with pytest.raises(UnsupportedError, match="fake has no action '"):
        act(Fake(), "t")
    Fake().close()
