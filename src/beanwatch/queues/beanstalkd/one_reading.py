"""Make one reading of a beanstalkd: send the queries, and put the replies into the model."""

from collections.abc import Callable, Collection, Container, Iterable, Iterator

from beanwatch.queues.base import Chosen, Reading, ServerError, Wanted
from beanwatch.queues.beanstalkd.connection import QueryConnection, body_of
from beanwatch.queues.beanstalkd.earlier_readings import EarlierReadings
from beanwatch.queues.beanstalkd.protocol import (
    LIST_TUBES,
    STATS,
    NonsenseError,
    Reply,
    is_tube_name,
    stats_tube,
)
from beanwatch.queues.beanstalkd.stats import (
    ImplausibleValues,
    Stats,
    count_of,
    instance_of,
    parse_list,
    parse_stats,
    read_plain_tube,
    read_tube,
    to_server,
)
from beanwatch.queues.model import QueueState, ServerState

# From this number of tubes on, the fast parser saves more time than its first call costs.
MANY_TUBES = 100
ReadTube = Callable[[str, bytes, ServerState | None, ImplausibleValues], QueueState]


class OneReading:
    """Makes one reading: the server, its tubes and their first jobs, over one connection.

    `sweep_timeout` (seconds) limits the reading of all tubes, `timeout` each other step. If both
    are None, the present deadline of the connection limits all steps together.
    """

    def __init__(
        self,
        link: QueryConnection,
        earlier: EarlierReadings,
        wanted: Wanted,
        *,
        timeout: float | None,
        sweep_timeout: float | None,
    ) -> None:
        self._link, self._earlier, self._wanted = link, earlier, wanted
        self._timeout, self._sweep_timeout = timeout, sweep_timeout
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
        replies = link.stream([*commands, *map(stats_tube, at_once)])
        server, stats = None, Stats()
        if wanted.server:
            stats = parse_stats(body_of(link, STATS, next(replies)))
            server = self._server(stats)
        try:
            self._start_step(self._sweep_timeout if needs_list else self._timeout)
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

    def _start_step(self, timeout: float | None) -> None:
        if timeout is not None:
            self._link.extend(timeout)

    def _server(self, stats: Stats) -> ServerState:
        server = to_server(stats, self._implausible)
        self._earlier.count_timeouts(stats, server)
        rejected = self._earlier.count_rejected(stats, server)
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
        tubes.update(self._take(new, self._link.stream(commands), server, read))
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
                tube = self._earlier.with_missing(tube, server.instance)
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
            peeks = self._earlier.sort_skipped_first(peeks)
            try:
                self._start_step(self._timeout)
                if not stats:  # max-job-size is needed
                    stats = parse_stats(body_of(self._link, STATS, self._link.ask_one(STATS)))
                heads = read_heads(self._link, peeks, count_of(stats, "max-job-size"))
            except ServerError as error:
                heads, trouble = Heads({}, peeks), f"cannot read head ages: {error}"
        self._implausible.extend(heads.implausible)
        instance = instance_of(stats) or ""
        self._earlier.add_heads(tubes, peeks, heads, instance)
        if wanted.overtaken and not trouble:
            try:
                self._earlier.add_overtaken(
                    tubes, heads, instance, lambda ids: read_jobs(self._link, ids)
                )
            except ServerError as error:
                trouble = f"cannot read the jobs that others overtook: {error}"
        unread = frozenset(peek.tube for peek in heads.left if peek.state == "ready")
        taken = {
            peek.tube
            for peek, job in heads.jobs.items()
            if peek.state == "ready" and not job and not heads.implausible
        }
        return reading._replace(trouble=trouble, unread_heads=unread, taken_heads=frozenset(taken))


def read_of(names: Collection[str]) -> ReadTube:
    """Return the function that parses so many replies to `stats-tube` in the shortest time."""
    return read_plain_tube if len(names) >= MANY_TUBES else read_tube
