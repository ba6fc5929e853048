"""A query in the languages of Graphite and of Prometheus, and the functions that make queries.

Each function takes queries and returns a query around them, in both languages. So a page or a rule
is written once. If Prometheus lacks the data, its text is empty, and so is that of every query
around it. The panel or the column is then left out.
"""

from typing import NamedTuple

# A value is shown until it is 2 minutes old; check_metrics_fresh then reports it as too old.
NEWEST_POINTS = 12  # points; they are 10 s apart
MANY, FEW = 10, 6  # most series in a chart: with the legend beside it, with the legend below it
RATE_WINDOW = "$__rate_interval"  # Grafana's: four scrapes or more, at least a point of the chart


class Query(NamedTuple):
    """A Graphite target, a PromQL expression that asks for the same, and how its series are named.

    Graphite's targets name their series themselves.
    """

    graphite: str
    promql: str = ""
    legend: str = ""
    join: str = ""  # for a counter: PromQL that follows each rate of it, and adds a label

    def over(self, function: str, span: str) -> str:
        """Return PromQL's `rate` or `increase` of a counter in a span of time."""
        return known(f"{function}({self.promql}[{span}]){self.join}", self)


class Node(NamedTuple):
    """A part of what names a series: a node of Graphite's path, a label in Prometheus."""

    position: int  # it counts from the end, as a prefix may have several nodes
    label: str


def known(promql: str, *queries: Query) -> str:
    """Return the PromQL expression, or "" if Prometheus lacks the data of one of the queries."""
    return promql if all(query.promql for query in queries) else ""


def nonempty(series: Query) -> Query:
    """Leave out series without any point: those of queues and workers that no longer exist."""
    return series._replace(graphite=f"removeEmptySeries({series.graphite})")


def newest(series: Query) -> Query:
    """Fill gaps with the last value, for up to 2 minutes. Prometheus does so by itself."""
    return series._replace(graphite=f"keepLastValue({series.graphite}, {NEWEST_POINTS})")


def _combine(series: Query, graphite: str, promql: str) -> Query:
    return Query(f"{graphite}({series.graphite})", known(f"{promql}({series.promql})", series))


def total(series: Query) -> Query:
    """Add the series up. The result is empty if there is no series."""
    return _combine(series, "sumSeries", "sum")


def maximum(series: Query) -> Query:
    """Return the highest value of all series at each point."""
    return _combine(series, "maxSeries", "max")


def minimum(series: Query) -> Query:
    """Return the lowest value of all series at each point."""
    return _combine(series, "minSeries", "min")


def average(series: Query) -> Query:
    """Return the mean of all series at each point."""
    return _combine(series, "averageSeries", "avg")


def by(nodes: tuple[Node, ...]) -> tuple[str, str]:
    """Return PromQL's `by (...)` and the legend for these labels."""
    labels = list(dict.fromkeys(node.label for node in nodes))
    return f"by ({', '.join(labels)})", ".".join(f"{{{{{label}}}}}" for label in labels)


def group_by(series: Query, *nodes: Node, how: str = "sum") -> Query:
    """Combine the series that agree in these nodes; name the result by them.

    `how` is the function that combines: sum, max or min.
    """
    positions = ", ".join(str(node.position) for node in nodes)
    if len(nodes) == 1:
        target = f"groupByNode({series.graphite}, {positions}, '{how}')"
    else:
        target = f"groupByNodes({series.graphite}, '{how}', {positions})"
    labels, legend = by(nodes)
    return Query(target, known(f"{how} {labels} ({series.promql})", series), legend)


def name_by(series: Query, *nodes: Node) -> Query:
    """Name each series by these nodes of its path, joined with dots."""
    target = f"aliasByNode({series.graphite}, {', '.join(str(n.position) for n in nodes)})"
    labels, legend = by(nodes)
    # Without the labels of the scrape: they would tell apart what has the same name.
    return Query(target, known(f"max {labels} ({series.promql})", series), legend)


def alias(series: Query, name: str) -> Query:
    """Give the series this name."""
    return Query(f"alias({series.graphite}, '{name}')", series.promql, name)


def add_suffix(series: Query, suffix: str) -> Query:
    """Append a space and `suffix` to the name of each series."""
    target = f"aliasSub({series.graphite}, '$', ' {suffix}')"
    return Query(target, series.promql, f"{series.legend} {suffix}")


def largest_first(series: Query) -> Query:
    """Sort by sum, so that the largest series is at the bottom of a stacked chart."""
    return series._replace(graphite=f"sortByTotal({series.graphite})")


def highest(series: Query, count: int = FEW) -> Query:
    """Keep the `count` series with the highest peaks, as nobody can read a chart of a thousand."""
    target = f"highestMax({series.graphite}, {count})"
    return Query(target, _pick(series, f"topk({count}, max_over_time"), series.legend)


def lowest(series: Query, count: int) -> Query:
    """Keep the `count` series with the lowest values, the lowest first."""
    target = f"limit(sortBy({series.graphite}, 'min'), {count})"
    return Query(target, _pick(series, f"bottomk({count}, min_over_time"), series.legend)


def _pick(series: Query, function: str) -> str:
    """Choose by the whole time of the chart: else, other series would be chosen at each point."""
    chosen = f"{function}(({series.promql})[$__range:$__interval] @ end()))"
    return known(f"({series.promql}) and {chosen}", series)


def top_nonzero(series: Query, count: int = FEW, *, known: Query | None = None) -> Query:
    """Keep the highest series that are ever above zero. If there is none, draw zero as `none`.

    The result is empty if the series do not exist, because unknown is not zero. A count of events
    has no series before the first event: for such counts, pass as `known` a series that always
    exists where these events are counted. Of Prometheus's series, those that are zero are drawn.
    """
    top = highest(series._replace(graphite=f"maximumAbove({series.graphite}, 0)"), count).graphite
    none = alias(scale(maximum(known or series), 0), "none").graphite
    promql = highest(series, count).promql
    return Query(f"fallbackSeries({top}, {none})", promql, series.legend)


def per_second(counter: Query) -> Query:
    """Turn a counter into a rate per second. A restart of the server makes no peak."""
    promql = counter.over("rate", RATE_WINDOW)
    return Query(f"perSecond({counter.graphite})", promql, counter.legend)


def increase(counter: Query, span: str = RATE_WINDOW) -> Query:
    """Return by how much a counter rose at each point of Graphite, or in `span` for Prometheus.

    It finds the rise across a gap too, because a restart usually makes one.
    """
    promql = counter.over("increase", span)
    return Query(f"nonNegativeDerivative(keepLastValue({counter.graphite}))", promql)


def per_minute(counter: Query) -> Query:
    """Return by how much a counter rose in each minute."""
    target = f"summarize({increase(counter).graphite}, '1min', 'sum')"
    return Query(target, known(f"60 * {counter.over('rate', RATE_WINDOW)}", counter))


def risen(counter: Query, minutes: int) -> Query:
    """Return by how much a counter rose in the last `minutes`."""
    rises = increase(counter, f"{minutes}m")
    return rises._replace(graphite=moving_sum(rises.graphite, minutes))


def moving_sum(target: str, minutes: int) -> str:
    """Return the Graphite target for the sum over the last `minutes` at each point."""
    return f"movingSum({target}, '{minutes}min')"


def smooth(series: Query) -> Query:
    """Average over the last minute at each point."""
    target = f"movingAverage({series.graphite}, '1min')"
    return Query(target, known(f"avg_over_time(({series.promql})[1m:10s])", series))


def count_between(series: Query, lowest: float, highest: float) -> Query:
    """Count the series whose value is from `lowest` to `highest`. Empty if no value is known."""
    values = newest(nonempty(series))
    above = f"removeBelowValue({values.graphite}, {lowest:g})"
    inside = f"sumSeries(isNonNull(removeAboveValue({above}, {highest:g})))"
    one = f"offset({scale(maximum(values), 0).graphite}, 1)"
    count = f"count(({series.promql}) >= {lowest:g} <= {highest:g}) or 0 * max({series.promql})"
    return Query(f"multiplySeries({inside}, {one})", known(count, series))


def scale(series: Query, factor: float) -> Query:
    """Multiply the values by a factor."""
    promql = known(f"{factor:g} * ({series.promql})", series)
    return Query(f"scale({series.graphite}, {factor:g})", promql, series.legend)


def subtract(series: Query, *others: Query) -> Query:
    """Subtract `others` from `series`. In Graphite, an unknown value of `others` counts as 0."""
    every = (series, *others)
    target = f"diffSeries({', '.join(one.graphite for one in every)})"
    return Query(target, known(" - ".join(f"({one.promql})" for one in every), *every))


def percent(part: Query, whole: Query) -> Query:
    """Return `part` as a percentage of `whole`; unknown if `whole` is 0."""
    promql = known(f"100 * ({part.promql}) / (({whole.promql}) > 0)", part, whole)
    return Query(f"asPercent({part.graphite}, {whole.graphite})", promql)


def only_where(series: Query, *known: Query) -> Query:
    """Keep the points of the series at which each series of `known` has a value too."""
    target = series.graphite
    for one in known:
        target = f"divideSeries({target}, offset({scale(one, 0).graphite}, 1))"
    return series._replace(graphite=target)


def consolidate(series: Query, how: str) -> Query:
    """Combine points by `how` (max, min, sum, last) when a chart has more points than pixels.

    Graphite's default is the average. consolidateBy adds itself to the series' names; aliasSub
    removes that. Prometheus has nothing of the kind: it returns the value at each point.
    """
    named = f"consolidateBy({series.graphite}, '{how}')"
    return series._replace(
        graphite=rf"""aliasSub({named}, '^consolidateBy\((.*),"{how}"\)$', '\1')"""
    )
