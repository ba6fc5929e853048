"""A site: a beanstalkd and a Redis, their configuration, and what `beanwatch install` makes."""

import subprocess
from pathlib import Path

from tests.real import ROOT, Beanstalkd, Nagios, Redis
from tests.real.check_server import CheckServer

BIN = ROOT / ".venv" / "bin"


class Site:
    """`queue1` with the queue `images`; the checks' memory is in the site's directory."""

    def __init__(self, directory: Path, beanstalkd: Beanstalkd, redis: Redis) -> None:
        self.directory = directory
        self.beanstalkd, self.redis = beanstalkd, redis
        self.config = directory / "beanwatch.toml"
        self.config.write_text(
            f'[servers]\nqueue1 = "{beanstalkd.address}"\n'
            f'[redis]\nurl = "{redis.url}"\n[graphite]\naddress = ""\nurl = ""\n'
            '[queues."images".buried]\ncritical = 0\n'
        )
        self.root = directory / "root"
        self.checks: CheckServer | None = None  # runs the checks, if it is set before `install`
        self.plugins = self.root / "usr/lib/nagios/plugins"

    def beanwatch(self, *argv: object) -> str:
        """Run a command of ours that must succeed."""
        done = subprocess.run(
            [BIN / "beanwatch", *map(str, argv), "--config", self.config],
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def install(self, kind: str, *argv: str) -> str:
        """`beanwatch install` for Debian, below `root`."""
        said = self.beanwatch("install", kind, "--dest", self.root, "--family", "debian", *argv)
        # The files name the places where they would be if `root` were `/`.
        for name in ("etc/nagios4/conf.d", "etc/icinga2/conf.d/beanwatch"):
            for path in (self.root / name).glob("*"):
                text = path.read_text()
                here = text.replace(" /etc/beanwatch/", f" {self.root}/etc/beanwatch/")
                here = here.replace('"/etc/beanwatch/', f'"{self.root}/etc/beanwatch/')
                # Where a minute is a second, this would be 0 s.
                here = here.replace("  0.34\n", "  1\n")
                if here != text:
                    path.write_text(here)
        if self.plugins.is_dir() and not (self.plugins / "check_dummy").exists():
            (self.plugins / "check_dummy").symlink_to("/usr/lib/nagios/plugins/check_dummy")
        if self.checks is not None:
            self.checks.write_plugins(self.plugins)
        return said

    def nagios(self, notify: str = "", settings: str = "") -> Nagios:
        """A Nagios with what was installed; its contact is told by `notify`."""
        objects = self.root / "etc/nagios4/conf.d"
        contacts = objects / "beanwatch-contacts.cfg"
        text = contacts.read_text()
        assert "--mail root@localhost" in text
        contacts.write_text(text.replace("--mail root@localhost", notify))
        macros = {"USER1": str(self.plugins)}
        return Nagios(self.directory / "nagios", [objects], macros=macros, settings=settings)

    def bury(self, queue: str = "images") -> None:
        """Put a job and bury it."""
        with self.beanstalkd.client(use=queue, watch=queue) as client:
            client.put("a picture")
            client.bury(client.reserve(timeout=5))

    def kick_and_delete(self, queue: str = "images") -> None:
        """Mend it."""
        with self.beanstalkd.client(use=queue, watch=queue) as client:
            client.kick(100)
            client.delete(client.reserve(timeout=5))
