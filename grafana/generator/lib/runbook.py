"""Where docs/runbook.md is, to whose headings the panels and the alert rules link."""

from beanwatch.config import LinksConfig

BASE = LinksConfig().runbook
# The dashboards say it once, in a variable.
BASE_VARIABLE = "${runbook}"


def link(heading: str) -> str:
    return f"{BASE_VARIABLE}#{heading}"
