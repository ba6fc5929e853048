"""Units and descriptions for panels, made from the table of series (telemetry/series.py)."""

from beanwatch.telemetry.series import Series

COUNT = "locale"  # whole numbers, with a thousands separator
PER_SECOND = "suffix:/s"
PERCENT = "percent"  # 0 to 100
MILLISECONDS = "ms"
# Unit of the table of series -> unit of Grafana. A share (0 to 1) is shown as percent.
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
    """Return Grafana's unit for this series. Raises KeyError if its unit is not in UNITS."""
    return UNITS[series.unit]


def describe(series: Series, more: str = "") -> str:
    """Return the help text of the series as a sentence, followed by `more`."""
    text = f"{series.help[0].upper()}{series.help[1:]}"
    if series.unit == "/s":
        text += " per second"
    return f"{text}. {more}".strip()
