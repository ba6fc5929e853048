"""The unit and the description of a measure for a panel, from the one table of series."""

from beanwatch.telemetry.series import Series

COUNT = "locale"  # whole numbers, with a sign between the thousands
PER_SECOND = "suffix:/s"
PERCENT = "percent"  # 0 to 100
MILLISECONDS = "ms"
# Grafana's unit for each unit of the table. A share (0 to 1) is drawn as percent.
UNITS = {
    "": COUNT,
    "jobs": COUNT,
    "s": "s",
    "/s": PER_SECOND,
    "bytes": "bytes",
    "share": "percentunit",
    "ms": MILLISECONDS,
}


def unit_of(series: Series) -> str:
    """Grafana's unit for the values of this measure. Raises KeyError for an unknown unit."""
    return UNITS[series.unit]


def describe(series: Series, more: str = "") -> str:
    """The table's help text as a sentence, and then `more`."""
    text = f"{series.help[0].upper()}{series.help[1:]}"
    if series.unit == "/s":
        text += ", a second"
    return f"{text}. {more}".strip()
