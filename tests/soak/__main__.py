"""`make soak`: workers of every kind are killed, frozen, cut off and deployed, and judged.

First fifty workers of beanwatch's own lose their processes for two minutes, and the accounts are
compared. Then all kinds, side by side, are tormented; and put under healthy load, with deploys and
restarts only. Exits with 1 if a job is lost, a death is not told, or an alert is false.
"""

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from tests.real.process import family_of
from tests.soak import healthy, soak, troubles
from tests.soak.kinds import KINDS, ON_RABBITMQ, describe, make_kind
from tests.soak.stage import Stage

Tell = Callable[[str], None]
Result = tuple[str, list[str]]  # the figures, and what is wrong


def soak_fleet(directory: Path) -> Result:
    """Kill fifty of beanwatch's own workers."""
    account = soak.soak(directory, soak.Plan(50, 20_000, 120, 1.5))
    return soak.report(account), soak.audit(account)


def torment(
    name: str, directory: Path, seconds: float, seed: str, watched: bool, tell: Tell
) -> Result:
    kind = make_kind(name, directory / "broker", is_watched=watched)
    with Stage(kind, directory, has_proxies=True, is_watched=watched) as stage:
        stage.start()
        account = troubles.play(stage, seconds, seed, tell)
    return account.report(), account.wrong


def load(name: str, directory: Path, seconds: float, seed: str, tell: Tell) -> Result:
    with Stage(make_kind(name, directory / "broker"), directory, has_proxies=False) as stage:
        stage.start()
        account = healthy.play(stage, seconds, seed, tell)
    return account.report(), account.wrong


def side_by_side(names: Sequence[str], part: Callable[[str], Result], report: Tell) -> list[str]:
    """Run a part for all names at once; return what is wrong. One that fails stops no other."""

    def run(name: str) -> list[str]:
        try:
            text, wrong = part(name)
            report(text)
            return [f"{name}: {one}" for one in wrong]
        except Exception as error:
            return [f"{name}: {type(error).__name__}: {error}"]

    with ThreadPoolExecutor(len(names)) as pool:
        return [one for found in pool.map(run, names) for one in found]


def end_at_once(root: Path) -> None:
    """End this process and all that it has started: its threads may be busy for many minutes."""
    with suppress(OSError):
        for pid in family_of(os.getpid())[1:]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    shutil.rmtree(root, ignore_errors=True)
    os._exit(130)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--healthy", type=float, default=20, help="minutes of healthy load")
    parser.add_argument("--torment", type=float, default=3, help="minutes of kills and cuts")
    parser.add_argument("--no-fleet", action="store_true", help="without the fifty workers")
    parser.add_argument(
        "--kind",
        action="append",
        choices=(*KINDS, *ON_RABBITMQ),
        help="default: all but RabbitMQ's",
    )
    parser.add_argument(
        "--unwatched", action="store_true", help="without beanwatch: what the frameworks lose alone"
    )
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("-v", "--verbose", action="store_true", help="tell each thing that happens")
    options = parser.parse_args()
    names = tuple(options.kind or KINDS)
    began = time.monotonic()

    def report(text: str) -> None:
        print(f"{time.monotonic() - began:5.0f} s  {text}", flush=True)

    tell = report if options.verbose else lambda text: None
    print(f"seed {options.seed}; what each framework alone guarantees:\n{describe(names)}\n")
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as place:
        root, seed = Path(place), str(options.seed)
        signal.signal(signal.SIGINT, lambda *_: end_at_once(root))  # Ctrl-C
        if not options.no_fleet and not options.unwatched:
            wrong += side_by_side(("fleet",), lambda name: soak_fleet(root / name), report)
        if options.torment:
            wrong += side_by_side(
                names,
                lambda name: torment(
                    name,
                    root / f"torment-{name}",
                    options.torment * 60,
                    f"{seed} {name}",
                    not options.unwatched,
                    tell,
                ),
                report,
            )
        if options.healthy and not options.unwatched:
            wrong += side_by_side(
                names,
                lambda name: load(
                    name, root / f"healthy-{name}", options.healthy * 60, f"{seed} {name}", tell
                ),
                report,
            )
    print("\n".join(wrong) or "nothing is wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
