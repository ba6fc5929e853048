"""`make situations`: workers of every framework in a hundred situations, chosen by a seed."""

import argparse
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from tests.adapters.brokers import Brokers
from tests.adapters.kinds import all_kinds
from tests.adapters.situations import choose, format_matrix, judge, make_stages, play_all


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--kind", default="", help="only kinds whose names begin with this")
    options = parser.parse_args()
    kinds = [kind for kind in all_kinds() if kind.name.startswith(options.kind)]
    print(f"seed {options.seed}, {options.count} situations, {len(kinds)} workers", flush=True)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        brokers = stack.enter_context(Brokers(directory))
        began = time.monotonic()
        stages = make_stages(kinds, brokers.make_worker, brokers.own.url)
        chosen = choose(options.seed, options.count, len(stages))
        tell = lambda text: print(f"{time.monotonic() - began:5.0f} s  {text}", flush=True)  # noqa: E731
        seen = list(play_all(stages, chosen, tell))
    print(f"\n{format_matrix(seen)}\n")
    wrong = judge(seen, stages)
    print("\n".join(wrong) or f"{len(seen)} situations, no wrong answer")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
