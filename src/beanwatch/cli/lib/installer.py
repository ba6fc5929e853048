"""Install files, but never overwrite a file that somebody has changed."""

import errno
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from beanwatch.net.files import open_directory, read_private

MANIFEST = "var/lib/beanwatch/installed.json"
NEW_SUFFIX = ".beanwatch-new"  # no program reads files whose names end like this


class FileToInstall(NamedTuple):
    """A file or a symbolic link to be installed at `path` (below the root directory)."""

    path: str
    content: bytes = b""
    link: str = ""  # the target of a symbolic link; empty for a file
    is_example: bool = False  # to be edited by the user: an existing file is never overwritten
    # Paths of files before it. If one of them was not updated, this file stays as it is, too.
    follows: tuple[str, ...] = ()


class InstallResult(NamedTuple):
    """The result for one path. `status` is new, same, updated, kept, linked or failed."""

    path: Path
    status: str
    reason: str = ""


class FileInstaller:
    """Installs files below the directory `root`, and follows no symbolic link, also in `root`.

    Root may install into a folder that another user has prepared. A link in it could point to any
    file of this host, and so could a link with the name of a temporary file. Therefore directories
    are opened one after another, without links, and temporary files have random names.

    It saves a hash of each file that it wrote (in MANIFEST). If a file's content has another hash,
    somebody has changed it.
    """

    def __init__(self, root: Path, *, dry_run: bool = False) -> None:
        self._root, self._dry_run = Path(os.path.abspath(root)), dry_run
        self._is_in = "would be in" if dry_run else "is in"
        self._manifest = self._root / MANIFEST
        self._written = self._load()

    def install(self, wanted: list[FileToInstall]) -> Iterator[InstallResult]:
        """Install the files, and yield a result for each. An error is a result, too."""
        kept: set[str] = set()
        for one in wanted:
            path = self._root / one.path.lstrip("/")
            try:
                leaders = kept.intersection(one.follows)
                if leaders and self._find(path) is not None:
                    result = self._follow(path, one, min(leaders))
                elif one.link:
                    result = self._link(path, one.link)
                else:
                    result = self._file(path, one)
            except OSError as error:
                result = InstallResult(path, "failed", error.strerror or str(error))
            if result.status in ("kept", "failed"):
                kept.add(one.path)
            yield result
        try:
            self._save()
        except OSError as error:
            yield InstallResult(self._manifest, "failed", error.strerror or str(error))

    def _follow(self, path: Path, one: FileToInstall, leader: str) -> InstallResult:
        if self._find(path) == one.content:
            return InstallResult(path, "same")
        aside = path.with_name(path.name + NEW_SUFFIX)
        self._write(aside, one.content)
        reason = f"because {Path(leader).name} was not updated"
        return InstallResult(path, "kept", f"{reason}; the new version {self._is_in} {aside.name}")

    def _link(self, path: Path, target: str) -> InstallResult:
        found = self._find(path)
        if found == target:
            return InstallResult(path, "same")
        if found is not None and not isinstance(found, str):
            return InstallResult(path, "kept", "a file with this name exists, and is not a link")
        if not self._dry_run:
            with self._directory(path, create=True) as directory:
                new = _temporary_name(path)
                os.symlink(target, new, dir_fd=directory)
                os.rename(new, path.name, src_dir_fd=directory, dst_dir_fd=directory)
        return InstallResult(path, "linked" if found is None else "updated", f"link to {target}")

    def _file(self, path: Path, one: FileToInstall) -> InstallResult:
        old = self._find(path)
        if old == one.content:
            self._written[str(path)] = digest(one.content)
            return InstallResult(path, "same")
        if old is not None and one.is_example:
            return InstallResult(path, "kept", "an example that you may have edited")
        is_ours = isinstance(old, bytes) and digest(old) == self._written.get(str(path))
        if old is not None and not is_ours:
            aside = path.with_name(path.name + NEW_SUFFIX)
            self._write(aside, one.content)
            return InstallResult(
                path, "kept", f"changed by somebody; the new version {self._is_in} {aside.name}"
            )
        self._write(path, one.content)
        self._written[str(path)] = digest(one.content)
        return InstallResult(path, "new" if old is None else "updated")

    def _find(self, path: Path) -> bytes | str | None:
        """Return the content of a file, or the target of a symbolic link. None: there is neither.

        Raises OSError for a link on the way to it, and for what is neither a file nor a link.
        """
        try:
            with self._directory(path) as directory:
                try:
                    return os.readlink(path.name, dir_fd=directory)
                except OSError as error:
                    if error.errno != errno.EINVAL:  # it is not a link
                        raise
                return read_private(path.name, dir_fd=directory)
        except FileNotFoundError:
            return None

    def _write(self, path: Path, content: bytes) -> None:
        if self._dry_run:
            return
        with self._directory(path, create=True) as directory:
            new = _temporary_name(path)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            try:
                with open(os.open(new, flags, 0o600, dir_fd=directory), "wb") as stream:
                    stream.write(content)
                    os.fchmod(stream.fileno(), 0o644)
                os.rename(new, path.name, src_dir_fd=directory, dst_dir_fd=directory)
            except BaseException:
                with suppress(FileNotFoundError):
                    os.unlink(new, dir_fd=directory)
                raise

    @contextmanager
    def _directory(self, path: Path, *, create: bool = False) -> Iterator[int]:
        """Open the directory of a file, without following links; close it after the block."""
        directory = open_directory(str(path.parent), create=create)
        try:
            yield directory
        finally:
            os.close(directory)

    def _load(self) -> dict[str, str]:
        try:
            found = json.loads(self._find(self._manifest) or "{}")
        except (OSError, ValueError):
            return {}  # then every file with another content counts as changed by somebody
        return found if isinstance(found, dict) else {}

    def _save(self) -> None:
        content = json.dumps(self._written, indent=1, sort_keys=True).encode()
        if self._find(self._manifest) != content:
            self._write(self._manifest, content)


def _temporary_name(path: Path) -> str:
    return f"{path.name}.{secrets.token_hex(8)}{NEW_SUFFIX}"


def digest(content: bytes) -> str:
    """Return the hash that stands for a file's content in the manifest."""
    return hashlib.sha256(content).hexdigest()
