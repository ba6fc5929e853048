"""What a command imports when it starts: somebody waits for it, at three in the morning.

A list of modules guards this better than a time does, because a busy machine changes no list.
"""

import subprocess
import sys

import pytest

import beanwatch.worker

# Each takes as long to import as all that these commands need of beanwatch.
SLOW = {"structlog", "asyncio", "beanwatch.worker.api.app", "beanwatch.worker.monitor.reports"}


@pytest.mark.parametrize("command", ["queues", "workers", "failures", "job", "top", "runbook"])
def test_a_command_imports_no_part_of_a_worker_and_no_log(command: str) -> None:
    code = f"import sys, beanwatch.cli.{command}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert not SLOW & set(done.stdout.split())


def test_each_name_of_the_public_api_is_there_though_it_is_imported_late() -> None:
    assert dir(beanwatch.worker) == sorted(beanwatch.worker.__all__)
    for name in beanwatch.worker.__all__:
        assert getattr(beanwatch.worker, name).__name__ == name
    with pytest.raises(AttributeError, match=r"module 'beanwatch.worker' has no attribute 'Job'"):
        _ = beanwatch.worker.Job  # type: ignore[attr-defined]
