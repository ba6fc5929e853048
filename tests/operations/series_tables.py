"""The tables of all series and of all queue systems, for docs/reference.md and docs/queues.md."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from beanwatch.queues import consumers
from beanwatch.queues.base import ACTIONS, Actions
from beanwatch.queues.beanstalkd.stats import ImplausibleValues, parse_stats, read_tube, to_server
from beanwatch.queues.model import QUEUE_FIELDS, SERVER_FIELDS
from beanwatch.queues.registry import all_systems
from beanwatch.store.health import HEALTH
from beanwatch.telemetry import prometheus
from beanwatch.telemetry import series as paths
from tests.operations import meanings
from tests.operations.markdown import code, explained, table
from tests.queues.formats import SERVERS, TUBES

JOB = paths.job("<prefix>", "SERVER", "QUEUE", "JOB", "WORKER")
KNOWN, UNKNOWN = "yes", "no"


# -- series


def metrics() -> str:
    """Every series of the table, and those of jobs."""
    stems: dict[str, list[paths.Series]] = {}
    for group in paths.GROUPS:
        stems.setdefault(group.stem, []).extend(group.series)
    parts = []
    for stem, measures in stems.items():
        rows = map(describe, measures)
        parts += [heading(stem), table(["series", "unit", "", "for Prometheus"], rows)]
    stem = JOB
    for name in ("SERVER", "QUEUE", "JOB", "WORKER"):
        stem = stem.replace(name, f"<{name.lower()}>")
    rows = [
        ["`<outcome>.count`", "", "runs that ended so, since the point before"],
        ["`<outcome>.rate`", "/s", "the same, a second"],
        *([f"`{one.name}.<stat>`", one.unit, one.help] for one in paths.TIMERS),
    ]
    stats = f"`<stat>` is one of {code(paths.TIMER_STATS)}."
    parts += [heading(stem), table(["series", "unit", ""], rows), stats]
    return "\n\n".join([*parts, "### Only for Prometheus", table(["name", ""], only_prometheus())])


def only_prometheus() -> Iterator[list[str]]:
    """The families of samples that Graphite gets under no name, or as several series."""
    named = {one.prometheus for group in paths.GROUPS for one in group.series if not one.label}
    for name, text in sorted(prometheus.OTHER_HELP.items()):
        if name not in named:
            yield [f"`{prometheus.PREFIX}{name}`", text]


def heading(stem: str) -> str:
    """The heading of a group of series."""
    return f"### `{stem.replace('<prefix>', paths.PREFIX)}.`"


def describe(measure: paths.Series) -> list[str]:
    """The row of one measure."""
    states = {
        "consumer_states": numbered(consumers.STATES),
        "worker_states": numbered(HEALTH),
    }
    unit = ", ".join(filter(None, (measure.unit, "counter" if measure.is_counter else "")))
    name = f"`{prometheus.PREFIX}{measure.prometheus}`" if measure.prometheus else ""
    if measure.label:
        name += ' with `{}="{}"`'.format(*measure.label)
    return [f"`{measure.name}`", unit, measure.help.format(**states), name]


def numbered(words: Iterable[str]) -> str:
    """Words with their numbers, from 0 on."""
    return ", ".join(f"{number} {word}" for number, word in enumerate(words))


class NativeNames(NamedTuple):
    """The names of the numbers that one system has beside the model's."""

    server: list[str]
    queue: list[str]


def native() -> str:
    """The native series of every system, and the meaning of those that beanwatch computes."""
    parts = []
    for system in all_systems():
        names = NATIVE[system.name]()
        stems = {paths.SERVER.stem: names.server, paths.QUEUE.stem: names.queue}
        rows = [
            [f"`{stem.replace('<prefix>', paths.PREFIX)}.`", code(n)] for stem, n in stems.items()
        ]
        parts += [f"### Native series of {system.name}", table(["path", "series"], rows)]
        if computed := meanings.NATIVE.get(system.name):
            missing = computed.keys() - {*names.server, *names.queue}
            assert not missing, missing
            parts.append(table(["computed by beanwatch", ""], explained(computed, computed)))
    return "\n\n".join(parts)


def beanstalkd_native() -> NativeNames:
    """Those of beanstalkd 1.13, from its replies to `stats` and `stats-tube`."""
    server = to_server(parse_stats(SERVERS["1.13+"]), ImplausibleValues())
    queue = read_tube("q", TUBES["1.13+"], server, ImplausibleValues())
    # The reader counts refused puts, since that takes two replies.
    return NativeNames(sorted({*server.native, "rejected_puts"}), sorted(queue.native))


# A queue system needs a line here, so that its native series are on the page.
NATIVE: dict[str, Callable[[], NativeNames]] = {"beanstalkd": beanstalkd_native}


# -- queue systems


def systems() -> str:
    """The fields and the actions that each system declares."""
    found = all_systems()
    names = [system.name for system in found]
    schemes = [code(schemes) for schemes in found.values()]
    facts = [
        ["scheme of its URL", *schemes],
        ["default port", *(str(system.default_port) for system in found)],
        ["settings", *(code(sorted(system.settings)) or "none" for system in found)],
        ["a consumer is", *(system.consumers for system in found)],
        [
            "a queue that does not exist is",
            *("empty" if system.absent_is_empty else "unknown" for system in found),
        ],
    ]
    queue = [
        [f"`{field}`", meaning, *(tick(field, system.queue_fields) for system in found)]
        for field, meaning in meanings_of(QUEUE_FIELDS, paths.QUEUE, meanings.QUEUE_FIELDS)
    ]
    server = [
        [f"`{field}`", meaning, *(tick(field, system.server_fields) for system in found)]
        for field, meaning in meanings_of(SERVER_FIELDS, paths.SERVER, meanings.SERVER_FIELDS)
    ]
    actions = [
        [f"`{name}`", first_sentence(name), *(tick(name, system.actions) for system in found)]
        for name in ACTIONS
    ]
    return "\n\n".join(
        [
            table(["", *names], facts),
            "## Fields of a queue",
            table(["field", "", *names], queue),
            "## Fields of a server",
            table(["field", "", *names], server),
            "## Actions",
            table(["action", "", *names], actions),
        ]
    )


def tick(name: str, declared: frozenset[str]) -> str:
    """A cell: whether a system declares this."""
    return KNOWN if name in declared else UNKNOWN


def meanings_of(
    fields: Iterable[str], group: paths.Group, others: dict[str, str]
) -> Iterator[tuple[str, str]]:
    """Each field with its meaning: the help text of its series, or of `others` without a series."""
    for field in fields:
        yield field, group.find(field).help if field in group.names else others[field]


def first_sentence(action: str) -> str:
    """The meaning of an action: the first sentence of its method's docstring."""
    text = " ".join((getattr(Actions, action).__doc__ or "").split())
    return text.partition(".")[0]
