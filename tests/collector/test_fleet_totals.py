"""The sums of all workers' runs: they never fall, and never jump by runs of another time."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beanwatch.collectors.poll import fleet_totals
from beanwatch.collectors.poll.fleet_totals import FleetTotals
from beanwatch.collectors.poll.run_history import WINDOW
from beanwatch.queues.servers import Server, parse_server
from beanwatch.store.heartbeats import Worker
from beanwatch.store.run_totals import MAX_CARRIED, QueueRuns, RunTotals, add_totals, summarize
from beanwatch.store.workers_needed import BUSY_SHARE, workers_needed
from tests.records import make_beat

ADDRESS = "queue1:11300"
SERVERS = [Server("q1", parse_server(ADDRESS)), Server("q2", parse_server("queue2:11300"))]


class Fleet:
    """A fleet of workers, and the totals of a collector that reads their records."""

    def __init__(self, servers: list[Server] | None = None) -> None:
        self.now = 10_000.0
        self.told: list[str] = []
        self.totals = FleetTotals(
            SERVERS if servers is None else servers, self.told.append, clock=lambda: self.now
        )

    def read(self, *workers: Worker, after: float = 10.0) -> None:
        self.now += after
        self.totals.update(workers)

    def worker(self, runs: int, *, age: float = 3600.0, **fields: Any) -> Worker:
        """A worker that was started `age` seconds ago, and has run `runs` jobs of 2 s."""
        name = fields.pop("name", "w1")
        kinds = {
            "totals": (RunTotals("mail", "send", {"ok": runs}, 2.0 * runs, (0,) * 8 + (runs,)),),
            "instance": f"{name}-a",
            "server": ADDRESS,
            "started_at": 5.0,
            "beat_at": 5.0 + age,
        }
        return Worker(f"web1.{name}", 0.0, make_beat(**{**kinds, **fields}))

    def runs(self, outcome: str = "ok", server: str = "q1") -> int | None:
        found = dict(self.totals.sums()).get((server, "mail", "send"))
        return found.outcomes[outcome] if found else None


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


def test_workers_that_were_there_before_the_collector_count_from_now_on(fleet: Fleet) -> None:
    fleet.read(fleet.worker(1000))
    assert fleet.runs() == 0, "the next rise must be seen as one, not as a first value"
    fleet.read(fleet.worker(1007))
    assert fleet.runs() == 7
    ((_, total),) = fleet.totals.sums()
    assert (total.seconds, total.buckets[8], sum(total.buckets)) == (14, 7, 7)


def test_a_worker_that_starts_later_counts_in_full_and_stays_when_it_is_gone(fleet: Fleet) -> None:
    fleet.read(fleet.worker(1000))
    fleet.read(fleet.worker(1000), fleet.worker(5, name="w2", age=3.0))
    assert fleet.runs() == 5
    fleet.read(fleet.worker(1001))
    assert fleet.runs() == 6
    fleet.read(fleet.worker(3, age=4.0, instance="w1-b"))
    assert fleet.runs() == 9
    fleet.read()
    assert fleet.runs() == 9


def test_a_worker_that_was_away_for_hours_is_not_counted_twice(fleet: Fleet) -> None:
    fleet.read()
    fleet.read(fleet.worker(50, age=5.0))
    fleet.read(after=4 * 3600)
    fleet.read(fleet.worker(60, age=4 * 3600 + 5.0))
    assert fleet.runs() == 60


def test_a_worker_from_before_the_collector_that_is_seen_late_does_not_jump(fleet: Fleet) -> None:
    fleet.read()
    fleet.read(fleet.worker(1000, age=3600.0))
    assert fleet.runs() == 0
    fleet.read(fleet.worker(1001, age=3610.0))
    assert fleet.runs() == 1


def test_a_record_from_a_backup_lets_no_sum_fall_and_counts_nothing_twice(fleet: Fleet) -> None:
    fleet.read(fleet.worker(10))
    for runs, sum_ in ((15, 5), (11, 5), (15, 5), (16, 6)):
        fleet.read(fleet.worker(runs))
        assert fleet.runs() == sum_


def test_an_old_or_foreign_record_without_runs_is_not_a_worker_without_runs(fleet: Fleet) -> None:
    fleet.read(fleet.worker(0, totals=None), Worker("x", 0.0, None, "it is not JSON"))
    fleet.read(fleet.worker(0, totals=None))
    assert fleet.totals.sums() == []
    assert fleet.totals.queue_runs("q1", "mail") is None


def test_instances_between_two_polls_are_counted_by_the_next_one(fleet: Fleet) -> None:
    fleet.read()
    fleet.read(fleet.worker(10, age=5.0))
    # The second instance has come and gone.
    fleet.read(fleet.worker(25, age=3.0, instance="w1-c", totals_of="w1-a"))
    assert fleet.runs() == 25
    fleet.read(fleet.worker(99, name="w2", age=3.0, totals_of="seen by nobody"))
    assert fleet.runs() == 25, "some of these may be from before the collector"
    fleet.read(fleet.worker(100, name="w2", age=13.0, totals_of="seen by nobody"))
    assert fleet.runs() == 26


def test_a_new_kind_of_a_known_worker_counts_in_full(fleet: Fleet) -> None:
    fleet.read(fleet.worker(10, totals=()))
    fleet.read(fleet.worker(3))
    assert fleet.runs() == 3


@pytest.mark.parametrize(
    ("servers", "address", "node"),
    [
        (SERVERS, "queue2:11300", "q2"),
        (SERVERS, "10.0.0.7:11300", "10_0_0_7_11300"),
        (SERVERS[:1], "an-alias:11300", "q1"),
    ],
)
def test_the_server_is_the_one_of_the_collector(
    servers: list[Server], address: str, node: str
) -> None:
    fleet = Fleet(servers)
    fleet.read(fleet.worker(1, server=address))
    assert fleet.runs(server=node) == 0


def test_instances_that_are_forgotten_do_not_count_anew(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet_totals, "MAX_ENDED", 3)
    fleet.read()
    for number in range(10):
        fleet.read(fleet.worker(7, name=f"w{number}", age=1.0))
    assert fleet.runs() == 70
    fleet.read(fleet.worker(8, name="w0", age=101.0))
    assert fleet.runs() == 70
    fleet.read(fleet.worker(9, name="w0", age=111.0), fleet.worker(2, name="new", age=1.0))
    assert fleet.runs() == 73


def test_kinds_and_outcomes_are_limited_and_that_is_told(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet_totals, "MAX_SUMS", 2)
    fleet.read()
    many = {f"outcome{number}": 1 for number in range(19)}
    kinds = tuple(RunTotals("mail", f"job{n}", {"ok": 1, **many}, 1.0, (1,)) for n in range(5))
    fleet.read(fleet.worker(0, age=1.0, totals=kinds))
    sums = dict(fleet.totals.sums())
    assert list(sums) == [("q1", "mail", "job0"), ("q1", "mail", "job1"), ("_other",) * 3]
    assert sums["_other", "_other", "_other"].outcomes["ok"] == 3
    assert max(len(one.outcomes) for one in sums.values()) == 20
    assert "more than 2 kinds of job" in fleet.told[0]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b"]),  # a worker
            st.sampled_from(["run", "run", "restart", "vanish", "return", "collect"]),
            st.integers(1, 9),
        ),
        max_size=30,
    )
)
def test_the_sum_is_what_ran_and_was_seen_whatever_happens_to_workers(
    steps: list[tuple[str, str, int]],
) -> None:
    fleet = Fleet()
    fleet.read()
    runs, instances, born = Counter[str](), Counter[str](), dict.fromkeys("ab", fleet.now)
    away: set[str] = set()
    counted: dict[tuple[str, int], int] = {}
    last = 0
    for name, what, number in steps:
        if what == "run":
            runs[name] += number
        elif what == "restart":
            instances[name] += 1
            runs[name], born[name] = 0, fleet.now
        elif what == "vanish":
            away.add(name)
        elif what == "return":
            away.discard(name)
        fleet.now += 1.0
        present = [one for one in "ab" if one not in away]
        for one in present:
            counted[one, instances[one]] = runs[one]
        workers = [
            fleet.worker(
                runs[one], name=one, age=fleet.now - born[one], instance=f"{one}{instances[one]}"
            )
            for one in present
        ]
        fleet.read(*workers, after=0.0)
        now = fleet.runs() or 0
        assert now >= last
        assert now == sum(counted.values())
        last = now


# -- how long runs take, and how many workers that needs


def test_the_mean_is_of_the_last_ten_minutes(fleet: Fleet) -> None:
    slow = RunTotals("mail", "send", {"ok": 10}, 1000.0, (0,) * 15 + (10,))
    fleet.read(fleet.worker(0, totals=(slow,)))
    assert fleet.totals.queue_runs("q1", "mail") == QueueRuns(100.0), "since the worker's start"
    runs, seconds, retries = 10, 1000.0, 0
    for _ in range(70):
        runs, seconds, retries = runs + 20, seconds + 20 * 0.5, retries + 5
        outcomes = {"ok": runs - retries, "retry": retries}
        one = RunTotals("mail", "send", outcomes, seconds, (0,) * 15 + (runs,))
        fleet.read(fleet.worker(0, totals=(one,)))
    found = fleet.totals.queue_runs("q1", "mail")
    assert found is not None
    assert found.mean_run == pytest.approx(0.5)
    assert found.retry_rate == pytest.approx(0.5)
    for _ in range(70):
        fleet.read()
    found = fleet.totals.queue_runs("q1", "mail")
    assert found is not None
    assert (found.mean_run, found.retry_rate) == (pytest.approx(0.5), 0), "the last known mean"
    assert fleet.totals.queue_runs("q2", "mail") is None
    assert WINDOW == 600


TIMES = st.floats(0, 1e5)


@given(
    st.floats(1e-4, 1e4),
    st.none() | st.floats(0, 100),
    st.floats(0, 1),
    st.integers(0, 10**6),
    st.floats(0, 1e3),
    st.floats(1, 3600),
)
def test_that_many_workers_do_the_work_within_the_target_and_keep_a_fifth_of_their_time(
    mean: float, retry_rate: float | None, share: float, ready: int, put_rate: float, target: float
) -> None:
    runs = QueueRuns(mean, retry_rate, share)
    needed = workers_needed(runs, ready, put_rate, target=target)
    if needed is None:
        assert retry_rate is None
        assert share == 1
        return
    retries = put_rate * share / (1 - share) if retry_rate is None else retry_rate
    work = (ready + (put_rate + retries) * target) * mean  # seconds, until the target
    assert needed * target * BUSY_SHARE == pytest.approx(work, rel=1e-6, abs=target * 0.001)
    more = workers_needed(runs, ready + 1, put_rate + 1, target=target)
    assert more is not None
    assert more >= needed


@pytest.mark.parametrize(
    ("runs", "ready", "put_rate"),
    [(None, 1, 1.0), (QueueRuns(1.0), None, 1.0), (QueueRuns(1.0), 1, None)],
)
def test_what_is_not_known_is_no_number_of_workers(
    runs: QueueRuns | None, ready: int | None, put_rate: float | None
) -> None:
    assert workers_needed(runs, ready, put_rate) is None


KINDS = st.dictionaries(
    st.tuples(st.sampled_from("qr"), st.sampled_from("ab")),
    st.tuples(st.integers(0, 9), st.integers(0, 9)),
)


@given(KINDS, KINDS)
def test_the_runs_of_two_instances_add_up(
    one: dict[tuple[str, str], tuple[int, int]], other: dict[tuple[str, str], tuple[int, int]]
) -> None:
    parts = [
        [RunTotals(*kind, {"ok": a, "retry": b}, a + b, (a, b)) for kind, (a, b) in kinds.items()]
        for kinds in (one, other)
    ]
    found = {(total.queue, total.job): total for total in add_totals(*parts)}
    assert found.keys() == one.keys() | other.keys()
    for kind, total in found.items():
        a, b = (sum(kinds.get(kind, (0, 0))[n] for kinds in (one, other)) for n in (0, 1))
        assert total == RunTotals(*kind, {"ok": a, "retry": b}, a + b, (a, b))


def test_what_is_carried_on_is_limited() -> None:
    earlier = [RunTotals("q", f"old{n}", {"ok": 1}, 1.0, (1,)) for n in range(999)]
    later = [RunTotals("q", f"new{n}", {"ok": 1}, 1.0, (1,)) for n in range(50)]
    found = add_totals(earlier, later)
    assert len(found) == MAX_CARRIED
    assert {one.job for one in later} <= {one.job for one in found}


def test_the_example_of_the_documentation() -> None:
    # 2 jobs a second of 1.5 s each, a tenth of the runs is repeated, and 600 jobs wait.
    runs = summarize([RunTotals("mail", "send", {"ok": 90, "retry": 10}, 150.0, (0,) * 8 + (100,))])
    assert runs == QueueRuns(1.5, None, 0.1)
    assert workers_needed(runs, 600, 2.0) == pytest.approx(7.917)
