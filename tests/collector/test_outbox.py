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


def send(outbox: Outbox, most: int = 100) -> list[str]:
    """Send what is there, and say what it was."""
    sent = []
    while len(sent) < most and (parcel := outbox.next(late=True)):
        sent.append(outbox.read(parcel).split()[0].decode())
        outbox.mark_sent(parcel)
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


def test_after_a_break_the_last_minute_is_sent_again():
    now = 0.0
    outbox = Outbox(clock=lambda: now, replay=60)
    for number in range(4):
        now = number * 30.0
        outbox.put(batch(number))
        send(outbox)
    now = 1000.0  # however long nobody can be reached
    outbox.requeue()
    assert send(outbox) == ["q1.1.0", "q1.2.0", "q1.3.0"]


def test_memory_is_bounded_the_oldest_go_and_are_counted():
    outbox = Outbox(memory=10 * len(batch(0).lines))
    for number in range(10, 35):
        outbox.put(batch(number, source=f"q{number % 2}"))
    assert outbox.total_dropped + outbox.total_backlog == 25
    assert outbox.dropped("q0") + outbox.dropped("q1") == outbox.total_dropped > 10
    assert send(outbox)[-1] == "q0.34.0"


def test_what_was_sent_makes_room_first_and_is_no_loss():
    outbox = Outbox(memory=3 * len(batch(10).lines))
    for number in range(10, 13):
        outbox.put(batch(number))
    send(outbox)
    for number in range(13, 16):
        outbox.put(batch(number))
    assert outbox.total_dropped == 0
    assert outbox.total_backlog == 3


def test_one_batch_larger_than_the_memory_is_still_sent():
    outbox = Outbox(memory=10)
    outbox.put(batch(1, points=100))
    assert send(outbox) == ["q1.1.0"]


def test_a_spool_outlives_the_process(spool: Spool, memory: Memory):
    first = Outbox(spool)
    for number in range(3):
        first.put(batch(number))
    send(first, most=1)
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


STEPS = st.lists(st.sampled_from(["put", "send", "break"]), max_size=60)


@given(STEPS, st.integers(1, 20))
def test_every_point_is_waiting_or_sent_or_counted_as_dropped(steps: list[str], room: int):
    outbox = Outbox(memory=room * len(batch(100).lines))
    sent: set[str] = set()
    put = 0
    for step in steps:
        if step == "put":
            outbox.put(batch(100 + put))
            put += 1
        elif step == "send":
            sent |= set(send(outbox, most=1))
        else:
            outbox.requeue()
    assert outbox.total_backlog >= 0
    waiting = set(send(outbox))
    assert len(sent | waiting) + outbox.total_dropped >= put
    assert outbox.total_backlog == 0
    assert outbox.total_dropped <= put + len(sent)


def test_a_parcel_says_where_it_is():
    assert Parcel.of(batch(3)).lines == batch(3).lines
