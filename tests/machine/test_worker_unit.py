"""beanwatch-worker@.service."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.machine.conftest import EXAMPLE, SHORT_WATCHDOG, Worker, is_confined
from tests.real import wait_until


def beanwatch(worker: Worker, command: str) -> str:
    return worker.machine.run("beanwatch", "workers", command, worker.id)


def test_it_is_active_when_it_takes_jobs_and_says_what_it_does(worker: Worker) -> None:
    worker.start()
    assert worker.show()["ActiveState"] == "active"
    assert "the worker starts" in worker.journal()
    found = worker.wait_for(StatusText="idle")
    is_confined(worker.machine, found, f"/var/cache/beanwatch-worker/{worker.worker}")
    worker.put(seconds=30)
    status = wait_until(lambda: worker.show()["StatusText"].removeprefix("idle"), 30, "a job")
    assert status.startswith("busy: email.send (job ")


def test_it_finishes_its_job_and_then_stops(worker: Worker) -> None:
    worker.configure(EXAMPLE)
    worker.start()
    worker.put(seconds=1.5)
    wait_until(lambda: worker.jobs("reserved") == 1, 30, "a running job")
    worker.stop()
    found = worker.show()
    assert (found["ActiveState"], found["Result"]) == ("inactive", "success")
    assert found["NRestarts"] == "0"
    assert '"email.send ok"' in worker.journal()
    assert worker.jobs("reserved") + worker.jobs("ready") == 0


def test_it_releases_a_job_that_hangs_and_then_stops(worker: Worker) -> None:
    worker.start()
    worker.put(hang=50)
    wait_until(lambda: worker.jobs("reserved") == 1, 30, "a running job")
    worker.stop()
    found = worker.show()
    assert (found["ActiveState"], found["NRestarts"]) == ("inactive", "0")
    assert "Killing" not in worker.journal()  # systemd had nothing to do
    assert worker.jobs("ready") + worker.jobs("delayed") == 1


def test_systemd_kills_and_restarts_it_if_it_is_silent(worker: Worker) -> None:
    worker.drop_in(SHORT_WATCHDOG)
    worker.start()
    before = worker.wait_for(StatusText="idle")
    worker.kill("STOP")
    after = worker.wait_for(NRestarts="1", ActiveState="active", StatusText="idle")
    assert after["MainPID"] != before["MainPID"]
    assert "Watchdog timeout" in worker.journal()


def test_it_is_restarted_until_the_job_that_kills_it_is_buried(worker: Worker) -> None:
    worker.drop_in("[Service]\nRestartSec=100ms\n")
    worker.start()
    worker.put(crash=True)
    wait_until(lambda: worker.jobs("buried") == 1, 60, "a buried job")
    found = worker.wait_for(StatusText="idle", ActiveState="active")
    assert int(found["NRestarts"]) >= 3
    # It is in the black box, in the cache directory of this instance.
    assert "killed while running email.send" in worker.journal()


def wrong_option(worker: Worker) -> None:
    worker.configure(EXAMPLE, "--no-such-option")


def broken_configuration(worker: Worker) -> None:
    worker.configure(EXAMPLE, "--config /srv/broken.toml")
    worker.machine.write("/srv/broken.toml", "[workers\n")


def taken_name(worker: Worker) -> None:
    other = Worker(worker.machine)
    other.start()
    other.wait_for(StatusText="idle")
    worker.configure(EXAMPLE, f"--name {other.worker}")
    worker.close = lambda: (other.close(), Worker.close(worker))  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("cause", "status"), [(wrong_option, "2"), (broken_configuration, "2"), (taken_name, "12")]
)
def test_it_is_not_started_again_if_that_would_fail_again(
    worker: Worker, cause: Callable[[Worker], Any], status: str
) -> None:
    cause(worker)
    worker.start(code=1)
    found = worker.wait_for(ActiveState="failed")
    assert (found["ExecMainStatus"], found["NRestarts"]) == (status, "0")


def test_it_is_started_again_until_its_application_can_be_imported(worker: Worker) -> None:
    path = f"PYTHONPATH=/srv/{worker.worker}"
    worker.configure("late_jobs:app", more=path)
    worker.machine.systemctl("start", "--no-block", worker.name)
    wait_until(lambda: int(worker.show()["NRestarts"]) >= 1, 60, "a restart")
    assert worker.show()["ActiveState"] == "activating"
    worker.machine.write(
        f"/srv/{worker.worker}/late_jobs.py", "from beanwatch.worker.example import app\n"
    )
    worker.wait_for(ActiveState="active", StatusText="idle")


def test_an_order_restarts_it_and_another_stops_it(worker: Worker) -> None:
    worker.start()
    before = worker.wait_for(StatusText="idle")
    beanwatch(worker, "restart")
    after = worker.wait_for(NRestarts="1", ActiveState="active", StatusText="idle")
    assert after["MainPID"] != before["MainPID"]
    assert after["Result"] == "success"
    beanwatch(worker, "stop")
    found = worker.wait_for(ActiveState="inactive")
    assert (found["Result"], found["ExecMainStatus"], found["NRestarts"]) == ("success", "0", "1")


def test_a_reload_does_not_disturb_it(worker: Worker) -> None:
    worker.start()
    before = worker.wait_for(StatusText="idle")
    worker.machine.systemctl("reload", worker.name)
    worker.put()
    wait_until(lambda: '"email.send ok"' in worker.journal(), 30, "a job")
    assert worker.show()["MainPID"] == before["MainPID"]
