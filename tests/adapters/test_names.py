"""Names of workers: stable over restarts, allowed, and not shared by two processes."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beanwatch.worker import CommandRequest
from beanwatch.worker.adapters.forked_job import SIZE, SharedNote
from beanwatch.worker.adapters.hold import Hold
from beanwatch.worker.adapters.names import claim_name, clean_name
from beanwatch.worker.monitor.program.settings import WORKER_NAME
from tests.real import ROOT, wait_until

CLAIM = "import sys; from beanwatch.worker.adapters.names import claim_name; {}"


@given(st.text())
def test_any_name_of_a_framework_becomes_an_allowed_one(text: str) -> None:
    assert WORKER_NAME.fullmatch(clean_name(text, "celery") + "-1000")


def test_each_process_has_a_number_and_the_next_one_takes_that_of_an_ended_one() -> None:
    prefix = f"test{os.getpid()}"
    assert claim_name(prefix) == f"{prefix}-1"
    code = CLAIM.format(f"print(claim_name({prefix!r}), flush=True); sys.stdin.read()")
    others = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        )
        for _ in range(2)
    ]
    names = {other.stdout.readline().strip() for other in others}  # type: ignore[union-attr]
    assert names == {f"{prefix}-2", f"{prefix}-3"}
    for other in others:
        other.kill()
        other.communicate()
    assert claim_name(prefix) == f"{prefix}-2"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_process_of_another_user_has_another_number() -> None:
    prefix = f"user{os.getpid()}"
    assert claim_name(prefix) == f"{prefix}-1"
    code = CLAIM.format(f"import os; os.seteuid(65534); print(claim_name({prefix!r}))")
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == f"{prefix}-2"


def test_a_forked_child_does_not_keep_the_name_of_its_parent(tmp_path: Path) -> None:
    prefix = f"fork{os.getpid()}"
    code = CLAIM.format(
        f"import os; print(claim_name({prefix!r}), flush=True); "
        "pid = os.fork(); "
        "(sys.stdin.read(), os._exit(0)) if pid == 0 else os._exit(0)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    assert parent.wait(60) == 0
    wait_until(lambda: claim_name(prefix) == f"{prefix}-1")
    parent.communicate()  # the child ends


@given(st.binary(max_size=SIZE - 8))
def test_what_a_child_writes_is_what_its_parent_reads(body: bytes) -> None:
    note = SharedNote()
    assert note.read() == b""
    note.write(b"before")
    note.write(body)
    assert note.read() == body


@given(st.binary(min_size=8, max_size=200))
def test_a_note_that_a_job_has_overwritten_is_not_believed(garbage: bytes) -> None:
    note = SharedNote()
    note.write(b'{"line": "jobs.py:7"}')
    note._memory[: len(garbage)] = garbage
    assert note.read() in (b"", b'{"line": "jobs.py:7"}')


def test_a_wait_ends_by_resume_or_after_its_time() -> None:
    calls: list[str] = []
    hold = Hold(calls.append, lambda: calls.append("released"))
    hold.resume()  # it does not wait
    hold.wait(CommandRequest("wait", "ops@web1"))
    assert hold.reason == "told to wait by ops@web1"
    hold.resume()
    assert not hold.reason
    hold.wait(CommandRequest("wait", "ops@web2", 0.01))
    wait_until(lambda: not hold.reason)
    assert calls == ["told to wait by ops@web1", "released", "told to wait by ops@web2", "released"]


def test_a_wait_that_failed_leaves_the_worker_as_it_was() -> None:
    def refuse(reason: str) -> None:
        raise RuntimeError("not connected to its broker")

    hold = Hold(refuse)
    with pytest.raises(RuntimeError):
        hold.wait(CommandRequest("wait", "ops@web1", 0.01))
    assert not hold.reason, "it takes jobs, so it must not be shown as waiting"


def find_function_names(jobs: list[bytes]) -> list[str]:
    """The adapter's function, called in an environment that has RQ."""
    code = (
        "import sys; from beanwatch.worker.adapters.rq import find_function_name as find; "
        "[print(find(bytes.fromhex(line))) for line in sys.stdin]"
    )
    done = subprocess.run(
        [ROOT / ".adapters" / "rq-3" / "bin" / "python", "-c", code],
        input="".join(f"{job.hex()}\n" for job in jobs),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


class Bomb:
    """Ends the process that unpickles it."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.abort, ()


def test_the_function_of_an_rq_job_is_found_without_unpickling_the_job() -> None:
    job = ("shop.send", None, (Bomb(),), {})
    good = [pickle.dumps(job, protocol) for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)]
    good.append(json.dumps(["shop.send", None, [1], {}]).encode())
    bad = [b"", b"[", b"[7]", b"{}", b"\x80\x04garbage", b"\xff" * 30, b"[" * 100_000]
    found = find_function_names(good + bad)
    assert found == ["shop.send"] * len(good) + ["unknown"] * len(bad)
