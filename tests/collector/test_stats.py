"""What beanstalkd says of itself, in the words of each of its versions."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beanwatch.net.address import parse_address
from beanwatch.queues.beanstalkd.connection import Link
from beanwatch.queues.beanstalkd.stats import (
    ask_gently,
    numbers,
    parse_list,
    parse_stats,
    read_server,
    read_tube_names,
    read_tubes,
)
from beanwatch.queues.beanstalkd.tube_stats import parse_tube
from tests.collector.formats import JOB_1_12, SERVERS, TUBES
from tests.real import Beanstalkd

TUBE_NAMES = st.from_regex(r"[A-Za-z0-9+/;.$_()][A-Za-z0-9+/;.$_()-]{0,199}", fullmatch=True)


@pytest.mark.parametrize("version", SERVERS)
def test_the_stats_of_every_version_are_read(version: str):
    stats = parse_stats(SERVERS[version])
    assert stats["version"] == version.removesuffix("+")
    assert stats["current-jobs-ready"] == 7
    assert stats["total-jobs"] == 4711
    assert stats["rusage-utime"] == 12.003456
    assert stats["pid"] == 815
    assert stats.get("draining", 0) == (1 if version in ("1.12", "1.13+") else 0)
    assert stats.get("id", "0000000000000042") == "0000000000000042"
    assert stats.get("hostname", "127") == "127", "a host may be called by a number"


@pytest.mark.parametrize("version", TUBES)
def test_the_tubes_of_every_version_are_read(version: str):
    stats = parse_stats(TUBES[version])
    assert stats["name"] == "1_000"
    assert stats["current-jobs-buried"] == 3
    assert stats["cmd-delete"] == 40
    assert stats["pause-time-left"] == 59
    assert "name" not in numbers(stats)
    assert numbers(stats)["current_jobs_ready"] == 7


def test_a_job_in_a_tube_called_true_is_in_that_tube():
    job = parse_stats(JOB_1_12)
    assert (job["id"], job["tube"], job["state"]) == ("12", "true", "buried")
    assert job["reserves"] == 2


def test_what_is_no_number_is_left_out_of_the_numbers():
    stats = parse_stats(b"---\na: nan\nb: inf\nc: 1e400\nd: x\ne: -5\nf: 1.5\ng:\nnonsense\n\n")
    assert numbers(stats) == {"e": -5, "f": 1.5}


@given(st.binary(max_size=300))
def test_no_bytes_can_upset_the_parsers(body: bytes):
    assert all(math.isfinite(value) for value in numbers(parse_stats(body)).values())
    assert all(isinstance(name, str) for name in parse_list(body))


@given(st.lists(TUBE_NAMES, max_size=5), st.booleans())
def test_any_tube_name_is_read_back_quoted_or_not(names: list[str], quoted: bool):
    mark = '"' if quoted else ""
    listed = "---\n" + "".join(f"- {mark}{name}{mark}\n" for name in names)
    assert parse_list(listed.encode()) == names
    for name in names:
        stats = parse_stats(f"---\nname: {mark}{name}{mark}\ntotal-jobs: 1\n".encode())
        assert stats == {"name": name, "total-jobs": 1}


def test_a_real_server_is_read_with_all_its_fields(beanstalkd: Beanstalkd):
    names = ["1_000", "true", "0x1F", "a.b/c;d+e$f(g)"]
    with beanstalkd.client() as client:
        for name in names:
            client.use(name)
            client.put("x")
        with Link(parse_address(beanstalkd.address)) as link:
            stats = read_server(link)
            assert len(stats) == 51
            assert {type(stats[key]) for key in ("id", "hostname", "version", "os")} == {str}
            assert sorted(read_tube_names(link)) == sorted(["default", *names])
            tubes = dict(read_tubes(link, ["gone", *names]))
    assert list(tubes) == names, "a tube that is gone is left out"
    for name, tube in tubes.items():
        assert tube["name"] == name
        assert tube["current-jobs-ready"] == 1


def test_a_slow_server_is_given_a_rest_between_batches_and_a_quick_one_is_not(
    beanstalkd: Beanstalkd,
):
    questions = [b"stats-tube default"] * 450
    for way, taken, rests in (
        (0.001, 1.0, [pytest.approx(0.149)] * 2),  # 15 % of it
        (0.1, 1.0, [pytest.approx(0.05)] * 2),  # it rested while the first answer was on its way
        (0.5, 1.0, [0.0] * 2),
        (0.001, 0.009, []),
    ):
        now = iter([0.0, way, taken] * 3)
        slept: list[float] = []
        with Link(parse_address(beanstalkd.address)) as link:
            read = ask_gently(link, questions, clock=lambda now=now: next(now), sleep=slept.append)
            assert len(list(read)) == 450
        assert slept == rests


@given(
    st.from_regex(r"[A-Za-z0-9+/;.$_()][A-Za-z0-9+/;.$_()-]{0,50}", fullmatch=True),
    st.dictionaries(
        st.from_regex(r"[a-z]{1,9}(-[a-z]{1,9}){0,2}", fullmatch=True),
        st.integers(-(2**70), 2**70)
        | st.floats()
        | st.sampled_from(["007", "true", '"7"', "", "x"]),
    ),
    st.sampled_from(["", '"']),
    st.sampled_from(["", "\n", "\n\n"]),
)
def test_a_tube_is_read_the_short_way_as_by_the_long_one(
    name: str, fields: dict[str, object], mark: str, end: str
):
    lines = [f"name: {mark}{name}{mark}", *(f"{key}: {value}" for key, value in fields.items())]
    body = f"---\n{chr(10).join(lines)}{end}".encode()
    assert parse_tube(body) == parse_stats(body)


@given(
    st.binary()
    | st.text("²٣⅕①-+_.e: 09\n", min_size=1).map(lambda value: f"---\na: {value}\n".encode())
    | st.integers(4000, 5000).map(lambda digits: b"---\na: " + b"1" * digits)
)
def test_any_bytes_are_read(body: bytes):
    assert parse_tube(body) == parse_stats(body)


@pytest.mark.parametrize("version", TUBES)
def test_every_format_of_a_tube_is_read_the_short_way(
    version: str, monkeypatch: pytest.MonkeyPatch
):
    expected = parse_stats(TUBES[version])
    monkeypatch.setattr("beanwatch.queues.beanstalkd.tube_stats.parse_stats", None)
    assert parse_tube(TUBES[version]) == expected
