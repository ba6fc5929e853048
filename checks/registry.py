"""The table of all checks. To add one: its module in this folder, its line here, its entry point.

`beanwatch passive`, `beanwatch install`, `beanwatch doctor` and the generated configuration of
Nagios, NRPE and Icinga 2 read this table. A test compares it with the entry points in
pyproject.toml and with the keys that the configuration allows.
"""

from importlib import import_module
from typing import Any

# What a check is of. It decides how the check is called, and which services it gets.
SERVER, QUEUE, WORKERS, JOBS, METRICS = "server", "queue", "workers", "jobs", "metrics"


class RegisteredCheck:
    """One check: the module `beanwatch.checks.<name>`, run as `check_<name>`.

    `service` is the name of its service. For a queue it is the measure: "depth" gives "depth of
    QUEUE". `fields` are those of `QueueState` that it needs: where a system does not declare one of
    them, the check is UNKNOWN, and no service is generated.
    """

    def __init__(self, name: str, of: str, service: str, fields: tuple[str, ...] = ()) -> None:
        self.name, self.of, self.service, self.fields = name, of, service, fields

    @property
    def program(self) -> str:
        """The name of the plugin."""
        return f"check_{self.name}"

    @property
    def config_key(self) -> str:
        """Its key under [checks]; for a queue it is also the key under [queues."GLOB"]."""
        return self.service if self.of == QUEUE else self.name

    @property
    def heading(self) -> str:
        """Its heading in docs/runbook.md."""
        return self.name.replace("_", "-")

    def load(self) -> Any:
        """Import its module, which has `parser`, `build` and `main`."""
        return import_module(f"beanwatch.checks.{self.name}")


CHECKS = (
    RegisteredCheck("queue_server", SERVER, "queue server"),
    RegisteredCheck("queue_depth", QUEUE, "depth", ("ready",)),
    RegisteredCheck("queue_buried", QUEUE, "buried", ("buried",)),
    RegisteredCheck("queue_age", QUEUE, "age", ("ready", "head_ready_age")),
    RegisteredCheck("queue_consumers", QUEUE, "consumers", ("ready", "consumers")),
    RegisteredCheck("worker_heartbeat", WORKERS, "workers"),
    RegisteredCheck("job_failures", JOBS, "job failures"),
    RegisteredCheck("metrics_fresh", METRICS, "metrics"),
)


def find_check(name: str) -> RegisteredCheck:
    """The check of this name. Raises KeyError for one that is not in CHECKS."""
    for check in CHECKS:
        if check.name == name:
            return check
    raise KeyError(name)
