"""Reads the queues of one account in one region: one call for each queue, in a few threads."""

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial

from beanwatch.globs import GLOB
from beanwatch.light_typing import TYPE_CHECKING, NamedTuple, TypeVar
from beanwatch.queues.base import Chosen, Reader, ReaderOptions, Reading, ServerError, Wanted
from beanwatch.queues.model import QueueState, ServerState
from beanwatch.queues.parallel import Parallel
from beanwatch.queues.selection import compile_globs, find_prefixes
from beanwatch.queues.sqs.api import COUNTS, RETENTION, Sqs, find_dead_letters, parse_count
from beanwatch.queues.sqs.cloudwatch import AGE, CloudWatch

if TYPE_CHECKING:
    from beanwatch.queues.servers import Server

Result = TypeVar("Result")


class FoundQueue(NamedTuple):
    """The attributes of a queue, and the time at which they arrived, by the reader's clock."""

    attributes: dict[str, str]
    received_at: float


class DeadLetterCount(NamedTuple):
    """The messages of a dead-letter queue; `jobs` is None if they may be of several queues."""

    jobs: int | None
    trouble: str = ""


class SqsReader(Reader):
    """Reads the queues that the setting `queues` names; without it, all queues of the account.

    `timeout` (seconds) limits a reading of the server, `sweep_timeout` one with its queues.
    """

    def __init__(self, server: "Server", options: ReaderOptions) -> None:
        self._server, self._options, self._clock = server, options, options.clock
        self._globs = server.config.queues or ("*",)
        self._is_ours = compile_globs(self._globs)
        self._parallel = Parallel(options.clock)
        self._opened: Sqs | None = None
        self._metrics: CloudWatch | None = None
        self._limit = self._end = 0.0  # of the present reading: seconds, and a time of the clock

    def read(self, wanted: Wanted, timeout: float | None = None) -> Reading:
        """Find the queues, then read their attributes. Raises ServerError."""
        is_server_only = wanted.names is not None and not wanted.names
        sweep = 0.0 if is_server_only else self._options.sweep_timeout
        self._limit = timeout or max(self._options.timeout, sweep)
        self._end = self._clock() + self._limit
        try:
            if self._opened is None:
                self._opened = self._call(lambda: Sqs(self._server, self._limit))
            urls = self._find_urls(self._opened, wanted.names or ())
        except OSError as error:
            raise self._explain(error) from error
        count = None if wanted.names else len(urls)
        state = ServerState(queues=count) if wanted.server else None
        if is_server_only:
            return Reading(state, {})
        chosen = Chosen(())
        if wanted.names is None:
            chosen = wanted.choose(list(urls)) if wanted.choose else Chosen(list(urls))
            urls = {name: urls[name] for name in (*chosen.own, *chosen.rest)}
        reading = Reading(state, chosen=chosen)
        try:
            reading = self._read_queues(self._opened, urls, reading)
        except (OSError, ServerError) as error:
            told = self._explain(error) if isinstance(error, OSError) else error
            if state is None:
                raise told from error
            return reading._replace(trouble=f"cannot read the queues: {told}")
        aged = chosen.own if wanted.names is None else urls
        wants_ages = "ready" in wanted.heads and self._server.config.cloudwatch
        return self._with_ages(self._opened, reading, aged) if wants_ages else reading

    @property
    def _left(self) -> float:
        return max(0.0, self._end - self._clock())

    def _call(self, function: Callable[[], Result]) -> Result:
        return self._parallel.call(function, self._left)

    def _explain(self, error: OSError) -> ServerError:
        text = str(error) or f"no answer within {self._limit:g} s"
        return ServerError(f"{self._server}: {text}")

    def _find_urls(self, sqs: Sqs, names: Iterable[str]) -> dict[str, str]:
        """Return the URLs of our queues by name: of all, or of those with these names."""
        plain = list(names) or [glob for glob in self._globs if not GLOB.search(glob)]
        globs = [] if names else [glob for glob in self._globs if GLOB.search(glob)]
        urls: dict[str, str] = {}
        for prefix in find_prefixes(globs):
            page = self._call(partial(sqs.list_page, prefix))
            urls |= page.urls
            while page.token:
                page = self._call(partial(sqs.list_page, prefix, page.token))
                urls |= page.urls
        plain = [name for name in plain if self._is_ours(name)]
        found = self._parallel.map(sqs.find_url, plain, self._left)
        urls |= {name: url for name, url in zip(plain, found, strict=True) if url}
        return {name: url for name, url in urls.items() if self._is_ours(name)}

    def _read_queues(self, sqs: Sqs, urls: Mapping[str, str], reading: Reading) -> Reading:
        def ask(url: str) -> FoundQueue | None:
            attributes = sqs.attributes(url)
            return None if attributes is None else FoundQueue(attributes, self._clock())

        replies = self._parallel.map(ask, list(urls.values()), self._left)
        found = {name: one for name, one in zip(urls, replies, strict=True) if one}
        targets = {name: find_dead_letters(one.attributes) for name, one in found.items()}
        dead = sorted({target for target in targets.values() if target})

        def count(name: str) -> DeadLetterCount:
            return count_dead_letters(sqs, name, urls.get(name), found.get(name))

        counts = dict(zip(dead, self._parallel.map(count, dead, self._left), strict=True))
        implausible: list[str] = []
        queues = {
            name: to_queue(name, one.attributes, counts, implausible)._replace(
                is_dead_letter=name in counts
            )
            for name, one in found.items()
        }
        received_at = {name: one.received_at for name, one in found.items()}
        return reading._replace(queues=queues, received_at=received_at, implausible=implausible)

    def _with_ages(self, sqs: Sqs, reading: Reading, names: Collection[str]) -> Reading:
        """Add what CloudWatch knows of these queues. An error is in `trouble`."""
        queues, trouble = dict(reading.queues or {}), ""
        names = [name for name in names if name in queues]
        values: Mapping[str, Mapping[str, float]] = {}
        metrics = self._metrics = self._metrics or CloudWatch(sqs, self._clock)
        try:
            values = self._call(lambda: metrics.read(names))
        except (OSError, ServerError) as error:
            told = self._explain(error) if isinstance(error, OSError) else error
            trouble = f"cannot read CloudWatch: {told}"
        for name in names:
            known = dict(values.get(name, {}))
            age = known.pop(AGE, None)
            queues[name] = queues[name]._replace(
                head_ready_age=0.0 if queues[name].ready == 0 else age,
                native={**queues[name].native, **known},
            )
        unread = frozenset(name for name in names if queues[name].head_ready_age is None)
        return reading._replace(queues=queues, trouble=trouble, unread_heads=unread)


def count_dead_letters(
    sqs: Sqs, name: str, url: str | None, found: FoundQueue | None
) -> DeadLetterCount:
    """Count the messages of a dead-letter queue, if it has one source only.

    `url` and `found` are what is known of the queue. An error is in `trouble`.
    """
    try:
        url = url or sqs.find_url(name)
        attributes = found.attributes if found else url and sqs.attributes(url)
        if not url or not attributes:
            return DeadLetterCount(None, f"its dead-letter queue {name} does not exist")
        if sqs.is_shared(url):
            return DeadLetterCount(None)
    except ServerError as error:
        return DeadLetterCount(None, f"its dead-letter queue {name} cannot be read: {error}")
    counts = [parse_count(attributes, attribute) for attribute in COUNTS.values()]
    return DeadLetterCount(None if None in counts else sum(count or 0 for count in counts))


def to_queue(
    name: str,
    attributes: dict[str, str],
    dead: Mapping[str, DeadLetterCount],
    implausible: list[str],
) -> QueueState:
    """Convert the attributes of a queue. A queue without a redrive policy has no dead letters."""
    counts: dict[str, int | None] = {}
    for field, attribute in COUNTS.items():
        counts[field] = parse_count(attributes, attribute)
        if counts[field] is None:
            shown = attributes.get(attribute)
            implausible.append(f"{name}: {attribute} is {shown!r:.40}, which is not a count")
    buried: int | None = 0
    if "RedrivePolicy" in attributes:
        target = find_dead_letters(attributes)
        buried, trouble = dead.get(target or "", DeadLetterCount(None, "its policy is no JSON"))
        if trouble:
            implausible.append(f"{name}: {trouble}")
    retention = parse_count(attributes, RETENTION)
    native = {} if retention is None else {RETENTION: retention}
    return QueueState(
        name, counts["ready"], counts["reserved"], counts["delayed"], buried, native=native
    )
