"""What README and the pages show is typed, in order, on a host of its own, and prints that."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.operations import host
from tests.operations.shown import Shown, matches, parse_page
from tests.real import ROOT

BIN = ROOT / ".venv" / "bin"
DEBIANS_PYTHON = "/usr/bin/python3"
# Typed in a clone of the repository; CI runs them all.
ELSEWHERE = ("make ", "git ", "cd beanwatch")

needs_namespaces = pytest.mark.skipif(
    not host.can_be_made(), reason="only root can make namespaces and overlays"
)


def build_wheels(work: Path) -> Path:
    """Where pip finds beanwatch, built from this tree, and all that it needs."""
    call(BIN / "python", "-m", "hatchling", "build", "-t", "sdist", "-d", work / "sdist", cwd=ROOT)
    # Debian's Python: what a package needs may depend on the last part of the version.
    call(DEBIANS_PYTHON, "-m", "venv", work / "venv", cwd=work)
    pip = [work / "venv/bin/python", "-m", "pip", "wheel", "--quiet", "--wheel-dir"]
    (sdist,) = (work / "sdist").iterdir()
    call(*pip, work / "all", f"{sdist}[web]", cwd=work)
    return work / "all"


def call(*argv: str | Path, cwd: Path) -> None:
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{argv}\n{done.stdout}\n{done.stderr}"


# What the pages take for granted: a Graphite.
GRAPHITE = f"""
(cd {ROOT} && exec .venv/bin/python -m tests.operations.graphite_here /var/lib/graphite) \\
    > /var/log/graphite.log 2>&1 &
"""


def type_in(pages: Sequence[Path], wheels: Path, work: Path, before: str = "") -> None:
    """Type all commands of the pages; complain of all that differ at once."""
    commands = [
        shown
        for page in pages
        for shown in parse_page(page)
        if not shown.command.startswith(ELSEWHERE)
    ]
    all_ran = host.run(commands, wheels, work, before=before)
    wrong = [
        complaint(shown, ran)
        for shown, ran in zip(commands, all_ran, strict=True)
        if ran.code or not matches(shown.output, ran)
    ]
    assert not wrong, "\n".join(wrong)


def complaint(shown: Shown, ran: host.Ran) -> str:
    printed = "\n".join(f"    {line}" for line in ran)
    return f"{shown.page}:{shown.line}: $ {shown.command}\n{printed}\n    exit code {ran.code}\n"


@needs_namespaces
def test_what_is_shown_works(tmp_path: Path) -> None:
    wheels = build_wheels(tmp_path)
    type_in([ROOT / "README.md"], wheels, tmp_path / "one")
    pages = [ROOT / "docs" / f"{name}.md" for name in ("getting-started", "security", "upgrading")]
    type_in(pages, wheels, tmp_path / "another", GRAPHITE)


def test_commands_are_found_with_their_output(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```sh\n$ not this\n```\n"
        "```console\n$ one \\\n  two\nout\n\nput\n$ cat <<'END'\n$ x\nEND\n```\n"
    )
    assert list(parse_page(page)) == [
        Shown("page.md", 5, "one \\\n  two", ("out", "", "put")),
        Shown("page.md", 10, "cat <<'END'\n$ x\nEND", ()),
    ]


@pytest.mark.parametrize(
    ("shown", "real", "is_same"),
    [
        (["a 1.5 b"], ["a 12 b"], True),
        (["a  b"], ["a b"], True),
        (["a ... z"], ["a b c z"], True),
        (["a", "...", "z"], ["a", "b", "c", "z"], True),
        (["..."], [], True),
        ([], ["a"], False),
        (["a"], [], False),
        (["a.b"], ["axb"], False),
        (["1"], ["one"], False),
    ],
)
def test_what_is_shown_is_compared_with_what_is_real(
    shown: list[str], real: list[str], is_same: bool
) -> None:
    assert matches(tuple(shown), real) is is_same
