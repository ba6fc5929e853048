"""Installs files, tests and reloads them if asked to, and prints what was done."""

import os
from collections.abc import Collection
from pathlib import Path

import click

from beanwatch.cli.lib.installer import MANIFEST, FileInstaller, FileToInstall, InstallResult
from beanwatch.cli.lib.output import print_line, print_status
from beanwatch.cli.lib.reload import Backup, ReloadError, put_into_service
from beanwatch.net.files import LockedError, locked

COLORS = {"new": "green", "linked": "green", "updated": "green", "kept": "yellow", "failed": "red"}

# What `--dry-run` prints for each status.
WOULD = {
    "new": "would create",
    "linked": "would link",
    "updated": "would update",
    "kept": "would keep",
}
STATE_DIRECTORY = Path(MANIFEST).parent


def install_files(
    wanted: list[FileToInstall],
    dest: Path,
    *,
    dry_run: bool = False,
    told: Collection[Path] = (),
) -> int:
    """Install the files. Print what was done with each, but not with those in `told`.

    Return the exit code.
    """
    # Install all files before printing anything: a pipe that is closed early must not stop it.
    results = list(FileInstaller(dest, dry_run=dry_run).install(wanted))
    failed = any(result.status == "failed" for result in results)
    for result in results:
        if result.path not in told:
            print_result(result, dry_run=dry_run)
    if failed:
        print_line(
            "beanwatch: some files were not installed (see `failed` above): run it as root, or "
            "install below another directory with --dest DIR",
            err=True,
        )
    return int(failed)


def install_and_reload(
    wanted: list[FileToInstall], dest: Path, kind: str, validate: str, reload: str
) -> int:
    """Install the files. If one changed, validate them, and reload or restore the old ones.

    A file that follows others is updated after the reload, when they are in service. Return the
    exit code. Raises ClickException if the files are not valid, if the reload failed, or if another
    run has not ended.
    """
    state = dest / STATE_DIRECTORY
    backup = Backup(state / f"backup-{kind}.json")
    try:
        state.mkdir(parents=True, exist_ok=True)
        with locked(str(state / "install.lock")):
            planned = list(FileInstaller(dest, dry_run=True).install(wanted))
            first = [one for one in wanted if not (one.follows and has(dest, one))]
            if all(r.status in ("same", "kept") for r in planned) and not backup.is_pending:
                for result in planned[len(first) :]:
                    if result.status == "kept":  # a catch-all service judges what is new
                        print_result(result)
                print_line("nothing changed, so nothing was reloaded")
                return 0
            kept = [result.path for result in planned if result.status == "kept"]
            changing = [r.path for r in planned if r.status not in ("same", "kept")]
            backup.save([*changing, dest / MANIFEST], kept)
            if code := install_files(first, dest):
                backup.restore()
                return code
            put_into_service(backup, validate, reload)
            if code := install_files(wanted, dest, told=[r.path for r in planned[: len(first)]]):
                return code
    except LockedError:
        raise click.ClickException("another `beanwatch install` is running") from None
    except OSError as error:
        where = error.filename or state
        raise click.ClickException(f"cannot write {where}: {error.strerror}") from None
    except ReloadError as error:
        raise click.ClickException(str(error)) from None
    print_line(f"the files are valid ({validate}); reloaded ({reload})")
    return 0


def has(dest: Path, one: FileToInstall) -> bool:
    """Return True if the file exists below `dest`."""
    return os.path.lexists(dest / one.path.lstrip("/"))


def print_result(result: InstallResult, *, dry_run: bool = False) -> None:
    """Print one line: the status of a file in color, its path, and the reason if there is one.

    With `dry_run`, it says what would be done.
    """
    word = WOULD.get(result.status, result.status) if dry_run else result.status
    reason = f" ({result.reason})" if result.reason else ""
    print_status(
        f"{word:{13 if dry_run else 8}}", COLORS.get(result.status), f"{result.path}{reason}"
    )
