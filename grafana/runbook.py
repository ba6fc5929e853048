"""Where docs/runbook.md is, and its headings that panels and alert rules link to."""

BASE = "https://beanwatch.readthedocs.io/en/latest/runbook/"
# The dashboards say it once, in a variable.
BASE_VARIABLE = "${runbook}"


def link(heading: str) -> str:
    return f"{BASE_VARIABLE}#{heading}"
