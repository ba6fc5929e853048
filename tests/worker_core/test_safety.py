"""Files and processes that a job leaves behind, and a full disk."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real import wait_until
from tests.worker_core.conftest import Broker, StartWorker


@pytest.mark.parametrize(
    ("data", "outcome"), [({}, "ok"), ({"fail": True}, "buried")], ids=["ok", "failed"]
)
def test_a_jobs_temporary_directory_is_removed(
    start_worker: StartWorker, broker: Broker, tmp_path: Path, data: dict[str, bool], outcome: str
) -> None:
    names = tmp_path / "names"
    broker.put("tmp", {"file": str(names), **data})
    worker = start_worker()
    wait_until(lambda: worker.outcomes() == [outcome])
    made = Path(names.read_text().strip())
    assert made.is_relative_to(tmp_path)
    assert not made.exists()
    worker.stop()
    assert list(tmp_path.glob("beanwatch-*")) == []


def test_the_next_instance_sweeps_up_after_a_killed_one_but_not_after_a_live_one(
    start_worker: StartWorker, broker: Broker, tmp_path: Path
) -> None:
    other = start_worker(name="other")
    other.wait_for("idle")
    names = tmp_path / "names"
    broker.put("tmp", {"file": str(names), "crash": True})
    wait_until(lambda: other.process.poll() == 7)
    live = start_worker(name="live")
    live.wait_for("idle")
    made = Path(names.read_text().strip())
    assert made.exists()
    victim = tmp_path / "victim"
    victim.mkdir()
    (tmp_path / "beanwatch-here.other-abc").symlink_to(victim)
    heir = start_worker(name="other")
    wait_until(lambda: heir.beat().pid == heir.process.pid, 30)
    assert not made.exists()
    assert victim.exists()
    assert len(list(tmp_path.glob("beanwatch-here.live-*"))) == 1
    assert "killed while running tmp" in heir.beat().last_exit


def test_a_live_instance_keeps_its_files_even_from_one_of_the_same_id(
    start_worker: StartWorker, broker: Broker, tmp_path: Path
) -> None:
    """Without Redis two workers of one id can run: only the directory's lock tells them apart."""
    nowhere = "redis://127.0.0.1:1/0"
    first = start_worker(redis=nowhere)
    wait_until(lambda: first.logged("the worker starts"))
    second = start_worker(redis=nowhere)
    wait_until(lambda: len([m for m in second.lines() if "starts" in m["message"]]) == 2)
    assert len(list(tmp_path.glob("beanwatch-here.w1-*"))) == 2


def test_no_jobs_are_taken_while_the_disk_is_full(
    start_worker: StartWorker, broker: Broker
) -> None:
    free = os.statvfs("/tmp")
    too_much = 2 * free.f_bavail * free.f_frsize
    worker = start_worker("--min-free-disk", too_much)
    beat = worker.wait_for("blocked")
    assert "MiB of disk are free" in beat.reason
    assert not beat.is_disconnected
    broker.put("ok")
    seen = worker.beat()
    wait_until(lambda: worker.beat().loop_at > seen.loop_at + 1)
    assert broker.counts(ready=1)
    assert worker.health() == "blocked"


@pytest.fixture
def few_inodes(tmp_path: Path) -> Iterator[Path]:
    """A disk with room for 99 files, which only root can make."""
    disk = tmp_path / "few"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "nr_inodes=100", "tmpfs", str(disk)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_no_jobs_are_taken_while_the_inodes_of_the_disk_are_used_up(
    start_worker: StartWorker, broker: Broker, few_inodes: Path, tmp_path: Path
) -> None:
    worker = start_worker("--tmp-root", few_inodes, "--min-free-disk", "1K")
    worker.wait_for("idle")
    for number in range(100 - os.statvfs(few_inodes).f_files + os.statvfs(few_inodes).f_ffree):
        (few_inodes / str(number)).touch()
    reason = f"only 0 inodes (files) of the disk are free in {few_inodes}, under 5"
    assert worker.wait_for("blocked").reason == reason
    broker.put("tmp", {"file": str(tmp_path / "names")})
    for file in few_inodes.glob("[0-9]*"):
        file.unlink()
    wait_until(lambda: worker.outcomes() == ["ok"])


def test_a_temporary_directory_that_was_removed_costs_no_job(
    start_worker: StartWorker, broker: Broker, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    worker = start_worker("--tmp-root", root)
    worker.wait_for("idle")
    shutil.rmtree(root)
    broker.put("tmp", {"file": str(tmp_path / "names")})
    wait_until(lambda: worker.outcomes() == ["ok"])
    assert worker.stop() == 0
    assert list(root.iterdir()) == []
