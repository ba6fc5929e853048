"""`beanwatch config`: check the configuration, or show it."""

import json
from collections.abc import Iterator
from typing import Any

import click

from beanwatch import config as configuration
from beanwatch.cli.lib.config_problems import find_problems
from beanwatch.cli.lib.options import config_option, json_option, load_config
from beanwatch.cli.lib.output import print_json
from beanwatch.config import Config
from beanwatch.net.redis_url import redact


@click.group()
def command() -> None:
    """Check or show the configuration.

    \b
    Example:
      beanwatch config check --config /etc/beanwatch/beanwatch.toml
    """


@command.command()
@config_option
def check(config_file: str | None) -> int:
    """Read the configuration and say what is wrong with it; exit 2 if anything is."""
    config = load_config(config_file)
    problems = [f"{config.file or 'environment'}: {problem}" for problem in find_problems(config)]
    problems += configuration.find_strays()
    for problem in problems:
        click.echo(problem, err=True)
    if problems:
        return 2
    source = config.file or f"no file ({configuration.DEFAULT_FILE} is not there), defaults only"
    click.echo(f"{source}: fine")
    return 0


@command.command()
@config_option
@json_option
def show(config_file: str | None, as_json: bool) -> None:
    """Print the configuration as it is in force: file, environment and defaults together."""
    tree = plain(load_config(config_file))
    if as_json:
        print_json(tree)
    else:
        click.echo("\n".join(to_toml(tree)))


def plain(config: Config) -> dict[str, Any]:
    """The configuration as in the file, without the passwords in URLs."""
    tree: dict[str, Any] = {
        key: getattr(config, key) for key in configuration.GENERAL if getattr(config, key) != ""
    }
    tree["servers"] = dict(config.servers)
    for name in configuration.TABLES:
        if name == "workers":
            tree[name] = {"expected": list(config.expected_workers)}
            continue
        section = getattr(config, name)._asdict()
        tree[name] = {k: list(v) if isinstance(v, tuple) else v for k, v in section.items()}
    tree["redis"]["url"] = redact(tree["redis"]["url"])
    tree["graphite"]["url"] = redact(tree["graphite"]["url"])
    tree["queues"] = {rule.glob: _thresholds(rule.thresholds) for rule in config.queues}
    tree["checks"] = _thresholds(config.checks)
    return tree


def _thresholds(thresholds: Any) -> dict[str, Any]:
    fields = {"warning": "warning", "critical": "critical", "hold": "for"}
    return {
        measure: {fields[k]: v for k, v in limits._asdict().items() if v}
        for measure, limits in thresholds.items()
    }


def to_toml(tree: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[str]:
    """Write a tree of tables, texts, numbers, flags and lists of texts as TOML lines."""
    tables = {key: value for key, value in tree.items() if isinstance(value, dict)}
    for key, value in tree.items():
        if key not in tables:
            # JSON's texts, numbers, flags and lists are TOML's too.
            yield f"{_key(key)} = {json.dumps(value, ensure_ascii=False)}"
    for key, table in tables.items():
        if any(not isinstance(value, dict) for value in table.values()):
            yield ""
            yield f"[{'.'.join(map(_key, (*path, key)))}]"
        yield from to_toml(table, (*path, key))


def _key(key: str) -> str:
    bare = key.replace("-", "").replace("_", "")
    return key if bare.isascii() and bare.isalnum() else json.dumps(key)
