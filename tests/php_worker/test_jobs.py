"""What becomes of a PHP worker's jobs: in beanstalkd, in the log, and in what the commands show."""

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from beanwatch.net.redis_reader import RedisReader
from beanwatch.net.redis_url import parse_redis_url
from beanwatch.store.ledger import find_buried, read_job, read_job_by_id
from beanwatch.store.outcome_counts import JobKind, read_outcomes
from beanwatch.worker.api.envelope import EnvelopeError, decode, derive_id
from beanwatch.worker.core.connection_protocol import JobStats
from beanwatch.worker.core.decide import FIRST_BACKOFF, MAX_DELAY, check_delay, decide_end
from tests.conftest import Result
from tests.php_worker.conftest import PHP_FILES, PREDIS, PhpWorker, Site
from tests.php_worker.php import PhpLoop
from tests.real import wait_until

Run = Callable[..., Result]
MAX_BODY = 65_535  # bytes, in beanstalkd
LAST = "attempt 5, the last; not counted: "


def finish(site: Site, worker: PhpWorker, *bodies: tuple[Any, ...]) -> list[dict[str, Any]]:
    """Put jobs (job, data, further fields of the envelope), and return the log of their runs."""
    before = len(worker.runs())
    for job, data, *more in bodies:
        site.put(worker.name, job, data, envelope=more[0] if more else {})
    wait_until(lambda: len(worker.runs()) == before + len(bodies), 60)
    return worker.runs()[before:]


def find_runs(worker: PhpWorker, job_id: int, least: int) -> list[dict[str, Any]]:
    """The log of the runs of one job, once there are that many."""
    runs = [run for run in worker.runs() if run["job_id"] == job_id]
    return runs if len(runs) >= least else []


@pytest.fixture(scope="module")
def worker(site: Site) -> PhpWorker:
    return site.start("jobs")


@pytest.mark.parametrize(
    ("job", "data", "outcome", "state", "reason"),
    [
        ("ok", {"to": "ann"}, "ok", {}, None),
        ("fail", {}, "retry", {"delayed": 1}, "DomainException: no"),
        ("bury", {}, "buried", {"buried": 1}, "nobody knows this address"),
        ("discard", {}, "discarded", {}, "too late"),
        ("retry", {"delay": 700}, "retry", {"delayed": 1}, "not now"),
        (
            "nothing",
            {},
            "invalid",
            {"buried": 1},
            "the application has no handler for the job 'nothing'",
        ),
        ("type", "text", "retry", {"delayed": 1}, "TypeError: "),
    ],
)
def test_each_way_to_end_a_job_has_its_outcome(
    site: Site,
    worker: PhpWorker,
    job: str,
    data: Any,
    outcome: str,
    state: dict[str, int],
    reason: str,
) -> None:
    (run,) = finish(site, worker, (job, data))
    assert run["outcome"] == outcome
    assert run["job"] == (job if job != "nothing" else "unknown")
    assert reason is None or run["reason"].startswith(reason)
    wait_until(lambda: site.broker.counts(worker.name, **state))
    with site.beanstalkd.client() as client:
        for number in [run["job_id"]] if state else []:
            client.delete(number)


def test_the_last_attempt_is_buried_and_a_poisonous_job_is_not_run(
    site: Site, worker: PhpWorker
) -> None:
    number = site.put(worker.name, "retry", {"delay": 0}, envelope={"id": "poor-1"})
    wait_until(lambda: site.broker.counts(worker.name, buried=1), 60)
    runs = wait_until(lambda: find_runs(worker, number, 5), 30)
    assert [run["outcome"] for run in runs] == ["retry"] * 4 + ["buried"]
    assert [run["attempt"] for run in runs] == [1, 2, 3, 4, 5]
    assert runs[-1]["reason"] == "not now (attempt 5, the last)"
    with site.beanstalkd.client() as client:
        client.delete(number)
    for _ in range(15):  # deliveries to workers that die
        with site.beanstalkd.client(use="poison", watch="poison") as client:
            number = number if _ else site.put("poison", "ok")
            client.reserve(timeout=10)
    poisoned = site.start("poison")
    wait_until(poisoned.runs, 30)
    (run,) = poisoned.runs()
    assert run["outcome"] == "poison"
    assert "deliveries that were never acknowledged: 15" in run["reason"]
    assert site.broker.counts("poison", buried=1)


def test_a_delay_that_beanstalkd_cannot_have_is_limited_as_by_our_own_worker(
    site: Site, worker: PhpWorker
) -> None:
    number = site.put(worker.name, "retry", {"delay": -5})
    runs = wait_until(lambda: find_runs(worker, number, 5), 60)
    assert [run["outcome"] for run in runs] == ["retry"] * 4 + ["buried"]
    endless = site.broker.put_raw('{"job": "retry", "data": {"delay": 1e999}}', queue=worker.name)
    (run,) = wait_until(lambda: find_runs(worker, endless, 1), 60)
    assert run["outcome"] == "retry"
    assert site.broker.job(endless)["delay"] == MAX_DELAY
    with site.beanstalkd.client() as client:
        for one in (number, endless):
            client.delete(one)
    with PhpLoop(PHP_FILES / "pheanstalk", "delay") as loop:
        for asked in (-5.0, 0.0, 0.1, 7.0, 2.0**33, math.inf, -math.inf):
            assert loop.ask(str(asked).replace("inf", "1e999").encode()) == math.ceil(
                check_delay(asked)
            )
        assert 2 < loop.ask(b"nan") <= FIRST_BACKOFF


@pytest.mark.parametrize(
    ("reserves", "releases", "outcome", "reason"),
    [
        (1, 0, "retry", "no"),
        (6, 0, "retry", "no"),  # its first five deliveries were to dead connections
        (9, 3, "retry", "no"),
        (5, 4, "buried", "no (attempt 5, the last)"),
        (6, 4, "buried", f"no ({LAST}1 delivery that nobody acknowledged)"),
        (10, 4, "buried", f"no ({LAST}5 deliveries that nobody acknowledged)"),
    ],
)
def test_deliveries_that_nobody_acknowledged_are_no_attempts(
    reserves: int, releases: int, outcome: str, reason: str
) -> None:
    counters = {"reserves": reserves, "releases": releases, "buries": 0, "kicks": 0}
    with PhpLoop(PHP_FILES / "pheanstalk", "fail") as loop:
        found, why, delay = loop.ask(json.dumps(counters).encode())
    assert (found, why.removeprefix("DomainException: ")) == (outcome, reason)
    longest = FIRST_BACKOFF * 2**releases if outcome == "retry" else 0
    assert longest / 2 <= delay <= longest
    # Our own worker decides the same while Redis is away.
    stats = JobStats(1, "t", priority=9, ttr=60, age=0, delay=0, **counters)
    own = decide_end(RuntimeError("no"), stats, 5, unstarted=None)
    assert (own.outcome, own.reason.removeprefix("RuntimeError: ")) == (outcome, reason)


def test_a_long_job_keeps_its_ttr(site: Site) -> None:
    worker = site.start("touch")
    site.put("touch", "busy", {"seconds": 5}, ttr=3)
    wait_until(worker.runs, 60)
    (run,) = worker.runs()
    assert (run["outcome"], run["attempt"]) == ("ok", 1)
    assert site.beanstalkd.stats()["job-timeouts"] == 0


def test_follow_ups_and_puts_have_the_ids_that_our_own_worker_gives_them(
    site: Site, worker: PhpWorker
) -> None:
    next_job = {"job": "report.build", "data": {"none": {}, "n": 1.0}, "delay": 0}
    first = {"queue": "next", "priority": 7, "ttr": 90, **next_job}
    (ok, failed, put) = finish(
        site,
        worker,
        ("ok", {}, {"id": "parent-1", "success": first}),
        ("bury", {}, {"id": "parent-2", "failure": {**next_job, "tube": "next"}}),
        ("put", {"queue": "next"}, {"id": "parent-3"}),
    )
    taken = [site.broker.take("next") for _ in range(3)]
    by_parent = {envelope["parent"]: (envelope, stats) for envelope, stats in taken}
    envelope, stats = by_parent["parent-1"]
    assert envelope["id"] == derive_id("parent-1", "success") == ok["follow_ups"][0]
    assert (envelope["job"], envelope["data"]) == ("report.build", {"none": {}, "n": 1.0})
    assert (stats["pri"], stats["ttr"]) == (7, 90)
    assert by_parent["parent-2"][0]["id"] == derive_id("parent-2", "failure")
    assert failed["follow_ups"] == [derive_id("parent-2", "failure")]
    assert by_parent["parent-3"][0]["id"] == derive_id("parent-3", "put:1")
    assert decode(json.dumps(envelope).encode()).parent == "parent-1"
    assert put["outcome"] == "ok"


def test_a_follow_up_that_is_too_big_buries_its_job_with_the_reason(
    site: Site, worker: PhpWorker
) -> None:
    follow_up = {"queue": "next", "job": "x", "data": {"text": ""}}
    room = MAX_BODY - len(json.dumps({"job": "ok", "data": {}, "success": follow_up}))
    follow_up["data"] = {"text": "x" * room}  # the follow-up has an id besides, and the time
    (run,) = finish(site, worker, ("ok", {}, {"success": follow_up}))
    assert run["outcome"] == "buried"
    assert run["reason"].startswith("the follow-up was not put: JOB_TOO_BIG")
    with site.beanstalkd.client() as client:
        client.delete(run["job_id"])


def test_the_commands_and_checks_show_the_jobs_by_their_ids(
    site: Site, worker: PhpWorker, run: Run
) -> None:
    finish(site, worker, ("bury", {}, {"id": "order-7"}))
    where = ("--redis", site.redis.url, "--server", site.beanstalkd.address)
    code, told, _ = run("beanwatch", "job", "order-7", *where)
    assert code == 0
    lines = told.splitlines()
    assert lines[0] == "bury order-7 in jobs"
    assert worker.id in told
    assert "nobody knows this address" in told
    assert "now: buried in jobs" in lines[-1]
    number = worker.runs()[-1]["job_id"]
    by_number = run("beanwatch", "job", number, *where).stdout
    assert by_number.partition("  now")[0] == told.partition("  now")[0]
    _, line, _ = run("check_job_failures", "--redis", site.redis.url, "-Q", "jobs")
    print(line)
    assert "bury" in line
    _, listed, _ = run("beanwatch", "workers", "list", worker.id, "--redis", site.redis.url)
    assert worker.id in listed
    reason = ("--reason", "nobody knows*")
    code, planned, _ = run("beanwatch", "queues", "kick", "jobs", *reason, "--dry-run", *where)
    assert code == 0
    assert "buried job" in planned


@pytest.mark.parametrize("php", [(), PREDIS], ids=["ext-redis", "Predis"])
def test_both_clients_of_redis_write_what_is_kept_of_runs(site: Site, php: Sequence[str]) -> None:
    name = "predis" if php else "extension"
    worker = site.start(name, php=php)
    finish(site, worker, ("ok", {}), ("bury", {}, {"id": f"{name}-7"}), ("busy", {"seconds": 1.5}))
    with RedisReader(parse_redis_url(site.redis.url), 5) as link:
        (entry,) = read_job(link.execute, f"{name}-7")
        instance = site.beanstalkd.stats()["id"]
        assert read_job_by_id(link.execute, instance, int(entry.job_id)) == [entry]
        (buried,) = find_buried(link.execute, instance, name)
        wait_until(lambda: read_outcomes(link.execute, 10)[JobKind(name, "busy")] == {"ok": 1})
        assert read_outcomes(link.execute, 10)[JobKind(name, "bury")] == {"buried": 1}
    assert (entry.worker, entry.queue, entry.job, entry.attempt) == (worker.id, name, "bury", 1)
    assert (entry.outcome, entry.reason) == ("buried", "nobody knows this address")
    assert (buried.uuid, buried.outcome, buried.reason) == (entry.uuid, "buried", entry.reason)
    wait_until(lambda: len(worker.beat().totals or ()) == 3)
    totals = {one.job: one for one in worker.beat().totals or ()}
    assert totals["bury"].outcomes == {"buried": 1}
    assert sum(totals["busy"].buckets) == 1
    assert totals["busy"].seconds == pytest.approx(1.5, abs=1.0)


def test_what_a_job_knows_of_its_errors_stays_as_it_was(site: Site, worker: PhpWorker) -> None:
    site.put(worker.name, "warn")
    seen = wait_until(lambda: [job.note for job in worker.beat().jobs if job.note], 30)
    assert seen == ["same"]
    wait_until(lambda: worker.runs("warn"), 30)


def test_a_follow_up_that_php_cannot_encode_buries_its_job_with_the_reason(
    site: Site, worker: PhpWorker
) -> None:
    """PHP decodes 1e999 as infinite."""
    before = len(worker.runs())
    with site.beanstalkd.client(use=worker.name) as client:
        follow_up = '{"queue": "next", "job": "x", "data": 1e999}'
        client.put(f'{{"job": "ok", "data": {{}}, "enqueued_at": 1e999, "success": {follow_up}}}')
        wait_until(lambda: len(worker.runs()) == before + 1, 60)
        run = worker.runs()[-1]
        assert (run["outcome"], run["wait_ms"] < 60e3) == ("buried", True)
        assert run["reason"].startswith("the follow-up was not put: Inf and NaN cannot be JSON")
        client.delete(run["job_id"])


def test_a_forked_child_of_a_job_reports_nothing(site: Site, worker: PhpWorker) -> None:
    (run,) = finish(site, worker, ("fork", {}))
    assert run["outcome"] == "ok"
    assert not [line for line in worker.lines() if "the worker ends" in line["message"]]
    assert worker.process.poll() is None


# PHP makes no object of JSON with a name that begins with the character 0.
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=3)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(max_size=5)
    | st.floats(-1e9, 1e9),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2),
    max_leaves=4,
)
QUEUES = st.sampled_from(["email", "-email", "a b", "x\n", "", "ä", "a" * 200, "a" * 201]) | JSON
NUMBERS = st.sampled_from([0, 1, -1, 2**32 - 1, 2**32, 1.5, True, None, "7"])
OPTIONAL = {"data": JSON, "priority": NUMBERS, "delay": NUMBERS, "ttr": NUMBERS}
FOLLOW_UP = st.fixed_dictionaries(
    {"job": st.sampled_from(["x", "", "é" * 200, "x" * 201]) | JSON},
    optional={"queue": QUEUES, "tube": QUEUES, **OPTIONAL},
)
TARGETS: list[dict[str, Any]] = [{"queue": "x"}, {"tube": "x"}, {"queue": "x", "tube": None}]
# Jobs whose follow-up has at most one fault, because with two nobody sees that one was missed.
FOLLOWED = st.builds(
    lambda target, more: {"job": "x", "success": {"job": "x", **target, **more}},
    st.sampled_from(TARGETS),
    st.fixed_dictionaries({}, optional=OPTIONAL),
)
IDS = (
    st.sampled_from(
        ["a-1", "", "a b", "x" * 64, "x" * 65, "a\n", 7, -7, 1.5, 10**18 - 1, 10**18, None]
    )
    | JSON
)
ENVELOPE = st.fixed_dictionaries(
    {},
    optional={
        "job": st.sampled_from(["email.send", "", "é" * 200, "x" * 201, None]) | JSON,
        "data": JSON,
        "id": IDS,
        "parent": IDS,
        "enqueued_at": JSON,
        "success": FOLLOW_UP | JSON,
        "failure": FOLLOW_UP | JSON,
        "v": st.sampled_from([1, 0, -1, 2, 1.0, "1", None]),
    },
)


@pytest.fixture(scope="module")
def decoder() -> Any:
    with PhpLoop(PHP_FILES / "pheanstalk", "decode") as loop:
        yield loop


@example(body=b'{"job": "x", "id": 7, "parent": "p", "enqueued_at": 1790000000.25}')
@example(body=b'{"job": "x", "id": 1e999, "parent": -1e999, "enqueued_at": 1e999}')
@settings(max_examples=150)
@given(
    body=(ENVELOPE | FOLLOWED).map(lambda fields: json.dumps(fields).encode())
    | st.binary(max_size=20)
)
def test_the_same_envelopes_are_read_as_by_our_own_worker(decoder: Any, body: bytes) -> None:
    found = decoder.ask(body)
    try:
        envelope = decode(body)
    except EnvelopeError:
        assert "invalid" in found, (body, found)
        return
    assert "invalid" not in found, (body, found)
    assert found["job"] == envelope.job
    assert found["id"] == (envelope.id or "")
    assert found["parent"] == (envelope.parent or "")
    assert found["enqueued_at"] == envelope.enqueued_at
    for which in ("success", "failure"):
        ours = getattr(envelope, which)
        if ours is None:
            assert found[which] is None
            continue
        data = json.loads(bytes(ours.data))
        assert found[which] == [ours.queue, ours.job, data, ours.priority, ours.delay, ours.ttr]


def test_each_php_file_is_valid_and_has_strict_types(site: Site) -> None:
    files = sorted(PHP_FILES.rglob("*.php"))
    assert len(files) > 20
    with PhpLoop(PHP_FILES, "lint") as loop:
        for file in files:
            assert loop.ask(str(file).encode()) == "", file
            assert "declare(strict_types=1);" in file.read_text()
            assert "lcg_value" not in file.read_text(), "PHP 8.4 warns of it"
