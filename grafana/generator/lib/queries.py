"""Numbers that more than one dashboard shows."""

from collections.abc import Callable

from beanwatch.grafana.generator import functions as g
from beanwatch.grafana.generator import limits, words
from beanwatch.grafana.generator.series import JOB, JOB_OUTCOME, SERVER, Series


def failed_share(of: Series) -> str:
    """Percent of the runs that failed, in the last minutes."""
    runs, fine = (
        g.over(g.total(of.outcomes(*outcomes, stat="count")), limits.FAILED_SPAN)
        for outcomes in ((), words.FINE)
    )
    return g.fresh(g.percent(g.less(runs, fine), runs))


def outcomes(of: Series) -> list[str]:
    """Runs a second, by outcome."""
    return [g.largest_first(g.alive(g.by(of.outcomes(), JOB_OUTCOME)))]


def percentiles(of: Series, timer: str, most: int = 3) -> list[str]:
    """Milliseconds that half of the runs, 95 % and 99 % stay below, by job: the slowest ones."""
    shares = (("upper_50", "50 %"), ("upper_95", "95 %"), ("upper_99", "99 %"))
    return [
        g.suffixed(g.top(g.alive(g.by(of.timer(timer, stat), JOB, how="max")), most), name)
        for stat, name in shares
    ]


def jobs_by_state(read: Callable[[str], str]) -> list[str]:
    """The jobs in each state; `read` gives the total of one of beanstalkd's fields."""
    return [g.alias(g.total(read(f"current-jobs-{state}")), state) for state in words.JOB_STATES]


def cpu(of: Series) -> str:
    """Percent of a processor, by server."""
    times = [g.scaled(g.per_second(of.server(f"rusage-{s}")), 100) for s in ("utime", "stime")]
    return g.alive(g.by(g.group(*times), SERVER))
