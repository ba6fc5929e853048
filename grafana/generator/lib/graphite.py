"""Graphite functions, in the few shapes that the panels and the alert rules use."""

# The collector's points are 10 s apart, and a newest one older than 2 minutes is a matter for
# check_metrics_fresh: until then the last value holds, afterwards there is none.
FRESH_POINTS = 12
TOP, FEW = 10, 6  # series in a chart with the legend beside it, and below it


def alive(series: str) -> str:
    """Without the series of queues and workers that are gone."""
    return f"removeEmptySeries({series})"


def fresh(series: str) -> str:
    """The newest value up to now, unless it is too old to be true."""
    return f"keepLastValue({series}, {FRESH_POINTS})"


def total(series: str) -> str:
    return f"sumSeries({series})"


def worst(series: str) -> str:
    return f"maxSeries({series})"


def by(series: str, *nodes: int, how: str = "sum") -> str:
    """One series for each value of the nodes, named by it."""
    if len(nodes) == 1:
        return f"groupByNode({series}, {nodes[0]}, '{how}')"
    return f"groupByNodes({series}, '{how}', {', '.join(map(str, nodes))})"


def named(series: str, *nodes: int) -> str:
    return f"aliasByNode({series}, {', '.join(map(str, nodes))})"


def largest_first(series: str) -> str:
    return f"sortByTotal({series})"


def alias(series: str, name: str) -> str:
    return f"alias({series}, '{name}')"


def top(series: str, count: int = FEW) -> str:
    """Those with the highest peaks: a chart of a thousand queues says nothing."""
    return f"highestMax({series}, {count})"


def found(series: str, among: str, count: int = FEW) -> str:
    """The highest of those that are ever above zero, else a line at zero called `none`.

    Nothing at all where there is nothing `among` which they could be found: some series that is
    always there, and cheap to read.
    """
    above = top(f"maximumAbove({series}, 0)", count)
    none = alias(scaled(worst(among), 0), "none")
    return f"fallbackSeries({above}, {none})"


def per_second(counter: str) -> str:
    """A counter's rate; a server that started again gives a gap, not a spike."""
    return f"perSecond({counter})"


def gained(counter: str) -> str:
    """What a counter went up by at each point, over a gap too: a restart mostly makes one."""
    return f"nonNegativeDerivative(keepLastValue({counter}))"


def each_minute(counter: str) -> str:
    """What a counter went up by in each minute."""
    return f"summarize({gained(counter)}, '1min', 'sum')"


def over(series: str, span: str, how: str = "Sum") -> str:
    """At each point, the sum (Max, Min, Average) over the `span` before it."""
    return f"moving{how}({series}, '{span}')"


def count_between(series: str, lowest: float, highest: float) -> str:
    """How many of the series are there at each point; nothing where not one is known."""
    known = fresh(alive(series))
    there = f"isNonNull(removeAboveValue(removeBelowValue({known}, {lowest:g}), {highest:g}))"
    one = f"offset({scaled(worst(known), 0)}, 1)"
    return f"multiplySeries({total(there)}, {one})"


def scaled(series: str, factor: float) -> str:
    return f"scale({series}, {factor:g})"


def less(series: str, *others: str) -> str:
    return f"diffSeries({', '.join((series, *others))})"


def percent(part: str, whole: str) -> str:
    return f"asPercent({part}, {whole})"


def or_never(series: str, known: str) -> str:
    """-1 where the series has no value although `known` has one."""
    return f"transformNull({series}, -1, {known})"


def group(*series: str) -> str:
    return f"group({', '.join(series)})"


def silent(series: str, span: str = "120s") -> str:
    """1 where a series had no point for `span`, else 0."""
    seen = over(f"isNonNull({alive(series)})", span, "Max")
    return f"offset(scale({seen}, -1), 1)"


def suffixed(series: str, suffix: str) -> str:
    """The series' names with something after each."""
    return f"aliasSub({series}, '$', ' {suffix}')"


def average(series: str) -> str:
    return f"averageSeries({series})"


def least(series: str) -> str:
    return f"minSeries({series})"


def lowest(series: str, count: int) -> str:
    """Those with the lowest values, the lowest first."""
    return f"limit(sortBy({series}, 'min'), {count})"


def consolidated(series: str, how: str) -> str:
    """What becomes of the points where there are more of them than pixels: not an average.

    The function puts itself into the names, from where it is taken again.
    """
    return (
        rf"""aliasSub(consolidateBy({series}, '{how}'), '^consolidateBy\((.*),"{how}"\)$', '\1')"""
    )
