"""Puts files where a system expects them, and never over what somebody has changed."""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

MANIFEST = "var/lib/beanwatch/installed.json"
NEW = ".beanwatch-new"  # no program reads files of this name


class Wanted(NamedTuple):
    """A file that should be at `path` (below the root): its content, or where a link points to.

    `keep`: it is only an example to start from, so that an existing one is never touched.
    """

    path: str
    content: bytes = b""
    link: str = ""
    keep: bool = False


class Step(NamedTuple):
    """The result for one path: `new same updated kept linked failed`, and why."""

    path: Path
    word: str
    why: str = ""


class Placer:
    """Installs below `root`. It remembers what it wrote, so as to know what others changed."""

    def __init__(self, root: Path, *, dry_run: bool = False) -> None:
        self._root, self._dry_run = root, dry_run
        self._manifest = root / MANIFEST
        self._written = self._load()

    def place(self, wanted: list[Wanted]) -> Iterator[Step]:
        """Do all of it, a step for each; what cannot be done is a step too."""
        for one in wanted:
            path = self._root / one.path.lstrip("/")
            try:
                yield self._link(path, one.link) if one.link else self._file(path, one)
            except OSError as error:
                yield Step(path, "failed", error.strerror or str(error))
        try:
            self._save()
        except OSError as error:
            yield Step(self._manifest, "failed", error.strerror or str(error))

    def _link(self, path: Path, target: str) -> Step:
        if path.is_symlink() and os.readlink(path) == target:
            return Step(path, "same")
        if path.exists() and not path.is_symlink():
            return Step(path, "kept", "another file of that name is there")
        word = "updated" if path.is_symlink() else "linked"
        if not self._dry_run:
            path.parent.mkdir(parents=True, exist_ok=True)
            new = path.with_name(f"{path.name}.{os.getpid()}{NEW}")
            new.symlink_to(target)
            new.replace(path)
        return Step(path, word, f"to {target}")

    def _file(self, path: Path, one: Wanted) -> Step:
        old = path.read_bytes() if path.exists() else None
        if old == one.content:
            self._written[str(path)] = digest(one.content)
            return Step(path, "same")
        if old is not None and (one.keep or digest(old) != self._written.get(str(path))):
            if one.keep:
                return Step(path, "kept", "yours")
            aside = path.with_name(path.name + NEW)
            self._write(aside, one.content)
            return Step(path, "kept", f"changed by somebody; ours is in {aside.name}")
        self._write(path, one.content)
        self._written[str(path)] = digest(one.content)
        return Step(path, "new" if old is None else "updated")

    def _write(self, path: Path, content: bytes) -> None:
        if self._dry_run:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f"{path.name}.{os.getpid()}{NEW}")
        new.write_bytes(content)
        new.chmod(0o644)
        new.replace(path)

    def _load(self) -> dict[str, str]:
        try:
            found = json.loads(self._manifest.read_bytes())
        except (OSError, ValueError):
            return {}  # then every file that differs counts as changed by somebody
        return found if isinstance(found, dict) else {}

    def _save(self) -> None:
        content = json.dumps(self._written, indent=1, sort_keys=True).encode()
        if not self._manifest.exists() or self._manifest.read_bytes() != content:
            self._write(self._manifest, content)


def digest(content: bytes) -> str:
    """The hash by which contents are compared."""
    return hashlib.sha256(content).hexdigest()
