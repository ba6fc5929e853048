"""Makes the addresses of pages. Names are in the query: a path cannot hold a queue called `..`."""

from collections.abc import Mapping
from urllib.parse import urlencode

MAX_VALUE = 1_000  # characters of a value in an address or a form


class Urls:
    """Makes addresses below `base`, the path at which a reverse proxy serves the site, or ""."""

    def __init__(self, base: str = "") -> None:
        self.base = base.rstrip("/")

    def page(self, path: str, **query: object) -> str:
        """Return the address of a page. Values that are None or "" are left out, long ones cut."""
        known = {
            name: str(value)[:MAX_VALUE] for name, value in query.items() if value not in (None, "")
        }
        # A lone surrogate, from a record, has no UTF-8.
        text = urlencode(known, encoding="utf-8", errors="replace")
        return f"{self.base}{path}{'?' if text else ''}{text}"

    def queue(self, server: str, queue: str) -> str:
        """Return the address of the page of a queue."""
        return self.page("/queue", server=server, name=queue)

    def worker(self, ident: str) -> str:
        """Return the address of the page of a worker."""
        return self.page("/worker", id=ident)

    def job(self, ident: str) -> str:
        """Return the address of the page of a job."""
        return self.page("/job", id=ident)

    def failure(self, ident: str) -> str:
        """Return the address of the page of a failed run."""
        return self.page("/failure", id=ident)

    def change(self, path: str, query: Mapping[str, str], **changes: object) -> str:
        """Return the address of the same page with other values in its query."""
        return self.page(path, **{**query, **changes})
