"""Shared by all addresses: who asks, in which form, and how errors look."""

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from beanwatch.web.access import Viewer
from beanwatch.web.site import Site, name_viewer

NO_STORE = {"cache-control": "no-store", "vary": "accept"}


def viewer_of(request: Request) -> Viewer:
    """Return who sent a request."""
    found: Viewer = request.scope["state"]["viewer"]
    return found


def wants_json(request: Request) -> bool:
    """Return True if a client asks for JSON and not for a page."""
    accept = request.headers.get("accept", "")
    return "application/json" in accept and "text/html" not in accept


def answer_error(site: Site, request: Request, status: int, heading: str, text: str) -> Response:
    """Return an error as a page, or as JSON."""
    if wants_json(request):
        return JSONResponse({"error": text}, status, NO_STORE)
    viewer = viewer_of(request)
    html, _ = site.fill("message.html", "", "", {}, viewer, heading=heading, text=text)
    return HTMLResponse(name_viewer(html, viewer), status, NO_STORE)
