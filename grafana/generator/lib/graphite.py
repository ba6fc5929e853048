"""Functions that return Graphite targets (expressions), for the panels and the alert rules.

Each takes targets as text, and returns the text of a target around them.
"""

# A value is shown until it is 2 minutes old; check_metrics_fresh then reports it as too old.
NEWEST_POINTS = 12  # points; they are 10 s apart
MANY, FEW = 10, 6  # most series in a chart: with the legend beside it, with the legend below it


def nonempty(series: str) -> str:
    """Leave out series without any point: those of queues and workers that no longer exist."""
    return f"removeEmptySeries({series})"


def newest(series: str) -> str:
    """Fill gaps with the last value, for up to 2 minutes."""
    return f"keepLastValue({series}, {NEWEST_POINTS})"


def total(series: str) -> str:
    """Add the series up. The result is empty if there is no series."""
    return f"sumSeries({series})"


def maximum(series: str) -> str:
    """Return the highest value of all series at each point."""
    return f"maxSeries({series})"


def minimum(series: str) -> str:
    """Return the lowest value of all series at each point."""
    return f"minSeries({series})"


def average(series: str) -> str:
    """Return the mean of all series at each point."""
    return f"averageSeries({series})"


def group_by(series: str, *nodes: int, how: str = "sum") -> str:
    """Combine the series whose paths have the same values in these nodes; name the result by them.

    `how` is the function that combines: sum, max or min. Negative nodes count from the end.
    """
    if len(nodes) == 1:
        return f"groupByNode({series}, {nodes[0]}, '{how}')"
    return f"groupByNodes({series}, '{how}', {', '.join(map(str, nodes))})"


def name_by(series: str, *nodes: int) -> str:
    """Name each series by these nodes of its path, joined with dots."""
    return f"aliasByNode({series}, {', '.join(map(str, nodes))})"


def alias(series: str, name: str) -> str:
    """Give the series this name."""
    return f"alias({series}, '{name}')"


def add_suffix(series: str, suffix: str) -> str:
    """Append a space and `suffix` to the name of each series."""
    return f"aliasSub({series}, '$', ' {suffix}')"


def largest_first(series: str) -> str:
    """Sort by sum, so that the largest series is at the bottom of a stacked chart."""
    return f"sortByTotal({series})"


def highest(series: str, count: int = FEW) -> str:
    """Keep the `count` series with the highest peaks, as nobody can read a chart of a thousand."""
    return f"highestMax({series}, {count})"


def lowest(series: str, count: int) -> str:
    """Keep the `count` series with the lowest values, the lowest first."""
    return f"limit(sortBy({series}, 'min'), {count})"


def top_nonzero(series: str, count: int = FEW, *, known: str = "") -> str:
    """Keep the highest series that are ever above zero. If there is none, draw zero as `none`.

    The result is empty if the series do not exist, because unknown is not zero. A count of events
    has no series before the first event: for such counts, pass as `known` a series that always
    exists where these events are counted.
    """
    above = highest(f"maximumAbove({series}, 0)", count)
    none = alias(scale(maximum(known or series), 0), "none")
    return f"fallbackSeries({above}, {none})"


def per_second(counter: str) -> str:
    """Turn a counter into a rate per second. A restart of the server makes a gap, not a peak."""
    return f"perSecond({counter})"


def increase(counter: str) -> str:
    """Return by how much a counter rose at each point.

    It finds the rise across a gap too, because a restart usually makes one.
    """
    return f"nonNegativeDerivative(keepLastValue({counter}))"


def per_minute(counter: str) -> str:
    """Return by how much a counter rose in each minute."""
    return f"summarize({increase(counter)}, '1min', 'sum')"


def moving(series: str, span: str, how: str = "Sum") -> str:
    """Return the moving Sum, Max, Min or Average (`how`) over the `span` before each point."""
    return f"moving{how}({series}, '{span}')"


def count_between(series: str, lowest: float, highest: float) -> str:
    """Count the series whose value is from `lowest` to `highest`. Empty if no value is known."""
    known = newest(nonempty(series))
    inside = f"isNonNull(removeAboveValue(removeBelowValue({known}, {lowest:g}), {highest:g}))"
    one = f"offset({scale(maximum(known), 0)}, 1)"
    return f"multiplySeries({total(inside)}, {one})"


def scale(series: str, factor: float) -> str:
    """Multiply the values by a factor."""
    return f"scale({series}, {factor:g})"


def subtract(series: str, *others: str) -> str:
    """Subtract `others` from `series`. An unknown value of `others` counts as 0."""
    return f"diffSeries({', '.join((series, *others))})"


def percent(part: str, whole: str) -> str:
    """Return `part` as a percentage of `whole`."""
    return f"asPercent({part}, {whole})"


def count_known(series: str, *nodes: int) -> str:
    """Count the series that have a value at each point, for each value of the nodes."""
    return group_by(f"isNonNull({series})", *nodes)


def constant_from(series: str, lowest: float, value: float) -> str:
    """Return `value` where the series is at least `lowest`, and no point elsewhere."""
    return f"offset({scale(f'removeBelowValue({series}, {lowest:g})', 0)}, {value:.0f})"


def only_where(series: str, *known: str) -> str:
    """Keep the points of the series at which each series of `known` has a value too."""
    for one in known:
        series = f"divideSeries({series}, offset({scale(one, 0)}, 1))"
    return series


def group(*series: str) -> str:
    """Put several targets together into one list of series."""
    return f"group({', '.join(series)})"


def silent(series: str, span: str = "120s") -> str:
    """Return 1 where a series has had no point for `span`, else 0."""
    seen = moving(f"isNonNull({nonempty(series)})", span, "Max")
    return f"offset(scale({seen}, -1), 1)"


def consolidate(series: str, how: str) -> str:
    """Combine points by `how` (max, min, sum, last) when a chart has more points than pixels.

    Grafana's default is the average. consolidateBy adds itself to the series' names; aliasSub
    removes that.
    """
    return (
        rf"""aliasSub(consolidateBy({series}, '{how}'), '^consolidateBy\((.*),"{how}"\)$', '\1')"""
    )
