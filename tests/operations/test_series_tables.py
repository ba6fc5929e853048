"""The tables of series and of queue systems: complete, and the sizes that docs/scaling.md has."""

import re
from configparser import ConfigParser

from beanwatch import outcomes
from beanwatch.queues.base import ACTIONS, ReaderOptions, Reading, Wanted
from beanwatch.queues.model import QUEUE_FIELDS, SERVER_FIELDS, QueueState
from beanwatch.queues.registry import all_systems, find_system
from beanwatch.queues.servers import Server, parse_server
from beanwatch.telemetry import series as paths
from tests.operations import meanings, series_tables
from tests.operations.markdown import fill
from tests.real import ROOT, Beanstalkd

SCALING = ROOT / "docs" / "scaling.md"
SCHEMAS = ROOT / "collectors" / "graphite" / "storage-schemas.conf"
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "y": 365 * 86400}


def test_the_tables_are_up_to_date() -> None:
    blocks = {"metrics": series_tables.metrics, "native": series_tables.native}
    reference = (ROOT / "docs" / "reference.md").read_text()
    assert fill(reference, blocks) == reference, "run: make docs"
    queues = (ROOT / "docs" / "queues.md").read_text()
    assert fill(queues, {"systems": series_tables.systems}) == queues, "run: make docs"


def test_every_series_has_a_row() -> None:
    page = series_tables.metrics()
    for group in paths.GROUPS:
        stem = group.stem.replace("<prefix>", "beanwatch")
        _, _, rows = page.partition(f"### `{stem}.`")
        for one in group.series:
            assert f"| `{one.name}` |" in rows
    assert not re.search(r"\{\w+\}", page)  # every placeholder of a help text is filled in


def test_every_system_is_in_the_tables_of_fields_and_actions_and_has_native_series() -> None:
    page, native = series_tables.systems(), series_tables.native()
    for system in all_systems():
        assert f"| `{system.name}` |" in page
        for name in (*QUEUE_FIELDS, *SERVER_FIELDS, *ACTIONS):
            declared = name in system.queue_fields | system.server_fields | system.actions
            cells = re.findall(rf"^\| `{name}` \|.*\|$", page, re.M)
            assert cells, name
            assert declared == any(lists(row.split(" | ")[2], system.name) for row in cells)
        assert f"### Native series of {system.name}" in native
    assert meanings.NATIVE.keys() <= {system.name for system in all_systems()}


def lists(cell: str, system: str) -> bool:
    """Whether a cell of the tables says that a system has the field or the action."""
    word, _, _ = cell.removesuffix(" |").partition(";")  # what follows are the settings needed
    if word.startswith("all"):
        return f"`{system}`" not in word
    return f"`{system}`" in word


def test_systems_are_listed_by_what_is_shorter() -> None:
    declared = {name: frozenset("x") for name in "abcd"} | {"e": frozenset("y")}
    assert series_tables.those_with("x", declared) == "all but `e`"
    assert series_tables.those_with("y", declared) == "`e`"
    assert series_tables.those_with("z", declared) == "none"


def test_the_native_series_of_beanstalkd_are_those_of_a_real_one(beanstalkd: Beanstalkd) -> None:
    names = series_tables.beanstalkd_native()
    reading = read(beanstalkd)
    assert reading.server
    assert reading.queues
    assert reading.server.native.keys() == set(names.server)
    assert reading.queues["default"].native.keys() == set(names.queue)


def test_the_series_that_scaling_counts_are_as_many_as_there_are(beanstalkd: Beanstalkd) -> None:
    page = SCALING.read_text()
    system = find_system("beanstalkd")
    queues = read(beanstalkd).queues
    assert queues
    native = len(queues["default"].native)
    measures = [
        name
        for name in paths.QUEUE.names
        if name in system.queue_fields or name not in QueueState._fields
    ]
    number = len(measures) + native
    assert f"| series | {number},000 | {number}0,000 |" in page
    megabytes = (sum(map(size_of, measures)) + native * size_of("current_using")) / 1e6
    assert f"| {megabytes:.1f} GB | {megabytes * 10:.0f} GB | derived:" in page
    essential = sum(map(size_of, paths.ESSENTIAL)) / 1e6
    assert f"| {essential:.1f} GB | {essential * 10:.0f} GB | derived:" in page
    for measure in ("ready", "delayed", "current_using"):
        assert f"{size_of(measure) / 1e6:.2f} MB" in page
    worker = len(paths.WORKER.names) + len(paths.WORKER_SEEN.names)
    assert f"| {worker}00 | {worker},000 | derived: {worker} for each worker |" in page
    job = 2 * len(outcomes.NAMES) + len(paths.TIMERS) * len(paths.TIMER_STATS)
    assert f"| {job} | {job} | derived:" in page


def read(beanstalkd: Beanstalkd) -> Reading:
    """One reading of the server and of the queue `default`."""
    server = Server("q1", parse_server(beanstalkd.address))
    reader = server.system.open_reader(server, ReaderOptions())
    try:
        return reader.read(Wanted(names=["default"]))
    finally:
        reader.close()


def size_of(measure: str) -> int:
    """The bytes of a queue's whisper file with the shipped retentions: 12 a point."""
    rules = ConfigParser(interpolation=None)
    rules.read(SCHEMAS)
    path = paths.queue(paths.PREFIX, "q1", "t", measure)
    retentions = next(
        rules[name]["retentions"]
        for name in rules.sections()
        if re.search(rules[name]["pattern"], path)
    )
    points = 0
    for archive in retentions.split(","):
        step, _, kept = archive.partition(":")
        points += seconds(kept) // seconds(step)
    return 12 * points


def seconds(text: str) -> int:
    """`10s`, `6h`, `1y` in seconds."""
    return int(text[:-1]) * SECONDS[text[-1]]
