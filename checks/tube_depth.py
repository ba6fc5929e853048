"""check_tube_depth: do more jobs wait in a tube than should?"""

import argparse

from beanwatch.checks import source, tubes
from beanwatch.checks.plugin import Check, Perf, Perfs, State, count, judge
from beanwatch.checks.process import Parser, run
from beanwatch.checks.source import Source, Tube
from beanwatch.config import Config, Threshold

DEFAULT = Threshold()  # how deep is too deep only the operator knows


def parser() -> Parser:
    """The command line."""
    parser = Parser("tube_depth", __doc__, "-H queue1 -T 'email.*' -w 1000 -c 5000 --for 300")
    source.add_servers(parser)
    tubes.add_tubes(parser)
    tubes.add_limits(parser)
    return parser


def ready(tube: Tube) -> int:
    """The jobs that a worker could take now."""
    return tube.get("current-jobs-ready")


def decide(tube: Tube, limits: Threshold) -> tuple[State, str]:
    """Evaluate: the state, and who works on the jobs, which is what one asks next."""
    state, limit = judge(ready(tube), limits)
    text = f"{tube.label}: {count(ready(tube), 'job')} ready"
    if not limit:
        return state, text
    if tube.name == "default":  # which every connection watches until it says otherwise
        return state, f"{text} ({limit})"
    watching, waiting = tube.get("current-watching"), tube.get("current-waiting")
    workers = f"{count(watching, 'worker')} there, {waiting} of them idle"
    return state, f"{text} ({limit}), {workers if watching else 'no worker watches it'}"


def perfdata(tube: Tube, limits: Threshold) -> Perfs:
    """Present: the number that was judged."""
    return Perfs([Perf(tube.label, ready(tube), "", limits.warning, limits.critical)])


def build(options: argparse.Namespace, config: Config, source_: Source) -> Check:
    """Acquire from the source, evaluate and present as above."""
    summary = tubes.TubeSummary(ready, "jobs ready")
    context = tubes.TubeContext(options, config, "depth", DEFAULT, source_.memory, decide, perfdata)
    return tubes.tube_check("tube_depth", options, config, source_, context, summary)


def main() -> None:
    """Run as a plugin."""
    run(parser(), source.live(build))
