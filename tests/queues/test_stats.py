"""beanstalkd's numbers, in the words of each of its versions, and what is made of them."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from beanwatch.queues.beanstalkd.protocol import NonsenseError
from beanwatch.queues.beanstalkd.stats import (
    MAX_NUMBER,
    TUBE_FIELDS,
    UNDERFLOW,
    ImplausibleValues,
    Rejected,
    balance_of,
    count_held,
    count_rejected,
    parse_list,
    parse_stats,
    read_plain_tube,
    read_tube,
    series_name,
    to_server,
)
from beanwatch.queues.model import QUEUE_FIELDS, SERVER_FIELDS, QueueState, ServerState, numbers
from tests.queues.formats import JOB_1_12, LISTS, SERVERS, TUBES

TUBE_NAMES = st.from_regex(r"[A-Za-z0-9+/;.$_()][A-Za-z0-9+/;.$_()-]{0,199}", fullmatch=True)
TUBE = TUBES["1.13+"]
BUSY = ServerState(reserved=9)


def tube(body: bytes, name: str = "t", server: ServerState | None = BUSY) -> QueueState:
    """A tube of which nothing is doubtful."""
    doubts = ImplausibleValues()
    state = read_tube(name, body, server, doubts)
    assert doubts == []
    return state


def with_field(body: bytes, field: str, value: str) -> bytes:
    """A body with another value in a field."""
    lines = body.decode().split("\n")
    return "\n".join(
        f"{field}: {value}" if x.startswith(f"{field}: ") else x for x in lines
    ).encode()


def without_field(body: bytes, field: str) -> bytes:
    """A body that lacks a field."""
    lines = body.decode().split("\n")
    assert any(line.startswith(f"{field}: ") for line in lines)
    return "\n".join(line for line in lines if not line.startswith(f"{field}: ")).encode()


# -- parsing


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


@pytest.mark.parametrize("version", LISTS)
def test_the_list_of_every_version_is_read(version: str):
    assert parse_list(LISTS[version]) == ["default", "1_000", "true"]


def test_a_job_in_a_tube_called_true_is_in_that_tube():
    job = parse_stats(JOB_1_12)
    assert (job["id"], job["tube"], job["state"]) == ("12", "true", "buried")
    assert job["reserves"] == 2


def test_what_is_no_number_stays_text():
    stats = parse_stats(b"---\na: nan\nb: inf\nc: 1e400\nd: x\ne: -5\nf: 1.5\ng:\nnonsense\n\n")
    assert stats == {"a": "nan", "b": "inf", "c": "1e400", "d": "x", "e": -5, "f": 1.5}


@given(st.integers(-(2**70), 2**70))
@example(MAX_NUMBER - 1)
@example(MAX_NUMBER)
@example(-MAX_NUMBER)
def test_a_number_of_64_bits_is_read_exactly_and_no_larger_one(number: int):
    read = parse_stats(f"---\na: {number}\n".encode())["a"]
    assert read == (number if abs(number) < MAX_NUMBER else str(number))


@given(st.lists(TUBE_NAMES, max_size=5), st.booleans())
def test_any_tube_name_is_read_back_quoted_or_not(names: list[str], quoted: bool):
    mark = '"' if quoted else ""
    listed = "---\n" + "".join(f"- {mark}{name}{mark}\n" for name in names)
    assert parse_list(listed.encode()) == names
    for name in names:
        stats = parse_stats(f"---\nname: {mark}{name}{mark}\ntotal-jobs: 1\n".encode())
        assert stats == {"name": name, "total-jobs": 1}


ANY_BODY = (
    st.binary(max_size=300)
    | st.text("²٣⅕①-+_.e: 09\n", min_size=1).map(lambda value: f"---\na: {value}\n".encode())
    | st.integers(4000, 5000).map(lambda digits: b"---\na: " + b"1" * digits)
)


@given(ANY_BODY)
def test_no_bytes_can_upset_the_parsers(body: bytes):
    for value in parse_stats(body).values():
        assert isinstance(value, str) or math.isfinite(value)
    assert all(isinstance(name, str) for name in parse_list(body))


# -- a tube


@pytest.mark.parametrize("version", TUBES)
def test_a_tube_of_every_version_becomes_a_queue(version: str):
    assert tube(TUBES[version], "1_000") == QueueState(
        "1_000",
        ready=7,
        reserved=2,
        delayed=0,
        buried=3,
        consumers=4,
        idle_consumers=2,
        puts=52,
        deletes=40,
        paused=True,
        pause_left=59,
        missing_jobs=0,
        held=2,
        native={
            "current_jobs_urgent": 1,
            "current_using": 1,
            "cmd_pause_tube": 1,
            "pause": 60,
            "pause_time_left": 59,
        },
    )


def test_every_number_of_a_tube_is_in_the_model_once():
    state = tube(TUBE)
    fields = {value for value in parse_stats(TUBE).values() if not isinstance(value, str)}
    assert fields <= set(numbers(state, QUEUE_FIELDS).values())
    assert not set(state.native) & set(QueueState._fields)


def test_our_own_connection_is_not_counted_on_default():
    state = tube(TUBE, "default")
    assert (state.consumers, state.native["current_using"], state.is_default) == (3, 0, True)
    other = tube(TUBE, "defaults")
    assert (other.consumers, other.native["current_using"], other.is_default) == (4, 1, False)
    empty = with_field(with_field(TUBE, "current-watching", "0"), "current-using", "0")
    state = tube(empty, "default")
    assert (state.consumers, state.native["current_using"]) == (0, 0)


def test_an_empty_tube_is_no_seconds_old_and_a_full_one_of_unknown_age():
    state = tube(with_field(TUBE, "current-jobs-buried", "0"))
    assert (state.head_ready_age, state.head_buried_age) == (None, 0.0)
    state = tube(with_field(TUBE, "current-jobs-ready", "0"))
    assert (state.head_ready_age, state.head_buried_age) == (0.0, None)


@pytest.mark.parametrize(("left", "paused"), [("0", False), ("1", True)])
def test_a_tube_is_paused_for_as_long_as_it_says(left: str, paused: bool):
    state = tube(with_field(TUBE, "pause-time-left", left))
    assert (state.paused, state.pause_left) == (paused, int(left))


def test_a_tube_that_does_not_tell_of_pauses_is_not_said_to_run():
    state = tube(without_field(TUBE, "pause-time-left"))
    assert (state.paused, state.pause_left) == (None, None)


@pytest.mark.parametrize("field", TUBE_FIELDS)
@pytest.mark.parametrize("read", [read_tube, read_plain_tube])
def test_a_tube_without_a_declared_field_is_not_beanstalkds(field: str, read):
    with pytest.raises(
        NonsenseError, match=f"^this is not beanstalkd: no {field} in its statistics"
    ):
        read("t", without_field(TUBE, field), BUSY, ImplausibleValues())


@pytest.mark.parametrize("body", [b"", b"---\n", b"{}", b"\n", TUBE.replace(b"\ncu", b"\n  cu")])
@pytest.mark.parametrize("read", [read_tube, read_plain_tube])
def test_an_empty_or_an_indented_tube_is_not_beanstalkds(body: bytes, read):
    with pytest.raises(NonsenseError, match=r"^this is not beanstalkd: no current-jobs-ready"):
        read("t", body, BUSY, ImplausibleValues())


NO_COUNTS = {
    "18446744073709551615": "18446744073709551615",
    str(UNDERFLOW): str(UNDERFLOW),
    "-1": "-1",
    "1.5": "1.5",
    "many": "'many'",
    "1" * 400: repr("1" * 30),
    "\x1b[2J": r"'\x1b[2J'",
}
MODEL_NAMES = {
    "current-jobs-ready": "ready",
    "current-jobs-reserved": "reserved",
    "current-jobs-delayed": "delayed",
    "current-jobs-buried": "buried",
    "current-watching": "consumers",
    "current-waiting": "idle_consumers",
    "total-jobs": "puts",
    "cmd-delete": "deletes",
}


@pytest.mark.parametrize("value", NO_COUNTS)
@pytest.mark.parametrize("field", TUBE_FIELDS)
def test_a_count_that_cannot_be_right_is_not_known_and_told(field: str, value: str):
    for read in (read_tube, read_plain_tube):
        doubts = ImplausibleValues()
        state = read("t", with_field(TUBE, field, value), BUSY, doubts)
        assert doubts == [f"t: {field} is {NO_COUNTS[value]}, which is not a count"]
        unknown = {name for name in MODEL_NAMES.values() if getattr(state, name) is None}
        assert unknown == {MODEL_NAMES[field]}
        is_count_of_jobs = field not in ("current-watching", "current-waiting")
        assert state.missing_jobs == (None if is_count_of_jobs else 0)
        assert (state.held is None) == (field == "current-jobs-reserved")


def test_the_largest_count_is_one():
    assert tube(with_field(TUBE, "total-jobs", str(UNDERFLOW - 1))).puts == UNDERFLOW - 1


def test_a_native_number_that_cannot_be_right_is_left_out_and_told():
    doubts = ImplausibleValues()
    state = read_tube("t", with_field(TUBE, "current-using", str(2**64 - 1)), BUSY, doubts)
    assert "current_using" not in state.native
    assert doubts == [f"t: current-using is {2**64 - 1}, which is not a count"]


def test_the_age_of_a_head_is_not_known_where_the_count_is_not():
    doubts = ImplausibleValues()
    for field in ("current-jobs-ready", "current-jobs-buried"):
        state = read_tube("t", with_field(TUBE, field, "-1"), BUSY, doubts)
        assert (state.head_ready_age, state.head_buried_age) == (None, None)


FIELD_NAMES = st.sampled_from(sorted(parse_stats(TUBE))) | st.from_regex(
    r"[a-z]{1,9}(-[a-z0-9]{1,9}){0,2}", fullmatch=True
)
VALUES = st.sampled_from(
    [
        "7",
        "0",
        "007",
        "-0",
        "+1",
        "1_0",
        " 1",
        "1 ",
        "",
        "true",
        '"7"',
        "x",
        "٣",
        "1" * 18,
        "1" * 19,
    ]
) | (st.integers(-(2**70), 2**70) | st.floats()).map(str)


@given(
    TUBE_NAMES,
    st.dictionaries(FIELD_NAMES, VALUES, max_size=4),
    st.sampled_from(["", '"']),
    st.sampled_from(["", "\n", "\n\n", "\r\n", "\n...\n"]),
    st.booleans(),
)
def test_a_tube_is_read_the_fast_way_as_by_the_slow_one(
    name: str, changes: dict[str, str], mark: str, end: str, reverse: bool
):
    fields = {key: str(value) for key, value in parse_stats(TUBE).items()}
    fields |= changes | {"name": f"{mark}{name}{mark}"}
    lines = [f"{key}: {value}" for key, value in fields.items()]
    body = ("---\n" + "\n".join(reversed(lines) if reverse else lines) + end).encode()
    assert read_both(name, body)


@given(ANY_BODY)
def test_any_body_is_read_the_fast_way_as_by_the_slow_one(body: bytes):
    read_both("t", body)


def read_both(name: str, body: bytes) -> bool:
    """True if it is a tube, False if it is nonsense, to the slow way and to the fast one."""
    slow_doubts, fast_doubts = ImplausibleValues(), ImplausibleValues()
    try:
        slow = read_tube(name, body, BUSY, slow_doubts)
    except NonsenseError as error:
        with pytest.raises(NonsenseError, match=str(error)):
            read_plain_tube(name, body, BUSY, fast_doubts)
        return False
    assert read_plain_tube(name, body, BUSY, fast_doubts) == slow
    assert fast_doubts == slow_doubts
    assert all(map(math.isfinite, numbers(slow, QUEUE_FIELDS).values()))
    return True


@pytest.mark.parametrize("version", TUBES)
def test_every_format_of_a_tube_is_read_the_fast_way(version: str, monkeypatch: pytest.MonkeyPatch):
    expected = tube(TUBES[version])
    monkeypatch.setattr("beanwatch.queues.beanstalkd.stats.parse_stats", None)
    assert read_plain_tube("t", TUBES[version], BUSY, ImplausibleValues()) == expected


def test_every_number_is_read_the_fast_way_whatever_was_read_before():
    for number in (*range(10_100, 0, -7), *range(1001), 10**18 - 1, 10**17):
        body = with_field(TUBE, "total-jobs", str(number))
        assert read_plain_tube("t", body, BUSY, ImplausibleValues()).puts == number


@given(st.text(max_size=20))
@example("a 1 1\nbeanwatch.server.q1.up")
@example("a.b")
@example("")
def test_a_field_makes_one_node_of_a_path_whatever_it_is_called(field: str):
    made = series_name(field)
    assert made
    assert set(made) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_")


def test_a_native_number_does_not_hide_one_of_the_model():
    body = TUBE.rstrip(b"\n") + b"\nready: 1000\nname2: 5\n"
    values = numbers(tube(body), QUEUE_FIELDS)
    assert (values["ready"], values["name2"]) == (7, 5)


# -- jobs that are missing, and those that consumers hold


@pytest.mark.parametrize(
    ("puts", "deletes", "balance"), [(12, 0, 0), (52, 40, 0), (53, 40, 1), (0, 0, -12), (0, 3, -15)]
)
def test_the_balance_is_what_was_put_less_what_is_there(puts: int, deletes: int, balance: int):
    body = with_field(with_field(TUBE, "total-jobs", str(puts)), "cmd-delete", str(deletes))
    state = tube(body)
    assert balance_of(state) == balance
    assert state.missing_jobs == (None if balance else 0), "more takes a memory"


@pytest.mark.parametrize(
    ("reserved", "elsewhere", "watching", "held"),
    [
        (0, 0, 1, 0),
        (2, 2, 3, 2),
        (2, 9, 3, 2),
        (0, 2, 3, 0),  # one of the three holds none
        (0, 3, 3, 3),
        (0, None, 3, None),
        (0, 3, None, None),
        (2, None, None, 2),
        (None, 3, 3, None),
    ],
)
def test_a_consumer_may_hold_a_job_of_another_tube(
    reserved: int | None, elsewhere: int | None, watching: int | None, held: int | None
):
    server = ServerState(reserved=elsewhere)
    assert count_held(reserved, watching, server, is_default=False) == held


def test_every_connection_watches_default_so_what_others_hold_says_nothing():
    assert count_held(0, 3, ServerState(reserved=3), is_default=True) == 0


def test_without_the_servers_numbers_it_is_not_known_what_others_hold():
    assert count_held(0, 3, None, is_default=False) is None
    assert count_held(2, 3, None, is_default=False) == 2


# -- a server


@pytest.mark.parametrize("version", SERVERS)
def test_a_server_of_every_version_becomes_the_model(version: str):
    doubts = ImplausibleValues()
    state = to_server(parse_stats(SERVERS[version]), doubts)
    assert doubts == []
    assert state._replace(native={}) == ServerState(
        version=version.removesuffix("+"),
        instance="815" if version == "1.8" else "0000000000000042",
        uptime=86400,
        connections=6,
        queues=3,
        ready=7,
        reserved=2,
        delayed=0,
        buried=3,
        puts=4711,
        draining=version in ("1.12", "1.13+"),
        is_first_start=False,
        restart_note=", with a binlog: it has 12 jobs now",
    )
    assert state.native["binlog_bytes"] == 3 * 10485760
    assert state.native["cmd_put"] == 4720
    assert state.native["rusage_utime"] == 12.003456
    assert not {"id", "hostname", "os", "platform", "version"} & set(state.native)


@pytest.mark.parametrize("version", SERVERS)
def test_every_number_of_a_server_is_in_the_model(version: str):
    stats = parse_stats(SERVERS[version])
    values = set(numbers(to_server(stats, ImplausibleValues()), SERVER_FIELDS).values())
    assert {value for value in stats.values() if not isinstance(value, str)} <= values


SERVER_COUNTS = {
    "current-jobs-ready": "ready",
    "current-jobs-reserved": "reserved",
    "current-jobs-delayed": "delayed",
    "current-jobs-buried": "buried",
    "total-jobs": "puts",
    "current-connections": "connections",
    "current-tubes": "queues",
    "uptime": "uptime",
}


@pytest.mark.parametrize("field", SERVER_COUNTS)
def test_a_server_without_a_declared_field_is_not_beanstalkd(field: str):
    with pytest.raises(
        NonsenseError, match=f"^this is not beanstalkd: no {field} in its statistics"
    ):
        to_server(parse_stats(without_field(SERVERS["1.12"], field)), ImplausibleValues())


@pytest.mark.parametrize("field", SERVER_COUNTS)
def test_a_count_of_a_server_that_cannot_be_right_is_not_known_and_told(field: str):
    doubts = ImplausibleValues()
    stats = parse_stats(with_field(SERVERS["1.12"], field, "18446744073709551613"))
    state = to_server(stats, doubts)
    assert doubts == [f"server: {field} is 18446744073709551613, which is not a count"]
    unknown = {name for name in SERVER_COUNTS.values() if getattr(state, name) is None}
    assert unknown == {SERVER_COUNTS[field]}
    is_job_count = field.startswith("current-jobs-")
    assert state.restart_note == ", with a binlog" + (
        "" if is_job_count else ": it has 12 jobs now"
    )


def test_a_server_without_a_binlog_has_no_binlog_bytes_and_keeps_no_jobs():
    stats = parse_stats(SERVERS["1.12"]) | {"binlog-oldest-index": 0, "binlog-current-index": 0}
    state = to_server(stats, ImplausibleValues())
    assert state.native["binlog_bytes"] == 0
    assert state.is_first_start is None
    assert state.restart_note == ", without a binlog: its jobs do not survive a restart"


def test_the_first_file_of_a_binlog_is_a_new_binlog_and_not_one_that_was_read():
    stats = parse_stats(SERVERS["1.12"]) | {"binlog-oldest-index": 1, "binlog-current-index": 1}
    state = to_server(stats, ImplausibleValues())
    assert (state.restart_note, state.is_first_start) == (", with a new binlog", True)


def test_a_server_that_does_not_tell_of_a_binlog_is_not_said_to_have_none():
    stats = parse_stats(without_field(SERVERS["1.12"], "binlog-current-index"))
    state = to_server(stats, ImplausibleValues())
    assert "binlog_bytes" not in state.native
    assert state.restart_note == ""


def test_one_job_is_one_job():
    stats = parse_stats(SERVERS["1.12"])
    stats |= {"current-jobs-ready": 1, "current-jobs-reserved": 0, "current-jobs-buried": 0}
    assert to_server(stats, ImplausibleValues()).restart_note.endswith("it has 1 job now")


@pytest.mark.parametrize(("text", "draining"), [("true", True), ("false", False), ("maybe", None)])
def test_a_server_is_draining_if_it_says_so(text: str, draining: bool | None):
    implausible = ImplausibleValues()
    stats = parse_stats(with_field(SERVERS["1.12"], "draining", text))
    assert to_server(stats, implausible).draining is draining
    told = ["server: draining is 'maybe', which is not true or false"]
    assert implausible == (told if draining is None else [])


@pytest.mark.parametrize("value", ["many", "nan", "1" * 30])
def test_a_native_number_that_is_a_text_is_left_out_and_told(value: str):
    implausible = ImplausibleValues()
    stats = parse_stats(with_field(SERVERS["1.12"], "max-job-size", value))
    assert "max_job_size" not in to_server(stats, implausible).native
    assert implausible == [f"server: max-job-size is {value!r}, which is not a count"]


def test_a_text_in_a_field_of_a_later_version_is_no_wrong_number():
    implausible = ImplausibleValues()
    to_server(parse_stats(SERVERS["1.13+"] + b'region: "north"\n'), implausible)
    assert implausible == []


@given(ANY_BODY, st.dictionaries(st.sampled_from(sorted(parse_stats(SERVERS["1.12"]))), VALUES))
def test_any_stats_are_a_server_with_numbers_or_nonsense(body: bytes, changes: dict[str, str]):
    bodies = [body, SERVERS["1.12"]]
    for field, value in changes.items():
        bodies.append(with_field(bodies[-1], field, value))
    for one in bodies:
        try:
            state = to_server(parse_stats(one), ImplausibleValues())
        except NonsenseError:
            continue
        assert all(map(math.isfinite, numbers(state, SERVER_FIELDS).values()))


# -- refused puts


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2))
def test_a_refused_put_is_told_by_the_second_look_and_never_too_many(
    looks: list[tuple[int, int]],
):
    known: Rejected | None = None
    refused, most, told = 0, 0, []
    for more, under_way in looks:
        refused += more
        most = max(most, refused + under_way)
        known = count_rejected(refused + under_way, known)
        told.append(known.confirmed)
        assert known.confirmed <= most
        assert known.confirmed >= refused - more, "those of the look before are sure by now"
    assert told[1:] == sorted(told[1:]), "what falls and rises again looks like a new one"


@pytest.mark.parametrize(
    ("looks", "told"),
    [
        ([0, 0, 1, 0, 1, 0], [0] * 6),  # three puts that were under way, none refused
        ([0, 1, 1, 2, 2], [0, 0, 1, 1, 2]),
        ([2, 1, 1], [2, 1, 1]),  # one of the two was under way at the first look
        ([2, 2, 5, 4], [2, 2, 2, 4]),
    ],
)
def test_a_put_under_way_is_not_taken_for_a_refused_one(looks: list[int], told: list[int]):
    known: Rejected | None = None
    sure = []
    for seen in looks:
        known = count_rejected(seen, known)
        sure.append(known.confirmed)
    assert sure == told


def test_fewer_puts_than_jobs_are_no_refused_ones():
    assert count_rejected(-5, None) == Rejected(0, 0, is_first=True)
