"""Test the installed checks: each must run as the monitoring user, and print a result."""

import os
import pwd
import subprocess
from collections.abc import Iterator

from beanwatch.checks import registry
from beanwatch.cli.lib.probes.finding import Finding, ProbeSettings
from beanwatch.words import install_command

CHECK_TIMEOUT = 15.0  # seconds; longer than the timeout of the checks themselves (10)
CHECK_NAMES = tuple(check.name for check in registry.CHECKS)


def probe_check(settings: ProbeSettings, check: str) -> Iterator[Finding]:
    """Run one installed check as the monitoring system would, and report its result."""
    command = f"check_{check}"
    servers, reason = pick_servers(settings, registry.find_check(check))
    if reason:
        yield Finding(command, "unused", f"skipped: {reason}")
        return
    paths = [directory / command for directory in settings.plugins]
    path = next(filter(os.path.exists, paths), paths[-1])
    uid, gid, groups = find_ids(settings.user)
    part = command + (f" as {settings.user}" if settings.user else "")
    try:
        done = subprocess.run(
            [str(path), *servers],
            env={**os.environ, **settings.environ},
            capture_output=True,
            text=True,
            timeout=CHECK_TIMEOUT,
            cwd="/",
            stdin=subprocess.DEVNULL,
            user=uid,
            group=gid,
            extra_groups=groups,
        )
    except FileNotFoundError:
        yield Finding(
            part,
            "failed",
            f"{path} does not exist",
            f"install beanwatch again: {install_command()}",
        )
        return
    except subprocess.TimeoutExpired:
        yield Finding(
            part,
            "failed",
            f"the check did not end within {CHECK_TIMEOUT:g} s",
            "please report this as an error of beanwatch",
        )
        return
    except OSError as error:
        yield Finding(
            part,
            "failed",
            f"cannot run {path}: {error.strerror}",
            "install beanwatch where the monitoring user can read it, such as /opt/beanwatch",
        )
        return
    yield judge_check(part, done.returncode, done.stdout, done.stderr)


def pick_servers(settings: ProbeSettings, check: registry.RegisteredCheck) -> tuple[list[str], str]:
    """Return the arguments that leave out servers about which the check can tell nothing.

    If it can tell nothing about any server, also return the reason; else it is "".
    """
    if check.subject not in (registry.SERVER, registry.QUEUE):
        return [], ""
    able = [
        server
        for server in settings.servers
        if check.can_judge_queues(server) or check.judges_server(server)
    ]
    if len(able) == len(settings.servers) and not settings.has_chosen:
        return [], ""
    names = ", ".join(dict.fromkeys(server.system.name for server in settings.servers))
    reason = "" if able else f"{names} does not report what it needs: {', '.join(check.fields)}"
    return [f"--server={settings.names[server.node]}" for server in able], reason


def find_ids(user: str) -> tuple[int | None, int | None, list[int] | None]:
    """Return the user id, group id and other groups with which a subprocess runs as `user`.

    All are None if it runs as the current user.
    """
    if not user:
        return None, None, None
    entry = pwd.getpwnam(user)
    if entry.pw_uid == os.geteuid():
        return None, None, None
    return entry.pw_uid, entry.pw_gid, os.getgrouplist(user, entry.pw_gid)


def judge_check(part: str, code: int, out: str, err: str) -> Finding:
    """Judge a check by its exit code, stdout (`out`) and stderr (`err`).

    OK, WARNING and CRITICAL show that the check works. UNKNOWN or a crash is a failed test.
    """
    lines = out.splitlines()
    line = lines[0].partition(" | ")[0] if lines else ""
    if code not in (0, 1, 2, 3) or not line or "Traceback" in err:
        last = (err or out).strip().splitlines()
        return Finding(
            part,
            "failed",
            f"the check crashed: exit code {code}, {last[-1] if last else 'no output'}",
            f"run it by hand to see why; install beanwatch again: {install_command()}",
        )
    if code == 3:
        return Finding(
            part,
            "failed",
            line,
            "fix the problem that the check names; then run it by hand as this user",
        )
    if code:
        return Finding(part, "critical" if code == 2 else "warning", line, find_cure(lines))
    return Finding(part, "ok", line)


def find_cure(lines: list[str]) -> str:
    """Return the command that a check's output recommends in its line `What to do: `."""
    label = "What to do: "
    cures = (line.removeprefix(label) for line in lines if line.startswith(label))
    return next(cures, "beanwatch runbook")
