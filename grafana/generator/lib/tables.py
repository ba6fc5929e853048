"""Tables: one row a thing, one query a column."""

from collections.abc import Mapping, Sequence

from grafana_foundation_sdk.builders import table
from grafana_foundation_sdk.builders.common import TableSortByFieldState
from grafana_foundation_sdk.builders.dashboard import FieldColor
from grafana_foundation_sdk.models import common, dashboard

from beanwatch.grafana.generator.panels import (
    COUNT,
    NEUTRAL,
    QUIET,
    Steps,
    Words,
    common_panel,
    letter,
    mapping,
    thresholds,
)


class Column:
    """One column of a table: a query with one series a row, named by the row's key."""

    def __init__(
        self,
        title: str,
        query: str,
        *,
        unit: str = COUNT,
        steps: Steps = QUIET,
        words: Words | None = None,
        width: int | None = None,
        decimals: int | None = None,
    ) -> None:
        self.title = title
        self.query = query
        self.unit = unit
        self.steps = steps
        self.words = words
        self.width = width
        self.decimals = decimals


def grid(
    number: int,
    title: str,
    description: str,
    key: str,
    columns: Sequence[Column],
    *,
    link: str = "",
    sort: str = "",
    width: int = 24,
    height: int = 10,
    to: str = "",
) -> table.Panel:
    """A table of what is now (the last 2 minutes): a row for each name that any column has."""
    queries = [column.query for column in columns]
    panel = (
        common_panel(table.Panel(), number, title, description, queries, width, height, to)
        .unit(COUNT)
        .thresholds(thresholds(QUIET, NEUTRAL))
        .color_scheme(FieldColor().mode(dashboard.FieldColorModeId.THRESHOLDS))
        .no_value("–")  # noqa: RUF001 - a dash reads as "none" where a hyphen reads as a minus
        .time_from("2m")
        .hide_time_override(True)
        .align(common.FieldTextAlignment.AUTO)
        .min_width(70)
        .cell_height(common.TableCellHeight.SM)
        .show_header(True)
    )
    if sort:
        panel.sort_by([TableSortByFieldState().display_name(sort).desc(True)])
    # One query after the other becomes a frame of (name, newest value). Only the one just made
    # has a column "Last *", so the new name goes to no other; then they are joined by the name.
    for index, column in enumerate(columns):
        only = dashboard.MatcherConfig(id_val="byRefId", options=letter(index))
        newest: dict[str, object] = {"mode": "seriesToRows", "reducers": ["lastNotNull"]}
        panel.with_transformation(_transformation("reduce", newest, only))
        panel.with_transformation(_renaming("Last *", column.title))
    joined: dict[str, object] = {"byField": "Field", "mode": "outer"}
    panel.with_transformation(_transformation("joinByField", joined))
    order = {name: place for place, name in enumerate((key, *(c.title for c in columns)))}
    panel.with_transformation(_renaming("Field", key, {"Field": 0, **order}))
    links = [{"title": "Open ${__value.text}", "url": link}] if link else []
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
    if column.words:
        mappings = [mapping(column.words)]
        properties.append(dashboard.DynamicConfigValue(id_val="mappings", value=mappings))
    if column.steps or column.words:
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
