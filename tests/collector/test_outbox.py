"""What waits for Graphite: its order, its bounds, and what survives on disk."""

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beanwatch.collectors.deliver.outbox import Outbox
from beanwatch.collectors.deliver.spool import Parcel, Spool
from tests.collector.parts import Memory, batch


@pytest.fixture
def memory() -> Memory:
    return Memory()


@pytest.fixture
def spool(tmp_path: Path, memory: Memory) -> Spool:
    return Spool(str(tmp_path / "spool"), memory.problems)


def send(outbox: Outbox, most: int = 100, *, confirmed: bool = True) -> list[str]:
    """Send what is there, and say what it was."""
    sent = []
    while len(sent) < most and (parcel := outbox.next(late=True)):
        sent.append(outbox.read(parcel).split()[0].decode())
        outbox.mark_sent(parcel)
    if confirmed:
        outbox.confirm()
    return sent


def test_batches_leave_in_their_order():
    outbox = Outbox()
    for number in range(3):
        outbox.put(batch(number))
    assert send(outbox) == ["q1.0.0", "q1.1.0", "q1.2.0"]
    assert outbox.total_backlog == 0


def test_what_is_new_leaves_before_what_is_late():
    outbox = Outbox()
    outbox.put(batch(0))
    outbox.put(batch(1))
    outbox.requeue()
    outbox.put(batch(2))
    assert send(outbox) == ["q1.2.0", "q1.0.0", "q1.1.0"]


def test_after_a_break_what_was_not_confirmed_is_sent_again_however_old():
    now = 0.0
    outbox = Outbox(clock=lambda: now)
    outbox.put(batch(0))
    send(outbox)
    for number in range(1, 4):
        now = number * 30.0
        outbox.put(batch(number))
        send(outbox, confirmed=False)
    assert (outbox.total_backlog, outbox.unconfirmed) == (0, 3)
    now = 1000.0  # however long nobody can be reached
    outbox.restore()
    assert sorted(send(outbox)) == ["q1.1.0", "q1.2.0", "q1.3.0"]
    outbox.restore()
    assert send(outbox) == []


def test_after_a_crash_of_carbon_the_last_two_intervals_are_sent_again_once():
    now = 0.0
    outbox = Outbox(clock=lambda: now, interval=10)
    for number in range(5):
        now = number * 10.0
        outbox.put(batch(number))
        send(outbox)
    now = 1000.0  # it hung before it crashed
    outbox.replay()
    assert send(outbox) == ["q1.2.0", "q1.3.0", "q1.4.0"]
    now = 1021.0
    outbox.put(batch(5))
    send(outbox)
    outbox.replay()
    assert send(outbox) == ["q1.5.0"]


def test_the_end_of_a_carbon_that_hung_for_long_confirms_what_it_read_and_ages_nothing():
    now = 0.0
    outbox = Outbox(clock=lambda: now, interval=10)
    outbox.put(batch(0))
    send(outbox)
    now = 1.0
    outbox.put(batch(1))
    send(outbox, confirmed=False)
    now = 1000.0  # it hung, and was killed: its kernel closed the connection, as it had read all
    outbox.confirm()
    outbox.replay()
    assert send(outbox) == ["q1.0.0", "q1.1.0"]


def test_a_part_that_was_confirmed_is_not_sent_again():
    outbox = Outbox()
    outbox.put(batch(0, points=3))
    parcel = outbox.next(late=False)
    assert parcel is not None
    first, *_ = outbox.read(parcel).splitlines(keepends=True)
    outbox.mark_sent(parcel, first)
    outbox.restore()
    assert outbox.total_backlog == 3
    outbox.mark_sent(parcel, first)
    assert (outbox.total_backlog, outbox.unconfirmed) == (2, 1)
    outbox.confirm()
    assert outbox.read(parcel).split()[0::3] == [b"q1.0.1", b"q1.0.2"]
    outbox.mark_sent(parcel)
    outbox.confirm()
    assert (outbox.total_backlog, outbox.unconfirmed) == (0, 0)


def test_on_a_slow_link_a_poll_is_sent_whole_and_the_newest_one_is_next():
    now = 0.0
    outbox = Outbox(clock=lambda: now, interval=10)
    for number in range(3):
        now = number * 10.0
        for part in ("a", "b"):
            outbox.put(batch(number)._replace(lines=f"{part}.{number} 1 1\n".encode()))
        if number == 0:
            send(outbox, most=1)
    now = 25.0
    assert send(outbox) == ["b.0", "a.2", "b.2", "a.1", "b.1"]


def test_memory_is_bounded_the_oldest_go_and_are_counted():
    outbox = Outbox(memory=10 * len(batch(0).lines))
    for number in range(10, 35):
        outbox.put(batch(number, source=f"q{number % 2}"))
    assert outbox.total_dropped + outbox.total_backlog == 25
    assert outbox.dropped("q0") + outbox.dropped("q1") == outbox.total_dropped > 10
    assert send(outbox)[-1] == "q0.34.0"


def test_what_was_confirmed_makes_room_first_and_is_no_loss():
    outbox = Outbox(memory=3 * len(batch(10).lines))
    for number in range(10, 13):
        outbox.put(batch(number))
    send(outbox)
    for number in range(13, 16):
        outbox.put(batch(number))
    assert outbox.total_dropped == 0
    assert outbox.total_backlog == 3


def test_what_is_being_sent_is_not_dropped_to_make_room():
    outbox = Outbox(memory=3 * len(batch(10).lines))
    for number in range(10, 13):
        outbox.put(batch(number))
    send(outbox, confirmed=False)
    for number in range(13, 16):
        outbox.put(batch(number))
    assert outbox.total_dropped + outbox.total_backlog == 3
    assert outbox.causes == {"memory is full": 2}
    outbox.restore()
    assert send(outbox) == ["q1.10.0", "q1.11.0", "q1.12.0", "q1.15.0"]


def test_a_full_memory_drops_nothing_from_the_disk(tmp_path: Path, memory: Memory):
    spool = Spool(str(tmp_path / "s"), memory.problems)
    outbox = Outbox(spool, memory=3 * len(batch(10).lines))
    outbox.put(batch(10))
    spool.directory = str(tmp_path / "full")
    for number in range(11, 16):
        outbox.put(batch(number))
    assert outbox.causes == {"memory is full": 2}
    assert send(outbox) == ["q1.10.0", "q1.13.0", "q1.14.0", "q1.15.0"]


def test_one_batch_larger_than_the_memory_is_still_sent():
    outbox = Outbox(memory=10)
    outbox.put(batch(1, points=100))
    assert send(outbox) == ["q1.1.0"]


def test_a_spool_outlives_the_process(spool: Spool, memory: Memory):
    first = Outbox(spool)
    for number in range(3):
        first.put(batch(number))
    send(first, most=1, confirmed=False)
    second = Outbox(Spool(spool.directory, memory.problems))
    # What was sent a moment ago may not have arrived, and is sent again too.
    assert second.total_backlog == 3
    assert send(second) == ["q1.0.0", "q1.1.0", "q1.2.0"]


def test_spool_files_are_private_readable_lines_and_go_when_they_are_old(spool: Spool):
    now = 0.0
    outbox = Outbox(spool, clock=lambda: now)
    outbox.put(batch(7))
    (name,) = os.listdir(spool.directory)
    path = Path(spool.directory, name)
    assert path.read_text() == "q1.7.0 1 7\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    send(outbox)
    assert path.exists()
    now = 61.0
    outbox.put(batch(8))
    send(outbox)
    assert not path.exists()


def test_of_a_file_that_a_power_failure_has_cut_the_whole_lines_are_sent(spool: Spool):
    Path(spool.directory, "00000000000000000001.3.q1").write_text("q1.1 1 7\nq1.2 2 7\nq1.3 3")
    Path(spool.directory, "00000000000000000002.3.q2").write_text("q2.1 1")
    cut, empty = spool.load()
    assert spool.read(cut) == b"q1.1 1 7\nq1.2 2 7\n"
    with pytest.raises(FileNotFoundError, match="It has no whole line"):
        spool.read(empty)
    outbox = Outbox(spool)
    assert outbox.read(outbox.next(late=True)) == b"q1.1 1 7\nq1.2 2 7\n"
    assert (outbox.backlog("q1"), outbox.dropped("q1")) == (2, 1)
    assert outbox.causes == {"a spool file was cut": 1}


def test_a_spool_is_bounded_and_counts_a_block_for_each_file(tmp_path: Path, memory: Memory):
    outbox = Outbox(Spool(str(tmp_path / "s"), memory.problems, limit=5 * 4096))
    for number in range(8):
        outbox.put(batch(number))
    assert len(os.listdir(tmp_path / "s")) == 5
    assert outbox.dropped("q1") == 3
    assert send(outbox)[0] == "q1.3.0"


def test_leftovers_of_a_crash_and_strange_files_are_no_batches(spool: Spool):
    there = Path(spool.directory)
    (there / "00000000000000000001.3.q1.new").write_text("half")
    for name in ("notes.txt", "notes.3.txt", "notes.new"):
        (there / name).write_text("hello")
    for name in ("a.new", "00000000000000000001.3.q2", "00000000000000000001.3.q3.new"):
        (there / name).mkdir()
    os.mkfifo(there / "00000000000000000001.3.q4")
    before = set(os.listdir(there))
    assert spool.load() == []
    assert before - set(os.listdir(there)) == {"00000000000000000001.3.q1.new"}


def test_a_symlink_in_the_spool_is_not_followed(spool: Spool, tmp_path: Path):
    secret = tmp_path / "secret"
    secret.write_text("password")
    spool.write(batch(1))
    (parcel,) = spool.load()
    Path(parcel.file).unlink()
    Path(parcel.file).symlink_to(secret)
    with pytest.raises(OSError, match="symbolic"):
        spool.read(parcel)
    assert spool.load() == []


def test_when_the_disk_is_full_points_stay_in_memory_and_it_is_said_once(
    tmp_path: Path, memory: Memory, monkeypatch: pytest.MonkeyPatch
):
    spool = Spool(str(tmp_path / "s"), memory.problems)
    outbox = Outbox(spool)
    os.rmdir(spool.directory)  # as good as full: nothing can be written
    outbox.put(batch(1))
    outbox.put(batch(2))
    assert len(memory.messages) == 1
    assert "kept in memory" in memory.messages[0]
    os.mkdir(spool.directory)
    outbox.put(batch(3))
    assert "can be written again" in memory.messages[1]
    assert send(outbox) == ["q1.1.0", "q1.2.0", "q1.3.0"]


STEPS = st.lists(
    st.sampled_from(["put", "send", "part", "confirm", "break", "outage", "crash"]), max_size=60
)


@given(STEPS, st.integers(1, 20))
def test_every_point_is_waiting_or_confirmed_or_counted_as_dropped(steps: list[str], room: int):
    outbox = Outbox(memory=room * len(batch(100).lines), clock=lambda: 0.0)
    sent: set[str] = set()
    confirmed: set[str] = set()
    put = 0
    replayed = 0

    def take() -> None:
        parcel = outbox.next(late=True)
        if parcel is None:
            return
        lines = outbox.read(parcel)
        part = lines[: lines.find(b"\n") + 1]
        outbox.mark_sent(parcel, None if part == lines else part)
        sent.update(line.split()[0] for line in part.decode().splitlines())
        if part != lines:
            settle()

    def settle() -> None:
        outbox.confirm()
        confirmed.update(sent)
        sent.clear()

    for step in steps:
        if step == "put":
            outbox.put(batch(100 + put, points=2))
            put += 1
        elif step in ("send", "part"):
            take()
        elif step == "confirm":
            settle()
        elif step == "break":
            outbox.restore()
            sent.clear()
        elif step == "outage":
            outbox.requeue()
            sent.clear()
        else:
            before = outbox.total_backlog
            outbox.replay()
            replayed += outbox.total_backlog - before
        assert outbox.total_backlog >= 0
    outbox.restore()
    sent.clear()
    while outbox.total_backlog:
        take()
    settle()
    assert (outbox.total_backlog, outbox.unconfirmed) == (0, 0)
    assert len(confirmed) + outbox.total_dropped >= 2 * put
    assert outbox.total_dropped <= 2 * put - len(confirmed) + replayed


def test_a_parcel_says_where_it_is():
    assert Parcel.of(batch(3)).lines == batch(3).lines
