"""A real RabbitMQ with its management plugin, and its vhosts: one for each test."""

import base64
import itertools
import json
import os
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from tests.real.process import ROOT, Server, free_port, ports_of, spawn, stop_process
from tests.real.waiting import wait_until

# Not those in /usr/sbin: they change the user, and run in the directory of the system's service.
BIN = Path("/usr/lib/rabbitmq/bin")
FRAMEWORKS = ROOT / ".frameworks" / "bin" / "python"
GUEST = ("guest", "guest")
CONFIG = """\
listeners.tcp.1 = 127.0.0.1:{amqp}
management.tcp.ip = 127.0.0.1
management.tcp.port = {port}
log.console = true
log.console.level = error
collect_statistics_interval = 1000
disk_free_limit.absolute = 1MB
"""
TLS = """\
management.ssl.ip = 127.0.0.1
management.ssl.port = {tls}
management.ssl.cacertfile = {directory}/ca.pem
management.ssl.certfile = {directory}/server.pem
management.ssl.keyfile = {directory}/server.key
"""
_numbers = itertools.count(1)


class RabbitMQ(Server):
    """A node with its own name, ports, files, cookie and port mapper. It starts within 30 s."""

    name = "rabbitmq"
    startup_timeout = 300.0

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._epmd: subprocess.Popen[bytes] | None = None
        make_certificates(self.directory)

    def choose_ports(self) -> None:
        self.port, self.amqp, self.tls, self.dist, self.epmd = (free_port() for _ in range(5))
        # A new name: the data of an attempt whose ports were taken belongs to another node.
        self.node = f"bw{self.port}@localhost"
        text = (CONFIG + TLS).format(**vars(self))
        (self.directory / "rabbitmq.conf").write_text(text)
        (self.directory / "plugins").write_text("[rabbitmq_management].")

    def environment(self) -> dict[str, str]:
        return {
            "HOME": str(self.directory),  # has the cookie
            "ERL_EPMD_PORT": str(self.epmd),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_MNESIA_BASE": str(self.directory / "data"),
            "RABBITMQ_LOG_BASE": str(self.directory / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.directory / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(self.directory / "rabbitmq"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.directory / "none"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_DIST_PORT": str(self.dist),
            "RABBITMQ_ALLOW_INPUT": "1",  # so that the script becomes the server, with its PID
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "-kernel inet_dist_use_interface {127,0,0,1} +S 1:1 +sbwt none"
            ),
        }

    def argv(self) -> list[str | Path]:
        self._stop_epmd()
        # Started here, because one that RabbitMQ starts would outlive it.
        self._epmd = spawn(["epmd", "-port", str(self.epmd), "-address", "127.0.0.1"], log=self.log)
        epmd = self._epmd.pid
        wait_until(lambda: self.epmd in ports_of(epmd), message="epmd listens")
        return [BIN / "rabbitmq-server", "-noinput"]

    def ready(self) -> bool:
        if not {self.port, self.tls, self.amqp} <= ports_of(self.pid):
            return False
        nodes = self.api("GET", "nodes")
        return bool(nodes) and "uptime" in nodes[0]

    def stop(self) -> None:
        if self._process is not None:
            stop_process(self._process, 60.0)
            self._process = None
        self._stop_epmd()

    def kill(self) -> None:
        super().kill()
        self._stop_epmd()

    def _stop_epmd(self) -> None:
        if self._epmd is not None:
            stop_process(self._epmd)
            self._epmd = None

    def ctl(self, *argv: object) -> str:
        """Run rabbitmqctl, RabbitMQ's own tool, and return its output. It takes seconds."""
        done = subprocess.run(
            [BIN / "rabbitmqctl", "-q", *map(str, argv)],
            env={**os.environ, **self.environment()},
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr or done.stdout
        return done.stdout

    def api(self, method: str, *path: str, body: Any = None, login: tuple[str, str] = GUEST) -> Any:
        """Call the management API and return the parsed answer; None for an empty one."""
        url = f"http://127.0.0.1:{self.port}/api/" + "/".join(quote(one, safe="") for one in path)
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, method=method)
        request.add_header("Content-Type", "application/json")
        token = base64.b64encode(":".join(login).encode()).decode()
        request.add_header("Authorization", f"Basic {token}")
        try:
            with urllib.request.urlopen(request, timeout=120) as response:
                answer = response.read()
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{method} {url}: {error.code} {error.read()!r}") from None
        return json.loads(answer) if answer else None

    def add_vhost(self, name: str = "") -> "Vhost":
        """Create a vhost that no other test uses, with all rights for guest."""
        name = name or f"test{os.getpid()}x{next(_numbers)}"
        self.api("PUT", "vhosts", name, body={})
        self.api("PUT", "permissions", name, "guest", body=rights(".*", ".*", ".*"))
        return Vhost(self, name)

    def add_user(self, name: str, password: str, tags: str, **vhosts: dict[str, str]) -> None:
        """Create a user with these tags, and these `rights` on vhosts."""
        self.api("PUT", "users", name, body={"password": password, "tags": tags})
        for vhost, allowed in vhosts.items():
            self.api("PUT", "permissions", vhost, name, body=allowed)


def rights(configure: str, write: str, read: str) -> dict[str, str]:
    """The rights of a user on a vhost: three patterns of names."""
    return {"configure": configure, "write": write, "read": read}


class Vhost(NamedTuple):
    """A vhost of a RabbitMQ, with shortcuts for its API."""

    server: RabbitMQ
    name: str

    @property
    def url(self) -> str:
        """The URL of this vhost for beanwatch. It uses the user guest."""
        return f"rabbitmq://127.0.0.1:{self.server.port}/{quote(self.name, safe='')}"

    @property
    def amqp_url(self) -> str:
        """The URL of this vhost for AMQP clients."""
        vhost = quote(self.name, safe="")
        return f"amqp://guest:guest@127.0.0.1:{self.server.amqp}/{vhost}"

    def declare(self, queue: str, kind: str = "classic", **arguments: Any) -> None:
        """Declare a durable queue. `_` in the names of arguments stands for `-`."""
        named = {f"x-{name.replace('_', '-')}": value for name, value in arguments.items()}
        body = {"durable": True, "arguments": {"x-queue-type": kind, **named}}
        self.server.api("PUT", "queues", self.name, queue, body=body)

    def exchange(self, name: str, kind: str) -> None:
        """Declare an exchange."""
        self.server.api("PUT", "exchanges", self.name, name, body={"type": kind, "durable": True})

    def bind(self, exchange: str, to: str, key: str = "", *, kind: str = "q") -> None:
        """Bind an exchange to a queue; or, if `kind` is "e", to another exchange."""
        path = ("bindings", self.name, "e", exchange, kind, to)
        self.server.api("POST", *path, body={"routing_key": key})

    def policy(self, pattern: str, **definition: Any) -> None:
        """Set a policy on the queues whose names match. `_` in its keys stands for `-`."""
        named = {key.replace("_", "-"): value for key, value in definition.items()}
        body = {"pattern": pattern, "definition": named, "apply-to": "queues"}
        self.server.api("PUT", "policies", self.name, f"p{next(_numbers)}", body=body)

    def publish(self, queue: str, payload: str, **properties: Any) -> None:
        """Put a job into a queue, by the default exchange."""
        body = {
            "properties": {"delivery_mode": 2, **properties},
            "routing_key": queue,
            "payload": payload,
            "payload_encoding": "string",
        }
        path = ("exchanges", self.name, "amq.default", "publish")
        assert self.server.api("POST", *path, body=body) == {"routed": True}

    def get(self, queue: str, count: int = 1, mode: str = "ack_requeue_true") -> list[Any]:
        """Take jobs from a queue; `mode` says what becomes of them."""
        body = {"count": count, "ackmode": mode, "encoding": "auto"}
        found: list[Any] = self.server.api("POST", "queues", self.name, queue, "get", body=body)
        return found

    def payloads(self, queue: str) -> list[str]:
        """The bodies of all jobs of a queue."""
        return [one["payload"] for one in self.get(queue, 1000)]

    def reject(self, queue: str, count: int = 1) -> None:
        """Reject jobs, so that RabbitMQ dead-letters them."""
        assert len(self.get(queue, count, "reject_requeue_false")) == count

    def fail(self, queue: str, *payloads: str, into: str) -> None:
        """Put jobs into a queue, reject them, and wait until they are in the dead-letter queue."""
        for payload in payloads:
            self.publish(queue, payload)
        self.reject(queue, len(payloads))
        wait_until(lambda: set(payloads) <= set(self.payloads(into)))


def make_certificates(directory: Path) -> None:
    """Make a certificate authority, and a certificate of it for 127.0.0.1."""
    subject = directory / "subject.cnf"
    # Python 3.13 verifies strictly: a CA must say that it signs, and a certificate by whom.
    subject.write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\nauthorityKeyIdentifier=keyid\n")
    signs = ["-addext", "keyUsage=critical,keyCertSign,cRLSign"]
    new = ["req", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    for argv in (
        [*new, *signs, "-x509", "-subj", "/CN=test CA", "-keyout", "ca.key", "-out", "ca.pem"],
        [*new, "-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.csr"],
        [
            *("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key"),
            *("-CAcreateserial", "-days", "2", "-extfile", str(subject), "-out", "server.pem"),
        ],
    ):
        subprocess.run(["openssl", *argv], cwd=directory, check=True, capture_output=True)
