"""`make nightly`: runs of a command that stands for the suite."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests import nightly
from tests.real import ROOT


def test_runs_are_alternately_alone_and_beside_busy_loops_and_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []
    monkeypatch.setattr(nightly, "BUSY", ("sleep", "600"))
    busy = nightly.busy

    def note(loops: int):
        started.append(loops)
        return busy(loops)

    monkeypatch.setattr(nightly, "busy", note)
    third_fails = ["sh", "-c", 'echo >> runs; test "$(wc -l < runs)" != 3']
    monkeypatch.chdir(tmp_path)
    assert nightly.main(4, third_fails) == 1
    assert started == [0, 2, 0, 2]
    *lines, last = capsys.readouterr().out.splitlines()
    results = [line.partition(": ")[2].partition(",")[0] for line in lines]
    assert results == ["green", "green", "red (exit code 1)", "green"]
    assert last == "3 of 4 runs were green"


def test_all_green_is_exit_code_0() -> None:
    command = [sys.executable, "-m", "tests.nightly", "2", "true"]
    assert subprocess.run(command, cwd=ROOT, capture_output=True).returncode == 0
