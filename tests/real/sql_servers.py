"""A real PostgreSQL and a real MariaDB, each with one database for a test."""

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pymysql

from tests.real.process import Server
from tests.real.waiting import wait_until

PASSWORD = "it's \\ a secret"


def unprivileged() -> list[str]:
    """Return the start of a command line for a server that refuses to run as root."""
    if os.geteuid():
        return []
    # A change of user clears the signal that `spawn` asked for: the server must die with us.
    user = ["--reuid=nobody", "--regid=nogroup", "--clear-groups"]
    return ["setpriv", *user, "--pdeathsig=KILL", "--"]


def make_home() -> Path:
    """Create a directory of the unprivileged user: pytest's own ones are closed to others."""
    home = Path(tempfile.mkdtemp(prefix="beanwatch-sql-"))
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(home, nobody.pw_uid, nobody.pw_gid)
    return home


def make_certificate(ca: Path, key: Path, cert: Path) -> None:
    """Write a new CA, and a key and a certificate for 127.0.0.1 that the CA has signed."""
    ca_key, extensions = ca.with_suffix(".key"), ca.with_name("extensions")
    # Python 3.13 verifies strictly: a CA must say that it signs, and a certificate by whom.
    extensions.write_text("subjectAltName = IP:127.0.0.1\nauthorityKeyIdentifier = keyid\n")
    signs = ["-addext", "keyUsage = critical, keyCertSign, cRLSign"]
    new = ["openssl", "req", "-newkey", "rsa:2048", "-nodes", "-subj"]
    sign = ["openssl", "x509", "-req", "-CAcreateserial", "-days", "2", "-extfile", extensions]
    for command in (
        [*new, "/CN=CA", *signs, "-x509", "-days", "2", "-keyout", ca_key, "-out", ca],
        [*new, "/CN=server", "-keyout", key, "-out", cert.with_suffix(".csr")],
        [*sign, "-in", cert.with_suffix(".csr"), "-CA", ca, "-CAkey", ca_key, "-out", cert],
    ):
        subprocess.run(list(map(str, command)), check=True, capture_output=True)
    key.chmod(0o600)
    if os.geteuid() == 0:
        for path in (ca, key, cert):
            shutil.chown(path, "nobody")


def _is_stopped(pid: int) -> bool:
    """Return True if no thread of a process runs. One that has ended stays a zombie meanwhile."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return all((one / "stat").read_text().rpartition(")")[2].split()[0] in "TZ" for one in threads)


class Database:
    """A database of a test, with its administrator and the role `monitor` that has no rights."""

    def __init__(self, server: "PostgreSQL | MariaDB", name: str) -> None:
        self.server, self.name = server, name

    @property
    def url(self) -> str:
        return f"{self.server.scheme}://monitor@127.0.0.1:{self.server.port}/{self.name}"

    @property
    def admin_url(self) -> str:
        user = self.server.admin
        return f"{self.server.scheme}://{user}@127.0.0.1:{self.server.port}/{self.name}"

    def connect(self, **options: Any) -> Any:
        """Return a connection of the administrator; each statement is committed at once."""
        return self.server.connect(self.name, **options)

    def run(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements as the administrator, and return the rows of the last one."""
        with self.connect() as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []

    def drop(self) -> None:
        """Remove it from the disk, if no connection that was left open has locked it."""
        self.server.drop(self.name)

    def ask(self, statement: str) -> list[list[str]]:
        """Run a query with the server's own client, and return its rows as text."""
        done = subprocess.run(
            self.server.client(self.name, statement), capture_output=True, text=True, check=True
        )
        return [line.split("\t") for line in done.stdout.splitlines()]


class SqlServer(Server):
    """What both servers have in common: databases that are made for one test each."""

    scheme = ""
    admin = "root"
    _numbers = itertools.count(1)

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.home = make_home()
        self.options: list[str] = []  # more words of the command line

    def __exit__(self, *exc: object) -> None:
        super().__exit__(*exc)
        shutil.rmtree(self.home)

    def database(self) -> Database:
        """Create a database with a role `monitor`."""
        name = f"test{os.getpid()}x{next(self._numbers)}"
        self.create(name)
        return Database(self, name)  # type: ignore[arg-type]

    def freeze(self) -> None:
        """Stop the server and its processes for connections, and wait until they stand still."""
        self._send(signal.SIGSTOP)
        wait_until(lambda: all(map(_is_stopped, self._pids())))

    def thaw(self) -> None:
        self._send(signal.SIGCONT)

    def _send(self, number: signal.Signals) -> None:
        for pid in self._pids():
            with suppress(ProcessLookupError):  # the process of a connection may end at any time
                os.kill(pid, number)

    def use_tls(self) -> Path:
        """Let it offer TLS from the next start on, and return the CA of its certificate."""
        ca, key, cert = (self.home / name for name in ("ca.pem", "key.pem", "cert.pem"))
        make_certificate(ca, key, cert)
        self.options = self.tls_options(str(cert), str(key))
        return ca

    def tls_options(self, cert: str, key: str) -> list[str]:
        raise NotImplementedError

    def _pids(self) -> list[int]:
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [self.pid, *map(int, children)]

    def create(self, name: str) -> None:
        raise NotImplementedError

    def drop(self, name: str) -> None:
        raise NotImplementedError

    def ready(self) -> bool:
        if not super().ready():
            return False
        self.connect("").close()
        return True

    def connect(self, name: str, **options: Any) -> Any:
        raise NotImplementedError

    def client(self, name: str, statement: str) -> list[str]:
        raise NotImplementedError


class PostgreSQL(SqlServer):
    """A PostgreSQL on a free port, without fsync. Its administrator is `root`, without password."""

    name = "postgresql"
    programs = max(Path("/usr/lib/postgresql").glob("*/bin"), default=Path())
    scheme = "postgresql"
    startup_timeout = 120.0

    def argv(self) -> Sequence[str | Path]:
        data = self.home / "data"
        if not data.exists():
            initdb = [
                str(self.programs / "initdb"),
                "--no-sync",
                "-U",
                "root",
                "-E",
                "UTF8",
                "--locale=C",
            ]
            subprocess.run(
                [*unprivileged(), *initdb, "-A", "trust", "-D", data],
                check=True,
                capture_output=True,
                cwd=self.home,
            )
            rules = "host all monitor 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n"
            (data / "pg_hba.conf").write_text(f"{rules}local all all trust\n")
        settings = ["fsync=off", f"port={self.port}", "listen_addresses=127.0.0.1"]
        settings += [f"unix_socket_directories={self.home}", "max_connections=60"]
        settings += ["min_wal_size=32MB", "max_wal_size=64MB"]
        options = [word for setting in settings for word in ("-c", setting)]
        return [*unprivileged(), self.programs / "postgres", "-D", data, *options, *self.options]

    def tls_options(self, cert: str, key: str) -> list[str]:
        return ["-c", "ssl=on", "-c", f"ssl_cert_file={cert}", "-c", f"ssl_key_file={key}"]

    def stop(self) -> None:
        """End it with its connections: after SIGTERM it would wait for them to close."""
        if self.running:
            self._send(signal.SIGCONT)
            os.kill(self.pid, signal.SIGINT)
        super().stop()

    def create(self, name: str) -> None:
        with self.connect("") as connection:
            connection.execute(f"CREATE DATABASE {name}")
            found = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = 'monitor'")
            if not found.fetchall():
                connection.execute("SET password_encryption = 'scram-sha-256'")
                connection.execute(
                    f"CREATE ROLE monitor LOGIN PASSWORD '{PASSWORD.replace(chr(39), 2 * chr(39))}'"
                )

    def drop(self, name: str) -> None:
        with self.connect("") as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def connect(self, name: str, **options: Any) -> Any:
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user="root",
            dbname=name or "postgres",
            **{"autocommit": True, **options},
        )

    def client(self, name: str, statement: str) -> list[str]:
        where = ["-h", "127.0.0.1", "-p", str(self.port), "-U", "root", "-d", name]
        return ["psql", "-X", "-A", "-t", "-F", "\t", *where, "-c", statement]


class MariaDB(SqlServer):
    """A MariaDB on a free port. Its administrator is `root`, without a password."""

    name = "mariadb"
    scheme = "mysql"
    startup_timeout = 120.0

    def argv(self) -> Sequence[str | Path]:
        data = self.home / "data"
        if not data.exists():
            install = ["mariadb-install-db", "--no-defaults", f"--datadir={data}"]
            options = ["--auth-root-authentication-method=normal", "--skip-test-db"]
            subprocess.run(
                [*unprivileged(), *install, *options],
                check=True,
                capture_output=True,
                cwd=self.home,
            )
        options = [f"--datadir={data}", f"--port={self.port}", "--bind-address=127.0.0.1"]
        options += [f"--socket={self.home}/socket", f"--pid-file={self.home}/pid"]
        options += ["--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=32M"]
        # Without it, the server looks for a name for each address.
        options += ["--skip-name-resolve"]
        return [*unprivileged(), "mariadbd", "--no-defaults", *options, *self.options]

    def tls_options(self, cert: str, key: str) -> list[str]:
        return [f"--ssl-cert={cert}", f"--ssl-key={key}"]

    def create(self, name: str) -> None:
        with self.connect("") as connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
            user = connection.escape(PASSWORD)
            cursor.execute(f"CREATE USER IF NOT EXISTS monitor@'127.0.0.1' IDENTIFIED BY {user}")

    def drop(self, name: str) -> None:
        with self.connect("") as connection, connection.cursor() as cursor:
            cursor.execute("SET lock_wait_timeout = 1")
            with suppress(pymysql.err.OperationalError):
                cursor.execute(f"DROP DATABASE {name}")

    def connect(self, name: str, **options: Any) -> Any:
        return pymysql.connect(
            host="127.0.0.1",
            port=self.port,
            user="root",
            database=name or None,
            ssl_disabled=True,
            **{"autocommit": True, **options},
        )

    def client(self, name: str, statement: str) -> list[str]:
        where = ["-h", "127.0.0.1", "-P", str(self.port), "-u", "root", name]
        return ["mariadb", "--no-defaults", "-N", "-B", *where, "-e", statement]
