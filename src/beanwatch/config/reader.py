"""Read the configuration from a TOML file and from environment variables, and check every key.

Command-line flags override the environment variables (`BEANWATCH_*`). These override the file, and
the file overrides the defaults, which suit a single host.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping

from beanwatch.config import (
    CollectConfig,
    Config,
    ConfigError,
    GraphiteConfig,
    LinksConfig,
    QueueRule,
    RedisConfig,
    ServerConfig,
    Threshold,
    WebConfig,
    WorkerConfig,
    WorkerGroup,
)
from beanwatch.config.keys import (
    CHECK_KEYS,
    GENERAL,
    LIMITS,
    MEASURES,
    SERVER,
    TABLES,
    THRESHOLD,
    Spec,
    variable_of,
)
from beanwatch.light_typing import Any
from beanwatch.values import hides_warning, string_list, text

DEFAULT_FILE = "/etc/beanwatch/beanwatch.toml"
# Their keys begin with names that the user chose, so no environment variable overrides them.
WITHOUT_VARIABLES = (("servers",), ("queues",), ("checks",))
HIDDEN_WARNING = (
    "no value would be a WARNING, because each value outside the range {} of the warning is also "
    "outside the range {} of critical"
)


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
            web=WebConfig(**tables["web"]),
            expected_workers=tuple(one for one in expected if isinstance(one, str)),
            expected_groups=tuple(one for one in expected if isinstance(one, WorkerGroup)),
            secret_file=tables["workers"].get("secret_file", ""),
            queues=tuple(self._queues(tree.get("queues", {}))),
            checks=self._thresholds(("checks",), tree.get("checks", {}), CHECK_KEYS),
            **self._table((), general, GENERAL),
        )

    def _parse_toml(self) -> dict[str, Any]:
        if not self.source.strip():
            return {}
        # Imported here because only a file needs it. It is compiled: tomllib, by the same author,
        # takes 2.4 times as long, and the difference is 15 % of a minimal plugin.
        import tomli

        try:
            return tomli.loads(self.source)
        except tomli.TOMLDecodeError as error:
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
            if variable in self.environ and path[:1] not in WITHOUT_VARIABLES:
                try:
                    values[key] = spec[key](self.environ[variable])
                except ValueError as error:
                    raise ConfigError(f"environment variable ${variable}: {error}") from None
        return values

    def _servers(self, table: Any) -> dict[str, ServerConfig]:
        if not isinstance(table, dict):
            raise self._wrong(
                ("servers",), 'expected a TOML table of names and addresses: q1 = "host:11300"'
            )
        servers = {name: self._server(("servers", name), table[name]) for name in table}
        for entry in string_list(self.environ.get("BEANWATCH_SERVERS", "")):
            name, equals, address = entry.partition("=")
            if "://" in name:  # the = is in the URL
                name, equals, address = entry, "", ""
            if not equals and re.match(r"[^/]*://[^/]*:[^/]*@", entry):
                raise ConfigError(
                    "environment variable $BEANWATCH_SERVERS: a server whose URL has a password "
                    "needs a name, because messages show names: NAME=URL"
                )
            servers[name] = ServerConfig(address if equals else name)
        return servers

    def _server(self, path: tuple[str, ...], entry: Any) -> ServerConfig:
        if not isinstance(entry, dict):
            return ServerConfig(self._value(path, entry, text))
        settings = self._table(path, entry, SERVER)
        if not settings.get("url"):
            raise self._wrong(path, 'the key url is missing: url = "rabbitmq://host/vhost"')
        return ServerConfig(**settings)

    def _queues(self, table: Any) -> Iterator[QueueRule]:
        if not isinstance(table, dict):
            raise self._wrong(("queues",), 'expected TOML tables: [queues."email.*".depth]')
        for glob, measures in table.items():
            path = ("queues", glob)
            if not isinstance(measures, dict):
                raise self._wrong(path, "expected a TOML table")
            limits = {key: value for key, value in measures.items() if key != "server"}
            server = self._value((*path, "server"), measures.get("server", ""), text)
            yield QueueRule(glob, self._thresholds(path, limits, (*MEASURES, "server")), server)

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
            # A list or a table may contain a password, and so may an address with a user.
            may_hide = isinstance(value, list | dict) or "@" in str(value)
            found = type(value).__name__ if may_hide else repr(value)
            raise self._wrong(path, f"{error}, not {found}") from None

    def _unknown(self, path: tuple[str, ...], known: Any) -> ConfigError:
        from beanwatch.config.mistakes import suggest  # imported here: only errors need it

        hint = suggest(path[-1], known) or f"; known keys: {', '.join(known)}"
        return self._wrong(path[:-1], f"unknown key {path[-1]!r}{hint}", at=path)

    def _wrong(
        self, path: tuple[str, ...], reason: str, at: tuple[str, ...] | None = None
    ) -> ConfigError:
        from beanwatch.config.mistakes import find_line

        line = find_line(self.source, at or path)
        where = f"{self.file or 'configuration'}:{line}" if line else self.file or "configuration"
        return ConfigError(f"{where}: {'.'.join(path) + ': ' if path else ''}{reason}")
