"""The documentation: it builds, its links lead somewhere, and so do the links to it."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from beanwatch.config import LinksConfig
from tests.operations.reference import PROGRAMS
from tests.real import ROOT

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
OUTSIDE = [ROOT / "README.md", ROOT / "CHANGELOG.md", *ROOT.glob("[a-z]*/README.md")]


def anchors(page: Path) -> set[str]:
    """The fragments that headings of a page have, as Markdown readers make them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.M)
    return {
        re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings
    }


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    shutil.copytree(DOCS, tmp_path / "docs", ignore=shutil.ignore_patterns("_site", ".cache"))
    done = subprocess.run(
        [ROOT / ".venv/bin/zensical", "build", "--strict", "-f", tmp_path / "docs/zensical.toml"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    said = done.stdout + done.stderr
    assert "No issues found" in said, said
    for page in PAGES:
        name = "index.html" if page.stem == "index" else f"{page.stem}/index.html"
        assert (tmp_path / "docs" / "_site" / name).exists(), page.stem


def test_every_page_is_in_the_navigation() -> None:
    told = re.findall(r'"([\w-]+\.md)"', (DOCS / "zensical.toml").read_text())
    assert sorted(told) == [page.name for page in PAGES]


@pytest.mark.parametrize("page", [*PAGES, *OUTSIDE], ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?://|mailto:", target):
            continue
        name, _, fragment = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), target
        if fragment:
            assert fragment in anchors(file), target


def test_every_link_to_the_runbook_has_its_heading() -> None:
    base = re.escape(LinksConfig().runbook)
    links = set()
    shipped = [
        path
        for folder in ("checks", "grafana", "collectors", "worker")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".cfg", ".conf", ".json", ".yaml", ".yml", ".md")
    ]
    for path in shipped:
        links |= set(
            re.findall(rf"(?:{base}|runbook\.md|\$\{{runbook\}})#([\w-]+)", path.read_text())
        )
    assert links, "nothing links to the runbook?"
    assert links <= anchors(DOCS / "runbook.md")
    # The checks make theirs of their own names.
    headings = {name.removeprefix("check_").replace("_", "-") for name in PROGRAMS}
    assert headings <= anchors(DOCS / "runbook.md")


def test_every_check_has_its_sheet() -> None:
    sheet = (DOCS / "checks.md").read_text()
    assert [name for name in PROGRAMS if f"# {name}" not in sheet] == []
