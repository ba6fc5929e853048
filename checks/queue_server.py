"""check_queue_server: does the server answer, does it accept jobs, and has it lost any?"""

import argparse
from collections.abc import Iterator, Sequence

from nagiosplugin import Context, Resource, Summary

from beanwatch.checks.lib import source
from beanwatch.checks.lib.all_servers import AllServers, server_failure
from beanwatch.checks.lib.output import BETWEEN_PROBLEMS, NO_LIMITS, perf
from beanwatch.checks.lib.plugin import (
    STATES,
    Check,
    Critical,
    FailureContext,
    Finding,
    Metric,
    Ok,
    State,
    Unknown,
    Warn,
    judge,
    worst_state,
)
from beanwatch.checks.lib.plugin_process import Parser, pick_limits, run
from beanwatch.checks.lib.source import Source
from beanwatch.checks.registry import find_check
from beanwatch.config import Config, Threshold
from beanwatch.durations import format_duration
from beanwatch.light_typing import Any, NamedTuple
from beanwatch.queues.base import SERVER_ONLY, Problem, Reading, ServerError, Wanted
from beanwatch.queues.model import ServerState
from beanwatch.queues.servers import Server
from beanwatch.words import count


def parser() -> Parser:
    """Make the command-line parser of check_queue_server."""
    parser = Parser("queue_server", __doc__, "-H queue1 -w 5000 -c 20000", Critical)
    source.add_servers(parser)
    parser.add_limits()
    parser.add_restarted()
    parser.add_argument(
        "--answers",
        action="store_true",
        help="only test whether the server answers, and look for no other problem",
    )
    parser.epilog = f"-w and -c are limits on the number of connections.\n\n{parser.epilog}"
    return parser


# -- acquire


class CheckedServer(NamedTuple):
    """The state and the faults of one server that answered."""

    server: Server
    prefix: str  # starts the labels of its performance data: `queue1/`; empty for one server
    state: ServerState
    problems: Sequence[Problem]
    doubts: Sequence[str]  # a text for each number that cannot be right
    was_restarted: bool  # True if an earlier process of this server is known

    @property
    def label(self) -> str:
        """The server's name and address: `queue1 (10.0.0.5:11300)`."""
        return f"{self.server.node} ({self.server})"

    @property
    def headings(self) -> tuple[str, ...]:
        """The headings of the runbook that explain the problems."""
        return tuple(problem.runbook for problem in self.problems)


class ServerResource(Resource):  # type: ignore[misc]
    """Reads one server and all its queues."""

    def __init__(self, source: Source, server: Server, config: Config) -> None:
        self._source, self.server, self._config = source, server, config

    @property
    def name(self) -> str:
        """The server's name, which nagiosplugin puts into its error messages."""
        return self.server.node

    def probe(self) -> Iterator[Metric]:
        """Yield one metric: the CheckedServer, or the Failure if the server cannot be read."""
        try:
            reading = self._source.read(self.server, Wanted(problems=True))
        except ServerError as error:
            self._source.memory.keep(self._instance_key)  # the next run may see another process
            yield server_failure(self._source, self.server, self._config, error)
            return
        problems = self._own_problems(reading)
        self._source.note_doubts(self.server, reading.implausible)
        state = reading.server or ServerState()
        was_restarted = self._was_restarted(state)
        seen = CheckedServer(
            self.server, self._prefix, state, problems, reading.implausible, was_restarted
        )
        yield Metric(self.name, seen, context="server")

    @property
    def _prefix(self) -> str:
        return f"{self.name}/" if len(self._source.servers) > 1 else ""

    def _own_problems(self, reading: Reading) -> list[Problem]:
        """Return the problems, without those of a queue that check_queue_consumers shows."""
        found = self._source.problems(self.server, reading)
        shown = find_check("queue_consumers").can_judge_queues(self.server)
        return [problem for problem in found if not (problem.queue and shown)]

    @property
    def _instance_key(self) -> str:
        return f"instance of {self.server}"

    def _was_restarted(self, state: ServerState) -> bool:
        """Return True if an earlier run saw another process, or the server has its data.

        A first start is no restart: nobody lost anything. If no earlier run is known, and the
        server does not tell, it is not known which it was.
        """
        key, memory = self._instance_key, self._source.memory
        match memory.recall(key):
            case [str() as instance, bool() as was_restarted] if instance == state.instance:
                pass
            case [str(), bool()] if state.instance:
                was_restarted = True
            case _:
                was_restarted = state.is_first_start is False
        if state.instance:
            memory.remember(key, [state.instance, was_restarted])
        return was_restarted


class AnsweringServer(ServerResource):
    """Reads one server without its queues, and looks for no problem."""

    def probe(self) -> Iterator[Metric]:
        """Yield one metric: the CheckedServer, or the Failure if it does not answer."""
        try:
            reading = self._source.fetch(self.server, SERVER_ONLY)
            if reading.server is None:
                raise ServerError(reading.trouble)
        except ServerError as error:
            yield server_failure(self._source, self.server, self._config, error)
            return
        seen = CheckedServer(self.server, self._prefix, reading.server, (), (), False)
        yield Metric(self.name, seen, context="server")


# -- evaluate


def decide(
    seen: CheckedServer, limits: Threshold, restarted: float
) -> Iterator[tuple[State, str, Sequence[str]]]:
    """Yield a state, a text and its causes for each problem. The text follows the server's name."""
    state = seen.state
    for problem in seen.problems:
        yield STATES[problem.severity], problem.line, problem.causes
    if seen.was_restarted and state.uptime is not None and state.uptime < restarted:
        yield Warn, f"was started {format_duration(state.uptime)} ago{state.restart_note}", ()
    if limits.warning or limits.critical:
        if state.connections is None:
            yield Unknown, "did not report its number of connections", ()
        else:
            by_number, limit = judge(state.connections, limits)
            if limit:
                yield by_number, f"has {count(state.connections, 'connection')} ({limit})", ()
    if seen.doubts:
        more = f" (and {len(seen.doubts) - 1} more)" if len(seen.doubts) > 1 else ""
        yield Unknown, f"gave an answer that cannot be used: {seen.doubts[0]}{more}", ()


class ServerContext(Context):  # type: ignore[misc]
    """Judges one server: its problems, its last restart and its number of connections."""

    def __init__(self, limits: Threshold, restarted: float) -> None:
        super().__init__("server")
        self._limits, self._restarted = limits, restarted

    def evaluate(self, metric: Metric, resource: Any) -> Finding:
        """Return the worst state and the texts of all problems; without any, OK and the uptime."""
        seen: CheckedServer = metric.value
        wrong = list(decide(seen, self._limits, self._restarted))
        if not wrong:
            uptime = seen.state.uptime
            text = "it answers" if uptime is None else f"up for {format_duration(uptime)}"
            if uptime is not None and uptime < self._restarted:
                text += seen.state.restart_note
            return Finding(Ok, f"{seen.label}: {text}", metric)
        state = worst_state(state for state, _, _ in wrong)
        texts = [text for _, text, _ in wrong]
        # The first word tells the others apart: is (draining), refused, took, was, has.
        causes = [one for _, text, known in wrong for one in known or [text.partition(" ")[0]]]
        return Finding(state, f"{seen.label} {', '.join(texts)}", metric, causes)

    # -- present

    def performance(self, metric: Metric, resource: Any) -> str:
        """Format the numbers that this queue system reports as performance data."""
        seen: CheckedServer = metric.value
        units = {"puts": "c", "uptime": "s"}
        fields = ("connections", "ready", "reserved", "delayed", "buried", "queues", "puts")
        limits = {"connections": self._limits}
        return " ".join(
            perf(
                f"{seen.prefix}{field}",
                getattr(seen.state, field),
                units.get(field, ""),
                limits.get(field, NO_LIMITS),
            )
            for field in (*fields, "uptime")
            if field in seen.server.system.server_fields
        )


class ServerSummary(Summary):  # type: ignore[misc]
    """Presents servers without a problem."""

    def ok(self, results: Any) -> str:
        """Return the texts of all servers, separated by ` / `."""
        return BETWEEN_PROBLEMS.join(map(str, results))


def build(options: argparse.Namespace, config: Config, source_: Source) -> Check:
    """Make the check from its resources, its context and its summary."""
    limits = pick_limits(options, config, "queue_server", Threshold())
    resource = ServerResource
    if options.answers:
        limits, resource = Threshold(), AnsweringServer
    return Check(
        "queue_server",
        AllServers(source_, config, [resource(source_, one, config) for one in source_.servers]),
        ServerContext(limits, options.restarted),
        FailureContext(Critical, options.timeout_state),
        ServerSummary(),
        source=source_,
    )


def main() -> None:
    """Parse `sys.argv`, run the check, print its result and exit with its state (0 to 3)."""
    run(parser(), source.with_live_servers(build))
