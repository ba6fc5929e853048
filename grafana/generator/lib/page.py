"""The parts that the four dashboards share: variables, links between them, annotations."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from grafana_foundation_sdk.builders.dashboard import (
    AnnotationQuery,
    Dashboard,
    DashboardLink,
    DatasourceVariable,
    QueryVariable,
    Row,
    TextBoxVariable,
)
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard

from beanwatch.grafana.generator.lib import runbook as runbook_links
from beanwatch.grafana.generator.lib.panels import help_link
from beanwatch.grafana.generator.lib.patterns import (
    ANY,
    SERVER,
    WORKER_HOST,
    WORKER_NAME,
    Patterns,
)
from beanwatch.grafana.generator.lib.query import Query, alias, increase, name_by, nonempty
from beanwatch.grafana.generator.lib.source import (
    GRAPHITE,
    GridPanel,
    Panel,
    Source,
)
from beanwatch.telemetry import series as paths

FLEET, QUEUE, WORKER, SERVER_PAGE = (
    "beanwatch-fleet",
    "beanwatch-queue",
    "beanwatch-worker",
    "beanwatch-server",
)
Made = Builder[dashboard.VariableModel]
Variable = Callable[[Source], Made]  # it is made for the source whose values it lists
COLUMNS = 24  # of Grafana's grid
EVENT_SPAN = "2m"  # in which a restart is looked for: two scrapes or more


class Section(NamedTuple):
    """A row of a dashboard: its title (empty for the first row) and its panels, left to right."""

    title: str
    panels: Sequence[Panel]


def page(
    source: Source,
    uid: str,
    title: str,
    description: str,
    variables: Iterable[Variable],
    sections: Iterable[Section],
    *,
    runbook: str,
) -> dashboard.Dashboard:
    """Build a dashboard. Panels are placed in their order, row after row.

    A panel that the source has no data for is left out, and the others of its row become wider.
    `runbook` is the runbook heading to which those panels link that name no heading themselves.
    """
    made = (
        Dashboard(title + source.title_suffix)
        .uid(uid + source.uid_suffix)
        .description(description)
        .tags([source.tag])
        .readonly()
        .time("now-1h", "now")
        .refresh("30s")
        .timezone("browser")
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .link(_others(source))
        .link(_runbook())
    )
    own = [variable(source) for variable in variables]
    for variable in (_datasource(source), *own, *_prefixes(source), _runbook_base()):
        made.with_variable(variable)
    for event in _events(source):
        made.annotation(event)
    for number, section in enumerate(sections):
        panels = [built for panel in section.panels if (built := panel(source))]
        if section.title and panels:
            made.with_row(Row(section.title).id(1000 + number))
        for panel in widen(panels):
            if not panel.build().links:
                panel.links([help_link(runbook)])
            made.with_panel(panel)
    return made.build()


def widen(panels: Sequence[GridPanel]) -> Iterator[GridPanel]:
    """Yield the panels, with those of each row made so wide that they fill it, and equally high."""
    row: list[GridPanel] = []
    for panel in panels:
        if sum(_size(one).w for one in row) + _size(panel).w > COLUMNS:
            yield from _fill(row)
            row = []
        row.append(panel)
    yield from _fill(row)


def _fill(row: Sequence[GridPanel]) -> Iterator[GridPanel]:
    sizes = [_size(panel) for panel in row]
    whole, end, done = sum(size.w for size in sizes), 0, 0
    for panel, size in zip(row, sizes, strict=True):
        end += size.w
        edge = round(end * COLUMNS / whole)
        yield panel.span(edge - done).height(max(one.h for one in sizes))
        done = edge


def _size(panel: GridPanel) -> dashboard.GridPos:
    place = panel.build().grid_pos
    return dashboard.GridPos(w=place.w, h=place.h) if place else dashboard.GridPos()


def choice(
    source: Source,
    name: str,
    label: str,
    description: str,
    query: Query,
    *,
    part: str = "",
    several: bool = True,
) -> QueryVariable:
    """Build a variable whose values are the nodes that match a pattern, or a label's values.

    `part` is the regular expression that takes the value from the label's. With `several`, the
    user may select several or all of them; without, exactly one.
    """
    variable = (
        QueryVariable(name)
        .label(label)
        .description(description)
        .datasource(source.reference)
        .query(query.graphite if source is GRAPHITE else query.promql)
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.NATURAL_ASC)
        .multi(several)
        .include_all(several)
    )
    if part and source is not GRAPHITE:
        variable.regex(part)
    if several:
        every = dashboard.VariableOption(selected=True, text="All", value="$__all")
        variable.all_value(source.every).current(every)
    return variable


def values_of(family: str, label: str, *matchers: str) -> str:
    """Return the query of a variable for the values of a label in Prometheus."""
    return f"label_values({Patterns.select(family, matchers)}, {label})"


def servers(source: Source) -> QueryVariable:
    """Build the variable `server`, with which the user selects servers. All are selected first."""
    return choice(
        source,
        "server",
        "Server",
        "The queue servers that the dashboard shows.",
        Query(
            paths.server("$prefix", "*", "up").rpartition(".")[0],
            values_of("server_up", "server"),
        ),
    )


def text(name: str, label: str, description: str, value: str) -> TextBoxVariable:
    """Build a variable that is a text box. `value` is its default."""
    only = dashboard.VariableOption(selected=True, text=value, value=value)
    variable = TextBoxVariable(name).label(label).description(description)
    return variable.default_value(value).current(only).options([only])


def _datasource(source: Source) -> DatasourceVariable:
    return DatasourceVariable("datasource").label("Data source").type(source.kind)


def _prefixes(source: Source) -> tuple[Made, ...]:
    if source is not GRAPHITE:
        return ()
    return (
        text("prefix", "Prefix", "The first nodes of the collector's series.", paths.PREFIX),
        text(
            "worker_prefix",
            "Prefix of workers",
            "The first nodes of the series that workers send. It is the same prefix if you use the"
            " shipped StatsD configuration, or no StatsD. It is"
            f" stats.*.{paths.PREFIX} if your StatsD adds prefixes of its own.",
            paths.PREFIX,
        ),
    )


def _runbook_base() -> Made:
    about = "The address of the runbook that the panels link to."
    variable = text("runbook", "Runbook", about, runbook_links.BASE)
    return variable.hide(dashboard.VariableHide.HIDE_VARIABLE)


def _others(source: Source) -> DashboardLink:
    return (
        DashboardLink("beanwatch")
        .type(dashboard.DashboardLinkType.DASHBOARDS)
        .tags([source.tag])
        .as_dropdown(False)
        .include_vars(True)
        .keep_time(True)
    )


def _runbook() -> DashboardLink:
    return (
        DashboardLink("Runbook")
        .type(dashboard.DashboardLinkType.LINK)
        .icon("doc")
        .tooltip("What each alert means, what to look at, how to fix it")
        .url("${runbook}")
        .target_blank(True)
    )


def _events(source: Source) -> Iterable[AnnotationQuery]:
    every = Patterns(servers=ANY)
    server = nonempty(increase(every.server("restarts"), EVENT_SPAN))
    deploy = nonempty(increase(every.all_workers("deploys")))
    worker = nonempty(increase(every.worker("restarts"), EVENT_SPAN))
    events = (
        ("Server restarts", "orange", name_by(server, SERVER)),
        ("Deploys", "blue", alias(deploy, "all workers were told to restart")),
        ("Worker restarts", "purple", name_by(worker, WORKER_HOST, WORKER_NAME)),
    )
    for name, color, query in events:
        if source.has(query):
            event = AnnotationQuery().name(name).datasource(source.reference).enable(True)
            yield event.hide(False).icon_color(color).target(source.event(query))
