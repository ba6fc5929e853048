"""The address of the runbook. Panels and alert rules link to its headings."""

from beanwatch.config import LinksConfig

BASE = LinksConfig().runbook
# In dashboards the address is a variable, so that a site can change it in one place.
BASE_VARIABLE = "${runbook}"


def link(heading: str) -> str:
    """Return the link from a panel to this heading of the runbook."""
    return f"{BASE_VARIABLE}#{heading}"
