"""Puts generated files into service: validates them, restores the old ones, or reloads."""

import json
import os
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from beanwatch.net.files import read_private, write_private

COMMAND_TIMEOUT = 120.0  # seconds for the test of the files, and for the reload
MAX_SHOWN_LINES = 10  # of the output of a command that failed


class ReloadError(Exception):
    """The files are not valid, or the reload failed. The text says which, and what is there now."""


class Backup:
    """The contents of files before they are replaced, in a file of its own.

    The file exists until the new contents are in service. So a run that was killed in between is
    completed by the next one, which still has the old contents.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._saved: dict[str, str | None] = {}

    @property
    def is_pending(self) -> bool:
        """True if new files were written and are not in service yet."""
        return self._path.exists()

    def save(self, changing: Iterable[Path], kept: Iterable[Path]) -> None:
        """Save the contents of the files that will change. What an earlier run saved stays.

        Files in `kept` belong to somebody else now, so they are never restored. Raises OSError.
        """
        try:
            saved = json.loads(read_private(str(self._path)) or b"{}")
        except ValueError:
            saved = {}
        self._saved = {str(path): _read(path) for path in changing if not path.is_symlink()}
        self._saved |= saved if isinstance(saved, dict) else {}
        for path in kept:
            self._saved.pop(str(path), None)
        os.makedirs(self._path.parent, exist_ok=True)
        write_private(str(self._path), json.dumps(self._saved).encode())

    def restore(self) -> None:
        """Write the saved contents back. Remove the files that did not exist. Raises OSError."""
        for name, text in self._saved.items():
            path = Path(name)
            if text is None:
                path.unlink(missing_ok=True)
            elif _read(path) != text:
                _replace(path, text)
        self.drop()

    def drop(self) -> None:
        """Forget the old contents: the new ones are in service. Raises OSError."""
        self._path.unlink(missing_ok=True)


def _read(path: Path) -> str | None:
    try:
        return path.read_bytes().decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return None


def _replace(path: Path, text: str) -> None:
    descriptor, new = tempfile.mkstemp(dir=path.parent, suffix=".beanwatch-new")
    with open(descriptor, "wb") as stream:
        stream.write(text.encode("utf-8", "surrogateescape"))
    os.chmod(new, 0o644)
    os.replace(new, path)


def put_into_service(
    backup: Backup,
    validate: str,
    reload: str,
    run: Callable[[str], str] | None = None,
) -> None:
    """Run `validate`, then `reload`. If the files are not valid, restore the old ones.

    Raises ReloadError. After a failed reload the files stay, and the next run tries again.
    """
    run = run or run_command
    if error := run(validate):
        backup.restore()
        raise ReloadError(f"the new files are not valid, so the old ones are back: {error}")
    if error := run(reload):
        raise ReloadError(f"the new files are valid, but are not in use yet: {error}")
    backup.drop()


def run_command(command: str, timeout: float = COMMAND_TIMEOUT) -> str:
    """Run a command without a shell. Return "" if it succeeded, else what failed and its output."""
    try:
        done = subprocess.run(
            shlex.split(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired:
        return f"`{command}` did not end within {timeout:g} s"
    except (OSError, ValueError, IndexError) as error:
        return f"cannot run `{command}`: {getattr(error, 'strerror', None) or error}"
    if not done.returncode:
        return ""
    lines = [" ".join(line.split()) for line in done.stdout.decode(errors="replace").splitlines()]
    wrong = [line for line in lines if "error" in line.lower()] or [line for line in lines if line]
    shown = "".join(f"\n  {line}" for line in wrong[:MAX_SHOWN_LINES] if line.isprintable())
    return f"`{command}` failed with exit code {done.returncode}{shown}"
