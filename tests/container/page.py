"""What the page for Kubernetes shows: the Containerfile, the Deployment, the application."""

import re

from tests.operations.shown import parse_page
from tests.real import ROOT

PAGE = ROOT / "docs" / "getting-started.md"


def read_block(language: str) -> str:
    """Return the only block of the page in this language."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    return str(found)


def read_application() -> str:
    """Return the text of `jobs.py`."""
    start = "cat > /srv/shop/jobs.py <<'END'\n"
    (typed,) = (s.command for s in parse_page(PAGE) if s.command.startswith(start))
    return typed.removeprefix(start).removesuffix("END")
