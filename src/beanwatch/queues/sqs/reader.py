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

ATTEMPTS = 2  # of one of hundreds of calls; the deadline of the reading limits all together
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
        """Find the queues, then read their attributes. Raises ServerError.

        A queue that cannot be read has no known numbers, and is in `Reading.implausible`. If all
        fail, nothing is known of the queues.
        """
        is_server_only = wanted.names is not None and not wanted.names
        sweep = 0.0 if is_server_only else self._options.sweep_timeout
        self._limit = timeout or max(self._options.timeout, sweep)
        self._end = self._clock() + self._limit
        try:
            if self._opened is None:
                self._opened = self._call(lambda: Sqs(self._server, self._limit, ATTEMPTS))
            urls, errors = self._find_urls(self._opened, wanted.names or ())
        except OSError as error:
            raise self._explain(error) from error
        count = None if wanted.names or errors else len(urls)
        state = ServerState(queues=count) if wanted.server else None
        if is_server_only:
            return Reading(state, {}, implausible=explain_all(errors))
        chosen = Chosen(())
        if wanted.names is None:
            names = [*urls, *errors]
            chosen = wanted.choose(names) if wanted.choose else Chosen(names)
            names = [*chosen.own, *chosen.rest]
            urls = {name: urls[name] for name in names if name in urls}
            errors = {name: errors[name] for name in names if name in errors}
        reading = Reading(state, chosen=chosen)
        try:
            reading = self._read_queues(
                self._opened, urls, errors, reading, by_name=wanted.names is not None
            )
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

    def _find_urls(
        self, sqs: Sqs, names: Iterable[str]
    ) -> tuple[dict[str, str], dict[str, ServerError]]:
        """Return the URLs of our queues by name: of all, or of those with these names.

        Also return the errors of those whose URL could not be found. Raises ServerError if every
        call failed.
        """
        plain = list(names) or [glob for glob in self._globs if not GLOB.search(glob)]
        globs = [] if names else [glob for glob in self._globs if GLOB.search(glob)]
        urls: dict[str, str] = {}
        for prefix in find_prefixes(globs):
            page = self._call(partial(sqs.list_page, prefix))
            urls |= page.urls
            while page.token:
                page = self._call(partial(sqs.list_page, prefix, page.token))
                urls |= page.urls
        plain = [name for name in plain if self._is_ours(name) and name not in urls]
        found, errors = self._parallel.try_each(sqs.find_url, plain, self._left)
        if errors and not (found or globs):
            raise next(iter(errors.values()))
        urls |= {name: url for name, url in found.items() if url}
        return {name: url for name, url in urls.items() if self._is_ours(name)}, errors

    def _read_queues(
        self,
        sqs: Sqs,
        urls: Mapping[str, str],
        errors: Mapping[str, ServerError],
        reading: Reading,
        *,
        by_name: bool,
    ) -> Reading:
        """Add the queues with these URLs to the reading, and those with these errors.

        Raises ServerError if none of the URLs can be read. With `by_name` the sources of a
        dead-letter queue may not be among the queues, so SQS is asked whether it has any.
        """

        def ask(name: str) -> FoundQueue | None:
            attributes = sqs.attributes(urls[name])
            return None if attributes is None else FoundQueue(attributes, self._clock())

        replies, failed = self._parallel.try_each(ask, list(urls), self._left)
        if failed and not replies:
            raise next(iter(failed.values()))
        errors = {**errors, **failed}
        found = {name: one for name, one in replies.items() if one}
        targets = {name: find_dead_letters(one.attributes) for name, one in found.items()}
        dead = sorted({target for target in targets.values() if target})

        def count(name: str) -> DeadLetterCount:
            return count_dead_letters(sqs, name, urls.get(name), found.get(name))

        counts = dict(zip(dead, self._parallel.map(count, dead, self._left), strict=True))
        # A source may also be a queue that could not be read.
        others = [name for name in found if name not in counts] if by_name or errors else []
        answers, failed = self._parallel.try_each(
            lambda name: sqs.is_dead_letter(urls[name]), others, self._left
        )
        errors = {**errors, **failed}
        found = {name: one for name, one in found.items() if name not in failed}
        implausible = explain_all(errors)
        queues = {name: QueueState(name) for name in errors}
        for name, one in found.items():
            queues[name] = to_queue(name, one.attributes, counts, implausible)
        queues = {
            name: queue._replace(is_dead_letter=name in counts or answers.get(name, False))
            for name, queue in queues.items()
        }
        received_at = {name: one.received_at for name, one in found.items()}
        return reading._replace(queues=queues, received_at=received_at, implausible=implausible)

    def _with_ages(self, sqs: Sqs, reading: Reading, names: Collection[str]) -> Reading:
        """Add what CloudWatch knows of these queues. An error is in `trouble`."""
        queues, trouble = dict(reading.queues or {}), ""
        names = [name for name in names if name in reading.received_at]
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
        return reading._replace(queues=queues, trouble=trouble)


def explain_all(errors: Mapping[str, ServerError]) -> list[str]:
    """Return a text for each queue that could not be read."""
    return [f"{name}: cannot be read: {error}" for name, error in errors.items()]


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
