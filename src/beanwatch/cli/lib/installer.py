"""Install files, but never overwrite a file that somebody has changed."""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

MANIFEST = "var/lib/beanwatch/installed.json"
NEW_SUFFIX = ".beanwatch-new"  # no program reads files whose names end like this


class FileToInstall(NamedTuple):
    """A file or a symbolic link to be installed at `path` (below the root directory)."""

    path: str
    content: bytes = b""
    link: str = ""  # the target of a symbolic link; empty for a file
    is_example: bool = False  # to be edited by the user: an existing file is never overwritten


class InstallResult(NamedTuple):
    """The result for one path. `status` is new, same, updated, kept, linked or failed."""

    path: Path
    status: str
    reason: str = ""


class FileInstaller:
    """Installs files below the directory `root`.

    It saves a hash of each file that it wrote (in MANIFEST). If a file's content has another hash,
    somebody has changed it.
    """

    def __init__(self, root: Path, *, dry_run: bool = False) -> None:
        self._root, self._dry_run = root, dry_run
        self._manifest = root / MANIFEST
        self._written = self._load()

    def install(self, wanted: list[FileToInstall]) -> Iterator[InstallResult]:
        """Install the files, and yield a result for each. An error is a result, too."""
        for one in wanted:
            path = self._root / one.path.lstrip("/")
            try:
                yield self._link(path, one.link) if one.link else self._file(path, one)
            except OSError as error:
                yield InstallResult(path, "failed", error.strerror or str(error))
        try:
            self._save()
        except OSError as error:
            yield InstallResult(self._manifest, "failed", error.strerror or str(error))

    def _link(self, path: Path, target: str) -> InstallResult:
        if path.is_symlink() and os.readlink(path) == target:
            return InstallResult(path, "same")
        if path.exists() and not path.is_symlink():
            return InstallResult(path, "kept", "a file with this name exists, and is not a link")
        status = "updated" if path.is_symlink() else "linked"
        if not self._dry_run:
            path.parent.mkdir(parents=True, exist_ok=True)
            new = path.with_name(f"{path.name}.{os.getpid()}{NEW_SUFFIX}")
            new.symlink_to(target)
            new.replace(path)
        return InstallResult(path, status, f"link to {target}")

    def _file(self, path: Path, one: FileToInstall) -> InstallResult:
        old = path.read_bytes() if path.exists() else None
        if old == one.content:
            self._written[str(path)] = digest(one.content)
            return InstallResult(path, "same")
        if old is not None and (one.is_example or digest(old) != self._written.get(str(path))):
            if one.is_example:
                return InstallResult(path, "kept", "an example that you may have edited")
            aside = path.with_name(path.name + NEW_SUFFIX)
            self._write(aside, one.content)
            verb = "would be in" if self._dry_run else "is in"
            return InstallResult(
                path, "kept", f"changed by somebody; the new version {verb} {aside.name}"
            )
        self._write(path, one.content)
        self._written[str(path)] = digest(one.content)
        return InstallResult(path, "new" if old is None else "updated")

    def _write(self, path: Path, content: bytes) -> None:
        if self._dry_run:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f"{path.name}.{os.getpid()}{NEW_SUFFIX}")
        new.write_bytes(content)
        new.chmod(0o644)
        new.replace(path)

    def _load(self) -> dict[str, str]:
        try:
            found = json.loads(self._manifest.read_bytes())
        except (OSError, ValueError):
            return {}  # then every file with another content counts as changed by somebody
        return found if isinstance(found, dict) else {}

    def _save(self) -> None:
        content = json.dumps(self._written, indent=1, sort_keys=True).encode()
        if not self._manifest.exists() or self._manifest.read_bytes() != content:
            self._write(self._manifest, content)


def digest(content: bytes) -> str:
    """Return the hash that stands for a file's content in the manifest."""
    return hashlib.sha256(content).hexdigest()
