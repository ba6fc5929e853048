"""The configuration as beanwatch's programs use it: one named tuple for each table of the file.

`beanwatch.config.reader` makes it from the file and the environment. Every check imports both when
it starts. Therefore they import no other module of beanwatch than `config.keys`, `globs` and
`values`, and import the rest of this package only when they need it.
"""

from collections.abc import Mapping

from beanwatch.globs import matches, name_of
from beanwatch.light_typing import Literal, NamedTuple


class ConfigError(Exception):
    """The configuration is invalid or cannot be read.

    The text names the file, the line and the key if they are known, and says what is allowed.
    """


class ServerConfig(NamedTuple):
    """A queue server: an entry of the table [servers], or a table [servers.NAME].

    Each queue system uses some of the settings (`System.settings`); the others are empty.
    """

    url: str = ""
    layout: str = ""  # how the jobs are stored, for a server that may hold several kinds of queues
    queues: tuple[str, ...] = ()  # names of queues, or globs
    password_file: str = ""  # the password is its first line
    ca_file: str = ""  # certificates to trust, in PEM form
    prefix: str = ""  # of all keys in Redis
    failed: str = ""  # the list of failed jobs: its name, with {queue} for that of the queue
    group: str = ""  # a stream's consumer group
    table: str = ""  # the SQL table of the jobs
    endpoint_url: str = ""  # where the API is, in place of the provider's own address
    cloudwatch: bool = False  # read ages and counters from CloudWatch, which bills each request
    unknown: tuple[str, ...] = ()  # fields that this server cannot tell, though its system can


class RedisConfig(NamedTuple):
    """Table [redis]: the Redis server that stores the workers' heartbeats and the ledger."""

    url: str = "redis://127.0.0.1:6379/0"  # empty: off, beanwatch uses no Redis
    password_file: str = ""  # the password is its first line


class GraphiteConfig(NamedTuple):
    """Table [graphite]: where metrics are written to, and where checks read them."""

    address: str = "127.0.0.1:2003"  # of carbon's plaintext receiver; empty: off
    url: str = "http://127.0.0.1:8080"  # base URL of the render API, without /render; empty: off


class CollectConfig(NamedTuple):
    """Table [collect]: settings of `beanwatch collect`. Durations are in seconds."""

    interval: float = 10.0
    queues_interval: float = 0.0  # 0: the same as interval
    timeout: float = 5.0
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    max_queues: int = 10_000
    head_ages: bool = True
    series: Literal["all", "essential"] = "all"
    state: str = ""
    spool: str = ""
    listen: str = ""  # the address on which Prometheus scrapes the collector; empty: off


class WorkerConfig(NamedTuple):
    """Table [worker]: settings of `beanwatch worker`.

    Durations are in seconds, sizes in bytes. For the fields `max_...`, 0 means no limit.
    """

    server: str = ""
    metrics: str = ""
    metrics_per_worker: bool = False
    reserve_timeout: float = 10.0
    job_timeout: float = 60.0
    grace: float = 10.0
    max_attempts: int = 5
    shutdown_timeout: float = 30.0
    heartbeat_interval: float = 1.0
    max_jobs: int = 0
    max_time: float = 0.0
    max_memory: int = 0
    tmp_root: str = ""
    min_free_disk: int = 100 * 1024 * 1024
    ledger: Literal["all", "failures", "off"] = "failures"
    restart_spread: float = 30.0
    listen: str = ""  # the address on which Prometheus and probes ask the worker; empty: off


class Threshold(NamedTuple):
    """The limits of a check: two ranges as text, in the syntax of the Nagios plugin guidelines.

    A value outside the range `warning` is a WARNING, outside `critical` it is CRITICAL; "" means
    no limit. The alert starts only after the value was outside for `hold` seconds.
    """

    warning: str = ""
    critical: str = ""
    hold: float = 0.0  # seconds; the key `for` in the file
    is_default: bool = False  # true for the limits of a check, where nobody has set others


class QueueRule(NamedTuple):
    """Table [queues."GLOB"]: thresholds for all queues whose names match the glob.

    The keys of `thresholds` are from MEASURES. `server` is a glob of the servers that it is for;
    "": all of them.
    """

    glob: str
    thresholds: Mapping[str, Threshold]
    server: str = ""

    @property
    def name(self) -> str | None:
        """The name of the only queue that the glob matches, which is expected to exist; or None.

        With `server`, it is expected on each server that matches, else on one of all servers.
        """
        return name_of(self.glob)

    def is_for(self, server: str) -> bool:
        """Return True if the rule is for the queues of the server with this node."""
        return not self.server or matches(server, self.server)


class WorkerGroup(NamedTuple):
    """An entry `{ glob = "k8s.*", least = 3 }` of workers.expected.

    At least `least` live workers with ids that match the glob are expected. Which ones does not
    matter, so that the names of containers may change.
    """

    glob: str
    least: int


class LinksConfig(NamedTuple):
    """Table [links]: URLs that alerts link to.

    `{name}` in a URL is replaced by the name of the alert, such as `queue-depth`.
    """

    runbook: str = "https://beanwatch.readthedocs.io/en/latest/runbook/"
    graphs: str = ""


class WebConfig(NamedTuple):
    """Table [web]: settings of `beanwatch web`."""

    # Where to read the hour before the start: "graphite" (at graphite.url), the URL of a
    # Prometheus, or empty: nowhere, so the charts begin empty.
    history: str = ""


class Config(NamedTuple):
    """The whole configuration, with its defaults.

    `servers` maps the names of queue servers to their settings. A server that was given without
    a name has its URL as its name. `given` has the keys, such as `redis.url`, that the file,
    the environment or a flag sets: a server at a default address may not exist on this site.
    """

    file: str = ""
    given: frozenset[str] = frozenset()
    prefix: str = "beanwatch"
    log_format: str = "json"
    log_file: str = ""
    servers: Mapping[str, ServerConfig] = {}
    redis: RedisConfig = RedisConfig()
    graphite: GraphiteConfig = GraphiteConfig()
    collect: CollectConfig = CollectConfig()
    worker: WorkerConfig = WorkerConfig()
    expected_workers: tuple[str, ...] = ()  # ids
    expected_groups: tuple[WorkerGroup, ...] = ()
    secret_file: str = ""  # the secret that signs commands to workers; "": they are not signed
    queues: tuple[QueueRule, ...] = ()
    checks: Mapping[str, Threshold] = {}
    links: LinksConfig = LinksConfig()
    web: WebConfig = WebConfig()

    def is_wanted(self, key: str) -> bool:
        """Return False if nobody asked for this part: its address (`key`) is only a default."""
        needs_it = key == "redis.url" and bool(self.expected_workers or self.expected_groups)
        return needs_it or key in self.given

    def set_redis(self, url: str | None) -> "Config":
        """Return this configuration with the Redis of a flag; unchanged if `url` is None."""
        if url is None:
            return self
        return self._replace(redis=self.redis._replace(url=url), given=self.given | {"redis.url"})

    def threshold(self, measure: str, queue: str, server: str) -> Threshold | None:
        """Return the threshold for one measure (from MEASURES) of a queue; None if no rule applies.

        The first rule in the file that is for the server (its node), matches the queue and sets
        this measure applies.
        """
        for rule in self.queues:
            if measure in rule.thresholds and rule.is_for(server) and matches(queue, rule.glob):
                return rule.thresholds[measure]
        return None

    def expected_queues(self, server: str) -> list[str]:
        """Return the names of the queues that the configuration names for a server (its node)."""
        found = dict.fromkeys(rule.name for rule in self.queues if rule.is_for(server))
        return [name for name in found if name is not None]

    def is_for_any_server(self, queue: str, server: str) -> bool:
        """Return True if the configuration names a queue, and does not expect it on this server.

        It expects the queue on one of the servers. `server` is the node of the server.
        """
        rules = [rule for rule in self.queues if rule.name == queue and rule.is_for(server)]
        return bool(rules) and not any(rule.server for rule in rules)
