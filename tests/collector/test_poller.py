"""What one poll of a real server sends."""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from fnmatch import fnmatch
from pathlib import Path

import pytest

from beanwatch.collectors.poll.observer import Observer
from beanwatch.collectors.poll.samples import ServerSamples
from beanwatch.queues.consumers import CODES
from beanwatch.queues.model import JOB_STATES
from beanwatch.queues.registry import MODULES, find_system
from beanwatch.queues.selection import OTHER, Selection, name_nodes
from beanwatch.queues.servers import Server, parse_server
from beanwatch.telemetry.series import (
    COLLECTOR,
    ESSENTIAL,
    ESSENTIAL_NATIVE,
    QUEUE,
    SERVER,
    SPARED,
)
from tests.collector.station import Station, measures, stats_with
from tests.queues.liar import STATS, TUBE, Liar, Lie
from tests.real import ROOT, Beanstalkd, Proxy, closed_port
from tests.real.full_disk import fill_disk, lose_jobs


@pytest.fixture
def station(beanstalkd: Beanstalkd) -> Iterator[Station]:
    one = Station(beanstalkd.address)
    yield one
    one.observer.close()


@pytest.fixture
def liar() -> Iterator[Liar]:
    with Liar() as one:
        yield one


@pytest.fixture
def fake_queues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """What a server of a system that can tell little says: the file of its queues."""
    monkeypatch.setitem(MODULES, "fake", "tests.queues.fake_system")
    path = tmp_path / "queues"
    path.write_text("{}")
    yield path
    find_system.cache_clear()


def tell_queues(liar: Liar, **queues: dict[str, object]) -> None:
    """Let the server have these queues, each with these values in place of those of `t`."""
    liar.lie(b"list-tubes", b"---\n" + b"".join(b"- %b\n" % name.encode() for name in queues))
    for name, fields in queues.items():
        liar.lie(b"stats-tube %b" % name.encode(), stats_with(TUBE, name=name, **fields))


def test_every_number_of_the_server_and_its_queues_is_sent(
    beanstalkd: Beanstalkd, station: Station
):
    with beanstalkd.client(use="email.regular") as client:
        client.put("x", priority=5)
        points = station.poll()
    # Under the model's name, or its own.
    named = {
        "current-connections": "connections",
        "current-tubes": "queues",
        "total-jobs": "puts",
        **{f"current-jobs-{state}": state for state in JOB_STATES},
    }
    stats = {key for key, value in beanstalkd.stats().items() if not isinstance(value, str)}
    own_names = {named.get(key, key.replace("-", "_")) for key in stats}
    server = measures(points, "server.q1")
    assert own_names | (set(SERVER.names) - {"memory"}) <= server.keys()
    assert not {key.replace("-", "_") for key in named} & server.keys(), "one series a number"
    assert server["up"] == 1
    assert server["ready"] == 1
    assert server["missing_jobs"] == 0
    queue = measures(points, "queue.q1.email_regular")
    unknown = {"redeliveries", "put_rate", "delete_rate", "head_buried_age", "drain_seconds"}
    unknown.add("workers_needed")  # no worker has told how long a run takes
    assert queue.keys() >= set(QUEUE.names) - unknown
    assert queue["ready"] == 1
    assert queue["puts"] == 1
    assert queue["current_jobs_urgent"] == 1
    for field in COLLECTOR.names:
        assert f"collector.q1.{field}" in points
    assert points["collector.q1.success"] == 1
    assert points["collector.q1.queues"] == 2
    assert points["collector.q1.points"] == len(points) - len(COLLECTOR.names)


def test_only_what_is_essential_is_sent_if_that_is_wanted(beanstalkd: Beanstalkd):
    selection = Selection(expected=("absent",))
    station = Station(beanstalkd.address, selection, only_essential=True)
    with closing(station.observer):
        station.poll()
        points = station.poll()
    for queue in ("default", "absent"):
        assert measures(points, f"queue.q1.{queue}").keys() == ESSENTIAL
    server = measures(points, "server.q1")
    assert server.keys() == {*SERVER.names, *ESSENTIAL_NATIVE} - {"memory"}
    assert measures(points, "collector.q1").keys() == set(COLLECTOR.names) - SPARED


def test_what_the_alert_rules_ask_for_is_essential(beanstalkd: Beanstalkd):
    rules = (ROOT / "grafana/alerting/beanwatch-rules.yaml").read_text()
    asked = set(re.findall(r"beanwatch\.((?:server|queue|collector)\.[\w.*]+)", rules))
    station = Station(beanstalkd.address, only_essential=True)
    with beanstalkd.client(use="t") as client, closing(station.observer):
        client.put("x")
        station.poll()
        points = station.poll()
    unsent = {path for path in asked if not any(fnmatch(sent, path) for sent in points)}
    assert asked
    assert not unsent


def test_its_own_connection_is_not_counted_as_a_watcher_of_default(
    beanstalkd: Beanstalkd, station: Station
):
    points = station.poll()
    assert points["queue.q1.default.consumers"] == 0
    assert points["queue.q1.default.current_using"] == 0
    with beanstalkd.client():
        assert station.poll()["queue.q1.default.consumers"] == 1


def test_rates_come_with_the_second_poll(beanstalkd: Beanstalkd, station: Station):
    with beanstalkd.client(use="t", watch="t") as client:
        client.put("x")
        assert "queue.q1.t.put_rate" not in station.poll()
        for _ in range(20):
            client.put("x")
        for _ in range(6):
            client.delete(client.reserve(timeout=0))
        points = station.poll(after=2)
    assert points["queue.q1.t.put_rate"] == 10
    assert points["queue.q1.t.delete_rate"] == 3


def test_a_stall_makes_no_spike_of_a_steady_rate(beanstalkd: Beanstalkd, station: Station):
    def put(count: int) -> None:
        with beanstalkd.client(use="t") as client:
            for _ in range(count):
                client.put("x")

    asked = threading.Event()

    def clock() -> float:
        asked.set()
        return station.now

    observer = Observer(station.observer.server, clock=clock)
    rates: list[float | None] = []

    def observe() -> None:
        queues = observer.observe().queues
        assert queues is not None
        rates.append(queues["t"].put_rate)

    put(100)
    observe()
    put(378)
    beanstalkd.freeze()
    station.now += 1
    asked.clear()
    thread = threading.Thread(target=observe)
    thread.start()
    asked.wait()
    station.now += 2.78
    beanstalkd.thaw()
    thread.join()
    put(22)
    station.now += 0.22
    observe()
    observer.close()
    assert rates == [None, pytest.approx(100), pytest.approx(100)]


def test_a_restarted_server_is_up_at_the_next_poll_and_gives_no_rate(
    beanstalkd: Beanstalkd, station: Station
):
    with beanstalkd.client(use="t") as client:
        client.put("x")
        station.poll()
    beanstalkd.restart()
    with beanstalkd.client(use="t") as client:
        for _ in range(100):
            client.put("x")
        points = station.poll()
    assert points["server.q1.up"] == 1
    assert points["server.q1.restarts"] == 1
    assert points["queue.q1.t.puts"] == 100
    assert "queue.q1.t.put_rate" not in points
    assert station.memory.messages == []


def test_a_second_try_does_not_shorten_the_time_of_the_next_poll(beanstalkd: Beanstalkd):
    observer = Observer(Server("q1", parse_server(beanstalkd.address)), timeout=0.5)
    observer.observe()
    beanstalkd.restart()
    assert not observer.observe().trouble
    beanstalkd.freeze()
    assert observer.observe().trouble == f"{beanstalkd.address}: no answer within 0.5 s"
    observer.close()


def test_jobs_that_come_back_from_a_binlog_are_no_rate_and_not_missing(tmp_path: Path):
    with Beanstalkd(tmp_path, binlog=True) as server:
        station = Station(server.address)
        with server.client(use="t") as client:
            for _ in range(50):
                client.put("x")
            station.poll()
        server.kill()
        server.start()
        for _ in range(3):
            points = station.poll()
            assert points["queue.q1.t.ready"] == 50
            assert points["queue.q1.t.missing_jobs"] == 0
            assert points.get("queue.q1.t.put_rate", 0) == 0
        station.observer.close()


def test_a_queue_that_vanished_ends_and_comes_back_with_a_rate_from_0(
    beanstalkd: Beanstalkd, station: Station
):
    with beanstalkd.client(use="t", watch="t") as client:
        for _ in range(5):
            client.put("x")
        station.poll()
    with beanstalkd.client(watch="t") as client:
        for _ in range(5):
            client.delete(client.reserve(timeout=0))
    assert not [path for path in station.poll() if path.startswith("queue.q1.t.")]
    with beanstalkd.client(use="t") as client:
        for _ in range(9):
            client.put("x")
        points = station.poll()
    assert points["queue.q1.t.puts"] == 9
    assert points["queue.q1.t.put_rate"] == pytest.approx(0.9)


@pytest.mark.parametrize("max_queues", [0, 1])
def test_the_jobs_of_queues_that_live_for_seconds_are_counted(
    beanstalkd: Beanstalkd, max_queues: int
):
    selection = Selection(max_queues=max_queues)
    station = Station(beanstalkd.address, selection)
    station.poll()
    users = [f"user{number}" for number in range(20)]
    with beanstalkd.client() as client:
        for user in users:
            client.use(user)
            for _ in range(5):
                client.put("x")
    points = station.poll(10.0)
    rates = [value for path, value in points.items() if path.endswith(".put_rate")]
    assert sum(rates) == pytest.approx(100 / 10.0)
    assert sum(station.poll(10.0)[f"queue.q1.{name}.put_rate"] for name in ("default",)) == 0
    beanstalkd.restart()
    with beanstalkd.client(use="user99") as client:
        client.put("x")
    assert "queue.q1.user99.put_rate" not in station.poll(10.0), "after a restart it is not known"
    station.observer.close()


def test_a_queue_that_was_not_chosen_before_is_not_taken_for_a_new_one(beanstalkd: Beanstalkd):
    samples = ServerSamples()
    with beanstalkd.client(use="old") as client:
        client.put("x")
    first = Station(beanstalkd.address, Selection(exclude=["old"]), samples=samples)
    first.poll()
    first.observer.close()
    second = Station(beanstalkd.address, Selection(), samples=samples)
    second.now = first.now
    assert "queue.q1.old.put_rate" not in second.poll()
    second.observer.close()


def test_a_queue_that_is_expected_and_absent_reports_zeros(beanstalkd: Beanstalkd):
    station = Station(beanstalkd.address, Selection(expected=["email.bulk"]))
    points = station.poll()
    with beanstalkd.client(use="email.bulk") as client:
        client.put("x")
        present = station.poll()
    station.observer.close()
    zeros = measures(points, "queue.q1.email_bulk")
    assert set(zeros.values()) == {0}
    assert zeros.keys() <= set(QUEUE.names), "native ones are not known without the server"
    there = measures(present, "queue.q1.email_bulk").keys()
    assert there & set(QUEUE.names) <= zeros.keys()
    assert present["queue.q1.email_bulk.ready"] == 1


def test_expected_queues_beyond_the_limit_are_not_said_to_be_empty(beanstalkd: Beanstalkd):
    expected = ["t0", "t1", "t2", "gone/a", "gone.a"]
    station = Station(beanstalkd.address, Selection(max_queues=2, expected=expected))
    with beanstalkd.client() as client:
        for number in range(4):
            client.use(f"t{number}")
            client.put("x")
        points = station.poll()
    station.observer.close()
    nodes = name_nodes(expected)
    ready = {
        path.split(".")[2]: value
        for path, value in points.items()
        if path.startswith("queue.") and path.endswith(".ready")
    }
    assert ready == {
        **dict.fromkeys(("t0", "t1", "t2", OTHER), 1),
        **dict.fromkeys((nodes["gone/a"], nodes["gone.a"]), 0),
    }


def test_names_that_would_make_one_node_have_series_of_their_own(beanstalkd: Beanstalkd):
    station = Station(beanstalkd.address)
    with beanstalkd.client() as client:
        for count, name in enumerate(("a.b", "a/b", "a.c"), start=1):
            client.use(name)
            for _ in range(count):
                client.put("x")
        points = station.poll()
        again = station.poll()
    station.observer.close()
    nodes = name_nodes(("a.b", "a/b"))
    assert points[f"queue.q1.{nodes['a.b']}.ready"] == 1
    assert points[f"queue.q1.{nodes['a/b']}.ready"] == 2
    assert points["queue.q1.a_c.ready"] == 3
    assert not measures(points, "queue.q1.a_b")
    assert points.keys() <= again.keys(), "the same nodes each time"
    assert points["collector.q1.collisions"] == 2
    assert station.memory.messages == []


def test_a_queue_that_is_called_like_the_series_of_the_rest_does_not_share_it(
    beanstalkd: Beanstalkd,
):
    station = Station(beanstalkd.address, Selection(["t*", OTHER], max_queues=1, expected=[OTHER]))
    with beanstalkd.client() as client:
        for count, name in enumerate((OTHER, "t"), start=1):
            client.use(name)
            for _ in range(count):
                client.put("x")
        points = station.poll()
    station.observer.close()
    assert points[f"queue.q1.{name_nodes([OTHER])[OTHER]}.ready"] == 1
    assert points[f"queue.q1.{OTHER}.ready"] == 2


def test_an_expected_queue_is_not_said_to_be_empty_while_nobody_looks(liar: Liar):
    station = Station(liar.address, Selection(expected=["email.bulk"]))
    assert station.poll()["queue.q1.email_bulk.ready"] == 0
    assert "queue.q1.email_bulk.ready" not in station.poll(queues=False)
    liar.lies[b"list-tubes"] = Lie(b"OUT_OF_MEMORY\r\n")
    assert "queue.q1.email_bulk.ready" not in station.poll()
    liar.lies[b"stats"] = Lie(b"OUT_OF_MEMORY\r\n")
    assert "queue.q1.email_bulk.ready" not in station.poll()
    station.observer.close()


def test_an_expected_queue_that_is_absent_does_not_get_the_series_of_another(
    beanstalkd: Beanstalkd,
):
    station = Station(beanstalkd.address, Selection(expected=["a/b"]))
    with beanstalkd.client(use="a.b") as client:
        client.put("x")
        points = station.poll()
    station.observer.close()
    ready = {path: value for path, value in points.items() if path.endswith(".ready")}
    assert sorted(value for path, value in ready.items() if ".a_b_" in path) == [0, 1]


def test_a_queue_that_vanishes_during_the_sweep_has_no_points(liar: Liar):
    station = Station(liar.address)
    liar.lie(b"list-tubes", b"---\n- t\n- gone\n")
    for _ in range(2):
        points = station.poll()
        assert {path.split(".")[2] for path in points if path.startswith("queue.")} == {"t"}
        assert points["collector.q1.success"] == 1
    station.observer.close()


def test_queues_of_the_last_time_are_asked_for_before_the_list_has_come(liar: Liar):
    """So a far server costs one round trip."""
    station = Station(liar.address, head_ages=False)
    liar.lie(b"list-tubes", b"---\n- t\n- gone\n")
    liar.lie(b"stats-tube gone", TUBE)
    station.poll()
    liar.lies.clear()
    liar.commands.clear()
    station.poll()
    station.observer.close()
    assert liar.commands == [b"stats", b"list-tubes", b"stats-tube t", b"stats-tube gone"]


def test_queues_keep_their_series_however_the_server_lists_them(liar: Liar):
    liar.lie(b"stats-tube", TUBE)
    station = Station(liar.address, Selection(max_queues=2))
    for listed in (b"- a\n- b\n- c\n", b"- c\n- b\n- a\n", b"- c\n- d\n- a\n- b\n"):
        liar.lie(b"list-tubes", b"---\n" + listed)
        points = station.poll()
        nodes = {path.split(".")[2] for path in points if path.startswith("queue.")}
        assert nodes == {"a", "b", "_other"}
    station.observer.close()


def test_queues_that_come_and_go_leave_nothing_behind(liar: Liar):
    station = Station(liar.address)
    liar.lie(b"stats-tube", stats_with(TUBE, total_jobs=0))  # as after a replay of a binlog
    for number in range(50):
        names = [f"{number}.{other}" for other in range(20)]
        liar.lie(b"list-tubes", "".join(f"- {name}\n" for name in names).encode())
        station.poll()
    station.observer.close()
    assert set(station.samples.queues) == set(names)
    kept = station.samples.memory.dump()
    assert len(kept["values"]) == 22, "of each queue, and two of the server"
    assert len(kept["since"]) <= 40


def test_too_many_queues_share_one_series(beanstalkd: Beanstalkd):
    station = Station(beanstalkd.address, Selection(["t*"], max_queues=2))
    with beanstalkd.client(watch="t0") as client:
        for number in range(5):
            client.use(f"t{number}")
            for _ in range(number):
                client.put("x")
        station.poll()
        for number in (3, 4):
            client.use(f"t{number}")
            client.put("x")
        points = station.poll(after=1)
    station.observer.close()
    nodes = {path.split(".")[2] for path in points if path.startswith("queue.")}
    assert len(nodes) == 3
    assert OTHER in nodes
    assert sum(points[f"queue.q1.{node}.ready"] for node in nodes) == 12
    assert sum(points[f"queue.q1.{node}.put_rate"] for node in nodes) == 2
    assert points["collector.q1.queues_skipped"] == points["collector.q1.queues"] - 2
    assert measures(points, f"queue.q1.{OTHER}").keys() <= set(QUEUE.names), "no native ones"
    alone = (nodes - {OTHER}).pop()
    assert "pause_time_left" in measures(points, f"queue.q1.{alone}")


def test_a_sum_is_left_out_where_the_value_of_one_queue_is_unknown(liar: Liar):
    station = Station(liar.address, Selection(max_queues=1), head_ages=False)
    told: dict[str, object] = {"current_jobs_ready": 3, "current_jobs_reserved": 4}
    tell_queues(liar, t=told, u=told, v=told)
    whole = measures(station.poll(), f"queue.q1.{OTHER}")
    assert (whole["ready"], whole["reserved"]) == (6, 8)
    tell_queues(liar, t=told, u=told, v={**told, "current_jobs_ready": -1})
    points = station.poll()
    station.observer.close()
    part = measures(points, f"queue.q1.{OTHER}")
    assert "ready" not in part
    assert part["reserved"] == 8
    assert points["queue.q1.t.ready"] == 3


def test_an_unknown_number_makes_no_sample(liar: Liar):
    station = Station(liar.address)
    well = station.poll()
    liar.lie(b"stats-tube", stats_with(TUBE, current_jobs_ready=2**64 - 1, pause=-(2**63)))
    liar.lie(b"stats", stats_with(STATS, current_connections="many"))
    ill = station.poll()
    liar.lies = {}
    healed = station.poll()
    station.observer.close()
    lost = {
        *("server.q1.connections", "server.q1.missing_jobs"),
        *(f"queue.q1.t.{name}" for name in ("ready", "missing_jobs", "consumer_state", "pause")),
    }
    assert lost & well.keys() >= {"server.q1.connections", "queue.q1.t.ready"}
    assert not lost & ill.keys()
    assert "queue.q1.t.reserved" in ill
    assert "server.q1.queues" in ill
    assert ill["server.q1.up"] == 1
    assert well.keys() <= healed.keys()
    # Rates need two samples of the counters alone, which were well all the time.
    assert "queue.q1.t.put_rate" in ill


def test_what_a_system_cannot_tell_makes_no_sample(fake_queues: Path):
    fake_queues.write_text(json.dumps({"t": {"ready": 3}, "u": {"ready": 0}}))
    station = Station(f"fake://host/{fake_queues}", Selection(expected=["gone"]))
    for _ in range(2):
        points = station.poll()
        known = {"up": 1, "restarts": 0, "problem": 1, "fake_number": 5}
        assert measures(points, "server.q1") == known
        assert measures(points, "queue.q1.t") == {"ready": 3}
        assert measures(points, "queue.q1.u") == {
            "ready": 0,
            "drain_seconds": 0,
            "consumer_state": CODES["ok"],
        }
        assert not measures(points, "queue.q1.gone"), "it may not be empty"
        assert points["collector.q1.success"] == 1


def test_a_doubt_is_one_line_and_its_end_another(liar: Liar):
    station = Station(liar.address)
    station.poll()
    for watching in (-1, -2, -3):  # another number at each poll is no news
        liar.lie(b"stats-tube", stats_with(TUBE, current_watching=watching))
        assert station.poll()["collector.q1.success"] == 0
    begun = f"{liar.address}: left out an implausible value"
    told = [f"{begun}: t: current-watching is -1, which is not a count"]
    assert station.memory.messages == told
    liar.lies = {}
    assert station.poll(queues=False)["collector.q1.success"] == 1, "all that it requested"
    assert station.memory.messages == told, "nobody looked at the queues"
    for _ in range(2):
        station.poll()
    told.append(f"{liar.address}: all numbers are plausible again")
    assert station.memory.messages == told
    liar.lie(b"stats-tube", stats_with(TUBE, current_watching=-4, pause=-(2**63)))
    station.poll()
    station.observer.close()
    told.append(f"{begun}: t: current-watching is -4, which is not a count, and 1 more")
    assert station.memory.messages == told
    levels = [record["level_name"] for record in station.memory.records]
    assert levels == ["WARNING", "INFO", "WARNING"]
    assert {record["context"]["server"] for record in station.memory.records} == {"q1"}


def test_a_doubt_does_not_end_because_the_server_is_gone(liar: Liar):
    station = Station(liar.address)
    doubtful = stats_with(TUBE, current_watching=-1)
    liar.lie(b"stats-tube", doubtful)
    station.poll()
    liar.lie(b"stats", b"---\n")  # this cannot be read at all
    assert station.poll()["server.q1.up"] == 0
    del liar.lies[b"stats"]
    station.poll()
    station.observer.close()
    doubt, trouble, well = station.memory.messages
    assert "current-watching is -1" in doubt
    assert "this is not beanstalkd" in trouble
    assert "all parts can be read again" in well


def test_a_positive_balance_at_the_first_look_is_a_missing_job(liar: Liar):
    jobs = {f"current_jobs_{state}": 1 for state in JOB_STATES}
    tell_queues(liar, t={**jobs, "total_jobs": 9, "cmd_delete": 3})
    station = Station(liar.address)
    points = station.poll()
    station.observer.close()
    assert points["queue.q1.t.missing_jobs"] == points["server.q1.missing_jobs"] == 2


def test_the_sweep_of_queues_can_be_rarer_than_the_servers_stats(
    beanstalkd: Beanstalkd, station: Station
):
    points = station.poll(queues=False)
    assert points["server.q1.up"] == 1
    assert not [path for path in points if path.startswith("queue.")]


def test_the_age_of_the_head_does_not_count_the_delay_nor_a_past_life(
    beanstalkd: Beanstalkd, station: Station
):
    with beanstalkd.client(use="t", watch="t") as client:
        client.put("x", ttr=60)
        client.bury(client.reserve(timeout=0))
        points = station.poll()
        assert points["queue.q1.t.head_buried_age"] == 0
        assert points["queue.q1.t.head_ready_age"] == 0
        assert station.poll(after=30)["queue.q1.t.head_buried_age"] == 30
        client.kick(1)
        assert station.poll()["queue.q1.t.head_ready_age"] == 0
        assert station.poll(after=7)["queue.q1.t.head_ready_age"] == 7


def test_head_ages_leave_no_queue_behind_and_can_be_switched_off(beanstalkd: Beanstalkd):
    station = Station(beanstalkd.address, head_ages=False)
    with beanstalkd.client(use="t") as client:
        client.put("x")
    points = station.poll()
    assert "queue.q1.t.head_ready_age" not in points
    assert points["server.q1.cmd_peek_ready"] == 0
    station.observer.close()


def test_heads_cost_no_more_bytes_than_they_may_and_all_have_their_turn(beanstalkd: Beanstalkd):
    station = Station(beanstalkd.address)
    sweeps: list[set[str]] = []
    with beanstalkd.client() as client:
        for number in range(300):
            client.use(f"t{number}")
            client.put("x" * 65_000)
        for _ in range(3):
            ages = {path for path in station.poll() if path.endswith(".head_ready_age")}
            sweeps.append({path for path in ages if ".t" in path.removeprefix("queue.q1")})
    station.observer.close()
    assert all(100 <= len(sweep) < 200 for sweep in sweeps), "8 MB are 128 bodies of 64 kB"
    assert len(set().union(*sweeps)) == 300, "each has its turn"


def test_heads_cost_no_more_questions_than_they_may(
    beanstalkd: Beanstalkd, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("beanwatch.queues.beanstalkd.heads.MAX_HEADS", 100)
    station = Station(beanstalkd.address)
    with beanstalkd.client() as client:
        for number in range(250):
            client.use(f"t{number}")
            client.put("x")
        seen: set[str] = set()
        for sweep in range(1, 6):
            seen |= {path for path in station.poll() if path.endswith(".head_ready_age")}
            assert beanstalkd.stats()["cmd-peek-ready"] == 100 * sweep
    station.observer.close()
    assert len({path for path in seen if ".t" in path.removeprefix("queue.q1")}) == 250


@pytest.mark.parametrize(
    ("watch", "pause", "state"),
    [(False, False, "no_consumer"), (True, False, "stalled"), (True, True, "paused")],
)
def test_the_state_of_the_consumers_is_a_series(
    beanstalkd: Beanstalkd, station: Station, watch: bool, pause: bool, state: str
):
    with beanstalkd.client(use="t", watch="t" if watch else "default") as client:
        client.put("x")
        if pause:
            client.pause_tube("t", 60)
        station.poll()
        points = station.poll()
    assert points["queue.q1.t.consumer_state"] == CODES[state]


def test_a_server_that_is_gone_is_down_and_back_without_a_word_too_many(beanstalkd: Beanstalkd):
    station = Station(beanstalkd.address)
    station.poll()
    beanstalkd.stop()
    for _ in range(3):
        points = station.poll()
        assert points["server.q1.up"] == 0
        assert points["collector.q1.success"] == 0
        assert not [path for path in points if path.startswith("queue.")]
    beanstalkd.start()
    assert station.poll()["server.q1.up"] == 1
    station.observer.close()
    assert len(station.memory.messages) == 2
    assert "connection refused" in station.memory.messages[0]
    assert "read again" in station.memory.messages[1]


def test_a_server_that_dies_during_the_sweep_is_up_with_no_queues(
    beanstalkd: Beanstalkd, proxy: Callable[[str], Proxy]
):
    cut = proxy(beanstalkd.address)
    station = Station(cut.address)
    cut.truncate(1100)  # stats are about 1,000 bytes
    points = station.poll()
    station.observer.close()
    assert points["server.q1.up"] == 1
    assert points["collector.q1.success"] == 0
    assert "cannot read the queues: " in station.memory.messages[0]


def test_a_frozen_server_costs_its_timeout(beanstalkd: Beanstalkd):
    station = Station(beanstalkd.address, timeout=0.3, sweep_timeout=0.3, clock=time.monotonic)
    beanstalkd.freeze()
    started = time.monotonic()
    assert station.poll()["server.q1.up"] == 0
    assert time.monotonic() - started < 5


def test_nobody_there_at_all_is_said_with_the_address():
    port = closed_port()
    station = Station(f"127.0.0.1:{port}")
    assert station.poll()["server.q1.up"] == 0
    assert station.memory.messages == [
        f"127.0.0.1:{port}: connection refused: no server listens there"
    ]


def test_jobs_that_a_full_disk_put_in_limbo_are_found(tmp_path: Path, small_disk: Path):
    args = ["-b", str(small_disk), "-s", "16384"]
    with Beanstalkd(tmp_path / "server", args=args) as server:
        station = Station(server.address)
        with server.client(use="t", watch="t") as client:
            fill_disk(client)
            assert station.poll()["queue.q1.t.missing_jobs"] == 0
            lost = lose_jobs(client, 5)
            points = station.poll()
        station.observer.close()
    assert lost > 0
    assert points["queue.q1.t.missing_jobs"] == lost
    assert points["server.q1.missing_jobs"] == lost
