"""The kinds of panel of the dashboards: tile, chart and timeline. All share one style."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

from grafana_foundation_sdk.builders import stat, statetimeline, table, timeseries
from grafana_foundation_sdk.builders.common import (
    GraphThresholdsStyleConfig,
    ReduceDataOptions,
    StackingConfig,
    VizLegendOptions,
    VizTooltipOptions,
)
from grafana_foundation_sdk.builders.dashboard import DashboardLink, FieldColor, ThresholdsConfig
from grafana_foundation_sdk.models import common, dashboard

from beanwatch.grafana.generator.lib import runbook as runbook_links
from beanwatch.grafana.generator.lib.limits import NO_STEPS, Steps
from beanwatch.grafana.generator.lib.measures import COUNT, PER_SECOND
from beanwatch.grafana.generator.lib.query import Query, consolidate
from beanwatch.grafana.generator.lib.source import GRAPHITE, Source, for_each_source
from beanwatch.grafana.generator.lib.states import GOOD, NEUTRAL, States

P = TypeVar("P", stat.Panel, timeseries.Panel, table.Panel, statetimeline.Panel)

# Shown for an unknown number: the queue system does not report it, or no new point has arrived.
UNKNOWN = "n/a"
# A line is drawn across gaps up to this long: a slow poll leaves points out. Longer gaps stay.
BRIDGED_MS = 120_000


class Size(NamedTuple):
    """The size of a panel, in cells of Grafana's grid. The grid has 24 columns."""

    width: int
    height: int


class Style(NamedTuple):
    """The way in which a chart draws its series: as lines, as stacked areas, or as bars."""

    stacked: bool = False
    bars: bool = False
    steps: bool = False  # draw a horizontal line from each value to the next point
    bridged: bool = True  # draw lines across gaps of up to BRIDGED_MS
    legend_right: bool = False  # a table with the newest and the highest value of each series


class Axis(NamedTuple):
    """The range of a chart's vertical axis: from `least` to `most`, or to the highest value.

    The axis reaches at least `soft_most`, as Grafana would scale a chart of zeros to 100. If
    `least` is None, zero is in the middle.
    """

    least: float | None = 0
    most: float | None = None
    soft_most: float | None = 1


LINES, STACKED, BARS, STEPPED = Style(), Style(stacked=True), Style(bars=True), Style(steps=True)
FROM_ZERO = Axis()
TILE, CHART, HALF, WIDE = Size(3, 4), Size(8, 8), Size(12, 8), Size(24, 8)


@for_each_source
def tile(
    source: Source,
    number: int,
    title: str,
    description: str,
    query: Query,
    *,
    unit: str = COUNT,
    steps: Steps = NO_STEPS,
    states: States | None = None,
    good: str = "",
    graph: bool = False,
    decimals: int | None = None,
    size: Size = TILE,
    runbook: str = "",
) -> stat.Panel | None:
    """Build a tile that shows the newest value as one number, or UNKNOWN if there is none.

    Below the first of `steps` the number has the colour `good`. If `good` is empty, that is green,
    or Grafana's colour for text if `steps` is empty too. `graph` draws a small chart behind it,
    with Graphite.
    """
    good = good or (GOOD if steps else NEUTRAL)
    if not source.has(query):
        return None
    panel = common_panel(source, stat.Panel(), number, title, description, size, runbook)
    # Prometheus's series end at their last point, and the tile would show it as if it were current.
    # So it is asked for the value of now only, and there is nothing to draw.
    graph = graph and source is GRAPHITE
    panel.with_target(source.target("A", consolidate(query, "last"), instant=True))
    (
        panel.unit(unit)
        # The neutral base colour is for an unknown value.
        .thresholds(thresholds([(0, good), *steps], NEUTRAL))
        .color_scheme(FieldColor().mode(dashboard.FieldColorModeId.THRESHOLDS))
        .no_value(UNKNOWN)
        .reduce_options(ReduceDataOptions().calcs(["last"]).fields("").values(False))
        .color_mode(common.BigValueColorMode.VALUE)
        .graph_mode(common.BigValueGraphMode.AREA if graph else common.BigValueGraphMode.NONE)
        .text_mode(common.BigValueTextMode.VALUE)
        .justify_mode(common.BigValueJustifyMode.AUTO)
        .orientation(common.VizOrientation.AUTO)
        .wide_layout(False)
    )
    if states:
        panel.mappings([mapping(states)])
    if decimals is not None or unit == COUNT:
        panel.decimals(decimals or 0)
    return panel


@for_each_source
def chart(
    source: Source,
    number: int,
    title: str,
    description: str,
    queries: Sequence[Query],
    *,
    unit: str = COUNT,
    steps: Steps = NO_STEPS,
    colors: Mapping[str, str] | None = None,
    style: Style = LINES,
    axis: Axis = FROM_ZERO,
    size: Size = CHART,
    runbook: str = "",
) -> timeseries.Panel | None:
    """Build a chart of series over time.

    `colors` maps the names of series to colours; Grafana chooses the others. `steps` are drawn as
    dashed lines.
    """
    queries = [query for query in queries if source.has(query)]
    if not queries:
        return None
    if unit != PER_SECOND:  # for a rate, Grafana's default (the average) is right
        queries = [consolidate(query, "sum" if style.bars else "max") for query in queries]
    panel = common_panel(source, timeseries.Panel(), number, title, description, size, runbook)
    for index, query in enumerate(queries):
        panel.with_target(source.target(letter(index), query))
    (
        panel.unit(unit)
        .thresholds(thresholds(steps, "transparent"))
        .color_scheme(FieldColor().mode(dashboard.FieldColorModeId.PALETTE_CLASSIC))
        .no_value(UNKNOWN)
        .legend(_legend(style))
        .tooltip(
            VizTooltipOptions()
            .mode(common.TooltipDisplayMode.MULTI)
            .sort(common.SortOrder.DESCENDING)
        )
        .axis_border_show(False)
    )
    _draw(panel, style, is_filled=bool(colors))
    _scale(panel, axis)
    if steps:
        panel.thresholds_style(
            GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED)
        )
    if unit == COUNT:
        panel.decimals(0)
    for name, color in (colors or {}).items():
        panel.override_by_name(name, [_fixed_color(color)])
    return panel


def _legend(style: Style) -> VizLegendOptions:
    legend = VizLegendOptions().show_legend(True)
    if style.legend_right:
        legend.display_mode(common.LegendDisplayMode.TABLE)
        return legend.placement(common.LegendPlacement.RIGHT).calcs(["lastNotNull", "max"])
    legend.display_mode(common.LegendDisplayMode.LIST)
    return legend.placement(common.LegendPlacement.BOTTOM).calcs([])


def _draw(panel: timeseries.Panel, style: Style, *, is_filled: bool) -> None:
    has_area = style.bars or style.stacked
    opacity = 80 if style.bars else 65 if style.stacked else 8 if is_filled else 0
    panel.draw_style(
        common.GraphDrawStyle.BARS if style.bars else common.GraphDrawStyle.LINE
    ).line_width(0 if has_area else 1).fill_opacity(opacity)
    panel.line_interpolation(
        common.LineInterpolation.STEP_AFTER if style.steps else common.LineInterpolation.LINEAR
    )
    # If gaps are not bridged, a single value between two gaps is visible only as a point.
    panel.show_points(
        common.VisibilityMode.NEVER if style.bridged else common.VisibilityMode.AUTO
    ).span_nulls(BRIDGED_MS if style.bridged else False)
    if style.stacked:
        panel.stacking(StackingConfig().mode(common.StackingMode.NORMAL).group("A"))


def _scale(panel: timeseries.Panel, axis: Axis) -> None:
    if axis.least is None:
        panel.axis_centered_zero(True)
    else:
        panel.min(axis.least)
    if axis.most is not None:
        panel.max(axis.most)
    if axis.soft_most is not None:
        panel.axis_soft_max(axis.soft_most)


@for_each_source
def timeline(
    source: Source,
    number: int,
    title: str,
    description: str,
    query: Query,
    states: States,
    *,
    worst: str = "max",
    size: Size = WIDE,
    runbook: str = "",
) -> statetimeline.Panel | None:
    """Build a chart with one bar for each series, coloured by its state over time.

    `worst` (max or min) says which state is shown where several points share a pixel.
    """
    if not source.has(query):
        return None
    panel = common_panel(source, statetimeline.Panel(), number, title, description, size, runbook)
    panel.with_target(source.target("A", consolidate(query, worst)))
    return (
        panel.unit(COUNT)
        .mappings([mapping(states)])
        .thresholds(thresholds(NO_STEPS, NEUTRAL))
        .color_scheme(FieldColor().mode(dashboard.FieldColorModeId.THRESHOLDS))
        .no_value(UNKNOWN)
        .show_value(common.VisibilityMode.AUTO)
        .merge_values(True)
        .row_height(0.8)
        .line_width(0)
        .fill_opacity(80)
        .span_nulls(BRIDGED_MS)
        .legend(
            VizLegendOptions()
            .show_legend(True)
            .display_mode(common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.BOTTOM)
        )
        .tooltip(VizTooltipOptions().mode(common.TooltipDisplayMode.SINGLE))
    )


def help_link(heading: str) -> DashboardLink:
    """Build a panel's link to this heading of the runbook."""
    link = DashboardLink("What to do").url(runbook_links.link(heading)).target_blank(True)
    return link.type(dashboard.DashboardLinkType.LINK)


def letter(index: int) -> str:
    """Return the name that Grafana gives to the query at this index: A, B, C ..."""
    return chr(ord("A") + index)


def common_panel(
    source: Source,
    panel: P,
    number: int,
    title: str,
    description: str,
    size: Size,
    runbook: str,
) -> P:
    """Set the parts that every kind of panel has, and return the panel."""
    panel.id(number).title(title).description(description).datasource(source.reference)
    panel.span(size.width).height(size.height)
    if runbook:
        panel.links([help_link(runbook)])
    return panel


def thresholds(steps: Steps, base: str) -> ThresholdsConfig:
    """Build thresholds: a colour from each value on, and the colour `base` below all of them."""
    colored = [dashboard.Threshold(value=None, color=base)]
    colored += [dashboard.Threshold(value=value, color=color) for value, color in steps]
    return ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(colored)


def mapping(states: States) -> dashboard.ValueMap:
    """Build the mapping that shows a word and a colour for the number of each state."""
    options = {
        str(value): dashboard.ValueMappingResult(text=word, color=color, index=index)
        for index, (value, (word, color)) in enumerate(states.items())
    }
    return dashboard.ValueMap(options=options)


def _fixed_color(color: str) -> dashboard.DynamicConfigValue:
    return dashboard.DynamicConfigValue(
        id_val="color", value={"mode": "fixed", "fixedColor": color}
    )
