"""Makes the long description of a release from README.md, whose links lead into the repository."""

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

SITE = re.compile(r'^site_url = "([^"]+)"', re.M)
LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?://|#)([^)#\s]+)(#[^)\s]*)?\)")


class DescriptionHook(MetadataHookInterface):
    """A package index shows the README without the files beside it."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set the long description."""
        root = Path(self.root)
        (site,) = SITE.findall((root / "docs/zensical.toml").read_text())
        text = describe((root / "README.md").read_text(), site)
        metadata["readme"] = {"content-type": "text/markdown", "text": text}


def describe(readme: str, site: str) -> str:
    """Return the README with links to the pages of the site; other files become plain text."""

    def replace(link: re.Match[str]) -> str:
        image, text, path, fragment = link.groups()
        if not path.startswith("docs/"):
            return text
        page = path.removeprefix("docs/")
        page = page.removesuffix(".md") + "/" if page.endswith(".md") else page
        return f"{image}[{text}]({site}{page}{fragment or ''})"

    return LINK.sub(replace, readme)
