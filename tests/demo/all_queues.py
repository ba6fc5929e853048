"""`make demo QUEUES=all`: every queue system at once, with backlogs, failed jobs and recoveries."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from tests.demo import pictures
from tests.demo.mailbox import Expected
from tests.demo.narrator import Narrator
from tests.demo.parts import JOBS, QUEUE, Part, start_parts, toml
from tests.demo.scenes import Scene
from tests.demo.stage import Stage
from tests.real import Graphite
from tests.real.graphite import EVERY_SECOND

LIMIT = 20  # ready jobs
INTERVAL = 5  # seconds between two readings of the collector
SECONDS = 10  # between two runs of a check: there are dozens, and each one is a process

_CONFIG = """\
log_file = "{log}"
redis.url = ""

[graphite]
address = "{carbon}"
url = "{graphite}"

[collect]
interval = {interval}
queues_interval = {interval}

[queues.{queue}.depth]
critical = {limit}

{servers}
"""
_HOST = """\
define host {{
    use                      beanwatch-host
    host_name                {name}
    address                  127.0.0.1
    _BEANWATCH_SERVER        {name}
    _BEANWATCH_OPTIONS       -t 30 --config {config}
}}
"""
_SERVICE = """\
define service {{
    use                  beanwatch-queue-{check}
    host_name            {host}
    service_description  {service}
    check_command        check_queue_{check}!{queue}
    check_interval       {seconds}
    retry_interval       {retry}
    max_check_attempts   2
}}
"""


class AllStage(Stage):
    """A stage with all queue systems. Each has the services depth, buried and consumers.

    A service is left out if the system cannot tell what it needs.
    """

    alert_timeout = 180.0  # seconds; on an idle machine each alert takes less than 30

    def __init__(self, directory: Path, narrator: Narrator) -> None:
        super().__init__(directory, narrator)
        self.parts: list[Part] = []
        schemas = EVERY_SECOND.replace("1s:", f"{INTERVAL}s:")
        self.graphite = Graphite(directory / "graphite", storage_schemas=schemas)

    def start_servers(self) -> None:
        self.narrator.waits_for("starting Graphite")
        self.enter_context(self.graphite)
        self.narrator.did("Graphite", self.graphite.url)
        for part in start_parts(self, self.directory, self.narrator.waits_for):
            self.parts.append(part)
            self.narrator.did(part.name, part.title)
        servers = toml(self.parts)
        self.config.write_text(
            _CONFIG.format(
                log=self.log,
                carbon=self.graphite.carbon,
                graphite=self.graphite.url,
                interval=INTERVAL,
                queue=QUEUE,
                limit=LIMIT,
                servers=servers,
            )
        )

    def start_programs(self) -> None:
        self.log.touch()
        self.start_collector(f"every {INTERVAL} seconds")
        self.start_page()

    def objects(self) -> Iterable[str]:
        for part in self.parts:
            yield _HOST.format(name=part.name, config=self.config)
            for check, service in services(part):
                queue = "*" if check == "buried" else QUEUE
                yield _SERVICE.format(
                    check=check,
                    host=part.name,
                    service=service,
                    queue=queue,
                    seconds=SECONDS,
                    retry=SECONDS // 3,
                )

    def scenes(self) -> Sequence[Scene]:
        return scenes(self)

    def graphs(self) -> pictures.Graphs:
        return pictures.MIXED_FLEET

    def sources(self) -> tuple[str, ...]:
        return tuple(f"beanwatch.queue.{part.name}.{QUEUE}.ready" for part in self.parts)

    def hints(self) -> Mapping[str, str]:
        keys = "AWS_ACCESS_KEY_ID=demo AWS_SECRET_ACCESS_KEY=demo"
        return {
            f"{keys} beanwatch top": "show the servers and queues, live",
            f"{keys} beanwatch queues list": "list the queues of all systems",
            "check_queue_depth -H rabbit -Q orders": "run a check as Nagios does",
            **self.places(),
        }

    def news(self) -> str:
        return f"{len(self.parts)} queue systems"


def services(part: Part) -> list[tuple[str, str]]:
    """Return the checks of a server, each with the name of its service."""
    found = [("depth", f"depth {part.name}")]
    if part.fail:
        found.append(("buried", f"failed jobs {part.name}"))
    if part.knows_consumers:
        found.append(("consumers", f"consumers {part.name}"))
    return found


def scenes(stage: AllStage) -> list[Scene]:
    """Return the scenes: the consumers are gone, and jobs fail. They need the started stage."""
    failing = [part for part in stage.parts if part.fail]
    known = [part for part in stage.parts if part.knows_consumers]
    depths = [f"depth {part.name}" for part in stage.parts]
    consumers = [f"consumers {part.name}" for part in known]
    buried = [f"failed jobs {part.name}" for part in failing]
    return [
        Scene(
            "Nobody takes jobs any more",
            f"{JOBS} jobs are put into the queue {QUEUE} of each of {len(stage.parts)} servers",
            lambda _: do_all([part.pile for part in stage.parts]),
            (
                *(Expected(name, "CRITICAL", f"{JOBS} jobs ready") for name in depths),
                *(Expected(name, "CRITICAL", f"{JOBS} jobs ready") for name in consumers),
            ),
            "workers are started, or the jobs deleted, until each queue is empty",
            lambda _: do_all(
                [part.drain or partial(empty, stage, part, "ready") for part in stage.parts]
            ),
            tuple(Expected(name, "OK") for name in (*depths, *consumers)),
        ),
        Scene(
            "Jobs fail and wait for a person",
            f"a job fails for good on {len(failing)} servers",
            lambda _: do_all([part.fail for part in failing if part.fail]),
            tuple(Expected(name, "WARNING") for name in buried),
            "the failed jobs are deleted",
            lambda _: do_all([partial(empty, stage, part, "buried") for part in failing]),
            tuple(Expected(name, "OK") for name in buried),
        ),
    ]


def do_all(acts: Sequence[Callable[[], object]]) -> None:
    for act in acts:
        act()


def empty(stage: Stage, part: Part, state: str) -> None:
    stage.run(
        ["beanwatch", "queues", "empty", QUEUE, "--server", part.name, "--only", state, "--yes"]
    )
