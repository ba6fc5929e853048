"""Read one vhost of a RabbitMQ, and tell its problems."""

import time
from collections.abc import Iterator, Sequence

from beanwatch.light_typing import TYPE_CHECKING
from beanwatch.queues.base import (
    Chosen,
    Problem,
    Reader,
    ReaderOptions,
    Reading,
    ServerError,
    Wanted,
)
from beanwatch.queues.model import QueueState, ServerState
from beanwatch.queues.rabbitmq.api import ManagementApi
from beanwatch.queues.rabbitmq.dead_letters import (
    BINDING_COLUMNS,
    EXCHANGE_COLUMNS,
    DeadLetters,
    Routes,
    find_dead_letters,
    needs_routes,
    parse_routes,
)
from beanwatch.queues.rabbitmq.faults import find_faults
from beanwatch.queues.rabbitmq.stats import (
    HEAD_COLUMN,
    NODE_COLUMNS,
    OVERVIEW_COLUMNS,
    QUEUE_COLUMNS,
    ImplausibleValues,
    Row,
    is_name,
    is_version,
    running,
    set_dead_letters,
    start_of,
    to_queue,
    to_server,
    with_totals,
)

if TYPE_CHECKING:
    from beanwatch.queues.servers import Server

SAME_START = 60.0  # seconds by which two computed times of the same start may differ


class RabbitReader(Reader):
    """Reads one vhost with two to five requests, however many queues it has.

    `options.timeout` (seconds) limits reading the server, `options.sweep_timeout` its queues. A
    timeout given to `read` replaces both, and limits all together.
    """

    def __init__(self, server: "Server", options: ReaderOptions) -> None:
        self._server, self._options = server, options
        self._overview: Row = {}
        self._nodes: Sequence[Row] = ()
        self._rows: Sequence[Row] = ()
        self._has_counters: bool | None = None  # None: no overview was read yet

    def read(self, wanted: Wanted, timeout: float | None = None) -> Reading:
        """Read the parts that `wanted` names. Raises ServerError if nothing could be read."""
        options = self._options
        api = ManagementApi(self._server, timeout or options.timeout, options.clock)
        self._overview, self._nodes, self._rows = {}, (), ()
        implausible = ImplausibleValues()
        server = self._read_server(api, implausible) if wanted.server else None
        if wanted.names is not None and not wanted.names:
            return Reading(server, {}, implausible=implausible)
        if timeout is None:
            api.start_step(max(options.timeout, options.sweep_timeout))
        try:
            queues, rows_at = self._read_queues(api, wanted, implausible)
        except ServerError as error:
            if server is None:
                raise
            trouble = f"cannot read the queues: {error}"
            return Reading(server, trouble=trouble, implausible=implausible)
        if server is not None:
            server = with_totals(server, queues)
        if wanted.names is not None:
            chosen = Chosen(())
            names: Sequence[str] = wanted.names
        else:
            chosen = wanted.choose(list(queues)) if wanted.choose else Chosen(list(queues))
            names = (*chosen.own, *chosen.rest)
        found = {name: queues[name] for name in names if name in queues}
        return Reading(
            server,
            found,
            dict.fromkeys(found, rows_at),
            chosen,
            implausible=implausible,
        )

    def problems(self, reading: Reading) -> Iterator[Problem]:
        """Yield the alarms, the nodes that are down or apart, and the queues that are down."""
        return find_faults(self._overview, self._nodes, self._rows)

    def _read_server(self, api: ManagementApi, implausible: ImplausibleValues) -> ServerState:
        self._overview = api.get_object("overview", columns=OVERVIEW_COLUMNS)
        if not is_version(self._overview.get("rabbitmq_version")):
            raise api.nonsense("no rabbitmq_version in its overview")
        self._has_counters = self._overview.get("rates_mode") != "none"
        self._nodes = api.get_list("nodes", columns=NODE_COLUMNS)
        if not all(is_name(node.get("name")) for node in self._nodes):
            raise api.nonsense("a node without a name")
        if not running(self._nodes):
            raise api.nonsense("none of its nodes runs")
        now = api.answered_at or time.time()
        return to_server(self._overview, self._nodes, self._instance(now), implausible)

    def _instance(self, now: float) -> str | None:
        """Return a text that changes when a node is started: its process id and its start time.

        In a container the process id is always the same, and a start time that is computed from
        the uptime varies. So the first computed one is remembered. A node that is away, such as
        in a network partition, keeps its part: it may not have restarted. `now` is RabbitMQ's time.
        """
        parts, is_known = [], True
        for node in self._nodes:
            key = f"start {self._server.node} {node.get('name')}"
            known = self._options.memory.recall(key)
            if node.get("running") is True:
                start, pid = start_of(node, now), str(node.get("os_pid"))
                if start is None:
                    is_known = False
                    continue
                match known:
                    case [str(before), int() | float() as first]:
                        is_same = before == pid and abs(start - first) < SAME_START
                        start = float(first) if is_same else start
                known = [pid, start]
            match known:
                case [str(pid), int() | float() as start]:
                    self._options.memory.remember(key, known)
                    parts.append(f"{node.get('name')} {pid} {start:.0f}")
        return ", ".join(sorted(parts)) if is_known else None

    def _read_queues(
        self, api: ManagementApi, wanted: Wanted, implausible: ImplausibleValues
    ) -> tuple[dict[str, QueueState], float]:
        """Return all queues of the vhost, and when they arrived by the reader's clock (s)."""
        columns = (*QUEUE_COLUMNS, HEAD_COLUMN) if "ready" in wanted.heads else QUEUE_COLUMNS
        rows = read_rows(api, columns, implausible)
        arrived, now = self._options.clock(), api.answered_at
        self._rows = rows
        dead_letters = read_dead_letters(api, rows)
        queues = {
            row["name"]: to_queue(
                row, implausible, now or time.time(), has_counters=self._has_counters
            )
            for row in rows
        }
        set_dead_letters(queues, dead_letters)
        return queues, arrived


def read_rows(
    api: ManagementApi, columns: tuple[str, ...], implausible: list[str] | None = None
) -> list[Row]:
    """Return the entries of the vhost's queues with these columns. Raises ServerError.

    An entry without a valid name is left out, and a text about it is added to `implausible`.
    """
    rows = api.get_list("queues", api.vhost, columns=columns)
    found: list[Row] = [row for row in rows if is_name(row.get("name"))]
    if implausible is not None and len(found) < len(rows):
        implausible.append("server: it lists a queue without a valid name")
    return found


def read_dead_letters(api: ManagementApi, rows: Sequence[Row]) -> DeadLetters:
    """Find the dead-letter queues among all queues of the vhost. Raises ServerError.

    Exchanges and bindings are read only if a queue uses another dead-letter exchange than the
    default one.
    """
    routes = Routes()
    if needs_routes(rows):
        routes = parse_routes(
            api.get_list("exchanges", api.vhost, columns=EXCHANGE_COLUMNS),
            api.get_list("bindings", api.vhost, columns=BINDING_COLUMNS),
        )
    return find_dead_letters(rows, routes, api.server.config.failed)
