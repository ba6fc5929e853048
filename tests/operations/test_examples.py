"""Every example of README and docs is run by a test, or stands here with the reason why not.

The small ones are tried here: configurations are read, JSON and PHP are parsed, and what Python
imports of us exists.
"""

import ast
import json
import re
import shutil
import subprocess
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from beanwatch.config.reader import parse
from tests.real import ROOT

HERE = "here"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
DRAWING = "not run: a drawing"
OUTPUT = "not run: what a program prints, as an example"
KUBERNETES = "not run: needs Kubernetes, or a registry of images"
# Page, language: the test that runs these blocks, or why none does.
TRIED = {
    ("README", "text"): "not run: a drawing, alerts, and a part of what tests/test_demo.py starts",
    ("README", "console"): "tests/operations/test_shown.py",
    ("adapters", "python"): "tests/adapters/test_docs.py",
    ("adapters", "sh"): "tests/adapters/test_docs.py",
    ("architecture", ""): DRAWING,
    ("checks", ""): "not run: an alert, and a command that tests/checks/test_regenerate.py types",
    ("checks", "toml"): HERE,
    ("getting-started", "console"): "tests/operations/test_shown.py",
    ("getting-started", "dockerfile"): "tests/operations/test_kubernetes.py",
    ("getting-started", "python"): HERE,
    ("getting-started", "sh"): KUBERNETES,
    ("getting-started", "toml"): HERE,
    ("getting-started", "yaml"): "tests/operations/test_kubernetes.py",
    ("handlers", "python"): HERE,
    ("index", "text"): DRAWING,
    ("php", ""): "not run: tests/php_worker starts the example worker with other paths",
    ("php", "php"): "tests/php_worker/test_page.py",
    ("producers", ""): OUTPUT,
    ("producers", "json"): "tests/worker_telemetry/test_producers_page.py",
    ("producers", "php"): HERE,
    ("producers", "python"): HERE,
    ("queues", "console"): "not run: needs RabbitMQ as Debian's service; the tests start their own",
    ("queues", "json"): "tests/queues/test_sqs.py",
    ("queues", "sh"): "not run: installs from the network",
    ("queues", "text"): OUTPUT,
    ("queues", "toml"): HERE,
    ("reference", "toml"): HERE,
    ("run", "ini"): "tests/worker_wrapper/test_page.py",
    ("run", "php"): "tests/worker_wrapper/test_page.py",
    ("run", "sh"): "tests/worker_wrapper/test_page.py",
    ("run", "text"): OUTPUT,
    ("scaling", ""): "tests/collector/test_several_machines.py",
    ("scaling", "ini"): "tests/collector/test_several_machines.py",
    ("scaling", "sh"): "tests/collector/test_several_machines.py",
    ("scaling", "toml"): HERE,
    ("scaling", "yaml"): "tests/operations/test_kubernetes.py",
    ("security", "console"): "tests/operations/test_shown.py",
    ("security", "ini"): "tests/operations/test_security_page.py",
    ("security", "text"): "tests/operations/test_security_page.py",
    ("security", "toml"): HERE,
    ("upgrading", "console"): "tests/operations/test_shown.py",
    ("web", "nginx"): "not run: needs nginx",
    ("web", "text"): "tests/web/test_documented.py",
    ("web", "toml"): HERE,
    ("worker-record", "json"): HERE,
    ("worker-record", "python"): HERE,
}
# What examples import of their readers' own programs.
THEIRS = {"celery", "django", "dramatiq", "mailer", "rq", "shop", "sqlalchemy"}


class Block(NamedTuple):
    """A fenced block: its page, its language, the line where it begins, and its text."""

    page: str
    language: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks() -> Iterator[Block]:
    for page in PAGES:
        lines = iter(enumerate(page.read_text().splitlines(), 1))
        for number, line in lines:
            if start := re.match(r"\s*```(\w*)$", line):
                text = []
                while (following := next(lines)[1]).strip() != "```":
                    text.append(following)
                yield Block(page.stem, start[1], number, textwrap.dedent("\n".join(text)))


BLOCKS = list(blocks())
OURS = [block for block in BLOCKS if TRIED.get((block.page, block.language)) == HERE]


def of(language: str) -> list[Block]:
    return [block for block in OURS if block.language == language]


def test_every_example_is_tried_or_says_why_not() -> None:
    assert {(block.page, block.language) for block in BLOCKS} == set(TRIED)


@pytest.mark.parametrize("page", sorted({page for page, _ in TRIED}))
def test_the_test_that_is_named_reads_this_page(page: str) -> None:
    for (name, _), test in TRIED.items():
        if name == page and test.startswith("tests/"):
            text = (ROOT / test).read_text()
            assert page in text, test


@pytest.mark.parametrize("block", of("toml"), ids=str)
def test_a_configuration_can_be_read(block: Block) -> None:
    parse(block.text, f"{block}", {})


@pytest.mark.parametrize("block", of("json"), ids=str)
def test_json_can_be_parsed(block: Block) -> None:
    assert json.loads(block.text)


@pytest.mark.parametrize("block", of("python"), ids=str)
def test_python_is_valid_and_what_it_imports_of_us_exists(block: Block) -> None:
    for node in ast.walk(ast.parse(block.text, str(block))):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [
            alias.name for alias in node.names
        ]  # fmt: skip
        modules = {name.partition(".")[0] for name in names}
        if modules & THEIRS or any(".adapters" in name for name in names):  # they need a framework
            continue
        exec(compile(ast.Module([node], []), str(block), "exec"), {})


@pytest.mark.skipif(not shutil.which("php"), reason="no php here (Debian: php-cli)")
@pytest.mark.parametrize("block", of("php"), ids=str)
def test_php_can_be_parsed(block: Block) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "example.php"
        path.write_text(f"<?php\n{block.text.removeprefix('<?php')}")
        done = subprocess.run(["php", "-l", path], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
