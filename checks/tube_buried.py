"""check_tube_buried: have jobs given up, and wait for a human?"""

import argparse

from beanwatch.checks import source, tubes
from beanwatch.checks.plugin import Check, Perf, Perfs, State, count, judge
from beanwatch.checks.process import Parser, run
from beanwatch.checks.source import Source, Tube
from beanwatch.config import Config, Threshold

DEFAULT = Threshold(warning="0")  # a buried job is work that was not done


def parser() -> Parser:
    """The command line."""
    parser = Parser("tube_buried", __doc__, "-H queue1 -T 'email.*' -w 0 -c 100")
    source.add_servers(parser)
    tubes.add_tubes(parser)
    tubes.add_limits(parser)
    return parser


def buried(tube: Tube) -> int:
    """The jobs that nobody takes until they are kicked or deleted."""
    return tube.get("current-jobs-buried")


def decide(tube: Tube, limits: Threshold) -> tuple[State, str]:
    """Evaluate: the state, and how to look."""
    state, limit = judge(buried(tube), limits)
    text = f"{tube.label}: {count(buried(tube), 'job')} buried"
    return state, f"{text} ({limit}), see: beanwatch tubes peek {tube.name}" if limit else text


def perfdata(tube: Tube, limits: Threshold) -> Perfs:
    """Present: the number that was judged."""
    return Perfs([Perf(tube.label, buried(tube), "", limits.warning, limits.critical)])


def build(options: argparse.Namespace, config: Config, source_: Source) -> Check:
    """Acquire from the source, evaluate and present as above."""
    summary = tubes.TubeSummary(buried, "jobs buried")
    context = tubes.TubeContext(
        options, config, "buried", DEFAULT, source_.memory, decide, perfdata
    )
    return tubes.tube_check("tube_buried", options, config, source_, context, summary)


def main() -> None:
    """Run as a plugin."""
    run(parser(), source.live(build))
