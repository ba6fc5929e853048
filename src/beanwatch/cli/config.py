"""`beanwatch config`: is the configuration right, and what does it come to."""

import json
import os
import stat
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import click

from beanwatch import config as configuration
from beanwatch.cli.lib.options import SHORTEST, config_option, load_config
from beanwatch.config import Config
from beanwatch.net.address import AddressError, parse_address
from beanwatch.net.redis_url import parse_redis_url, redact
from beanwatch.queues.servers import resolve_servers
from beanwatch.worker.telemetry.metrics import parse_metrics


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
@click.option("--json", "as_json", is_flag=True, help="print JSON")
def show(config_file: str | None, as_json: bool) -> None:
    """Print the configuration as it is in force: file, environment and defaults together."""
    tree = plain(load_config(config_file))
    if as_json:
        click.echo(json.dumps(tree, indent=2))
    else:
        click.echo("\n".join(to_toml(tree)))


def find_problems(config: Config) -> Iterator[str]:
    """What a parser of single values cannot see: addresses, URLs, files, names."""
    for name, text in config.servers.items():
        try:
            parse_address(text)
        except AddressError as error:
            yield f"servers.{name}: {error}"
    if config.graphite.address:
        try:
            parse_address(config.graphite.address, 2003)
        except AddressError as error:
            yield f"graphite.address: {error}"
    if config.graphite.url:
        try:
            parts = urlsplit(config.graphite.url)
            is_good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            is_good = False
        if not is_good:
            yield "graphite.url: expected http://HOST[:PORT] or https://HOST[:PORT]"
    if config.redis.url:
        try:
            parse_redis_url(config.redis.url)
        except ValueError as error:
            yield f"redis.url: {error}"
    if config.worker.metrics:
        try:
            parse_metrics(config.worker.metrics)
        except ValueError as error:
            yield f"worker.metrics: {error}"
    if config.worker.server:
        try:
            resolve_servers(config.servers, [config.worker.server])
        except AddressError as error:
            yield f"worker.server: {error}"
    for name in ("interval", "timeout"):
        if getattr(config.collect, name) < SHORTEST:
            yield f"collect.{name}: at least {SHORTEST:g} s"
    if config.redis.password_file:
        yield from _find_file_problems(config.redis.password_file)
    for worker in config.expected_workers:
        host, _, name = worker.partition(".")
        if not host or not name:
            yield f"workers.expected: {worker!r} is not <short host>.<name>"


def _find_file_problems(path: str) -> Iterator[str]:
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        yield f"redis.password_file: {path}: {error.strerror}"
        return
    if mode & (stat.S_IRWXO | stat.S_IWGRP):
        yield f"redis.password_file: {path} can be read by everybody: chmod 0640 {path}"


def plain(config: Config) -> dict[str, Any]:
    """The configuration as the file would spell it, without the passwords in URLs."""
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
