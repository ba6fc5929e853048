"""Table panels: a row for each server, queue or worker, and a query for each column."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from grafana_foundation_sdk.builders import table
from grafana_foundation_sdk.builders.common import TableSortByFieldState
from grafana_foundation_sdk.builders.dashboard import FieldColor
from grafana_foundation_sdk.models import common, dashboard

from beanwatch.grafana.generator.lib.limits import NO_STEPS, Steps
from beanwatch.grafana.generator.lib.measures import COUNT
from beanwatch.grafana.generator.lib.panels import (
    UNKNOWN,
    Size,
    common_panel,
    letter,
    mapping,
    thresholds,
)
from beanwatch.grafana.generator.lib.query import Query
from beanwatch.grafana.generator.lib.source import Source, for_each_source
from beanwatch.grafana.generator.lib.states import NEUTRAL, States

TABLE = Size(24, 10)


class Column(NamedTuple):
    """A column of a table. Its query returns one series for each row, named like the row."""

    title: str
    query: Query
    unit: str = COUNT
    steps: Steps = NO_STEPS
    states: States | None = None
    width: int | None = None
    decimals: int | None = None
    note: str = ""  # a sentence for the description of the table


@for_each_source
def grid(
    source: Source,
    number: int,
    title: str,
    description: str,
    key: str,
    columns: Sequence[Column],
    *,
    link: Sequence[str] = (),
    sort: str = "",
    lowest_first: bool = False,
    size: Size = TABLE,
    runbook: str = "",
) -> table.Panel | None:
    """Build a table of the newest values of the last 2 minutes.

    It has a row for each series name that occurs in any column. `key` is the title of the first
    column, which shows these names. A cell without a value shows UNKNOWN. A name links to the
    dashboard `link`, followed by its variables. `sort` is the title of the column that rows are
    sorted by, highest first, or with `lowest_first` the other way round.
    """
    columns = [column for column in columns if source.has(column.query)]
    if not columns:
        return None
    description = " ".join([description, *(column.note for column in columns if column.note)])
    panel = common_panel(source, table.Panel(), number, title, description, size, runbook)
    for index, column in enumerate(columns):
        panel.with_target(source.target(letter(index), column.query))
    (
        panel.unit(COUNT)
        .thresholds(thresholds(NO_STEPS, NEUTRAL))
        .color_scheme(FieldColor().mode(dashboard.FieldColorModeId.THRESHOLDS))
        .no_value(UNKNOWN)
        .time_from("2m")
        .hide_time_override(True)
        .align(common.FieldTextAlignment.AUTO)
        .min_width(70)
        .cell_height(common.TableCellHeight.SM)
        .show_header(True)
    )
    if sort:
        panel.sort_by([TableSortByFieldState().display_name(sort).desc(not lowest_first)])
    # The transformations turn one query after the other into a frame of (name, newest value), in
    # a column "Last *". It is renamed before the next query, so that only one column has this
    # name at a time. At the end the frames are joined by name.
    for index, column in enumerate(columns):
        only = dashboard.MatcherConfig(id_val="byRefId", options=letter(index))
        newest: dict[str, object] = {"mode": "seriesToRows", "reducers": ["lastNotNull"]}
        panel.with_transformation(_transformation("reduce", newest, only))
        panel.with_transformation(_renaming("Last *", column.title))
    joined: dict[str, object] = {"byField": "Field", "mode": "outer"}
    panel.with_transformation(_transformation("joinByField", joined))
    order = {name: place for place, name in enumerate((key, *(c.title for c in columns)))}
    panel.with_transformation(_renaming("Field", key, {"Field": 0, **order}))
    links = [{"title": "Open ${__value.text}", "url": source.link(*link)}] if link else []
    panel.override_by_name(
        key,
        [
            dashboard.DynamicConfigValue(id_val="links", value=links),
            dashboard.DynamicConfigValue(id_val="custom.width", value=180),
            dashboard.DynamicConfigValue(id_val="custom.filterable", value=True),
        ],
    )
    for column in columns:
        panel.override_by_name(column.title, _column_properties(column))
    return panel


def _column_properties(column: Column) -> list[dashboard.DynamicConfigValue]:
    properties = [dashboard.DynamicConfigValue(id_val="unit", value=column.unit)]
    decimals = 0 if column.unit == COUNT and column.decimals is None else column.decimals
    if decimals is not None:
        properties.append(dashboard.DynamicConfigValue(id_val="decimals", value=decimals))
    if column.width:
        properties.append(dashboard.DynamicConfigValue(id_val="custom.width", value=column.width))
    if column.steps:
        steps = thresholds(column.steps, NEUTRAL).build()
        properties.append(dashboard.DynamicConfigValue(id_val="thresholds", value=steps))
    if column.states:
        mappings = [mapping(column.states)]
        properties.append(dashboard.DynamicConfigValue(id_val="mappings", value=mappings))
    if column.steps or column.states:
        cell = {"type": "color-text"}
        properties.append(dashboard.DynamicConfigValue(id_val="custom.cellOptions", value=cell))
    return properties


def _transformation(
    name: str, options: dict[str, object], only: dashboard.MatcherConfig | None = None
) -> dashboard.DataTransformerConfig:
    return dashboard.DataTransformerConfig(id_val=name, options=options, filter_val=only)


def _renaming(
    old: str, new: str, order: Mapping[str, int] | None = None
) -> dashboard.DataTransformerConfig:
    options: dict[str, object] = {
        "excludeByName": {},
        "indexByName": order or {},
        "renameByName": {old: new},
    }
    return _transformation("organize", options)
