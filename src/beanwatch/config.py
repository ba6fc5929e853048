"""Read the configuration from a TOML file and from environment variables, and check every key.

Command-line flags override the environment variables (`BEANWATCH_*`). These override the file, and
the file overrides the defaults, which suit a single host. Every check imports this module when it
starts. Therefore it imports no other module of beanwatch than `beanwatch.values`.
Only for root, it also imports `beanwatch.file_access`.
"""

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, Literal, NamedTuple

from beanwatch.values import (
    boolean,
    duration,
    hides_warning,
    metric_prefix,
    one_of,
    size,
    string_list,
    text,
    threshold,
    whole_number,
)

DEFAULT_FILE = "/etc/beanwatch/beanwatch.toml"
MIN_SECRET = 32  # characters; a shorter secret could be guessed from a signed command
GLOB = re.compile(r"[*?\[]")  # the characters that make a name a glob
# The characters of a worker's id, and those of globs. Globs go into files of Nagios and Icinga.
WORKER_GLOB = r"[A-Za-z0-9._*?\[\]!-]{1,200}"
EXPECTED_FORM = (
    "expected a list of the workers' ids and of counts: "
    '["web1.email-1", { glob = "k8s.*", least = 3 }]'
)


HIDDEN_WARNING = (
    "no value would be a WARNING, because each value outside the range {} of the warning is also "
    "outside the range {} of critical"
)


class ConfigError(Exception):
    """The configuration is invalid or cannot be read.

    The text names the file, the line and the key if they are known, and says what is allowed.
    """


class RedisConfig(NamedTuple):
    """Table [redis]: the Redis server that stores the workers' heartbeats and the ledger."""

    url: str = "redis://127.0.0.1:6379/0"  # empty: off, beanwatch uses no Redis
    password_file: str = ""  # the password is its first line

    def read_password(self, environ: Mapping[str, str] = os.environ) -> str:
        """Return the password: the first line of `password_file`.

        If `password_file` is empty, return $BEANWATCH_REDIS_PASSWORD, or "" if that is not set.
        Raises ConfigError if the file cannot be read.
        """
        if not self.password_file:
            return environ.get("BEANWATCH_REDIS_PASSWORD", "")
        return _read_first_line("redis.password_file", self.password_file)


def _read_first_line(key: str, path: str) -> str:
    """Return the first line of the file that `key` names. Raises ConfigError."""
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.readline().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError(f"{key}: cannot read {path}: {reason}") from None


def describe_exposure(path: str) -> str:
    """Return a text if users other than the owner and the group can read or change a file.

    The text says how to protect it. Return "" if nobody else can. Raises ConfigError.
    """
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    if mode & (stat.S_IRWXO | stat.S_IWGRP):
        return f"other users can read or change {path}; to protect it: chmod 0640 {path}"
    return ""


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
    state: str = ""
    spool: str = ""


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


class Threshold(NamedTuple):
    """When a check alerts: two ranges as text, in the syntax of the Nagios plugin guidelines.

    A value outside the range `warning` is a WARNING, outside `critical` it is CRITICAL; "" means
    no limit. The alert starts only after the value was outside for `hold` seconds.
    """

    warning: str = ""
    critical: str = ""
    hold: float = 0.0  # seconds; the key `for` in the file


class QueueRule(NamedTuple):
    """Table [queues."GLOB"]: thresholds for all queues whose names match the glob.

    The keys of `thresholds` are from MEASURES.
    """

    glob: str
    thresholds: Mapping[str, Threshold]

    @property
    def is_name(self) -> bool:
        """True if the glob is a plain queue name. Then that queue is expected to exist."""
        return not GLOB.search(self.glob)


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


class Config(NamedTuple):
    """The whole configuration, with its defaults.

    `servers` maps the names of queue servers to their addresses. A server that was given without
    a name has its address as its name. `given` has the keys, such as `redis.url`, that the file,
    the environment or a flag sets: a server at a default address may not exist on this site.
    """

    file: str = ""
    given: frozenset[str] = frozenset()
    prefix: str = "beanwatch"
    log_format: str = "json"
    log_file: str = ""
    servers: Mapping[str, str] = {}
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

    def read_secret(self) -> bytes:
        """Return the secret that signs commands to workers: the first line of `secret_file`.

        Return b"" if there is no such file. Raises ConfigError if the file cannot be read, if other
        users can, or if the secret is shorter than MIN_SECRET characters.
        """
        if not self.secret_file:
            return b""
        key, path = "workers.secret_file", self.secret_file
        secret = _read_first_line(key, path)
        if exposed := describe_exposure(path):
            raise ConfigError(f"{key}: {exposed}")
        if len(secret) < MIN_SECRET:
            raise ConfigError(
                f"{key}: the first line of {path} has {len(secret)} characters, expected at least "
                f"{MIN_SECRET}; to make a secret: openssl rand -hex 32"
            )
        return secret.encode()

    def is_wanted(self, key: str) -> bool:
        """Return False if nobody asked for this part: its address (`key`) is only a default."""
        needs_it = key == "redis.url" and bool(self.expected_workers)
        return needs_it or key in self.given

    def set_redis(self, url: str | None) -> "Config":
        """Return this configuration with the Redis of a flag; unchanged if `url` is None."""
        if url is None:
            return self
        return self._replace(redis=self.redis._replace(url=url), given=self.given | {"redis.url"})

    def threshold(self, measure: str, queue: str) -> Threshold | None:
        """Return the threshold for one measure (from MEASURES) of a queue; None if no rule applies.

        The first rule in the file that matches the queue and sets this measure applies.
        """
        for rule in self.queues:
            if measure in rule.thresholds and fnmatchcase(queue, rule.glob):
                return rule.thresholds[measure]
        return None


def parse_expected(value: Any) -> tuple[str | WorkerGroup, ...]:
    """Parse workers.expected: ids of workers, and tables `{ glob = "k8s.*", least = 3 }`.

    In text, such as an environment variable, commas separate ids. Raises ValueError.
    """
    if isinstance(value, str):
        value = list(string_list(value))
    if not isinstance(value, list):
        raise ValueError(EXPECTED_FORM)
    return tuple(map(_parse_expected, value))


def _parse_expected(table: Any) -> str | WorkerGroup:
    if isinstance(table, str):
        if not re.fullmatch(WORKER_GLOB, table) or GLOB.search(table):
            raise ValueError(f"{EXPECTED_FORM}; an id has letters, digits and . _ -")
        return table
    if not isinstance(table, dict) or set(table) != {"glob", "least"}:
        raise ValueError(EXPECTED_FORM)
    glob, least = table["glob"], table["least"]
    if not isinstance(glob, str) or not re.fullmatch(WORKER_GLOB, glob):
        raise ValueError(f"{EXPECTED_FORM}; a glob has letters, digits and . _ - * ? [ ]")
    if isinstance(least, bool) or not isinstance(least, int) or least < 1:
        raise ValueError(f"{EXPECTED_FORM}; least is a whole number, 1 or more")
    return WorkerGroup(glob, least)


Spec = Mapping[str, Callable[[Any], Any]]

GENERAL: Spec = {
    "prefix": metric_prefix,
    "log_format": one_of("json", "console"),
    "log_file": text,
}
REDIS: Spec = {"url": text, "password_file": text}
GRAPHITE: Spec = {"address": text, "url": text}
COLLECT: Spec = {
    "interval": duration,
    "queues_interval": duration,
    "timeout": duration,
    "include": string_list,
    "exclude": string_list,
    "max_queues": whole_number,
    "head_ages": boolean,
    "state": text,
    "spool": text,
}
WORKER: Spec = {
    "server": text,
    "metrics": text,
    "metrics_per_worker": boolean,
    "reserve_timeout": duration,
    "job_timeout": duration,
    "grace": duration,
    "max_attempts": whole_number,
    "shutdown_timeout": duration,
    "heartbeat_interval": duration,
    "max_jobs": whole_number,
    "max_time": duration,
    "max_memory": size,
    "tmp_root": text,
    "min_free_disk": size,
    "ledger": one_of("all", "failures", "off"),
    "restart_spread": duration,
}
WORKERS: Spec = {"expected": lambda value: parse_expected(value), "secret_file": text}
LINKS: Spec = {"runbook": text, "graphs": text}
LIMITS: Spec = {"warning": threshold, "critical": threshold}
THRESHOLD: Spec = {**LIMITS, "for": duration}
MEASURES = ("depth", "buried", "age", "consumers")
CHECKS = ("queue_server", *MEASURES, "redis", "worker_heartbeat", "job_failures", "metrics_fresh")
TABLES: Mapping[str, Spec] = {
    "redis": REDIS,
    "graphite": GRAPHITE,
    "collect": COLLECT,
    "worker": WORKER,
    "workers": WORKERS,
    "links": LINKS,
}


# Environment variables (without BEANWATCH_) that have no key in the file. The modules that read
# them document them.
OTHER_VARIABLES = ("CONFIG", "SERVERS", "REDIS_PASSWORD", "STATE_DIR")


def variable_of(*path: str) -> str:
    """Return the name of the environment variable that overrides a key of the file.

    For the path `collect`, `interval` it is BEANWATCH_COLLECT_INTERVAL.
    """
    return "_".join(("BEANWATCH", *path)).upper()


def find_unknown_variables(environ: Mapping[str, str] = os.environ) -> Iterator[str]:
    """Yield a message for each environment variable BEANWATCH_* that beanwatch does not know.

    Such a variable is usually misspelled, and would be ignored without a message.
    """
    known = {variable_of(key) for key in (*GENERAL, *OTHER_VARIABLES)}
    known |= {variable_of(name, key) for name, spec in TABLES.items() for key in spec}
    for variable in sorted(environ):
        if variable.startswith("BEANWATCH_") and variable not in known:
            yield f"environment variable ${variable} has no effect{_hint(variable, known)}"


def _hint(word: str, known: Iterable[str]) -> str:
    import difflib  # imported here because it takes 1 ms and only an error message needs it

    similar = difflib.get_close_matches(word, known, 1)
    return f"; did you mean {similar[0]!r}?" if similar else ""


def load(file: str | None = None, environ: Mapping[str, str] = os.environ) -> Config:
    """Read the configuration from `file`, else from $BEANWATCH_CONFIG, else from DEFAULT_FILE.

    If DEFAULT_FILE does not exist, the defaults apply. Raises ConfigError if a file that was
    named does not exist, if a file cannot be read, or if its content is invalid. It also raises
    ConfigError if this process is root and another user can change the file: such a user could
    have root write logs and state to any file, or send any file to a server as a password.
    """
    named = file or environ.get("BEANWATCH_CONFIG", "")
    path = named or DEFAULT_FILE
    try:
        with open(path, encoding="utf-8") as stream:
            source = stream.read()
    except FileNotFoundError:
        if named:
            raise ConfigError(f"configuration file {path}: no such file") from None
        path, source = "", ""
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError(f"cannot read configuration file {path}: {reason}") from None
    if path and os.geteuid() == 0:
        _refuse_writers(path, environ)
    return parse(source, path, environ)


def _refuse_writers(path: str, environ: Mapping[str, str]) -> None:
    from beanwatch.file_access import find_writers  # imported here because only root needs it

    try:
        writer = next(find_writers(path, environ), "")
    except OSError:  # it is a pipe, as in `--config <(...)`, which has no directory
        return
    if writer:
        raise ConfigError(
            f"configuration file {path}: root does not use a file that others can change: {writer}"
        )


def describe_missing_file() -> str:
    """Return the text that stands for the file's path when the default file does not exist."""
    return f"no configuration file ({DEFAULT_FILE} does not exist), defaults for one host"


def parse(source: str, file: str = "", environ: Mapping[str, str] = {}) -> Config:
    """Parse the TOML text `source`, overridden by the variables in `environ`.

    `file` is the name that error messages show. Raises ConfigError if a value is invalid.
    """
    return _Reader(source, file, environ).config()


class _Reader:
    def __init__(self, source: str, file: str, environ: Mapping[str, str]) -> None:
        self.source, self.file, self.environ = source, file, environ

    def config(self) -> Config:
        tree = self._parse_toml()
        known = (*GENERAL, *TABLES, "servers", "queues", "checks")
        for key in tree:
            if key not in known:
                raise self._unknown((key,), known)
        general = {key: value for key, value in tree.items() if key in GENERAL}
        tables = {name: self._table((name,), tree.get(name, {}), TABLES[name]) for name in TABLES}
        given = {f"{name}.{key}" for name, table in tables.items() for key in table}
        expected = tables["workers"].get("expected", ())
        return Config(
            file=self.file,
            given=frozenset(given),
            servers=self._servers(tree.get("servers", {})),
            redis=RedisConfig(**tables["redis"]),
            graphite=GraphiteConfig(**tables["graphite"]),
            collect=CollectConfig(**tables["collect"]),
            worker=WorkerConfig(**tables["worker"]),
            links=LinksConfig(**tables["links"]),
            expected_workers=tuple(one for one in expected if isinstance(one, str)),
            expected_groups=tuple(one for one in expected if isinstance(one, WorkerGroup)),
            secret_file=tables["workers"].get("secret_file", ""),
            queues=tuple(self._queues(tree.get("queues", {}))),
            checks=self._thresholds(("checks",), tree.get("checks", {}), CHECKS),
            **self._table((), general, GENERAL),
        )

    def _parse_toml(self) -> dict[str, Any]:
        if not self.source.strip():
            return {}
        import tomllib  # imported here because it takes 6 ms and only a file needs it

        try:
            return tomllib.loads(self.source)
        except tomllib.TOMLDecodeError as error:
            where = re.search(r"\(at line (\d+), column \d+\)", str(error))
            # An error without a line number is at the end of the file.
            line = where[1] if where else len(self.source.splitlines())
            reason = str(error).partition(" (at ")[0]
            raise ConfigError(f"{self.file}:{line}: not valid TOML: {reason}") from None

    def _table(self, path: tuple[str, ...], table: Any, spec: Spec) -> dict[str, Any]:
        if not isinstance(table, dict):
            raise self._wrong(path, "expected a TOML table")
        values: dict[str, Any] = {}
        for key, value in table.items():
            if key not in spec:
                raise self._unknown((*path, key), spec)
            values[key] = self._value((*path, key), value, spec[key])
        for key in spec:
            variable = variable_of(*path, key)
            if variable in self.environ and path[:1] not in (("queues",), ("checks",)):
                try:
                    values[key] = spec[key](self.environ[variable])
                except ValueError as error:
                    raise ConfigError(f"environment variable ${variable}: {error}") from None
        return values

    def _servers(self, table: Any) -> dict[str, str]:
        if not isinstance(table, dict):
            raise self._wrong(
                ("servers",), 'expected a TOML table of names and addresses: q1 = "host:11300"'
            )
        servers = {name: self._value(("servers", name), table[name], text) for name in table}
        for entry in string_list(self.environ.get("BEANWATCH_SERVERS", "")):
            name, equals, address = entry.partition("=")
            servers[name] = address if equals else name
        return servers

    def _queues(self, table: Any) -> Iterator[QueueRule]:
        if not isinstance(table, dict):
            raise self._wrong(("queues",), 'expected TOML tables: [queues."email.*".depth]')
        for glob, measures in table.items():
            yield QueueRule(glob, self._thresholds(("queues", glob), measures, MEASURES))

    def _thresholds(
        self, path: tuple[str, ...], table: Any, known: tuple[str, ...]
    ) -> dict[str, Threshold]:
        if not isinstance(table, dict):
            raise self._wrong(path, "expected a TOML table")
        found = {}
        for name, values in table.items():
            if name not in known:
                raise self._unknown((*path, name), known)
            spec = THRESHOLD if path[0] == "queues" or name in MEASURES else LIMITS
            fields = self._table((*path, name), values, spec)
            fields["hold"] = fields.pop("for", 0.0)
            found[name] = limits = Threshold(**fields)
            if hides_warning(limits.warning, limits.critical):
                reason = HIDDEN_WARNING.format(limits.warning, limits.critical)
                raise self._wrong((*path, name), reason)
        return found

    def _value(self, path: tuple[str, ...], value: Any, parser: Callable[[Any], Any]) -> Any:
        try:
            return parser(value)
        except ValueError as error:
            # A list or a table may contain a password.
            found = type(value).__name__ if isinstance(value, list | dict) else repr(value)
            raise self._wrong(path, f"{error}, not {found}") from None

    def _unknown(self, path: tuple[str, ...], known: Any) -> ConfigError:
        hint = _hint(path[-1], known) or f"; known keys: {', '.join(known)}"
        return self._wrong(path[:-1], f"unknown key {path[-1]!r}{hint}", at=path)

    def _wrong(
        self, path: tuple[str, ...], reason: str, at: tuple[str, ...] | None = None
    ) -> ConfigError:
        line = find_line(self.source, at or path)
        where = f"{self.file or 'configuration'}:{line}" if line else self.file or "configuration"
        return ConfigError(f"{where}: {'.'.join(path) + ': ' if path else ''}{reason}")


def find_line(source: str, path: tuple[str, ...]) -> int:
    """Return the number of the line (from 1) in the TOML text that sets the key or table `path`.

    Return 0 if there is no such line.
    """
    import tomllib

    table: tuple[str, ...] = ()
    for number, line in enumerate(source.splitlines(), 1):
        stripped = line.strip()
        is_header = stripped.startswith("[")
        try:
            # A table header is valid TOML by itself. A value may span several lines, so replace
            # it by 0, and the line with its key is valid as well.
            tree = tomllib.loads(stripped if is_header else stripped.partition("=")[0] + "= 0")
        except tomllib.TOMLDecodeError:
            continue
        found = _leaf(tree)
        if is_header:
            table = found
        elif not found:
            continue
        else:
            found = table + found
        if found[: len(path)] == path:
            return number
    return 0


def _leaf(tree: Any) -> tuple[str, ...]:
    path: tuple[str, ...] = ()
    while isinstance(tree, dict | list) and tree:
        if isinstance(tree, list):
            tree = tree[0]
            continue
        key = next(iter(tree))
        path += (key,)
        tree = tree[key]
    return path
