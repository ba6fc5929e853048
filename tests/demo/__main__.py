"""Run the demo. The exit code is 0 only if every expected alert and recovery arrived."""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import NoReturn

from rich.console import Console

from tests.demo import pictures
from tests.demo.all_queues import AllStage
from tests.demo.all_workers import WorkersStage
from tests.demo.detach import run_detached
from tests.demo.director import Director
from tests.demo.narrator import Narrator
from tests.demo.programs import BIN, ProgramError
from tests.demo.prometheus import PrometheusStage
from tests.demo.scenes import SCENES
from tests.demo.stage import Stage
from tests.real import ROOT, StartupError, WaitError

RESULTS = ROOT / ".demo"  # files that stay after the demo
LOGS = RESULTS / "logs"  # written only if the demo failed
KEEP_SECONDS = 2 * 3600.0  # with --keep, the demo stops by itself after this time

FAILURES = (StartupError, WaitError, ProgramError, OSError, subprocess.TimeoutExpired)


def main(argv: list[str]) -> int:
    """Parse the arguments, run the demo, and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.demo", description=__doc__)
    parser.add_argument(
        "--keep",
        action="store_true",
        help="leave all programs running at the end, for at most two hours",
    )
    parser.add_argument(
        "--queues",
        choices=("beanstalkd", "all"),
        default="beanstalkd",
        help="all: every queue system, without workers of beanwatch",
    )
    parser.add_argument(
        "--workers",
        choices=("beanwatch", "all"),
        default="beanwatch",
        help="all: a worker of every kind, in place of the chain from beanstalkd to Graphite",
    )
    parser.add_argument(
        "--prometheus",
        action="store_true",
        help="also start Prometheus and Alertmanager, and wait for their alerts too",
    )
    options = parser.parse_args(argv)
    others = [
        *([AllStage] if options.queues == "all" else []),
        *([WorkersStage] if options.workers == "all" else []),
    ]
    if len(others) + options.prometheus > 1:
        parser.error("--queues all, --workers all and --prometheus exclude each other")
    kind = PrometheusStage if options.prometheus else (*others, Stage)[0]
    return run_detached(partial(play, kind=kind)) if options.keep else play(kind=kind)


def play(detach: Callable[[int], None] | None = None, kind: type[Stage] = Stage) -> int:
    """Run the demo on this kind of stage, stop everything, and return the exit code.

    With `detach`: call it with the exit code, and leave all running until a signal or the time
    limit.
    """
    console = Console()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    directory = Path(tempfile.mkdtemp(prefix="beanwatch-demo-"))
    code = 1
    try:
        with Narrator(console, len(SCENES) + 2) as narrator, kind(directory, narrator) as stage:
            try:
                code = play_scenes(stage, narrator)
            finally:
                if code and not isinstance(sys.exception(), KeyboardInterrupt):
                    copy_logs(directory)
            if detach:
                print_hints(stage, console)
                narrator.close()
                detach(code)
                keep_running(stage)
            else:
                narrator.waits_for("stopping all programs")
        console.print("All programs are stopped and their files removed.\n", style="dim")
    except KeyboardInterrupt:
        console.print("\nThe demo was interrupted. All programs are stopped, all files removed.")
        code = 130
    except FAILURES as error:
        console.print(f"\nThe demo failed and ends here: {error}", style="bold red", soft_wrap=True)
        console.print(f"The logs of all programs are in {LOGS}", soft_wrap=True)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return code


def _interrupt(signum: int, frame: FrameType | None) -> NoReturn:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # no second interrupt while we clean up
    raise KeyboardInterrupt


def play_scenes(stage: Stage, narrator: Narrator) -> int:
    """Start everything, play all scenes, and print the results.

    Return 0 if every expected alert arrived, else 1.
    """
    shutil.rmtree(LOGS, ignore_errors=True)
    RESULTS.mkdir(exist_ok=True)
    started = time.time()
    director = Director(stage, timeout=stage.alert_timeout)
    narrator.title("beanwatch demo", f"real servers on loopback, all files in {stage.directory}")
    narrator.chapter("Start everything")
    stage.start_servers()
    stage.start_programs()
    stage.start_nagios()
    director.wait_until_all_is_ok()
    for scene in stage.scenes():
        director.play(scene)
    narrator.chapter("Expected alerts, and when they arrived")
    narrator.scores(director.receipts, director.unexpected)
    narrator.chapter("Files that stay")
    if stage.has_graphs:
        graphs = pictures.draw(stage.graphite, stage.graphs(), RESULTS, started)
        narrator.files("graphs by Graphite", graphs)
    if stage.picture.exists():
        narrator.files("live page, scene 3", [shutil.copy(stage.picture, RESULTS)])
    narrator.files("log of the workers", [shutil.copy(stage.log, RESULTS)])
    narrator.files("all alerts", [shutil.copy(stage.mailbox.path, RESULTS)])
    if director.missing:
        narrator.files("logs of all programs", [LOGS])
        narrator.end(f"{director.missing} of the expected alerts did not arrive.", good=False)
        return 1
    seconds = time.time() - started
    narrator.end(f"Every alert and every recovery arrived, in {seconds:.0f} s.", good=True)
    return 0


def copy_logs(directory: Path) -> None:
    """Copy the logs and configurations of all programs to LOGS, before `directory` is removed."""
    LOGS.mkdir(parents=True, exist_ok=True)
    for path in directory.rglob("*"):
        if path.suffix in (".log", ".events", ".cfg", ".toml") or path.name == "mailbox":
            shutil.copy(path, LOGS / path.name)


def print_hints(stage: Stage, console: Console) -> None:
    """Print the commands with which to explore the running demo, and to stop it."""
    hints = "\n".join(f"   {command}       # {text}" for command, text in stage.hints().items())
    console.print(
        f"""\
All programs keep running, for two hours at most. To explore them:

   export BEANWATCH_CONFIG={stage.config} PATH={BIN}:$PATH
{hints}

To stop all programs and remove their files:

   kill {os.getpid()}
""",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )


def keep_running(stage: Stage) -> None:
    """Restart workers that end, until a signal arrives or KEEP_SECONDS have passed."""
    deadline = time.monotonic() + KEEP_SECONDS
    while time.monotonic() < deadline:
        stage.supervise()
        time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
