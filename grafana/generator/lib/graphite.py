"""Graphite functions, in the few shapes that the panels and the alert rules use."""

# Points are 10 s apart. A newest point older than 2 minutes is reported by check_metrics_fresh:
# until then the last value holds, afterwards there is none.
NEWEST_POINTS = 12
MANY, FEW = 10, 6  # series in a chart with the legend beside it, and below it


def nonempty(series: str) -> str:
    """Without the series of queues and workers that are gone."""
    return f"removeEmptySeries({series})"


def newest(series: str) -> str:
    """The newest value at each point, unless it is older than 2 minutes."""
    return f"keepLastValue({series}, {NEWEST_POINTS})"


def total(series: str) -> str:
    """The sum of all; nothing where there is no series."""
    return f"sumSeries({series})"


def maximum(series: str) -> str:
    """The highest of all at each point."""
    return f"maxSeries({series})"


def minimum(series: str) -> str:
    """The lowest of all at each point."""
    return f"minSeries({series})"


def average(series: str) -> str:
    """The mean of all at each point."""
    return f"averageSeries({series})"


def group_by(series: str, *nodes: int, how: str = "sum") -> str:
    """One series for each value of the nodes, named by it."""
    if len(nodes) == 1:
        return f"groupByNode({series}, {nodes[0]}, '{how}')"
    return f"groupByNodes({series}, '{how}', {', '.join(map(str, nodes))})"


def name_by(series: str, *nodes: int) -> str:
    """The same series, named by these nodes with a dot between them."""
    return f"aliasByNode({series}, {', '.join(map(str, nodes))})"


def alias(series: str, name: str) -> str:
    """The series under this name."""
    return f"alias({series}, '{name}')"


def add_suffix(series: str, suffix: str) -> str:
    """The series with something after each name."""
    return f"aliasSub({series}, '$', ' {suffix}')"


def largest_first(series: str) -> str:
    """In the order of their sums, so that the largest is at the bottom of a stack."""
    return f"sortByTotal({series})"


def highest(series: str, count: int = FEW) -> str:
    """Those with the highest peaks: a chart of a thousand queues says nothing."""
    return f"highestMax({series}, {count})"


def lowest(series: str, count: int) -> str:
    """Those with the lowest values, the lowest first."""
    return f"limit(sortBy({series}, 'min'), {count})"


def top_nonzero(series: str, count: int = FEW, *, known: str = "") -> str:
    """The highest of those that are ever above zero, else a line at zero called `none`.

    No line where nothing is known: where these series do not exist. For counts of events that have
    no series before the first one, `known` is a series that exists where events are counted.
    """
    above = highest(f"maximumAbove({series}, 0)", count)
    none = alias(scale(maximum(known or series), 0), "none")
    return f"fallbackSeries({above}, {none})"


def per_second(counter: str) -> str:
    """A counter's rate; a server that started again makes a gap, not a peak."""
    return f"perSecond({counter})"


def increase(counter: str) -> str:
    """The rise of a counter at each point, also after a gap: a restart mostly makes one."""
    return f"nonNegativeDerivative(keepLastValue({counter}))"


def per_minute(counter: str) -> str:
    """The rise of a counter in each minute."""
    return f"summarize({increase(counter)}, '1min', 'sum')"


def moving(series: str, span: str, how: str = "Sum") -> str:
    """At each point, the sum (Max, Min, Average) over the `span` before it."""
    return f"moving{how}({series}, '{span}')"


def count_between(series: str, lowest: float, highest: float) -> str:
    """The number of series between the two at each point; nothing where no value is known."""
    known = newest(nonempty(series))
    inside = f"isNonNull(removeAboveValue(removeBelowValue({known}, {lowest:g}), {highest:g}))"
    one = f"offset({scale(maximum(known), 0)}, 1)"
    return f"multiplySeries({total(inside)}, {one})"


def scale(series: str, factor: float) -> str:
    """The values times a factor."""
    return f"scale({series}, {factor:g})"


def subtract(series: str, *others: str) -> str:
    """The first less all others; an other one that is unknown counts as 0."""
    return f"diffSeries({', '.join((series, *others))})"


def percent(part: str, whole: str) -> str:
    """The part as percent of the whole."""
    return f"asPercent({part}, {whole})"


def count_known(series: str, *nodes: int) -> str:
    """The number of series that have a value at each point, by the nodes."""
    return group_by(f"isNonNull({series})", *nodes)


def constant_from(series: str, lowest: float, value: float) -> str:
    """This value where the series is at `lowest` or above; nothing elsewhere."""
    return f"offset({scale(f'removeBelowValue({series}, {lowest:g})', 0)}, {value:.0f})"


def only_where(series: str, *known: str) -> str:
    """The series at those points at which all of `known` have a value; nothing elsewhere."""
    for one in known:
        series = f"divideSeries({series}, offset({scale(one, 0)}, 1))"
    return series


def group(*series: str) -> str:
    """All of these as one list."""
    return f"group({', '.join(series)})"


def silent(series: str, span: str = "120s") -> str:
    """1 where a series had no point for `span`, else 0."""
    seen = moving(f"isNonNull({nonempty(series)})", span, "Max")
    return f"offset(scale({seen}, -1), 1)"


def consolidate(series: str, how: str) -> str:
    """Use `how`, not the average, where there are more points than pixels.

    The function adds itself to the names; aliasSub takes it away again.
    """
    return (
        rf"""aliasSub(consolidateBy({series}, '{how}'), '^consolidateBy\((.*),"{how}"\)$', '\1')"""
    )
