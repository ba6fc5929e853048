"""Read one beanstalkd: its statistics, its tubes' statistics, and their first jobs (heads)."""

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
    ImplausibleValues,
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
from beanwatch.words import count

if TYPE_CHECKING:
    from beanwatch.queues.beanstalkd.heads import Heads, Peek
    from beanwatch.queues.servers import Server

# From this number of tubes on, the fast parser saves more time than its first call costs.
MANY_TUBES = 100
ReadTube = Callable[[str, bytes, ServerState | None, ImplausibleValues], QueueState]
RECENT = 600.0  # seconds for which refused puts and passed TTRs are reported as a problem


class BeanstalkdReader(Reader):
    """Reads one beanstalkd over a connection that stays open between readings.

    `options.timeout` (seconds) limits two steps separately: the connect with `stats`, and reading
    the first jobs (heads). `options.sweep_timeout` limits the reading of all tubes. A timeout given
    to `read` replaces both, and limits all steps together.
    """

    def __init__(self, server: "Server", options: ReaderOptions) -> None:
        self._address, self._node = server.address, server.node
        self._timeout = options.timeout
        self.sweep_timeout = max(options.timeout, options.sweep_timeout)
        self._memory, self._clock = options.memory, options.clock
        self._connection: QueryConnection | None = None
        self._skipped_heads: Sequence[Peek] = ()  # in the last reading, because of a limit
        self._refused = 0  # puts refused in the last RECENT seconds
        self._timeouts = 0  # jobs that the server took back in that time, as their TTR had passed
        self._has_one_deadline = False  # true if `read` was called with a timeout

    def read(self, wanted: Wanted, timeout: float | None = None) -> Reading:
        """Read the parts that `wanted` names: `stats`, `list-tubes`, `stats-tube` and `peek-...`.

        If the connection of the last reading fails, open a new one and try once more. Raises
        ServerError if nothing could be read.
        """
        limit = timeout or self._timeout
        self._has_one_deadline = timeout is not None
        started = self._clock()
        connection, self._connection = self._connection, None  # stored again after a success only
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
        """Yield problems: the server drains, refused puts, took jobs back, or lost jobs."""
        server = reading.server
        if server is None:
            return
        if server.draining:
            yield Problem("warning", "is draining: it accepts no new jobs")
        if self._refused:
            puts = count(self._refused, "put")
            yield Problem("warning", f"refused {puts} lately: these jobs are in no queue")
        if self._timeouts:
            jobs = count(self._timeouts, "job")
            yield Problem(
                "warning", f"took back {jobs} lately, because the time to run (TTR) was over"
            )
        for queue in sorted(reading.queues or ()):
            if missing := (reading.queues or {})[queue].missing_jobs:
                jobs = count(missing, "job")
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
        """Give the next step `timeout` seconds, unless `read` has one timeout for all steps."""
        if not self._has_one_deadline:
            link.extend(timeout)

    # -- values that need two readings

    def count_rejected(self, stats: Stats, server: ServerState) -> int | None:
        """Return how many puts the server has refused since its start; None if unknown.

        Also set `_refused` to the number of recent ones, for `problems`.
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
            base = now.confirmed  # these were refused before the first reading, maybe long ago
        base, self._refused = self._count_recent(key, now.confirmed, base)
        record = [server.instance, now.seen, now.confirmed, int(now.is_first), base]
        self._memory.remember(key, record)
        return now.confirmed

    def count_timeouts(self, stats: Stats, server: ServerState) -> None:
        """Set `_timeouts`: how many jobs the server has taken back lately, for `problems`.

        beanstalkd counts them for the whole server only. Those before the first reading of this
        process of the server are not counted, because they may be old.
        """
        key = f"timeouts {self._node}"
        known = _recalled(self._memory.recall(key), server.instance, 1)
        total = known_count(stats, "job-timeouts")
        if total is None:
            if known:
                self._memory.remember(key, [server.instance, *known])
                self._memory.keep(f"{key} at")
            return
        base, self._timeouts = self._count_recent(key, total, known[0] if known else total)
        self._memory.remember(key, [server.instance, base])

    def _count_recent(self, key: str, total: int, base: int) -> tuple[int, int]:
        """Return the new base of a counter, and by how much it is above its base.

        If it has been above the same base for RECENT seconds, the base becomes `total`.
        """
        recent = max(0, total - base)
        if recent and self._memory.lasting(f"{key} at", str(base)) > RECENT:
            return total, 0
        return base, recent

    def with_missing(self, queue: QueueState, instance: str | None) -> QueueState:
        """Return the queue with `missing_jobs` set, the number of jobs that the server lost.

        It is computed from `balance_of`, which is 0 if no job was lost. When the server reads its
        binlog, the balance can become negative. So the lowest balance since the server's start is
        remembered while it is below 0, and subtracted. A queue that was deleted and created again
        starts at 0. `instance` identifies the server's process.
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

    def sort_skipped_first(self, peeks: "list[Peek]") -> "list[Peek]":
        """Put the queries that the last reading skipped first, so that all are sent in turn."""
        if not self._skipped_heads:
            return peeks
        turn = {peek: number for number, peek in enumerate(self._skipped_heads)}
        return sorted(peeks, key=lambda peek: turn.get(peek, len(turn)))

    def head_age(self, peek: "Peek", job: Stats | None, instance: str) -> float | None:
        """Return for how many seconds the first job has been in its state; None if unknown.

        `job` has the fields of `stats-job`. It is None if the head was not read, and {} if the tube
        had no such job any more. Unless `stats-job` tells the time, it is counted from the first
        reading that found this job at the head.
        """
        from beanwatch.queues.beanstalkd.heads import ready_seconds

        key = f"head {self._node} {peek.state} {peek.tube}"
        if not job:
            self._memory.keep(key)
            return None
        if peek.state == "ready" and (age := ready_seconds(job)) is not None:
            return age
        return round(self._memory.lasting(key, f"{instance} {job['id']}"), 3)

    def add_overtaken(
        self,
        tubes: dict[str, QueueState],
        heads: "Heads",
        instance: str,
        read: Callable[[Sequence[bytes]], Iterable[Stats]],
    ) -> None:
        """Set `overtaken_age` of the tubes with a ready job that is no longer the first one.

        Only the first job of a tube can be asked for. So the first job is remembered until it is no
        longer ready, and `read` asks for it by its id. Raises ServerError.
        """
        from beanwatch.queues.beanstalkd.heads import ready_seconds

        remembered: dict[str, int] = {}
        firsts = {
            peek.tube: int(job["id"]) if job else None
            for peek, job in heads.jobs.items()
            if peek.state == "ready"
        }
        for tube, first in firsts.items():
            known = _recalled(self._memory.recall(f"waiting {self._node} {tube}"), instance, 1)
            if known and known[0] != first:
                remembered[tube] = known[0]
            else:
                self._remember_waiting(tube, instance, first)
        ids = [str(number).encode() for number in remembered.values()]
        for (tube, number), job in zip(remembered.items(), read(ids), strict=True):
            if job.get("state") == "ready" and job.get("tube") == tube:
                since = self._remember_waiting(tube, instance, number)
                age = ready_seconds(job)
                tubes[tube] = tubes[tube]._replace(overtaken_age=since if age is None else age)
            else:
                self._remember_waiting(tube, instance, firsts[tube])

    def _remember_waiting(self, tube: str, instance: str, job_id: int | None) -> float:
        """Remember a ready job (None: none); return for how long it is known, in seconds."""
        if job_id is None:
            return 0.0
        key = f"waiting {self._node} {tube}"
        self._memory.remember(key, [instance, job_id])
        return self._memory.lasting(f"{key} since", f"{instance} {job_id}")

    def add_heads(
        self, tubes: dict[str, QueueState], peeks: "Sequence[Peek]", heads: "Heads", instance: str
    ) -> None:
        """Set the ages of the first jobs (heads) in `tubes`. Remember which heads were skipped."""
        self._skipped_heads = heads.left
        for peek in peeks:
            age = self.head_age(peek, heads.jobs.get(peek), instance)
            tube = tubes[peek.tube]
            tubes[peek.tube] = (
                tube._replace(head_ready_age=age)
                if peek.state == "ready"
                else tube._replace(head_buried_age=age)
            )


class _OneReading:
    """Makes one reading: the server, its tubes and their first jobs, over one connection."""

    def __init__(
        self, link: QueryConnection, reader: BeanstalkdReader, wanted: Wanted, timeout: float
    ) -> None:
        self._link, self._reader, self._wanted, self._timeout = link, reader, wanted, timeout
        self._implausible = ImplausibleValues()
        self._received_at: dict[str, float] = {}
        self._chosen = Chosen(())

    def read(self) -> Reading:
        """Read the server, its tubes and their first jobs, as far as `Wanted` requests them.

        Raises ServerError or NonsenseError if nothing could be read.
        """
        wanted, link = self._wanted, self._link
        needs_list = wanted.names is None
        # Known tubes are requested before the list arrives, which saves a round trip. An invalid
        # name is not sent, since the server could read it as two commands.
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
            return Reading(
                server, trouble=f"cannot read the queues: {text}", implausible=self._implausible
            )
        reading = Reading(
            server, tubes, self._received_at, self._chosen, implausible=self._implausible
        )
        return self._with_heads(reading, stats, tubes) if wanted.heads else reading

    def _server(self, stats: Stats) -> ServerState:
        server = to_server(stats, self._implausible)
        self._reader.count_timeouts(stats, server)
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
        """Return the valid names. Note an invalid one: it could be read as several commands."""
        names = list(filter(is_tube_name, listed))
        if len(names) < len(listed):
            invalid = next(name for name in listed if not is_tube_name(name))
            self._implausible.append(
                f"server: it lists a queue with the invalid name {invalid[:40]!r}"
            )
        return names

    def _take(
        self,
        names: Iterable[str],
        replies: Iterator[Reply],
        server: ServerState | None,
        read: ReadTube,
        chosen: Container[str] | None = None,
    ) -> Iterator[tuple[str, QueueState]]:
        """Parse the replies to `stats-tube` for `names`, and yield the tubes with their names.

        `chosen` is given if `names` are from the last reading. Then tubes not in `chosen` are
        skipped, and so are error replies: `chosen` comes from the server's present list, and a tube
        in it that was skipped is requested again. Raises ServerError for other error replies.
        """
        link = self._link
        for name, reply in zip(names, replies, strict=False):
            if reply.word != b"OK":
                # NOT_FOUND is normal: the server deletes a tube that has no job, user or watcher.
                if chosen is None and reply.word != b"NOT_FOUND":
                    body_of(link, stats_tube(name), reply)  # raises ProtocolError
                continue
            if chosen is not None and name not in chosen:
                continue
            tube = read(name, reply.body, server, self._implausible)
            if tube.missing_jobs is None and server is not None:
                tube = self._reader.with_missing(tube, server.instance)
            self._received_at[name] = link.received_at
            yield name, tube

    def _with_heads(self, reading: Reading, stats: Stats, tubes: dict[str, QueueState]) -> Reading:
        """Read the first jobs (heads) and set their ages in `tubes`.

        An error is in `trouble` of the returned reading.
        """
        # Imported here, as in head_age, so that a check that reads no heads starts faster.
        from beanwatch.queues.beanstalkd.heads import Heads, Peek, read_heads, read_jobs

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
            peeks = self._reader.sort_skipped_first(peeks)
            try:
                self._reader.start_step(self._link, self._timeout)
                if not stats:  # max-job-size is needed
                    stats = parse_stats(body_of(self._link, STATS, self._link.ask_one(STATS)))
                heads = read_heads(self._link, peeks, count_of(stats, "max-job-size"))
            except ServerError as error:
                heads, trouble = Heads({}, peeks), f"cannot read head ages: {error}"
        self._implausible.extend(heads.implausible)
        instance = instance_of(stats) or ""
        self._reader.add_heads(tubes, peeks, heads, instance)
        if wanted.overtaken and not trouble:
            try:
                self._reader.add_overtaken(
                    tubes, heads, instance, lambda ids: read_jobs(self._link, ids)
                )
            except ServerError as error:
                trouble = f"cannot read the jobs that others overtook: {error}"
        unread = frozenset(peek.tube for peek in heads.left if peek.state == "ready")
        return reading._replace(trouble=trouble, unread_heads=unread)


def read_of(names: Collection[str]) -> ReadTube:
    """Return the function that parses so many replies to `stats-tube` in the shortest time."""
    return read_plain_tube if len(names) >= MANY_TUBES else read_tube


def _recalled(value: Any, instance: str | None, count: int) -> list[int] | None:
    """Return the numbers of a remembered value `[instance, number, ...]` with `count` numbers.

    Return None if they are from another process of the server, or if the value has another shape.
    """
    if not (isinstance(value, list) and len(value) == count + 1 and value[0] == instance):
        return None
    numbers = value[1:]
    is_valid = all(isinstance(number, int) and abs(number) < MAX_NUMBER for number in numbers)
    return numbers if is_valid else None
