"""Probe the installed checks: each must run as the monitoring user, and give a result."""

import os
import pwd
import subprocess
from collections.abc import Iterator

from beanwatch.checks import registry
from beanwatch.cli.lib.probes.finding import Chain, Finding

CHECK_TIMEOUT = 15.0  # seconds; a check gives up after 10 by itself
CHECKS = tuple(check.name for check in registry.CHECKS)


def probe_check(chain: Chain, check: str) -> Iterator[Finding]:
    """Run one installed check as the monitoring host would, and look at what it gives."""
    command = f"check_{check}"
    paths = [directory / command for directory in chain.plugins]
    path = next(filter(os.path.exists, paths), paths[-1])
    uid, gid, groups = identity(chain.user)
    part = command + (f" as {chain.user}" if chain.user else "")
    try:
        done = subprocess.run(
            [path],
            env={**os.environ, **chain.environ},
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
        yield Finding(part, "failed", f"{path}: not there", "pip install beanwatch, once more")
        return
    except subprocess.TimeoutExpired:
        yield Finding(
            part, "failed", f"no result within {CHECK_TIMEOUT:g} s", "report this, please"
        )
        return
    except OSError as error:
        yield Finding(
            part,
            "failed",
            f"{path}: {error.strerror}",
            "install beanwatch where the monitoring user can read it, such as /opt/beanwatch",
        )
        return
    yield judge_check(part, done.returncode, done.stdout, done.stderr)


def identity(user: str) -> tuple[int | None, int | None, list[int] | None]:
    """User, group and groups for a subprocess; None for what stays as it is."""
    if not user:
        return None, None, None
    entry = pwd.getpwnam(user)
    if entry.pw_uid == os.geteuid():
        return None, None, None
    return entry.pw_uid, entry.pw_gid, os.getgrouplist(user, entry.pw_gid)


def judge_check(part: str, code: int, out: str, err: str) -> Finding:
    """OK, WARNING and CRITICAL are results; UNKNOWN and a crash mean that the check is broken."""
    lines = out.splitlines()
    line = lines[0].partition(" | ")[0] if lines else ""
    if code not in (0, 1, 2, 3) or not line or "Traceback" in err:
        last = (err or out).strip().splitlines()
        return Finding(
            part,
            "failed",
            f"exit {code}, {last[-1] if last else 'nothing on stdout'}",
            "run it by hand; pip install beanwatch, once more",
        )
    if code == 3:
        return Finding(
            part, "failed", line, "mend what it names; then run it by hand, as this user"
        )
    if code:
        return Finding(part, "critical" if code == 2 else "warning", line, find_cure(lines))
    return Finding(part, "ok", line)


def find_cure(lines: list[str]) -> str:
    """The command that the check itself names."""
    word = "What to do: "
    cures = (line.removeprefix(word) for line in lines if line.startswith(word))
    return next(cures, "beanwatch runbook")
