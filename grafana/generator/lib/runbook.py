"""The address of the runbook, to whose headings the panels and the alert rules link."""

from beanwatch.config import LinksConfig

BASE = LinksConfig().runbook
# The dashboards have the address in a variable, so that it can be changed in one place.
BASE_VARIABLE = "${runbook}"


def link(heading: str) -> str:
    """The address of a heading, for a panel."""
    return f"{BASE_VARIABLE}#{heading}"
