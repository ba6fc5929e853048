"""Play a night. The exit code is 1 if a mail is missing, late, or was not expected."""

import argparse
import random
import shutil
import signal
import sys
import tempfile
from functools import partial
from pathlib import Path

from tests.night.fleet import Fleet
from tests.night.monitors import MONITORS, favor
from tests.night.night import Night
from tests.night.pace import Pace
from tests.night.troubles import TROUBLES

# Minutes of the monitor before the first trouble. In five of them each service would alert.
FIRST_CALM, SHORT_CALM = 5.0, 2.0


def main(argv: list[str]) -> int:
    """Parse the arguments, play the night on each monitor, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.night", description=__doc__)
    parser.add_argument("--monitor", choices=MONITORS, action="append", help="default: both")
    parser.add_argument("--seed", type=int, help="the order of the troubles (default: random)")
    parser.add_argument("--short", action="store_true", help="a few troubles, in two minutes")
    parser.add_argument("--only", metavar="WORDS", help="troubles whose names contain these words")
    minute = "seconds that a minute of the monitor takes (default: as few as the machine can do)"
    parser.add_argument("--tick", type=int, default=0, metavar="SECONDS", help=minute)
    options = parser.parse_args(argv)
    seed = random.randrange(10_000) if options.seed is None else options.seed
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    wells = [
        play(monitor, seed, is_short=options.short, words=options.only or "", tick=options.tick)
        for monitor in options.monitor or MONITORS
    ]
    return 0 if all(wells) else 1


def play(
    monitor: str, seed: int, *, is_short: bool = False, words: str = "", tick: float = 0.0
) -> bool:
    """Play a night on one monitor, and print what happens. Return True if it is as expected."""
    troubles = [one for one in TROUBLES if words in one.name and (one.is_short or not is_short)]
    print(f"night on {monitor}, seed {seed}, {len(troubles)} troubles", flush=True)
    directory = Path(tempfile.mkdtemp(prefix="beanwatch-night-"))
    directory.chmod(0o755)  # the monitor may run as another user
    try:
        with Fleet(directory, is_small=is_short, tick=tick) as fleet:
            fleet.start()
            favor(fleet.enter_context(MONITORS[monitor](fleet)))
            say = partial(print, flush=True)
            say(f"a minute of the monitor takes {fleet.tick:g} s")
            pace = fleet.enter_context(Pace(fleet.run_a_check))
            night = Night(fleet, seed, say, clock=pace.clock)
            night.wait_for_calm(SHORT_CALM if is_short else FIRST_CALM)
            night.play(troubles)
            if not night.is_well:
                print("\n".join(fleet.tails()))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    expected = sum(len(one.problems) + len(one.recoveries) for one in troubles)
    missing = sum(len(result.missing) for result in night.results)
    slowest = max((s for result in night.results for _, s in result.arrived), default=0.0)
    print(
        f"night on {monitor}, seed {seed}: {expected - missing} of {expected} expected mails "
        f"arrived, the slowest after {slowest:.0f} s; {missing} missing, {len(night.extra)} extra",
        flush=True,
    )
    for mail in night.extra:
        print(f"  extra: {mail.line}")
    return night.is_well


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
