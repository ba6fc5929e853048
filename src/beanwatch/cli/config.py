"""`beanwatch config check|show`: check the configuration, or print it."""

import json
from collections.abc import Iterator
from typing import Any

import click

from beanwatch.cli.lib.config_problems import find_problems, find_writer_problems
from beanwatch.cli.lib.options import config_option, json_option, load_config
from beanwatch.cli.lib.output import print_json, print_line
from beanwatch.config import Config, ServerConfig
from beanwatch.config.keys import GENERAL, TABLES
from beanwatch.config.mistakes import find_unknown_variables
from beanwatch.config.reader import describe_missing_file
from beanwatch.net.redis_url import redact
from beanwatch.quoting import json_text


@click.group()
def command() -> None:
    """Check the configuration, or print it.

    \b
    Example:
      beanwatch config check --config /etc/beanwatch/beanwatch.toml
    """


@command.command()
@config_option
def check(config_file: str | None) -> int:
    """Read the configuration, and print each error in it. The exit code is 2 if there is one.

    This checks keys, values, addresses, URLs, the names of BEANWATCH_ variables, and files: that
    they can be read, and that no other user can change them.
    It connects to no server; `beanwatch doctor` does.
    """
    config = load_config(config_file)
    found = [*find_problems(config), *find_writer_problems(config)]
    problems = [f"{config.file or 'environment'}: {problem}" for problem in found]
    problems += find_unknown_variables()
    for problem in problems:
        print_line(problem, err=True)
    if problems:
        return 2
    print_line(f"{config.file or describe_missing_file()}: no errors found")
    return 0


@command.command()
@config_option
@json_option
def show(config_file: str | None, as_json: bool) -> None:
    """Print all settings that apply: those of the file, the environment and the defaults.

    Passwords in URLs are left out.
    """
    tree = to_tree(load_config(config_file))
    if as_json:
        print_json(tree)
    else:
        for line in to_toml(tree):
            print_line(line)


def to_tree(config: Config) -> dict[str, Any]:
    """Return the configuration as a tree with the keys of the file, without passwords in URLs."""
    tree: dict[str, Any] = {
        key: getattr(config, key) for key in GENERAL if getattr(config, key) != ""
    }
    tree["servers"] = {name: _server(entry) for name, entry in config.servers.items()}
    for name in TABLES:
        if name == "workers":
            groups = [group._asdict() for group in config.expected_groups]
            tree[name] = {
                "expected": [*config.expected_workers, *groups],
                "secret_file": config.secret_file,
            }
            continue
        section = getattr(config, name)._asdict()
        tree[name] = {k: list(v) if isinstance(v, tuple) else v for k, v in section.items()}
    tree["redis"]["url"] = redact(tree["redis"]["url"])
    tree["graphite"]["url"] = redact(tree["graphite"]["url"])
    tree["web"]["history"] = redact(tree["web"]["history"])
    tree["queues"] = {
        rule.glob: ({"server": rule.server} if rule.server else {}) | _thresholds(rule.thresholds)
        for rule in config.queues
    }
    tree["checks"] = _thresholds(config.checks)
    return tree


def _server(entry: ServerConfig) -> str | dict[str, Any]:
    url = redact(entry.url)
    plain = ServerConfig()._asdict()
    settings = {k: v for k, v in entry._asdict().items() if v != plain[k]}
    if settings.keys() <= {"url"}:
        return url
    return {k: list(v) if isinstance(v, tuple) else v for k, v in (settings | {"url": url}).items()}


def _thresholds(thresholds: Any) -> dict[str, Any]:
    fields = {"warning": "warning", "critical": "critical", "hold": "for"}
    return {
        measure: {fields[k]: v for k, v in limits._asdict().items() if v}
        for measure, limits in thresholds.items()
    }


def to_toml(tree: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield the TOML lines of a tree. `path` is the name of the table that contains it.

    Leaves may be strings, numbers, booleans and lists of strings and of flat tables.
    """
    tables = {key: value for key, value in tree.items() if isinstance(value, dict)}
    for key, value in tree.items():
        if key not in tables:
            yield f"{_key(key)} = {_value(value)}"
    for key, table in tables.items():
        if any(not isinstance(value, dict) for value in table.values()):
            yield ""
            yield f"[{'.'.join(map(_key, (*path, key)))}]"
        yield from to_toml(table, (*path, key))


def _value(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, dict):
        pairs = (f"{_key(key)} = {_value(one)}" for key, one in value.items())
        return f"{{ {', '.join(pairs)} }}"
    # TOML writes strings, numbers and booleans as JSON does.
    return json_text(json.dumps(value, ensure_ascii=False).encode()).decode()


def _key(key: str) -> str:
    bare = key.replace("-", "").replace("_", "")
    return key if bare.isascii() and bare.isalnum() else _value(key)
