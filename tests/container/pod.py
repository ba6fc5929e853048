"""A pod with one container, run as its Deployment says: user, rights, read-only root, probes."""

import os
import shlex
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from tests.container.image import PATH, Image
from tests.real import spawn
from tests.real.waiting import wait_until

# Kubernetes mounts the volumes, and nothing else can be written.
VOLUMES = """\
hostname {name}
mount -t tmpfs -o mode=1777 tmpfs {root}/tmp
mount -o remount,ro {root}
"""


class Pod:
    """A context manager: the container of a Deployment, as PID 1 of its own namespaces."""

    def __init__(self, image: Image, spec: Mapping[str, Any], name: str, log: Path) -> None:
        self.image, self.spec, self.name, self.log = image, spec, name, log
        (self.container,) = spec["containers"]
        (mount,) = self.container["volumeMounts"]
        assert mount["mountPath"] == "/tmp"

    def __enter__(self) -> Self:
        command = f"{self._as_user()} {shlex.join(self.image.start(self.container))}"
        more = VOLUMES.format(name=self.name, root=self.image.root)
        flags = ("--pid", "--uts", "--fork", "--kill-child")
        self._unshare = spawn(self.image.enter(command, more, *flags), log=self.log)
        wait_until(self._find_pid, 30, "the container's process")
        return self

    def __exit__(self, *exc: object) -> None:
        # Not `unshare`: a process that has become another user outlives it.
        if self._unshare.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
            self._unshare.wait()

    def _find_pid(self) -> bool:
        pid = self._unshare.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        self.pid = int(children[0]) if children else 0
        return bool(self.pid)

    def _as_user(self) -> str:
        """Return the command that becomes the user, and gives up what the Deployment drops."""
        rights, pod = self.container["securityContext"], self.spec["securityContext"]
        user, _, group = self.image.user.partition(":")
        assert (pod["runAsNonRoot"], str(pod["runAsUser"])) == (True, user)
        assert rights["readOnlyRootFilesystem"]
        assert rights["capabilities"] == {"drop": ["ALL"]}
        assert rights["allowPrivilegeEscalation"] is False
        argv = ["/usr/bin/setpriv", f"--reuid={user}", f"--regid={group or user}"]
        argv += ["--clear-groups", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
        argv += ["/usr/bin/env", "-i", f"--chdir={self.image.workdir}", f"PATH={PATH}"]
        return shlex.join([*argv, f"HOSTNAME={self.name}", "HOME=/"])

    def run(self, argv: Sequence[str], timeout: float = 30.0) -> subprocess.CompletedProcess[str]:
        """Run a command in the container, as `kubectl exec` and probes do."""
        enter = ["nsenter", f"--target={self.pid}", "--mount", "--pid", "--uts", "--root", "--wd"]
        return subprocess.run(
            [*enter, *shlex.split(self._as_user()), *argv],
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def probe(self, kind: str) -> tuple[bool, str]:
        """Do a probe of the Deployment once: whether it succeeded, and what it answered."""
        probe = self.container[f"{kind}Probe"]
        limit = probe.get("timeoutSeconds", 1)
        if "exec" in probe:
            done = self.run(probe["exec"]["command"], limit)
            return done.returncode == 0, done.stdout + done.stderr
        named = {port["name"]: port["containerPort"] for port in self.container["ports"]}
        get = probe["httpGet"]
        return self.get(get["path"], named[get["port"]], limit)

    def get(self, path: str, port: int = 9137, timeout: float = 10.0) -> tuple[bool, str]:
        """Get a page of the container: whether its status is 200, and its text."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=timeout) as page:
                return True, page.read().decode()
        except urllib.error.HTTPError as error:
            return False, error.read().decode()
        except OSError as error:
            return False, str(error)

    def wait_for_start(self) -> float:
        """Probe as the Deployment's startupProbe; the seconds until the first success."""
        probe = self.container["startupProbe"]
        started, limit = time.monotonic(), probe["periodSeconds"] * probe["failureThreshold"]
        wait_until(lambda: self.probe("startup")[0], limit, "the startup probe")
        return time.monotonic() - started

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, float]:
        """Send a signal to PID 1; the exit code, and the seconds until the end."""
        started = time.monotonic()
        os.kill(self.pid, number)
        code = self._unshare.wait(self.spec.get("terminationGracePeriodSeconds", 30))
        return code, time.monotonic() - started
