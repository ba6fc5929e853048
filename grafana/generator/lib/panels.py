"""The kinds of panel that the dashboards are made of: one look, and nothing left out."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias, TypeVar

from grafana_foundation_sdk.builders import stat, statetimeline, table, timeseries
from grafana_foundation_sdk.builders.common import (
    GraphThresholdsStyleConfig,
    ReduceDataOptions,
    StackingConfig,
    VizLegendOptions,
    VizTooltipOptions,
)
from grafana_foundation_sdk.builders.dashboard import DashboardLink, FieldColor, ThresholdsConfig
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import common, dashboard

from beanwatch.grafana.generator import runbook
from beanwatch.grafana.generator.functions import consolidated

DATASOURCE = common.DataSourceRef(type_val="graphite", uid="${datasource}")

Panel: TypeAlias = stat.Panel | timeseries.Panel | table.Panel | statetimeline.Panel
P = TypeVar("P", stat.Panel, timeseries.Panel, table.Panel, statetimeline.Panel)
Steps: TypeAlias = Sequence[tuple[float, str]]
# A state's number, its word and its colour.
Words: TypeAlias = Mapping[float, tuple[str, str]]

# Calm where all is well; orange is a warning and red a page, as the checks have them.
NEUTRAL, GOOD, WARNING, CRITICAL = "text", "green", "orange", "red"
QUIET: Steps = ()
COUNT = "locale"  # whole numbers, with a sign between the thousands
PER_SECOND = "suffix:/s"
# Lines bridge what a slow sweep leaves out, but not a server that was gone.
BRIDGED_MS = 120_000


class Query(Dataquery):
    """A Graphite query, which the SDK has no class for."""

    def __init__(self, ref_id: str, target: str) -> None:
        self.ref_id = ref_id
        self.target = target

    def to_json(self) -> dict[str, object]:
        return {
            "refId": self.ref_id,
            "datasource": DATASOURCE,
            "target": self.target,
            "textEditor": True,
        }


class Target(Builder[Dataquery]):
    """What a panel takes its queries as."""

    def __init__(self, ref_id: str, target: str) -> None:
        self._query = Query(ref_id, target)

    def build(self) -> Dataquery:
        return self._query


def tile(
    number: int,
    title: str,
    description: str,
    query: str,
    *,
    unit: str = COUNT,
    steps: Steps = QUIET,
    words: Words | None = None,
    good: str = "",
    graph: bool = False,
    width: int = 3,
    height: int = 4,
    decimals: int | None = None,
    to: str = "",
) -> stat.Panel:
    """One number. It is empty, not old, when nothing new arrives.

    It is green while it is below the `steps`, unless it has another `good` colour.
    """
    good = good or (GOOD if steps else NEUTRAL)
    queries = [consolidated(query, "last")]
    panel = (
        common_panel(stat.Panel(), number, title, description, queries, width, height, to)
        .unit(unit)
        # What is below zero, and what is not there at all, is neither good nor bad.
        .thresholds(thresholds([(0, good), *steps], NEUTRAL))
        .color_scheme(FieldColor().mode(dashboard.FieldColorModeId.THRESHOLDS))
        .no_value("no data")
        .reduce_options(ReduceDataOptions().calcs(["last"]).fields("").values(False))
        .color_mode(common.BigValueColorMode.VALUE)
        .graph_mode(common.BigValueGraphMode.AREA if graph else common.BigValueGraphMode.NONE)
        .text_mode(common.BigValueTextMode.VALUE)
        .justify_mode(common.BigValueJustifyMode.AUTO)
        .orientation(common.VizOrientation.AUTO)
        .wide_layout(False)
    )
    if words:
        panel.mappings([mapping(words)])
    if decimals is not None or unit == COUNT:
        panel.decimals(decimals or 0)
    return panel


def chart(
    number: int,
    title: str,
    description: str,
    queries: Sequence[str],
    *,
    unit: str = COUNT,
    steps: Steps = QUIET,
    colors: Mapping[str, str] | None = None,
    stacked: bool = False,
    bars: bool = False,
    side: bool = False,
    least: float | None = 0,
    most: float | None = None,
    soft_most: float | None = 1,
    step_after: bool = False,
    bridged: bool = True,
    width: int = 8,
    height: int = 8,
    to: str = "",
) -> timeseries.Panel:
    """Lines over time; `side` puts the legend with newest and highest values to the right.

    The axis reaches `soft_most` at least: a line at zero should not be drawn under a scale to 100.
    """
    legend = VizLegendOptions().show_legend(True)
    if side:
        legend.display_mode(common.LegendDisplayMode.TABLE).placement(
            common.LegendPlacement.RIGHT
        ).calcs(["lastNotNull", "max"])
    else:
        legend.display_mode(common.LegendDisplayMode.LIST).placement(
            common.LegendPlacement.BOTTOM
        ).calcs([])
    if unit != PER_SECOND:  # a rate's average is right
        queries = [consolidated(query, "sum" if bars else "max") for query in queries]
    panel = (
        common_panel(timeseries.Panel(), number, title, description, queries, width, height, to)
        .unit(unit)
        .thresholds(thresholds(steps, "transparent"))
        .color_scheme(FieldColor().mode(dashboard.FieldColorModeId.PALETTE_CLASSIC))
        .legend(legend)
        .tooltip(
            VizTooltipOptions()
            .mode(common.TooltipDisplayMode.MULTI)
            .sort(common.SortOrder.DESCENDING)
        )
        .draw_style(common.GraphDrawStyle.BARS if bars else common.GraphDrawStyle.LINE)
        .line_width(0 if bars or stacked else 1)
        .fill_opacity(80 if bars else 65 if stacked else 8 if colors else 0)
        .line_interpolation(
            common.LineInterpolation.STEP_AFTER if step_after else common.LineInterpolation.LINEAR
        )
        # A value between two gaps is a point, or not to be seen at all.
        .show_points(common.VisibilityMode.NEVER if bridged else common.VisibilityMode.AUTO)
        .span_nulls(BRIDGED_MS if bridged else False)
        .axis_border_show(False)
    )
    if steps:
        panel.thresholds_style(
            GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED)
        )
    if stacked:
        panel.stacking(StackingConfig().mode(common.StackingMode.NORMAL).group("A"))
    if least is not None:
        panel.min(least)
    else:
        panel.axis_centered_zero(True)
    if most is not None:
        panel.max(most)
    if soft_most is not None:
        panel.axis_soft_max(soft_most)
    if unit == COUNT:
        panel.decimals(0)
    for name, color in (colors or {}).items():
        panel.override_by_name(name, [_fixed_color(color)])
    return panel


def timeline(
    number: int,
    title: str,
    description: str,
    query: str,
    words: Words,
    *,
    worst: str = "max",
    width: int = 24,
    height: int = 8,
    to: str = "",
) -> statetimeline.Panel:
    """One bar a series, coloured by its state, over time. Of several the `worst` is shown."""
    queries = [consolidated(query, worst)]
    return (
        common_panel(statetimeline.Panel(), number, title, description, queries, width, height, to)
        .unit(COUNT)
        .mappings([mapping(words)])
        .thresholds(thresholds(QUIET, NEUTRAL))
        .color_scheme(FieldColor().mode(dashboard.FieldColorModeId.THRESHOLDS))
        .no_value("no data")
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
    """To a heading of the runbook."""
    link = DashboardLink("What to do").url(runbook.link(heading)).target_blank(True)
    return link.type(dashboard.DashboardLinkType.LINK)


def letter(index: int) -> str:
    """A, B, C ...: how Grafana names the queries of a panel."""
    return chr(ord("A") + index)


def common_panel(
    panel: P,
    number: int,
    title: str,
    description: str,
    queries: Sequence[str],
    width: int,
    height: int,
    to: str,
) -> P:
    panel.id(number).title(title).description(description).datasource(DATASOURCE)
    panel.span(width).height(height)
    if to:
        panel.links([help_link(to)])
    for index, query in enumerate(queries):
        panel.with_target(Target(letter(index), query))
    return panel


def thresholds(steps: Steps, base: str) -> ThresholdsConfig:
    colored = [dashboard.Threshold(value=None, color=base)]
    colored += [dashboard.Threshold(value=value, color=color) for value, color in steps]
    return ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(colored)


def mapping(words: Words) -> dashboard.ValueMap:
    options = {
        f"{value:g}": dashboard.ValueMappingResult(text=word, color=color, index=index)
        for index, (value, (word, color)) in enumerate(words.items())
    }
    return dashboard.ValueMap(options=options)


def _fixed_color(color: str) -> dashboard.DynamicConfigValue:
    return dashboard.DynamicConfigValue(
        id_val="color", value={"mode": "fixed", "fixedColor": color}
    )
