"""What a check remembers, and that nobody can use it against the check."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from beanwatch.checks.lib.memory import FileMemory


def test_it_counts_from_when_it_was_first_so(tmp_path: Path):
    directory = str(tmp_path / "state")
    for now, expected in ((1000.0, 0), (1030.0, 30), (1060.0, 60)):
        memory = FileMemory("x", directory, clock=lambda now=now: now)
        assert memory.lasting("deep") == expected
        memory.save()


def test_once_it_was_not_so_it_starts_anew(tmp_path: Path):
    directory = str(tmp_path)
    for now, is_so, expected in ((1000.0, True, 0), (1030.0, False, 0), (1060.0, True, 0)):
        memory = FileMemory("x", directory, clock=lambda now=now: now)
        if is_so:
            assert memory.lasting("deep") == expected
        memory.save()


def test_another_token_starts_anew_and_one_that_is_kept_goes_on(tmp_path: Path):
    steps = (
        (1000.0, "job 1", 0),
        (1030.0, "job 1", 30),
        (1060.0, "", None),  # nobody looked
        (1090.0, "job 1", 90),
        (1120.0, "job 2", 0),
    )
    for now, token, expected in steps:
        memory = FileMemory("x", str(tmp_path), clock=lambda now=now: now)
        if expected is None:
            memory.keep("head")
            memory.keep("never seen")
        else:
            assert memory.lasting("head", token) == expected
        memory.save()


def test_what_could_not_be_read_is_kept_for_an_hour(tmp_path: Path):
    def run(now: float, *, can_read: bool) -> float | None:
        memory = FileMemory("x", str(tmp_path), clock=lambda: now)
        other = memory.scoped("check").scoped("other")
        other.lasting("deep")
        lasted = None
        if can_read:
            lasted = memory.scoped("check").scoped("queue1").lasting("deep")
        else:
            memory.scoped("check").keep_all("queue1")
            memory.scoped("check").keep_all("queue1")
        memory.save()
        return lasted

    assert run(1000.0, can_read=True) == 0
    run(1060.0, can_read=False)
    assert run(1120.0, can_read=True) == 120
    for now in range(1180, 1180 + 3600 + 60, 60):
        run(now, can_read=False)
    assert run(4900.0, can_read=True) == 3900
    for now in range(4960, 4960 + 3600 + 120, 60):
        run(now, can_read=False)
    assert run(8680.0, can_read=True) == 0


@pytest.mark.parametrize("known", [None, 5, [], ["t"], ["t", "x"], ["t", 1e99], ["t", [1]], {}])
def test_what_somebody_else_wrote_counts_as_nothing(tmp_path: Path, known: object):
    memory = FileMemory("x", str(tmp_path), clock=lambda: 1000.0)
    memory.remember("deep", known)
    memory.save()
    memory = FileMemory("x", str(tmp_path), clock=lambda: 1030.0)
    assert memory.lasting("deep", "t") == 0


def test_the_parts_of_two_checks_are_apart(tmp_path: Path):
    for now, expected in ((1000.0, 0), (1030.0, 30)):
        memory = FileMemory("x", str(tmp_path), clock=lambda now=now: now)
        one, two = memory.scoped("one"), memory.scoped("two")
        assert one.lasting("deep") == expected
        assert two.recall("deep") is None
        one.keep("other")
        memory.save()


def test_it_has_a_limit_since_servers_decide_how_many_queues_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("beanwatch.checks.lib.memory.MAX_ENTRIES", 10)
    memory = FileMemory("x", str(tmp_path), clock=lambda: 50.0)
    for number in range(20):
        memory.remember(f"queue {number}", 1)
    memory.save()
    assert len(json.loads((tmp_path / "x.json").read_bytes())) == 10 + 1  # and the time


def test_what_is_not_so_any_more_is_forgotten_but_nothing_makes_no_file(tmp_path: Path):
    lock = "x.json.lock"
    for so, files in ((False, []), (True, ["x.json", lock]), (False, [lock]), (False, [lock])):
        memory = FileMemory("x", str(tmp_path))
        if so:
            memory.remember("deep", 1)
        memory.save()
        assert sorted(os.listdir(tmp_path)) == files
    assert FileMemory("x", str(tmp_path)).recall("deep") is None


def test_after_a_long_gap_or_a_step_of_the_clock_it_starts_anew(tmp_path: Path):
    for now in (10_000.0, 20_000.0, 5_000.0):
        memory = FileMemory("x", str(tmp_path), clock=lambda now=now: now)
        assert memory.lasting("deep") == 0
        memory.save()


def test_only_its_user_can_read_it(tmp_path: Path):
    memory = FileMemory("x", str(tmp_path / "state"))
    memory.remember("a", 1)
    memory.save()
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    for file in (tmp_path / "state").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"at": "x"}', b'{"at": NaN}', b"[" * 9999]
)
def test_a_corrupt_file_is_none_and_is_replaced(tmp_path: Path, content: bytes):
    (tmp_path / "x.json").write_bytes(content)
    memory = FileMemory("x", str(tmp_path), clock=lambda: 50.0)
    assert memory.recall("deep") is None
    assert not memory.trouble
    memory.remember("deep", 1)
    memory.save()
    assert json.loads((tmp_path / "x.json").read_bytes()) == {"at": 50.0, "deep": 1}


def test_a_symlink_is_neither_followed_nor_written_through(tmp_path: Path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    (state / "x.json").symlink_to(victim)
    memory = FileMemory("x", str(state))
    assert memory.recall("a") is None
    assert "symbolic links" in memory.trouble
    memory.remember("a", 1)
    memory.save()
    assert victim.read_text() == "precious"


def test_a_directory_that_cannot_be_made_is_said(tmp_path: Path):
    memory = FileMemory("x", str(tmp_path / "no" / "such"))
    memory.remember("a", 1)
    memory.save()
    assert "No such file or directory" in memory.trouble


def test_a_directory_of_somebody_else_is_refused(tmp_path: Path):
    state = tmp_path / "state"
    state.mkdir()
    state.chmod(0o777)
    memory = FileMemory("x", str(state))
    memory.remember("a", 1)
    memory.save()
    assert "other users can write to" in memory.trouble
    assert list(state.iterdir()) == []
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    if os.geteuid() == 0:
        os.lchown(link, 65534, 65534)
    memory = FileMemory("x", str(link))
    assert memory.recall("a") is None
    assert "not a directory of this user" in memory.trouble


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a link of root's")
def test_a_link_that_root_has_made_is_followed(tmp_path: Path):
    """systemd makes one for a DynamicUser: /var/lib/NAME -> private/NAME."""
    (tmp_path / "private").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "private")
    memory = FileMemory("x", str(tmp_path / "link"))
    memory.remember("a", 1)
    memory.save()
    assert not memory.trouble
    assert (tmp_path / "private" / "x.json").exists()


_RACE = """
import sys
from beanwatch.checks.lib.memory import FileMemory
for n in range(200):
    memory = FileMemory("x", sys.argv[1])
    memory.recall("a")
    memory.remember("a", [n] * 500)
    memory.save()
    assert not memory.trouble, memory.trouble
"""


def test_runs_at_the_same_time_leave_one_whole_file(tmp_path: Path):
    argv = [sys.executable, "-c", _RACE, str(tmp_path)]
    racers = [subprocess.Popen(argv, stderr=subprocess.PIPE) for _ in range(4)]
    for racer in racers:
        _, stderr = racer.communicate(timeout=60)
        assert (racer.returncode, stderr) == (0, b"")
    assert len(json.loads((tmp_path / "x.json").read_bytes())["a"]) == 500
    assert sorted(os.listdir(tmp_path)) == ["x.json", "x.json.lock"]
