"""The table of all checks. A new check needs a module here, a line in `CHECKS`, an entry point.

`beanwatch passive`, `beanwatch install`, `beanwatch doctor` and the generated configuration of
Nagios, NRPE and Icinga 2 use this table. A test compares it with the entry points in
pyproject.toml and with the keys that the configuration allows.
"""

from importlib import import_module

from beanwatch.light_typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from beanwatch.queues.servers import Server

# What a check is about. This decides which arguments its command gets, and which services it has.
SERVER, QUEUE, METRICS = "server", "queue", "metrics"
REDIS, WORKERS, JOBS = "redis", "workers", "jobs"


class RegisteredCheck:
    """One check: the module `beanwatch.checks.<name>`, run as `check_<name>`.

    `service` is the name of its service in Nagios. For a check about a queue it is the first word:
    "depth" makes "depth of QUEUE". `fields` names the fields of `QueueState` that the check needs.
    If a server does not report one of them, the check is UNKNOWN and gets no service.
    Then it judges the `server_field` of `ServerState`, if the server reports that. A check that
    `needs_limits` is always OK without limits, as it has no default ones.
    """

    def __init__(
        self,
        name: str,
        subject: str,
        service: str,
        fields: tuple[str, ...] = (),
        *,
        needs_limits: bool = False,
        server_field: str = "",
    ) -> None:
        self.name, self.subject, self.service, self.fields = name, subject, service, fields
        self.needs_limits, self.server_field = needs_limits, server_field

    @property
    def program(self) -> str:
        """The name of the plugin: `check_queue_depth`."""
        return f"check_{self.name}"

    @property
    def config_key(self) -> str:
        """The key of its limits under [checks]; for a queue, also the key under [queues."GLOB"]."""
        return self.service if self.subject == QUEUE else self.name

    @property
    def heading(self) -> str:
        """The heading of docs/runbook.md that explains its alerts: `queue-depth`."""
        return self.name.replace("_", "-")

    def can_judge_queues(self, server: "Server") -> bool:
        """Return True if this server reports what the check needs of a queue."""
        return all(map(server.can_tell, self.fields))

    def judges_server(self, server: "Server") -> bool:
        """Return True if the check judges a number of the server instead of those of its queues."""
        return not self.can_judge_queues(server) and server.can_tell_itself(self.server_field)

    @property
    def needs_redis(self) -> bool:
        """True if the check is UNKNOWN while Redis does not work."""
        return self.subject in (WORKERS, JOBS)

    def load(self) -> Any:
        """Import and return its module, which has `parser`, `build` and `main`."""
        return import_module(f"beanwatch.checks.{self.name}")


CHECKS = (
    RegisteredCheck("queue_server", SERVER, "queue server"),
    RegisteredCheck("queue_depth", QUEUE, "depth", ("ready",), needs_limits=True),
    RegisteredCheck("queue_buried", QUEUE, "buried", ("buried",), server_field="buried"),
    RegisteredCheck("queue_age", QUEUE, "age", ("ready", "head_ready_age")),
    RegisteredCheck("queue_consumers", QUEUE, "consumers", ("ready", "consumers")),
    RegisteredCheck("redis", REDIS, "redis"),
    RegisteredCheck("worker_heartbeat", WORKERS, "workers"),
    RegisteredCheck("job_failures", JOBS, "job failures"),
    RegisteredCheck("metrics_fresh", METRICS, "metrics"),
)


def find_check(name: str) -> RegisteredCheck:
    """Return the check with this name, such as `queue_depth`. Raises KeyError if there is none."""
    for check in CHECKS:
        if check.name == name:
            return check
    raise KeyError(name)
