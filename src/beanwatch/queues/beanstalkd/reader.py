"""Read one beanstalkd: its statistics, those of its tubes, and their first jobs."""

from collections.abc import Callable, Collection, Container, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from beanwatch.queues.base import (
    Chosen,
    Problem,
    ProtocolError,
    Reader,
    ReaderOptions,
    Reading,
    ServerError,
    Wanted,
)
from beanwatch.queues.beanstalkd.connection import QueryConnection, body_of
from beanwatch.queues.beanstalkd.protocol import (
    LIST_TUBES,
    STATS,
    NonsenseError,
    Reply,
    is_tube_name,
    stats_tube,
)
from beanwatch.queues.beanstalkd.stats import (
    MAX_NUMBER,
    Doubts,
    Rejected,
    Stats,
    balance_of,
    count_of,
    count_rejected,
    instance_of,
    known_count,
    parse_list,
    parse_stats,
    read_plain_tube,
    read_tube,
    to_server,
)
from beanwatch.queues.model import QueueState, ServerState

if TYPE_CHECKING:
    from beanwatch.queues.beanstalkd.heads import Heads, Peek
    from beanwatch.queues.servers import Server

# From this number of tubes on, the fast parser saves more time than its preparation takes.
MANY_TUBES = 100
ReadTube = Callable[[str, bytes, ServerState | None, Doubts], QueueState]
REFUSED_WITHIN = 600.0  # seconds for which a refused put is reported as a problem


class BeanstalkdReader(Reader):
    """Reads one server over a connection that it keeps between readings.

    `options.timeout` (seconds) limits the connect together with `stats`, and once more the heads.
    `options.sweep_timeout` limits reading all tubes. A timeout given to `read` limits everything
    together.
    """

    def __init__(self, server: "Server", options: ReaderOptions) -> None:
        self._address, self._node = server.address, server.node
        self._timeout = options.timeout
        self.sweep_timeout = max(options.timeout, options.sweep_timeout)
        self._memory, self._clock = options.memory, options.clock
        self._connection: QueryConnection | None = None
        self._unasked: Sequence[Peek] = ()  # heads that the last reading left out
        self._refused = 0  # refused puts of the last REFUSED_WITHIN seconds
        self._has_one_deadline = False  # true while `read` has a timeout of its own

    def read(self, wanted: Wanted, timeout: float | None = None) -> Reading:
        """Send `stats`, `list-tubes`, `stats-tube` and `peek-...` as wanted, and parse the replies.

        If the kept connection fails, open a new one and try once more. Raises ServerError if
        nothing could be read.
        """
        limit = timeout or self._timeout
        self._has_one_deadline = timeout is not None
        started = self._clock()
        connection, self._connection = self._connection, None  # kept again only after a success
        if connection is not None:
            try:
                connection.extend(limit)
                return self._read_from(connection, wanted, limit)
            except ServerError:
                # Try a new connection: most likely the server was restarted.
                limit -= self._clock() - started
                if limit <= 0:
                    raise
        return self._read_from(self._open(limit), wanted, limit)

    def problems(self, reading: Reading) -> Iterator[Problem]:
        """Yield a problem for draining, for refused puts, and for each queue with lost jobs."""
        server = reading.server
        if server is None:
            return
        if server.draining:
            yield Problem("warning", "is draining: it accepts no new jobs")
        if self._refused:
            puts = "1 put" if self._refused == 1 else f"{self._refused} puts"
            yield Problem("warning", f"refused {puts} lately: those jobs are nowhere")
        for queue in sorted(reading.queues or ()):
            if missing := (reading.queues or {})[queue].missing_jobs:
                jobs = "1 job" if missing == 1 else f"{missing} jobs"
                yield Problem(
                    "warning", f"lost track of {jobs} of queue {queue} (binlog's disk full?)"
                )

    def close(self) -> None:
        """Close the connection; the next reading opens a new one."""
        if self._connection:
            self._connection.close()
            self._connection = None

    def _open(self, timeout: float) -> QueryConnection:
        return QueryConnection(self._address, timeout, clock=self._clock)

    def _read_from(self, link: QueryConnection, wanted: Wanted, timeout: float) -> Reading:
        try:
            reading = _OneReading(link, self, wanted, timeout).read()
        except NonsenseError as error:
            link.close()
            raise ProtocolError(f"{self._address}: {error}") from None
        except BaseException:
            link.close()
            raise
        if reading.trouble:
            link.close()
        else:
            self._connection = link
        return reading

    def start_step(self, link: QueryConnection, timeout: float) -> None:
        """Set the deadline of the next step, unless `read` was given one for all steps."""
        if not self._has_one_deadline:
            link.extend(timeout)

    # -- values that need two readings

    def count_rejected(self, stats: Stats, server: ServerState) -> int | None:
        """Return how many puts this instance of the server has refused; None if not known.

        Also count the recent ones in `_refused`, for `problems`.
        """
        key = f"rejected {self._node}"
        known = _recalled(self._memory.recall(key), server.instance, 4)
        attempts = known_count(stats, "cmd-put")
        if attempts is None or server.puts is None:
            if known:
                self._memory.remember(key, [server.instance, *known])
                self._memory.keep(f"{key} at")
            return None
        before, base = None, 0
        if known:
            seen, sure, is_first, base = known
            before = Rejected(seen, sure, bool(is_first))
        now = count_rejected(attempts - server.puts, before)
        if before is None or before.is_first:
            base = now.sure  # refused before the first reading, maybe long ago
        self._refused = max(0, now.sure - base)
        if self._refused and self._memory.lasting(f"{key} at", str(base)) > REFUSED_WITHIN:
            base, self._refused = now.sure, 0
        record = [server.instance, now.seen, now.sure, int(now.is_first), base]
        self._memory.remember(key, record)
        return now.sure

    def with_missing(self, queue: QueueState, instance: str | None) -> QueueState:
        """Return a tube, whose balance is not 0, with its missing jobs.

        A replay of the binlog can make the balance negative. So missing jobs are counted from the
        lowest balance of this instance, which is remembered while it is below 0. A tube that was
        deleted and created again starts at 0.
        """
        key = f"missing {self._node} {queue.name}"
        known = _recalled(self._memory.recall(key), instance, 3)
        balance = balance_of(queue)
        if balance is None:
            if known:
                self._memory.remember(key, [instance, *known])
            return queue
        lowest = 0
        if known:
            puts, deletes, lowest = known
            if (queue.puts or 0) < puts or (queue.deletes or 0) < deletes:
                lowest = 0  # the tube was deleted and created again
        lowest = min(lowest, balance)
        if lowest < 0:
            self._memory.remember(key, [instance, queue.puts, queue.deletes, lowest])
        return queue._replace(missing_jobs=balance - lowest)

    def ask_first(self, peeks: "list[Peek]") -> "list[Peek]":
        """Sort the queries: first those that the last reading left out."""
        if not self._unasked:
            return peeks
        turn = {peek: number for number, peek in enumerate(self._unasked)}
        return sorted(peeks, key=lambda peek: turn.get(peek, len(turn)))

    def head_age(self, peek: "Peek", job: Stats | None, instance: str) -> float | None:
        """Return how long this job has been the head, in seconds; None if not known.

        `job` is None if the head was not read, and {} if there was none any more.
        """
        from beanwatch.queues.beanstalkd.heads import waited

        key = f"head {self._node} {peek.state} {peek.tube}"
        if not job:
            self._memory.keep(key)
            return None
        if peek.state == "ready" and (age := waited(job)) is not None:
            return age
        return round(self._memory.lasting(key, f"{instance} {job['id']}"), 3)

    def add_heads(
        self, tubes: dict[str, QueueState], peeks: "Sequence[Peek]", heads: "Heads", instance: str
    ) -> None:
        """Set the ages of the heads in `tubes`, and remember the heads that were left out."""
        self._unasked = heads.left
        for peek in peeks:
            age = self.head_age(peek, heads.jobs.get(peek), instance)
            tube = tubes[peek.tube]
            tubes[peek.tube] = (
                tube._replace(head_ready_age=age)
                if peek.state == "ready"
                else tube._replace(head_buried_age=age)
            )


class _OneReading:
    """The steps of one reading, over one connection."""

    def __init__(
        self, link: QueryConnection, reader: BeanstalkdReader, wanted: Wanted, timeout: float
    ) -> None:
        self._link, self._reader, self._wanted, self._timeout = link, reader, wanted, timeout
        self._doubts = Doubts()
        self._heard: dict[str, float] = {}
        self._chosen = Chosen(())

    def read(self) -> Reading:
        """Read server, tubes and heads. Raises ServerError or NonsenseError if it read nothing."""
        wanted, link = self._wanted, self._link
        needs_list = wanted.names is None
        # Known tubes are asked for before the list arrives, which saves a round trip. An invalid
        # name is not sent: the server could read it as two commands.
        at_once = list(filter(is_tube_name, wanted.known if needs_list else wanted.names or ()))
        commands = [STATS] if wanted.server else []
        commands += [LIST_TUBES] if needs_list else []
        replies = link.stream_gently([*commands, *map(stats_tube, at_once)])
        server, stats = None, Stats()
        if wanted.server:
            stats = parse_stats(body_of(link, STATS, next(replies)))
            server = self._server(stats)
        try:
            step_timeout = self._reader.sweep_timeout if needs_list else self._timeout
            self._reader.start_step(link, step_timeout)
            tubes = self._tubes(server, at_once, replies)
        except (ServerError, NonsenseError) as error:
            if server is None:
                raise
            text = error if isinstance(error, ServerError) else f"{link.address}: {error}"
            return Reading(server, trouble=f"queues: {text}", doubts=self._doubts)
        reading = Reading(server, tubes, self._heard, self._chosen, doubts=self._doubts)
        return self._with_heads(reading, stats, tubes) if wanted.heads else reading

    def _server(self, stats: Stats) -> ServerState:
        server = to_server(stats, self._doubts)
        rejected = self._reader.count_rejected(stats, server)
        if rejected is None:
            return server
        return server._replace(native={**server.native, "rejected_puts": rejected})

    def _tubes(
        self, server: ServerState | None, at_once: list[str], replies: Iterator[Reply]
    ) -> dict[str, QueueState]:
        if self._wanted.names is not None:
            return dict(self._take(at_once, replies, server, read_of(at_once)))
        names = self._names(parse_list(body_of(self._link, LIST_TUBES, next(replies))))
        choose = self._wanted.choose
        self._chosen = choose(names) if choose else Chosen(names)
        chosen = dict.fromkeys((*self._chosen.own, *self._chosen.rest))
        read = read_of(chosen)
        tubes = dict(self._take(at_once, replies, server, read, chosen))
        new = [name for name in chosen if name not in tubes]
        commands = list(map(stats_tube, new))
        tubes.update(self._take(new, self._link.stream_gently(commands), server, read))
        return tubes

    def _names(self, listed: list[str]) -> list[str]:
        """Return the valid names. An invalid one could be read as two words, or as two commands."""
        names = list(filter(is_tube_name, listed))
        if len(names) < len(listed):
            invalid = next(name for name in listed if not is_tube_name(name))
            self._doubts.append(f"server: no queue can be called {invalid[:40]!r}")
        return names

    def _take(
        self,
        names: Iterable[str],
        replies: Iterator[Reply],
        server: ServerState | None,
        read: ReadTube,
        chosen: Container[str] | None = None,
    ) -> Iterator[tuple[str, QueueState]]:
        """Yield the tubes of these replies, only those in `chosen` if it is given.

        With `chosen`, `names` are those of the last reading. Then any refusal counts as NOT_FOUND,
        since the server's list says which tubes exist.
        """
        link = self._link
        for name, reply in zip(names, replies, strict=False):
            if reply.word != b"OK":
                # NOT_FOUND is normal: a tube ends with its last job, user and watcher.
                if chosen is None and reply.word != b"NOT_FOUND":
                    body_of(link, stats_tube(name), reply)  # raises
                continue
            if chosen is not None and name not in chosen:
                continue
            tube = read(name, reply.body, server, self._doubts)
            if tube.missing_jobs is None and server is not None:
                tube = self._reader.with_missing(tube, server.instance)
            self._heard[name] = link.heard
            yield name, tube

    def _with_heads(self, reading: Reading, stats: Stats, tubes: dict[str, QueueState]) -> Reading:
        """Read the heads and set their ages in `tubes`. Return the reading with what went wrong."""
        # Imported here, as in head_age: a check that reads no heads starts faster without it.
        from beanwatch.queues.beanstalkd.heads import Heads, Peek, read_heads

        wanted, trouble = self._wanted, ""
        heads = Heads({})
        names = tubes if wanted.names is not None else self._chosen.own
        peeks = [
            Peek(name, state)
            for name in names
            for state in wanted.heads
            if name in tubes and (tubes[name].ready if state == "ready" else tubes[name].buried)
        ]
        if peeks:
            peeks = self._reader.ask_first(peeks)
            try:
                self._reader.start_step(self._link, self._timeout)
                if not stats:  # read them for max-job-size
                    stats = parse_stats(body_of(self._link, STATS, self._link.ask_one(STATS)))
                heads = read_heads(self._link, peeks, count_of(stats, "max-job-size"))
            except ServerError as error:
                heads, trouble = Heads({}, peeks), f"head ages: {error}"
        self._reader.add_heads(tubes, peeks, heads, instance_of(stats) or "")
        unread = frozenset(peek.tube for peek in heads.left if peek.state == "ready")
        return reading._replace(trouble=trouble, unread_heads=unread)


def read_of(names: Collection[str]) -> ReadTube:
    """Return the parser that is faster for this number of tubes."""
    return read_plain_tube if len(names) >= MANY_TUBES else read_tube


def _recalled(value: Any, instance: str | None, count: int) -> list[int] | None:
    """Return `count` remembered numbers, if they are of this instance of the server.

    None if they are of another instance, or if the value has another shape.
    """
    if not (isinstance(value, list) and len(value) == count + 1 and value[0] == instance):
        return None
    numbers = value[1:]
    is_valid = all(isinstance(number, int) and abs(number) < MAX_NUMBER for number in numbers)
    return numbers if is_valid else None
