"""An action: its progress, its results, and the button that stops it."""

from typing import Any

from beanwatch.web.view import NotFoundError, Page, View


def data(view: View) -> dict[str, Any]:
    """Return the data of the page. Query: id. Raises NotFoundError."""
    found = view.runner.find(view.text("id")) if view.runner else None
    if found is None:
        raise NotFoundError("this action is not known any more; the list of actions may have it")
    return {"at": view.now.at, "action": found.tree()}


PAGE = Page("/action", "action.html", data, group="/actions")
