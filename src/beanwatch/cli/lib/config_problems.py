"""Find errors in the configuration's addresses, URLs, files and names.

`beanwatch.config.reader` checks only the type of each value when it reads the file.
"""

from collections.abc import Callable, Iterator, Mapping
from urllib.parse import urlsplit

from beanwatch.cli.lib.options import MIN_DURATION
from beanwatch.config import Config, ConfigError, ServerConfig
from beanwatch.config.secrets import read_signing_secret
from beanwatch.file_access import describe_exposure, find_writers
from beanwatch.globs import MAX_NAME, is_queue_glob
from beanwatch.net.address import AddressError, parse_address
from beanwatch.net.http_server import parse_listen
from beanwatch.net.redis_url import parse_redis_url
from beanwatch.queues.servers import Server, find_clash, resolve_servers
from beanwatch.telemetry.nodes import node
from beanwatch.worker.monitor.sinks.metrics import parse_metrics


def find_problems(config: Config) -> Iterator[str]:
    """Yield a message for each error: the key, and what is wrong with its value."""
    readers: list[tuple[str, str, Callable[[str], object]]] = [
        ("graphite.address", config.graphite.address, lambda text: parse_address(text, 2003)),
        ("graphite.url", config.graphite.url, _check_http_url),
        ("redis.url", config.redis.url, parse_redis_url),
        ("collect.listen", config.collect.listen, parse_listen),
        ("worker.listen", config.worker.listen, parse_listen),
        ("web.history", config.web.history.removeprefix("graphite"), _check_http_url),
        ("worker.metrics", config.worker.metrics, parse_metrics),
        ("worker.server", config.worker.server, lambda t: resolve_servers(config.servers, [t])),
    ]
    readers = [reader for reader in readers if reader[1]]  # empty: not configured
    for key, text, read in readers:
        try:
            read(text)
        except ValueError as error:
            yield f"{key}: {error}"
    yield from _find_server_problems(config.servers)
    yield from _find_rule_problems(config)
    for name in ("interval", "timeout"):
        if getattr(config.collect, name) < MIN_DURATION:
            yield f"collect.{name}: must be at least {MIN_DURATION:g} s"
    if config.redis.password_file:
        yield from _find_file_problems("redis.password_file", config.redis.password_file)
    try:
        read_signing_secret(config)
    except ConfigError as error:
        yield str(error)
    for worker in config.expected_workers:
        host, _, name = worker.partition(".")
        if not host or not name:
            yield f"workers.expected: {worker!r} must be a worker's id, <short host>.<name>"


def find_writer_problems(config: Config) -> Iterator[str]:
    """Yield a message for each file of the configuration that another user can change."""
    files = [("configuration", config.file), ("redis.password_file", config.redis.password_file)]
    files += [
        (f"servers.{name}.password_file", entry.password_file)
        for name, entry in config.servers.items()
    ]
    for key, path in files:
        try:
            for writer in find_writers(path) if path else ():
                yield f"{key}: others can change {path}: {writer}"
        except OSError:  # `find_problems` says what cannot be read
            continue


def _find_rule_problems(config: Config) -> Iterator[str]:
    named = [name for name, entry in config.servers.items() if name != entry.url]
    nodes = set(map(node, named)) if len(named) == len(config.servers) else set()
    for rule in config.queues:
        if not is_queue_glob(rule.glob):
            yield (
                f'queues."{rule.glob}": no check accepts this name: it has a character that is not '
                f"printable, or more than {MAX_NAME} bytes"
            )
        if nodes and not any(map(rule.is_for, nodes)):
            yield (
                f'queues."{rule.glob}": server = "{rule.server}" matches none of the servers: '
                f"{', '.join(sorted(nodes))}"
            )


def _find_server_problems(configured: Mapping[str, ServerConfig]) -> Iterator[str]:
    servers: list[Server] = []
    for name, entry in configured.items():
        try:
            servers += resolve_servers({name: entry})
        except AddressError as error:
            yield str(error)
        if entry.password_file:
            yield from _find_file_problems(f"servers.{name}.password_file", entry.password_file)
    # Two servers with one node in metric paths would write the same series.
    if clash := find_clash(servers):
        yield f"servers: {clash}"


def _check_http_url(text: str) -> None:
    try:
        parts = urlsplit(text)
        is_good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        is_good = False
    if not is_good:
        raise ValueError("expected http://HOST[:PORT] or https://HOST[:PORT]")


def _find_file_problems(key: str, path: str) -> Iterator[str]:
    try:
        problem = describe_exposure(path)
    except OSError as error:
        problem = f"cannot read {path}: {error.strerror}"
    if problem:
        yield f"{key}: {problem}"
