"""What Prometheus gets: every known number under its name, nothing that is not known."""

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open
from prometheus_client.parser import text_string_to_metric_families as parse_plain

from beanwatch.collectors.poll.derive import ObservedQueue
from beanwatch.collectors.poll.fleet_totals import FleetTotals
from beanwatch.collectors.poll.observer import Observation
from beanwatch.collectors.poll.poller import Poll
from beanwatch.collectors.poll.worker_series import FleetPoll
from beanwatch.collectors.serve.board import Board
from beanwatch.queues.base import Chosen, Problem
from beanwatch.queues.consumers import STATES
from beanwatch.queues.model import QueueState, ServerState
from beanwatch.queues.servers import Server, parse_server
from beanwatch.store.health import HEALTH
from beanwatch.store.heartbeats import Worker
from beanwatch.store.run_totals import RunTotals
from beanwatch.telemetry.prometheus import OPENMETRICS, Page, wants_openmetrics
from beanwatch.telemetry.series import GROUPS
from tests.real import Beanstalkd, closed_port, free_port, spawn, stop_process, wait_until
from tests.records import make_beat

BEANWATCH = str(Path(sys.executable).parent / "beanwatch")
SERVER = Server("q1", parse_server("queue1:11300"))
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def board(clock: Clock) -> Board:
    return Board(30.0, clock=clock, now=lambda: clock.now + 1e9)


def seen(*queues: QueueState, state: ServerState | None = None, rest: int = 0) -> Observation:
    names = [queue.name for queue in queues]
    observed = {queue.name: ObservedQueue(queue) for queue in queues}
    chosen = Chosen(names[: len(names) - rest], names[len(names) - rest :])
    return Observation(state or ServerState(), observed, chosen)


def poll(observation: Observation, *, has_queues: bool = True) -> Poll:
    return Poll(SERVER, 1, observation, has_queues, 0.25)


def read(page: Page) -> Samples:
    """Read a page in both formats with the parsers of prometheus_client, which must agree."""
    plain = flatten(parse_plain(page.text().decode()))
    assert flatten(parse_open(page.text(openmetrics=True).decode())) == plain
    return plain


def flatten(families: Iterator[Metric]) -> Samples:
    return {
        (sample.name.removeprefix("beanwatch_"), frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def find(samples: Samples, name: str, **labels: str) -> list[float]:
    wanted = set(labels.items())
    return [value for (one, own), value in samples.items() if one == name and wanted <= own]


def test_every_known_number_of_a_queue_is_a_sample_and_no_other(board: Board) -> None:
    known = QueueState("mail", ready=3, buried=0, consumers=2, puts=7, head_ready_age=1.5)
    observed = ObservedQueue(known, put_rate=1.0, drain_seconds=9.0, consumer_state="stalled")
    board.post(poll(Observation(ServerState(), {"mail": observed}, Chosen(["mail"]))))
    samples = {
        (name, *sorted(dict(labels).items() - {("system", "beanstalkd"), ("server", "q1")})): value
        for (name, labels), value in read(board.page()).items()
        if name.startswith("queue_") and ("queue", "mail") in labels
    }
    queue = ("queue", "mail")
    assert samples == {
        ("queue_jobs", queue, ("state", "ready")): 3,
        ("queue_jobs", queue, ("state", "buried")): 0,
        ("queue_consumers", queue, ("state", "connected")): 2,
        ("queue_puts_total", queue): 7,
        ("queue_head_ready_age_seconds", queue): 1.5,
        ("queue_drain_seconds", queue): 9,
        **{
            ("queue_consumer_state", queue, ("state", state)): int(state == "stalled")
            for state in STATES
        },
    }


def test_the_wait_of_a_failed_job_is_no_sample(board: Board) -> None:
    dead = QueueState("dead", ready=1, head_ready_age=9.0, is_dead_letter=True)
    board.post(poll(seen(dead, QueueState("a", ready=1, head_ready_age=2.0))))
    assert find(read(board.page()), "queue_head_ready_age_seconds") == [2]


def test_a_server_that_is_down_is_up_0_and_its_queues_are_gone(board: Board) -> None:
    board.post(poll(seen(QueueState("mail", ready=3), state=ServerState("1.13", uptime=100))))
    before = read(board.page())
    assert find(before, "server_up") == [1]
    assert find(before, "server_info", version="1.13") == [1]
    assert find(before, "server_start_time_seconds") == [1e9 + 900]
    board.post(poll(Observation(trouble="connection refused")))
    after = read(board.page())
    assert find(after, "server_up", server="q1", system="beanstalkd") == [0]
    assert find(after, "collector_poll_success") == [0]
    assert not [name for name, _ in after if name.startswith("queue_")]
    assert not find(after, "server_info")


def test_a_queue_that_is_gone_is_gone_at_the_next_poll(board: Board) -> None:
    board.post(poll(seen(QueueState("a", ready=1), QueueState("b", ready=1))))
    board.post(poll(seen(QueueState("a", ready=1))))
    assert find(read(board.page()), "queue_jobs", queue="a") == [1]
    assert find(read(board.page()), "queue_jobs", queue="b") == []


def test_queues_stay_between_two_polls_that_read_them_and_their_age_is_told(
    board: Board, clock: Clock
) -> None:
    board.post(poll(seen(QueueState("a", ready=1))))
    clock.now += 10
    board.post(poll(Observation(ServerState()), has_queues=False))
    samples = read(board.page())
    assert find(samples, "queue_jobs", queue="a") == [1]
    assert find(samples, "collector_queues_age_seconds") == [10]
    assert find(samples, "collector_poll_age_seconds") == [0]


def test_queues_come_back_with_the_server_if_it_is_the_same_process(
    board: Board, clock: Clock
) -> None:
    state = ServerState(instance="a")
    board.post(poll(seen(QueueState("a", ready=1), state=state)))
    for has_queues in (False, True):
        board.post(poll(Observation(trouble="no answer"), has_queues=has_queues))
        samples = read(board.page())
        assert not find(samples, "queue_jobs")
        assert not find(samples, "collector_queues_success")
        assert not find(samples, "collector_queues")
        board.post(poll(Observation(state), has_queues=False))
        samples = read(board.page())
        assert find(samples, "queue_jobs", queue="a") == [1]
        assert find(samples, "collector_queues_success") == [1]
    clock.now += 31
    board.post(poll(Observation(state), has_queues=False))
    samples = read(board.page())
    assert not find(samples, "queue_jobs")
    assert not find(samples, "collector_queues_success")
    board.post(poll(seen(QueueState("a", ready=1), state=state)))
    board.post(poll(Observation(ServerState(instance="b")), has_queues=False))
    assert not find(read(board.page()), "queue_jobs")


def test_what_only_the_queues_of_a_server_tell_stays_with_them(board: Board, clock: Clock) -> None:
    state = ServerState(instance="a", connections=1, queues=1, ready=7)
    board.post(poll(seen(QueueState("a", ready=7, missing_jobs=2), state=state)))
    clock.now += 10
    state = ServerState(instance="a", connections=2)
    board.post(poll(Observation(state, None), has_queues=False))
    samples = read(board.page())
    assert find(samples, "server_missing_jobs") == [2], "an alert needs it at each scrape"
    assert find(samples, "server_jobs", state="ready") == [7]
    assert find(samples, "server_queues") == [1]
    assert find(samples, "server_connections") == [2]
    board.post(poll(Observation(state._replace(instance="b"), None), has_queues=False))
    samples = read(board.page())
    assert find(samples, "server_jobs", state="ready") == [], "of the process before"
    assert find(samples, "server_missing_jobs") == []


def test_queues_that_could_not_be_read_are_not_known(board: Board) -> None:
    board.post(poll(seen(QueueState("a", ready=1))))
    board.post(poll(Observation(ServerState(), None, trouble="cannot read the queues")))
    samples = read(board.page())
    assert not find(samples, "queue_jobs")
    assert find(samples, "collector_poll_success") == [0]
    assert find(samples, "server_up") == [1]


def test_what_was_read_too_long_ago_is_left_out_and_its_age_stays(
    board: Board, clock: Clock
) -> None:
    board.post(poll(seen(QueueState("a", ready=1))))
    board.post_fleet(FleetPoll(workers=[Worker("web1.mailer", 2.0, make_beat())]))
    clock.now += 31
    samples = read(board.page())
    assert {name for name, _ in samples} == {"collector_poll_age_seconds", "workers_success"}
    assert find(samples, "workers_success") == [0]
    assert find(samples, "collector_poll_age_seconds") == [31]


def test_the_start_of_a_server_does_not_move_with_its_rounded_uptime(
    board: Board, clock: Clock
) -> None:
    starts = []
    for uptime in (100, 101, 101, 103, 2):
        board.post(poll(seen(state=ServerState(uptime=uptime))))
        starts += find(read(board.page()), "server_start_time_seconds")
        clock.now += 1
    assert starts == [1e9 + 900] * 4 + [1e9 + 1002]


def test_queues_beyond_the_limit_share_one_name_and_are_counted(board: Board) -> None:
    queues = [QueueState(name, ready=1) for name in "abcd"]
    board.post(poll(seen(*queues, rest=3)))
    samples = read(board.page())
    assert find(samples, "queue_jobs", queue="a") == [1]
    assert find(samples, "queue_jobs", queue="_other") == [3]
    assert find(samples, "queue_jobs", queue="b") == []
    assert find(samples, "collector_queues_skipped") == [3]
    assert find(samples, "collector_queues") == [4]


def test_counters_of_queues_beyond_the_limit_never_fall(board: Board) -> None:
    sweeps = [
        {"a": 5, "b": 1000, "c": 40},
        {"a": 6, "b": 1003},  # c was deleted
        {"b": 1003, "a": 6, "d": 9},  # d is new, and a has changed its place with b
        {"b": 1004, "a": 1, "d": 9},  # a was deleted and created again
    ]
    told = []
    for queues in sweeps:
        states = [QueueState(name, puts=puts, deletes=None) for name, puts in queues.items()]
        board.post(poll(Observation(ServerState(), None, trouble="cannot read the queues")))
        board.post(poll(Observation(trouble="no answer")))
        board.post(poll(seen(*states, rest=len(states) - 1)))
        board.post(poll(Observation(ServerState()), has_queues=False))
        samples = read(board.page())
        told += find(samples, "queue_puts_total", queue="_other")
        assert not find(samples, "queue_deletes_total", queue="_other"), "not known"
    assert told == [0, 3, 12, 13], "what happened around a failed poll is counted"


def test_counters_of_other_queues_rise_by_less_if_they_do_not_begin_at_0(board: Board) -> None:
    rabbitmq = Server("q1", parse_server("rabbitmq://queue1"))
    told = []
    for queues in ({"a": 1, "b": 1000}, {"a": 1, "b": 1003, "c": 500}, {"a": 1, "b": 7, "c": 502}):
        states = [QueueState(name, puts=puts) for name, puts in queues.items()]
        board.post(poll(seen(*states, rest=len(states) - 1))._replace(server=rabbitmq))
        told += find(read(board.page()), "queue_puts_total", queue="_other")
    assert told == [0, 3, 5], "c may be older than it looks, and b has lost a part"


def test_a_counter_of_another_queue_that_becomes_known_adds_nothing(board: Board) -> None:
    told = []
    for puts in (None, 1000, 1001):
        states = [QueueState("a", puts=1), QueueState("b", puts=puts)]
        board.post(poll(seen(*states, rest=1)))
        told += find(read(board.page()), "queue_puts_total", queue="_other")
    assert told == [0, 1]


def test_counters_of_other_queues_go_on_after_a_restart_of_the_server(board: Board) -> None:
    told = []
    for instance, puts in (("a", 100), ("a", 107), ("b", 120), ("b", 121)):
        states = [QueueState(name, puts=puts) for name in "xy"]
        board.post(poll(seen(*states, state=ServerState(instance=instance), rest=1)))
        told += find(read(board.page()), "queue_puts_total", queue="_other")
    assert told == [0, 7, 127, 128]


def test_a_worker_has_the_time_of_its_last_beat_and_its_state(board: Board, clock: Clock) -> None:
    workers = [
        Worker("web1.mailer", 2.0, make_beat(state="busy", loop_at=1, beat_at=1, restarts=2)),
        Worker("web1.maker", 60.0, make_beat()),
        Worker("web2.x", 1.0, None, "the field state is missing"),
    ]
    board.post_fleet(FleetPoll(workers=workers, missing={"web*": 1}))
    clock.now += 5
    samples = read(board.page())
    beat = "worker_last_beat_timestamp_seconds"
    assert find(samples, beat, worker="web1.mailer") == [1e9 + 998]
    assert find(samples, beat, worker="web1.maker") == [1e9 + 940]
    assert find(samples, "worker_restarts", worker="web1.mailer") == [2]
    for worker, health in (("web1.mailer", "busy"), ("web1.maker", "dead")):
        states = {s: find(samples, "worker_state", worker=worker, state=s) for s in HEALTH}
        assert states == {state: [int(state == health)] for state in HEALTH}
    assert find(samples, "worker_state", worker="web2.x") == [], "its record cannot be read"
    assert find(samples, "workers_live") == [2], "it is alive all the same"
    assert find(samples, "worker_group_missing", group="web*") == [1]
    assert find(samples, "workers_success") == [1]


def test_heartbeats_that_could_not_be_read_are_told_and_no_worker_is(board: Board) -> None:
    assert not find(read(board.page()), "workers_success"), "nobody reads any"
    board.post_fleet(FleetPoll(workers=[Worker("web1.mailer", 2.0, make_beat())]))
    board.post_fleet(FleetPoll(is_known=False))
    samples = read(board.page())
    assert find(samples, "workers_success") == [0]
    assert not find(samples, "workers_live")
    assert not find(samples, "worker_state", worker="web1.mailer", state="idle")


def test_the_worst_fault_that_a_server_shows_is_a_number(board: Board) -> None:
    draining = Problem("warning", "is draining", has_series=True)
    for problems, worst in (
        ((), 0),
        ((draining,), 0),
        ((draining, Problem("warning", "lacks replicas")), 1),
        ((Problem("critical", "is split"), Problem("warning", "lacks replicas")), 2),
    ):
        board.post(poll(seen()._replace(problems=problems)))
        assert find(read(board.page()), "server_problem") == [worst]
    board.post(poll(Observation(ServerState()))._replace(has_queues=False))
    assert find(read(board.page()), "server_problem") == [2], "of the last poll of the queues"


def test_a_new_kind_of_job_is_shown_without_runs_at_first(clock: Clock) -> None:
    totals = FleetTotals([SERVER], clock=clock)
    board = Board(30.0, totals, clock=clock, now=clock)

    def read_runs(runs: int) -> list[float]:
        kinds = (RunTotals("mail", "send", {"timeout": runs}, 2.0, (0,) * 8 + (runs,)),)
        worker = Worker("web1.w", 0.0, make_beat(totals=kinds, started_at=5.0, beat_at=5.0))
        totals.update([worker] if runs else [])
        board.post_fleet(FleetPoll(workers=[worker]))
        return find(read(board.page()), "fleet_job_runs_total", outcome="timeout", queue="mail")

    # Else Prometheus would take the first timeout for one that was always there.
    assert [read_runs(runs) for runs in (0, 1, 1, 2)] == [[], [0], [0], [0]]
    clock.now += 61  # until then, others who read this page may not have had it
    assert [read_runs(runs) for runs in (2, 3)] == [[2], [3]]


def test_queues_that_could_not_be_read_are_told(board: Board) -> None:
    board.post(poll(seen(QueueState("a", ready=1))))
    assert find(read(board.page()), "collector_queues_success") == [1]
    board.post(poll(Observation(ServerState(), trouble="cannot read the queues")))
    assert find(read(board.page()), "collector_queues_success") == [0]
    some = seen(QueueState("a", ready=1))._replace(trouble="cannot read head ages")
    board.post(poll(some))
    assert find(read(board.page()), "collector_queues_success") == [0.5]
    board.post(poll(Observation(ServerState()), has_queues=False))
    assert find(read(board.page()), "collector_queues_success") == [0.5], "until the next sweep"
    board.post(poll(Observation(trouble="connection refused")))
    assert not find(read(board.page()), "collector_queues_success")


@settings(deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), unique=True))
def test_a_queue_of_any_name_is_read_back_with_this_name(names: list[str]) -> None:
    board = Board(30.0)
    board.post(poll(seen(*[QueueState(name, ready=1) for name in names])))
    samples = flatten(parse_plain(board.page().text().decode()))
    found = {dict(labels)["queue"] for name, labels in samples if name == "queue_jobs"}
    assert found == set(names)


def test_every_name_in_the_table_is_one_that_prometheus_takes() -> None:
    for group in GROUPS:
        names = [(series.prometheus, series.label) for series in group.series if series.prometheus]
        assert len(names) == len(set(names))
        for series in group.series:
            if series.prometheus:
                assert series.is_counter == series.prometheus.endswith("_total"), series.name


@pytest.mark.parametrize(
    ("accept", "is_open"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain;version=0.0.4", False),
        ("application/openmetrics-text", True),
        ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.8", False),
        (
            "application/openmetrics-text;version=1.0.0,"
            "application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5",
            True,
        ),
        ("application/openmetrics-text;q=nonsense, text/plain;q=0.1", False),
    ],
)
def test_the_client_chooses_the_format(accept: str, is_open: bool) -> None:
    assert wants_openmetrics(accept) == is_open


def scrape(port: int, path: str = "/metrics", accept: str = "") -> tuple[int, str, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Accept": accept})
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:
            return reply.status, reply.headers["Content-Type"], reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, "", error.read().decode()
    except OSError:
        return 0, "", ""


def test_a_real_collector_is_scraped_and_a_server_that_dies_is_told(
    beanstalkd: Beanstalkd, tmp_path: Path
) -> None:
    port = free_port()
    config = tmp_path / "beanwatch.toml"
    config.write_text(
        f'[servers]\nq1 = "{beanstalkd.address}"\nq2 = "127.0.0.1:{closed_port()}"\n'
        '[redis]\nurl = ""\n[collect]\ninterval = "100ms"\n'
    )
    with beanstalkd.client(use="mail") as client:
        client.put("x")
    argv = [BEANWATCH, "collect", "--config", str(config), "--listen", str(port)]
    process = spawn(argv, log=tmp_path / "log", cwd=tmp_path)
    try:
        wait_until(lambda: scrape(port, "/readyz")[0] == 200)
        assert scrape(port, "/livez") == (200, "text/plain; charset=utf-8", "ok\n")
        _, kind, text = scrape(port, accept="application/openmetrics-text")
        assert kind == OPENMETRICS
        samples = flatten(parse_open(text))
        assert find(samples, "queue_jobs", queue="mail", state="ready") == [1]
        assert find(samples, "server_up", server="q1") == [1]
        assert find(samples, "server_up", server="q2") == [0]
        beanstalkd.kill()
        wait_until(
            lambda: find(flatten(parse_plain(scrape(port)[2])), "server_up", server="q1") == [0]
        )
        lines = (tmp_path / "log").read_text().splitlines()
        messages = [json.loads(line)["message"] for line in lines]
        assert not [text for text in messages if "Graphite" in text or "2003" in text], messages
    finally:
        stop_process(process)


def test_an_address_that_is_not_free_is_exit_code_1_as_it_may_be_later_and_no_address_is_2(
    beanstalkd: Beanstalkd,
) -> None:
    argv = [BEANWATCH, "collect", "--server", beanstalkd.address, "--listen"]
    taken = f"127.0.0.1:{beanstalkd.port}"
    for listen, text, code in (
        (str(beanstalkd.port), f"cannot listen on {taken}: Address already in", 1),
        ("192.0.2.1:9137", "cannot listen on 192.0.2.1:9137: Cannot assign requested address", 1),
        ("nowhere.invalid:9137", "cannot listen on nowhere.invalid:9137: the host name cannot", 1),
        ("nonsense", "invalid address 'nonsense': expected host:port, or a port", 2),
    ):
        done = subprocess.run([*argv, listen], capture_output=True, text=True, timeout=60)
        assert done.returncode == code
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"beanwatch: --listen: {text}")
    done = subprocess.run([*argv, "9137", "--once"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "--listen has no effect with --once" in done.stderr
