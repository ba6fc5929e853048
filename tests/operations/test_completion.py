"""Shell completion, by the shell itself."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.real import ROOT

Run = Callable[..., tuple[int, str, str]]
ASK = """
source {script}
COMP_WORDS=({words}) COMP_CWORD={last}
_beanwatch_completion beanwatch
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.mark.skipif(not shutil.which("bash"), reason="no bash here")
@pytest.mark.parametrize(
    ("words", "completions"),
    [
        ("beanwatch doc", ["doctor"]),
        ("beanwatch queues ki", ["kick"]),
        ("beanwatch workers sta", ["status"]),
        ("beanwatch doctor --graphite-", ["--graphite-url"]),
        ("beanwatch worker --ledger f", ["failures"]),
    ],
)
def test_bash_completes(run: Run, tmp_path: Path, words: str, completions: list[str]) -> None:
    code, script, _ = run("beanwatch", "completion", "bash")
    assert code == 0
    (tmp_path / "script").write_text(script)
    ask = ASK.format(script=tmp_path / "script", words=words, last=len(words.split()) - 1)
    path = f"{ROOT}/.venv/bin:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", ask],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": path},
        timeout=60,
    )
    assert done.stdout.split() == completions, done.stderr


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_their_script(run: Run, shell: str) -> None:
    code, script, _ = run("beanwatch", "completion", shell)
    assert code == 0
    assert f"_BEANWATCH_COMPLETE={shell}_complete" in script
