"""What a check remembers, and that nobody can use it against the check."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from beanwatch.checks.lib.memory import Memory


def test_it_counts_from_when_it_was_first_so(tmp_path: Path):
    directory = str(tmp_path / "state")
    for now, expected in ((1000.0, 0), (1030.0, 30), (1060.0, 60)):
        memory = Memory("x", directory, clock=lambda now=now: now)
        assert memory.lasting("deep", True) == expected
        memory.save()


def test_once_it_was_not_so_it_starts_anew(tmp_path: Path):
    directory = str(tmp_path)
    for now, is_so, expected in ((1000.0, True, 0), (1030.0, False, 0), (1060.0, True, 0)):
        memory = Memory("x", directory, clock=lambda now=now: now)
        assert memory.lasting("deep", is_so) == expected
        memory.save()


def test_what_is_not_so_any_more_is_forgotten_but_nothing_makes_no_file(tmp_path: Path):
    for so, files in ((False, 0), (True, 2), (False, 2)):
        memory = Memory("x", str(tmp_path))
        memory.recall("deep")
        if so:
            memory.remember("deep", 1)
        memory.save()
        assert len(os.listdir(tmp_path)) == files
    assert Memory("x", str(tmp_path)).recall("deep") is None


def test_after_a_long_gap_or_a_step_of_the_clock_it_starts_anew(tmp_path: Path):
    for now in (10_000.0, 20_000.0, 5_000.0):
        memory = Memory("x", str(tmp_path), clock=lambda now=now: now)
        assert memory.lasting("deep", True) == 0
        memory.save()


def test_only_its_user_can_read_it(tmp_path: Path):
    memory = Memory("x", str(tmp_path / "state"))
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
    memory = Memory("x", str(tmp_path), clock=lambda: 50.0)
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
    memory = Memory("x", str(state))
    assert memory.recall("a") is None
    assert "symbolic links" in memory.trouble
    memory.remember("a", 1)
    memory.save()
    assert victim.read_text() == "precious"


def test_a_directory_of_somebody_else_is_refused(tmp_path: Path):
    state = tmp_path / "state"
    state.mkdir()
    state.chmod(0o777)
    memory = Memory("x", str(state))
    memory.remember("a", 1)
    memory.save()
    assert "open to others" in memory.trouble
    assert list(state.iterdir()) == []
    (tmp_path / "link").symlink_to(tmp_path)
    memory = Memory("x", str(tmp_path / "link"))
    assert memory.recall("a") is None
    assert "not a directory of ours" in memory.trouble


_RACE = """
import sys
from beanwatch.checks.lib.memory import Memory
for n in range(200):
    memory = Memory("x", sys.argv[1])
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
