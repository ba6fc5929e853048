"""Probes several servers at the same time, and makes a metric of one that cannot be read."""

from collections.abc import Iterator, Sequence
from functools import partial

from nagiosplugin import Resource

from beanwatch.checks.lib.plugin import Failure, Metric
from beanwatch.checks.lib.source import Source
from beanwatch.config import Config
from beanwatch.light_typing import Any
from beanwatch.queues.base import ServerError
from beanwatch.queues.servers import Server
from beanwatch.telemetry.nodes import node


class AllServers(Resource):  # type: ignore[misc]
    """Probes the resources of several servers at the same time. Each has an attribute `server`."""

    name = "servers"  # nagiosplugin puts it into its error messages

    def __init__(self, source: Source, config: Config, resources: Sequence[Any]) -> None:
        self._source, self._config, self._resources = source, config, resources

    def probe(self) -> Iterator[Metric]:
        """Yield the metrics of each resource, or the Failure of a server that did not answer."""
        calls = [(one.server, partial(_list_metrics, one)) for one in self._resources]
        found = self._source.call_together(calls)
        for resource, metrics in zip(self._resources, found, strict=True):
            if isinstance(metrics, ServerError):
                yield server_failure(self._source, resource.server, self._config, metrics)
            else:
                yield from metrics


def _list_metrics(resource: Any) -> list[Metric]:
    return list(resource.probe())


def server_failure(source: Source, server: Server, config: Config, error: ServerError) -> Metric:
    """Make the metric of a server that cannot be read. What is remembered of it is kept.

    Its text starts with the server's name in the configuration, if it has one, and its address.
    """
    timed_out = isinstance(error.__cause__ or error.__context__, TimeoutError)
    reason = str(error).removeprefix(f"{server}: ").replace(f"{server.address}: ", "", 1)
    names = (name for name, entry in config.servers.items() if name != entry.url)
    label = f"{server.node} ({server})" if server.node in map(node, names) else str(server)
    source.memory.keep_all(server.node)
    failure = Failure(f"{label}: {reason}", timed_out=timed_out, headings=("queue-server",))
    return Metric(server.node, failure, context="failure")
