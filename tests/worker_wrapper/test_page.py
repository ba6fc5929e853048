"""What docs/run.md shows works: the commands, PHP and shell, supervisord, the unit of systemd."""

import os
import re
import shlex
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.operations.test_supervisor import BIN, Supervisord
from tests.real import ROOT, Redis, wait_until
from tests.worker_core.test_deadlines import is_alive
from tests.worker_wrapper.conftest import Fleet, Run

PAGE = (ROOT / "docs" / "run.md").read_text()
(FIRST_COMMAND, SCRIPT), (PHP,), (SUPERVISOR, UNIT) = (
    re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL) for language in ("sh", "php", "ini")
)


def test_the_command_and_the_lines_in_php(run: Run, tmp_path: Path) -> None:
    arguments = shlex.split(FIRST_COMMAND)
    assert arguments[:2] == ["beanwatch", "run"]
    queue = arguments[arguments.index("--queue") + 1]
    program = arguments[arguments.index("--") + 1 :]
    (tmp_path / program[1]).write_text(f"<?php\n{PHP}fgets(STDIN);\n")
    watched = run(program[0], tmp_path / program[1], options=["--queue", queue])
    wait_until(lambda: watched.runs() != [], 60)
    (job,) = watched.runs()
    assert (job["job"], job["id"], job["queue"], job["outcome"]) == (
        "email.send", "4711", "mail", "ok"
    )  # fmt: skip
    watched.next_line()
    assert watched.end()[0] == 0


def test_the_lines_in_a_shell_script(run: Run) -> None:
    script = re.sub("^tar .*shop &&", "false &&", SCRIPT, flags=re.M)
    assert script != SCRIPT
    watched = run("sh", "-c", f"{script}\nread line")
    wait_until(lambda: watched.runs() != [], 60)
    (job,) = watched.runs()
    assert (job["job"], job["outcome"]) == ("backup", "failed")


def test_the_section_for_supervisord(shared_redis: Redis, tmp_path: Path) -> None:
    (command,) = re.findall(r"^command=(.*)$", SUPERVISOR, re.M)
    command = command.replace("php /srv/shop/worker.php", "sleep 1000").replace(
        "beanwatch run", f"{BIN}/beanwatch run --host web1 --redis {shared_redis.url}"
    )
    fleet, ids = Fleet(shared_redis), ["web1.mail-1", "web1.mail-2"]
    environment = {"PATH": os.environ["PATH"], "BEANWATCH_WORKER_HEARTBEAT_INTERVAL": "0.2s"}

    def pid_of(worker: str) -> int:
        found = fleet.find(worker)
        return found.heartbeat.pid if found and found.heartbeat else 0

    with Supervisord(tmp_path, command, environment, SUPERVISOR) as supervisord:
        for worker in ids:
            wait_until(lambda w=worker: fleet.health(w) == "busy", 60, worker)
        killed = pid_of(ids[0])
        children = Path(f"/proc/{killed}/task/{killed}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGKILL)
        wait_until(lambda: pid_of(ids[0]) not in (0, killed), 60, "the program is started again")
        subprocess.run(
            [BIN / "beanwatch", "workers", "stop", ids[1], "--redis", shared_redis.url],
            check=True, capture_output=True, timeout=60,
        )  # fmt: skip
        wait_until(lambda: supervisord.states() == ["RUNNING", "EXITED"], 60)
        last = pid_of(ids[0])
        supervisord.ctl("stop", "all")
        assert supervisord.states() == ["STOPPED", "EXITED"]
        assert not is_alive(last)
    left = fleet.find(ids[0])
    assert left
    assert left.has_left, "its record still tells that it was killed once"
    assert fleet.find(ids[1]) is None


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze here")
def test_the_unit_of_systemd(tmp_path: Path) -> None:
    unit = tmp_path / "mail@.service"
    unit.write_text(UNIT)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
