"""A PHP process that answers questions, one a line: a start of PHP for each would take too long."""

import base64
import json
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

LOOP = Path(__file__).with_name("loop.php")


class PhpLoop:
    """Runs loop.php with the name of a function of it, and the directory whose files it loads."""

    def __init__(self, directory: Path, function: str) -> None:
        self._process = subprocess.Popen(
            ["php", str(LOOP), str(directory), function],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, question: bytes) -> Any:
        """Send bytes, and return the decoded answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(base64.b64encode(question).decode() + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
