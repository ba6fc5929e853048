"""Reads from an address or a form which failed runs are meant."""

from collections.abc import Mapping

from beanwatch.fleet.failure_list import FailureChoice
from beanwatch.values import duration

_TEXTS = ("queue", "job", "reason", "worker", "outcome", "trace", "id", "server", "like")


def read_choice(query: Mapping[str, str]) -> FailureChoice:
    """Return the conditions that an address or a form has; a period that is none is ignored."""
    texts = {name: query.get(name, "") for name in _TEXTS}
    try:
        within = duration(query["within"]) if query.get("within") else None
    except ValueError:
        within = None
    return FailureChoice(**texts, within=within)
