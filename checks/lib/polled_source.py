"""Reads everything that the checks need of a server once, and gives it to each of them."""

import sys
from collections.abc import Mapping, Sequence

from beanwatch.checks.lib.memory import FileMemory, ScopedMemory
from beanwatch.checks.lib.plugin_process import PluginOutput
from beanwatch.checks.lib.source import LiveSource, Source
from beanwatch.light_typing import NamedTuple
from beanwatch.queues.base import Problem, Reading, ServerError, Wanted
from beanwatch.queues.consumers import Consumers, decide_consumers
from beanwatch.queues.servers import Server
from beanwatch.quoting import terminal_text
from beanwatch.store.heartbeats import Worker

EVERYTHING = Wanted(heads=("ready",), overtaken=True, problems=True)


class PollResult(NamedTuple):
    """The reading of one server, or the error if there is none."""

    error: ServerError | None = None
    reading: Reading = Reading()
    problems: Sequence[Problem] = ()
    # The second sample of the queues that look stalled; None if there is none.
    second: Reading | None = None


def poll(server: Server, memory: FileMemory, timeout: float, output: PluginOutput) -> PollResult:
    """Read everything that the checks need of one server, within `timeout` seconds.

    Raises nothing: every exception becomes the `error` of the result.
    """
    source = LiveSource([server], memory, timeout, output)
    try:
        reading = source.fetch(server, EVERYTHING)
        if reading.trouble:  # a part is missing
            memory.keep_all(server.node)
        problems = list(source.problems(server, reading))
        look_stalled = [
            name
            for name, queue in (reading.queues or {}).items()
            if decide_consumers(Consumers.of(queue, reading.server)) == "stalled"
        ]
        has_time = bool(look_stalled) and source.wait([server])
        second = source.read_again(server, look_stalled) if has_time else None
        return PollResult(None, reading, problems, second)
    except ServerError as error:
        memory.keep_all(server.node)
        return PollResult(error)
    except Exception as error:
        failed = ServerError(f"{server}: {describe_internal_error(error)}")
        memory.keep_all(server.node)
        print(terminal_text(f"beanwatch: {failed}"), file=sys.stderr)  # noqa: T201
        return PollResult(failed)
    finally:
        source.close()


def describe_internal_error(error: Exception) -> str:
    """Return the text for an exception that only a fault of beanwatch can cause."""
    return f"internal error, please report it: {type(error).__name__}: {error}"


class PolledSource(Source):
    """Gives one check the data that `poll` has already read of one server."""

    def __init__(
        self,
        server: Server,
        polls: Mapping[Server, PollResult],
        memory: ScopedMemory,
        workers: Sequence[Worker] | None,
    ) -> None:
        super().__init__([server], memory)
        self._polls, self._workers = polls, workers
        self._poll = polls[server]

    def fetch(self, server: Server, wanted: Wanted) -> Reading:
        """Return the wanted queues of a server. Raises ServerError if its poll failed."""
        poll = self._polls.get(server, PollResult(ServerError(f"{server}: not read by this run")))
        if poll.error:
            raise poll.error
        return _select_queues(poll.reading, wanted)

    def problems(self, server: Server, reading: Reading) -> Sequence[Problem]:
        """Return the problems that the poll found."""
        return self._poll.problems

    def wait(self, servers: Sequence[Server]) -> bool:
        """Return True if the poll took a second sample. It has paused for it already."""
        return self._poll.second is not None

    def read_again(self, server: Server, names: Sequence[str]) -> Reading:
        """Return these queues from the second sample of the poll."""
        return _select_queues(self._poll.second or self._poll.reading, Wanted(names=names))

    def workers(self) -> Sequence[Worker] | None:
        """Return all heartbeats; None if no Redis is configured or it could not be read."""
        return self._workers


def _select_queues(reading: Reading, wanted: Wanted) -> Reading:
    """Return the reading with only the queues that `wanted` names or chooses."""
    queues, names = reading.queues, wanted.names
    if queues is None:
        return reading
    if names is None:
        names = wanted.choose(list(queues)).own if wanted.choose else list(queues)
    return reading._replace(queues={name: queues[name] for name in names if name in queues})
