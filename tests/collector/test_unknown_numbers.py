"""What a poll sends of a server whose numbers are missing or cannot be right; ages over polls.

Cases 5 and 6 of what failed once: a missing field was 0, and a number that underflowed was sent.
"""

from collections.abc import Iterator
from pathlib import Path

import greenstalk
import pytest

from beanwatch.collectors.poll.observer import Observer
from beanwatch.collectors.poll.samples import StateFile
from beanwatch.queues.consumers import CODES
from beanwatch.queues.servers import Server, parse_server
from tests.collector.station import Station, measures, stats_with
from tests.queues.liar import STATS, TUBE, Liar, Lie, ok
from tests.real import Beanstalkd


@pytest.fixture
def station(beanstalkd: Beanstalkd) -> Iterator[Station]:
    one = Station(beanstalkd.address)
    yield one
    one.observer.close()


@pytest.fixture
def liar() -> Iterator[Liar]:
    with Liar() as one:
        yield one


def without_field(body: bytes, field: str) -> bytes:
    """A body that lacks a field."""
    lines = body.decode().split("\n")
    return "\n".join(line for line in lines if not line.startswith(f"{field}: ")).encode()


UNDERFLOW = 2**64
BUSY = stats_with(TUBE, pause_time_left=0, current_waiting=0)


def test_a_server_without_a_declared_number_is_no_server_and_makes_no_zeros(liar: Liar):
    station = Station(liar.address)
    well = station.poll()
    liar.lie(b"stats", without_field(STATS, "current-jobs-ready"))
    for _ in range(3):
        points = station.poll()
        assert points["server.q1.up"] == 0
        assert points["collector.q1.success"] == 0
        assert measures(points, "server.q1") == {"up": 0}
        assert not [path for path in points if path.startswith("queue.")]
    liar.lies.clear()
    assert station.poll().keys() >= well.keys()
    station.observer.close()
    text = f"{liar.address}: this is not beanstalkd: no current-jobs-ready in its statistics"
    assert station.memory.messages == [text, f"{liar.address}: all parts can be read again"]


@pytest.mark.parametrize(
    "body", [b"", without_field(TUBE, "current-jobs-ready"), TUBE.replace(b"\n", b"\n  ")]
)
def test_a_queue_without_a_declared_number_makes_no_zeros(liar: Liar, body: bytes):
    station = Station(liar.address)
    station.poll()
    liar.lie(b"stats-tube", body)
    for _ in range(2):
        points = station.poll()
        assert points["server.q1.up"] == 1
        assert points["server.q1.ready"] == 7
        assert "server.q1.missing_jobs" not in points
        assert points["collector.q1.success"] == 0
        assert not [path for path in points if path.startswith("queue.")]
    liar.lies.clear()
    points = station.poll()
    station.observer.close()
    assert points["queue.q1.t.put_rate"] == 0, "the queue was not taken for a new one"
    assert len(station.memory.messages) == 2
    assert "no current-jobs-ready in its statistics" in station.memory.messages[0]


@pytest.mark.parametrize(
    ("field", "absent"),
    [
        ("current-jobs-reserved", {"reserved", "consumer_state", "missing_jobs"}),
        ("current-jobs-ready", {"ready", "consumer_state", "missing_jobs", "head_ready_age"}),
        ("current-jobs-delayed", {"delayed", "missing_jobs"}),
        ("current-jobs-buried", {"buried", "missing_jobs", "head_buried_age"}),
        ("current-watching", {"consumers", "consumer_state"}),
        ("current-waiting", {"idle_consumers", "consumer_state"}),
        ("total-jobs", {"puts", "put_rate", "missing_jobs"}),
        ("cmd-delete", {"deletes", "delete_rate", "missing_jobs"}),
        ("current-using", {"current_using"}),
    ],
)
def test_a_number_that_underflowed_has_no_point_nor_what_follows_from_it(
    liar: Liar, field: str, absent: set[str]
):
    station = Station(liar.address)
    liar.lie(b"stats-tube", BUSY)
    station.poll()
    well = measures(station.poll(), "queue.q1.t").keys()
    assert well >= absent
    liar.lie(b"stats-tube", stats_with(BUSY, **{field: UNDERFLOW - 1}))
    points = station.poll()
    assert well - measures(points, "queue.q1.t").keys() == absent
    assert max(points.values()) < 2**63
    assert points["collector.q1.success"] == 0, "a number was left out"
    # What is added up over the queues is not known either.
    assert ("server.q1.missing_jobs" in points) == ("missing_jobs" not in absent)
    liar.lie(b"stats-tube", BUSY)
    assert station.poll()["collector.q1.success"] == 1
    assert measures(station.poll(), "queue.q1.t").keys() == well
    station.observer.close()
    text = f"t: {field} is {UNDERFLOW - 1}, which is not a count"
    assert station.memory.messages == [
        f"{liar.address}: left out an implausible value: {text}",
        f"{liar.address}: all numbers are plausible again",
    ]


def test_a_number_of_the_server_that_underflowed_has_no_point(liar: Liar):
    station = Station(liar.address)
    well = station.poll()
    liar.lie(b"stats", stats_with(STATS, current_jobs_reserved=UNDERFLOW - 1))
    points = station.poll()
    station.observer.close()
    assert well.keys() - points.keys() == {"server.q1.reserved"}
    assert points["server.q1.up"] == 1
    assert (well["collector.q1.success"], points["collector.q1.success"]) == (1, 0)


@pytest.mark.parametrize(
    ("command", "reply", "text"),
    [
        (b"stats", ok(stats_with(STATS, rusage_utime="much")), "server: rusage-utime is 'much'"),
        (b"stats", ok(stats_with(STATS, draining="maybe")), "server: draining is 'maybe'"),
        (b"list-tubes", ok(b"---\n- t\n- a 1 1\n"), "server: it lists a queue with the invalid"),
        (b"peek-ready", b"FOUND x 1\r\ny\r\n", "t: the id of its first ready job is 'x'"),
        (b"stats-job", ok(b"---\nid: 5\nstate: ready\n"), "server: it described job '5' instead"),
    ],
)
def test_a_poll_that_left_out_a_value_is_no_success(
    liar: Liar, command: bytes, reply: bytes, text: str
):
    station = Station(liar.address)
    told = [station.poll()["collector.q1.success"]]
    liar.lies[command] = Lie(reply)
    told.append(station.poll()["collector.q1.success"])
    liar.lies.clear()
    told.append(station.poll()["collector.q1.success"])
    station.observer.close()
    assert told == [1, 0, 1]
    assert f"left out an implausible value: {text}" in station.memory.messages[0]


def test_workers_of_several_queues_are_not_called_stalled_while_the_total_is_not_known(liar: Liar):
    """None of this queue's jobs is reserved, but its workers may all hold jobs of another one."""
    station = Station(liar.address)
    told = []
    for reserved in (9, 9, UNDERFLOW - 1, UNDERFLOW - 1, 0, 0):
        liar.lie(b"stats", stats_with(STATS, current_jobs_reserved=reserved))
        liar.lie(b"stats-tube", stats_with(BUSY, current_jobs_reserved=0))
        told.append(station.poll().get("queue.q1.t.consumer_state"))
    station.observer.close()
    saturated, stalled = CODES["saturated"], CODES["stalled"]
    assert told == [saturated, saturated, None, None, None, stalled]


def test_a_doubt_is_said_once_though_its_number_changes_and_again_when_it_is_over(liar: Liar):
    station = Station(liar.address)
    for numbers in ((1, 2, 3, 1), (4, 1)):
        for less in numbers:
            liar.lie(b"stats-tube", stats_with(TUBE, current_jobs_reserved=UNDERFLOW - less))
            station.poll()
            station.poll(queues=False)  # which looks at no queue, and so ends no doubt
        liar.lies.clear()
        for _ in range(3):
            station.poll()
    station.observer.close()
    assert station.memory.messages == [
        f"{liar.address}: {text}"
        for less in (1, 4)
        for text in (
            f"left out an implausible value: t: current-jobs-reserved is {UNDERFLOW - less}, "
            "which is not a count",
            "all numbers are plausible again",
        )
    ]
    assert {record["context"]["server"] for record in station.memory.records} == {"q1"}


def test_a_name_that_no_queue_can_have_makes_no_series_and_is_said(liar: Liar):
    station = Station(liar.address)
    liar.lie(b"list-tubes", b"---\n- t\n- a 1 1\n- a\x1b[2J\n")
    for _ in range(2):
        points = station.poll()
    station.observer.close()
    assert {path.split(".")[2] for path in points if path.startswith("queue.")} == {"t"}
    text = "server: it lists a queue with the invalid name 'a 1 1'"
    begun = f"{liar.address}: left out an implausible value"
    assert station.memory.messages == [f"{begun}: {text}"]
    assert not [command for command in liar.commands if b"a 1" in command]


def test_a_field_that_is_called_like_a_line_of_graphites_makes_none(liar: Liar):
    station = Station(liar.address)
    liar.lie(b"stats", STATS + b"x 1 1: 7\nbeanwatch.server.q1.up 0: 8\n")
    points = station.poll()
    station.observer.close()
    assert points["server.q1.up"] == 1
    assert points["server.q1.x_1_1"] == 7
    assert points["server.q1.beanwatch_server_q1_up_0"] == 8


# -- head ages over several polls


def test_ages_of_heads_go_on_in_another_process_that_read_the_state(
    beanstalkd: Beanstalkd, tmp_path: Path
):
    with beanstalkd.client(use="t", watch="t") as client:
        client.put("x", ttr=60)
        client.bury(client.reserve(timeout=0))
    state = StateFile(str(tmp_path / "state"), clock=lambda: 1030.0, wall=lambda: 1e9)
    first = Station(beanstalkd.address)
    first.poll()
    first.poll()
    first.observer.close()
    state.save({"q1": first.samples})
    second = Station(beanstalkd.address, samples=state.load()["q1"])
    second.now = 1035.0
    points = second.poll()
    second.observer.close()
    assert points["queue.q1.t.head_buried_age"] == 35
    assert points["queue.q1.t.put_rate"] == 0
    assert points["server.q1.restarts"] == 0


def test_ages_of_heads_are_of_one_life_of_the_server(tmp_path: Path):
    """With a binlog the job is the same; how long it is buried nobody knows any more."""
    with Beanstalkd(tmp_path, binlog=True) as server:
        station = Station(server.address)
        with server.client(use="t", watch="t") as client:
            client.put("x", ttr=60)
            client.bury(client.reserve(timeout=0))
        told = []
        for restart in (False, False, True, False):
            if restart:
                server.kill()
                server.start()
            told.append(station.poll()["queue.q1.t.head_buried_age"])
        points = station.poll()
        station.observer.close()
    assert told == [0, 10, 0, 10]
    assert points["server.q1.restarts"] == 1
    assert points["server.q1.missing_jobs"] == 0


def test_ages_of_heads_survive_sweeps_that_fail_and_polls_without_queues(liar: Liar):
    station = Station(liar.address)
    station.poll()
    station.poll(queues=False)
    liar.lies[b"list-tubes"] = Lie(b"OUT_OF_MEMORY\r\n")
    for _ in range(3):
        assert "queue.q1.t.ready" not in station.poll()
    liar.lies.clear()
    points = station.poll()
    station.observer.close()
    assert points["queue.q1.t.head_buried_age"] == 50


# -- refused puts


def test_refused_puts_are_a_series_of_the_server(beanstalkd: Beanstalkd, station: Station):
    assert station.poll()["server.q1.rejected_puts"] == 0
    with beanstalkd.client() as client, pytest.raises(greenstalk.JobTooBigError):
        client.put("x" * 100_000)
    told = [station.poll(queues=number != 1)["server.q1.rejected_puts"] for number in range(3)]
    assert told == [0, 1, 1]


def test_the_problems_of_a_server_come_with_an_observation_that_asks_for_them(liar: Liar):
    observer = Observer(Server("q1", parse_server(liar.address)))
    liar.lie(b"stats", STATS.replace(b"draining: false", b"draining: true"))
    liar.lie(b"stats-tube", stats_with(TUBE, total_jobs=54))
    assert observer.observe().problems == ()
    seen = observer.observe(problems=True)
    observer.close()
    assert [problem.text for problem in seen.problems] == [
        "is draining: it accepts no new jobs",
        "lost track of 2 jobs of queue t (binlog's disk full?)",
    ]
    assert seen.missing_jobs == 2
