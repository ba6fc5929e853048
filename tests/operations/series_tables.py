"""The tables of all series and of all queue systems, for docs/reference.md and docs/queues.md."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from beanwatch.grafana.generator.lib import patterns, query
from beanwatch.queues import consumers
from beanwatch.queues.base import ACTIONS, Actions, System
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


# -- series


def metrics() -> str:
    """Every series of the table, and those of jobs."""
    stems: dict[str, list[list[str]]] = {}
    for group in paths.GROUPS:
        rows = (describe(measure, to_promql(group, measure)) for measure in group.series)
        stems.setdefault(group.stem, []).extend(rows)
    parts = []
    for stem, found in stems.items():
        parts += [heading(stem), table(["series", "unit", "", "for Prometheus"], found)]
    stem = JOB
    for name in ("SERVER", "QUEUE", "JOB", "WORKER"):
        stem = stem.replace(name, f"<{name.lower()}>")
    rows = [
        ["`<outcome>.count`", "", "runs that ended so, since the point before", counters("runs")],
        ["`<outcome>.rate`", "/s", "the same, a second", "their `rate`"],
        *([f"`{one.name}.<stat>`", one.unit, one.help, counters(one.name)] for one in paths.TIMERS),
    ]
    stats = f"`<stat>` is one of {code(paths.TIMER_STATS)}."
    parts += [heading(stem), table(["series", "unit", "", "for Prometheus"], rows), stats]
    parts += ["### Only for Prometheus", table(["name", "served by", ""], only_prometheus())]
    return "\n\n".join(parts)


def to_promql(group: paths.Group, measure: paths.Series) -> str:
    """What a dashboard asks Prometheus for, in place of this series of Graphite; "": nothing."""
    every = patterns.Patterns(servers=patterns.ANY)
    ask = {
        paths.SERVER: every.server,
        paths.QUEUE: every.queue,
        paths.WORKER: every.worker,
        paths.WORKER_SEEN: every.worker,
        paths.WORKERS: every.all_workers,
        paths.WORKER_GROUP: every.worker_group,
        paths.COLLECTOR: every.collector,
    }
    return ask[group](measure.name).promql.replace(query.RATE_WINDOW, "5m")


def counters(measure: str) -> str:
    """The families that count runs, or times of runs: of all workers, and of one."""
    found = [
        families[measure] for families in (patterns.FLEET, patterns.OWN) if measure in families
    ]
    return code(f"{prometheus.PREFIX}{family.removesuffix('_bucket')}" for family in found)


def only_prometheus() -> Iterator[list[str]]:
    """The families of samples that Graphite gets under no name, or as several series."""
    named = {one.prometheus for group in paths.GROUPS for one in group.series if not one.label}
    for name, text in sorted(prometheus.OTHER_HELP.items()):
        if name not in named:
            is_own = name.startswith(meanings.OF_A_WORKER) and name not in meanings.OF_RECORDS
            who = "the worker" if is_own else "the collector"
            yield [f"`{prometheus.PREFIX}{name}`", who, text]


def heading(stem: str) -> str:
    """The heading of a group of series."""
    return f"### `{stem.replace('<prefix>', paths.PREFIX)}.`"


def describe(measure: paths.Series, promql: str) -> list[str]:
    """The row of one measure. `promql` asks Prometheus for it if it has no name there."""
    states = {
        "consumer_states": numbered(consumers.STATES),
        "worker_states": numbered(HEALTH),
    }
    unit = ", ".join(filter(None, (measure.unit, "counter" if measure.is_counter else "")))
    name = f"`{prometheus.PREFIX}{measure.prometheus}`" if measure.prometheus else ""
    if not name and promql:
        name = f"`{promql}`"
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
    """The native series of every system, and their meanings, where the system declares them."""
    parts = []
    for system in all_systems():
        parts.append(f"### Native series of {system.name}")
        if system.name in RECORDED:
            parts += recorded_native(system.name)
            continue
        rows = [
            [f"`{stem.replace('<prefix>', paths.PREFIX)}.{name}`", meaning]
            for stem, names in (
                (paths.SERVER.stem, system.native_server),
                (paths.QUEUE.stem, system.native_queue),
            )
            for name, meaning in names
        ]
        parts.append(table(["series", ""], rows) if rows else "None.")
    return "\n\n".join(parts)


def recorded_native(system: str) -> Iterator[str]:
    """A table of the native series of a system, and one of those that beanwatch computes."""
    names = RECORDED[system]()
    stems = {paths.SERVER.stem: names.server, paths.QUEUE.stem: names.queue}
    rows = [[f"`{stem.replace('<prefix>', paths.PREFIX)}.`", code(n)] for stem, n in stems.items()]
    yield table(["path", "series"], rows)
    computed = meanings.NATIVE[system]
    missing = computed.keys() - {*names.server, *names.queue}
    assert not missing, missing
    yield table(["computed by beanwatch", ""], explained(computed, computed))


def beanstalkd_native() -> NativeNames:
    """Those of beanstalkd 1.13, from its replies to `stats` and `stats-tube`."""
    server = to_server(parse_stats(SERVERS["1.13+"]), ImplausibleValues())
    queue = read_tube("q", TUBES["1.13+"], server, ImplausibleValues())
    # The reader counts refused puts, since that takes two replies.
    return NativeNames(sorted({*server.native, "rejected_puts"}), sorted(queue.native))


# Systems whose server decides which numbers there are. The names are those of a recorded reply.
RECORDED: dict[str, Callable[[], NativeNames]] = {"beanstalkd": beanstalkd_native}


# -- queue systems


def systems() -> str:
    """Each system, then the fields and the actions with the systems that declare them."""
    found = all_systems()
    facts = [
        [
            f"`{system.name}`",
            code(schemes),
            str(system.default_port or ""),
            code(sorted(system.settings)),
            system.consumers,
            "empty" if system.absent_is_empty else "unknown",
        ]
        for system, schemes in found.items()
    ]
    head = ["system", "scheme", "port", "settings", "a consumer is"]
    head.append("a queue that does not exist is")
    queue = {system.name: system.queue_fields for system in found}
    server = {system.name: system.server_fields for system in found}
    actions = {system.name: system.actions for system in found}
    needed: dict[str, list[str]] = {}
    for system in found:
        for name, setting in system.needed_settings:
            needed.setdefault(name, []).append(f"`{system.name}` needs `{setting}`")
    fields = meanings_of(QUEUE_FIELDS, paths.QUEUE, meanings.QUEUE_FIELDS)
    server_fields = meanings_of(SERVER_FIELDS, paths.SERVER, meanings.SERVER_FIELDS)
    return "\n\n".join(
        [
            table(head, facts),
            "## Fields of a queue",
            table(["field", "", "reported by"], rows(fields, queue, needed)),
            "## Fields of a server",
            table(["field", "", "reported by"], rows(server_fields, server, needed)),
            "## Actions",
            table(["action", "", "supported by"], rows(described_actions(), actions)),
            table(
                ["system", "`kick` means", "`empty` deletes", "looking at a job"],
                map(words_of, found),
            ),
        ]
    )


def words_of(system: System) -> list[str]:
    """A row with what the actions of a system do, in its own words."""
    has = system.actions.__contains__
    return [
        f"`{system.name}`",
        f"{system.failed.kick} {system.failed.noun}s" if has("kick") else "",
        f"{', '.join(system.empties)} jobs" if has("empty") else "",
        (system.peek_effect or "changes nothing") if has("peek") else "",
    ]


def rows(
    names: Iterable[tuple[str, str]],
    declared: Mapping[str, frozenset[str]],
    needed: Mapping[str, list[str]] = MappingProxyType({}),
) -> Iterator[list[str]]:
    """A row for each name: its meaning, and the systems that declare it.

    `needed` has the settings without which some of them do not report it.
    """
    for name, meaning in names:
        conditions = "".join(f"; {one}" for one in needed.get(name, ()))
        yield [f"`{name}`", meaning, those_with(name, declared) + conditions]


def those_with(name: str, declared: Mapping[str, frozenset[str]]) -> str:
    """The systems that declare a name: `all`, `all but ...`, their names, or `none`."""
    having = [system for system, names in declared.items() if name in names]
    lacking = [system for system in declared if system not in having]
    if not lacking:
        return "all"
    if not having:
        return "none"
    return f"all but {code(lacking)}" if len(lacking) < len(having) / 2 else code(having)


def described_actions() -> Iterator[tuple[str, str]]:
    """Each action with its meaning."""
    for name in ACTIONS:
        yield name, first_sentence(name)


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
