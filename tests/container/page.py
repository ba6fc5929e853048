"""What the page for Kubernetes shows: the Containerfile, the Deployments, the application."""

import re
from typing import Any

import yaml

from tests.operations.shown import parse_page
from tests.real import ROOT

PAGE = ROOT / "docs" / "getting-started.md"


def read_blocks(language: str) -> list[str]:
    """Return the blocks of the page in this language."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.M | re.S)


def read_containerfile() -> str:
    """Return the Containerfile."""
    (found,) = read_blocks("dockerfile")
    return found


def read_pod(name: str) -> dict[str, Any]:
    """Return the specification of the pods of a Deployment."""
    found = [yaml.safe_load(block) for block in read_blocks("yaml")]
    (one,) = (o for o in found if "kind" in o and o["metadata"]["name"] == name)
    spec: dict[str, Any] = one["spec"]["template"]["spec"]
    return spec


def read_application() -> str:
    """Return the text of `jobs.py`."""
    start = "cat > /srv/shop/jobs.py <<'END'\n"
    (typed,) = (s.command for s in parse_page(PAGE) if s.command.startswith(start))
    return typed.removeprefix(start).removesuffix("END")
