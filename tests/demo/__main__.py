"""`python -m tests.demo [--keep]`: exit 0 only if every expected alert arrived."""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NoReturn

from rich.console import Console

from tests.demo import pictures
from tests.demo.detach import detached
from tests.demo.director import Director
from tests.demo.narrator import Narrator
from tests.demo.programs import BIN, ProgramError
from tests.demo.scenes import SCENES
from tests.demo.stage import Stage
from tests.real import ROOT, StartupError, WaitError

KEEPSAKES = ROOT / ".demo"  # what is left when all is removed
LOGS = KEEPSAKES / "logs"  # only if something went wrong
KEPT_FOR = 2 * 3600.0  # seconds, should nobody stop it

FAILURES = (StartupError, WaitError, ProgramError, OSError, subprocess.TimeoutExpired)


def main(argv: list[str]) -> int:
    """Parse the arguments, and play."""
    parser = argparse.ArgumentParser(prog="python -m tests.demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave everything running")
    return detached(play) if parser.parse_args(argv).keep else play()


def play(let_go: Callable[[int], None] | None = None) -> int:
    """The demo from start to end. With `let_go`, it is called with the exit code, and all stays."""
    console = Console()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    directory = Path(tempfile.mkdtemp(prefix="beanwatch-demo-"))
    code = 1
    try:
        with Narrator(console, len(SCENES) + 2) as narrator, Stage(directory, narrator) as stage:
            try:
                code = tell(stage, narrator)
            finally:
                if code and not isinstance(sys.exception(), KeyboardInterrupt):
                    keep_logs(directory)
            if let_go:
                tell_how_to_look_around(stage, console)
                narrator.close()
                let_go(code)
                linger(stage)
            else:
                narrator.waits_for("stopping everything")
        console.print("Everything is stopped and removed.\n", style="dim")
    except KeyboardInterrupt:
        console.print("\nStopped by you; everything is removed.")
        code = 130
    except FAILURES as error:
        console.print(f"\nThe demo cannot go on: {error}", style="bold red", soft_wrap=True)
        console.print(f"What every program said is in {LOGS}", soft_wrap=True)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return code


def _interrupt(signum: int, frame: FrameType | None) -> NoReturn:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # cleaning up takes a second: once is enough
    raise KeyboardInterrupt


def tell(stage: Stage, narrator: Narrator) -> int:
    """The story; 0 if every expected alert arrived."""
    shutil.rmtree(LOGS, ignore_errors=True)
    started = time.time()
    director = Director(stage)
    narrator.title("beanwatch demo", f"real servers on loopback ports, all in {stage.directory}")
    narrator.chapter("The stage is set")
    stage.start_servers()
    stage.start_programs()
    stage.start_nagios()
    director.wait_until_all_is_well()
    for scene in SCENES:
        director.play(scene)
    narrator.chapter("What was expected, and what arrived")
    narrator.scores(director.receipts, director.surprises)
    narrator.chapter("What is left")
    narrator.files("graphs by Graphite", pictures.draw(stage.graphite, KEEPSAKES, started))
    narrator.files("the log, in JSON", [shutil.copy(stage.log, KEEPSAKES)])
    narrator.files("the alerts", [shutil.copy(stage.mailbox.path, KEEPSAKES)])
    if director.missing:
        narrator.files("what programs said", [LOGS])
        narrator.end(f"{director.missing} of the expected alerts did not arrive.", good=False)
        return 1
    seconds = time.time() - started
    narrator.end(f"Every alert and every recovery arrived, in {seconds:.0f} s.", good=True)
    return 0


def keep_logs(directory: Path) -> None:
    """When something went wrong, what every program said outlives the directory."""
    LOGS.mkdir(parents=True, exist_ok=True)
    for path in directory.rglob("*"):
        if path.suffix in (".log", ".events", ".cfg", ".toml") or path.name == "mailbox":
            shutil.copy(path, LOGS / path.name)


def tell_how_to_look_around(stage: Stage, console: Console) -> None:
    """What to type now."""
    console.print(
        f"""\
Everything goes on, for two hours at most. To look around:

   export BEANWATCH_CONFIG={stage.config} PATH={BIN}:$PATH
   beanwatch top                                        servers, queues and workers, live
   check_worker_heartbeat --restarted 15s               what Nagios sees
   beanwatch put images image.resize '{{"hang": 60}}'     more trouble
   tail -f {stage.mailbox.path}
   tail -f {stage.log}
   {stage.graphite.url}

To stop and remove everything:

   kill {os.getpid()}
""",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )


def linger(stage: Stage) -> None:
    """Go on until somebody says stop, or the time is over."""
    deadline = time.monotonic() + KEPT_FOR
    while time.monotonic() < deadline:
        stage.tend()
        time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
