"""The parts that the four dashboards share: variables, links between them, annotations."""

from collections.abc import Iterable, Sequence
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
from beanwatch.grafana.generator.lib.graphite import alias, increase, name_by, nonempty
from beanwatch.grafana.generator.lib.panels import DATASOURCE, Panel, Query, Target, help_link
from beanwatch.grafana.generator.lib.patterns import (
    ANY,
    SERVER,
    WORKER_HOST,
    WORKER_NAME,
    Patterns,
)
from beanwatch.telemetry import series as paths

TAG = "beanwatch"
FLEET, QUEUE, WORKER, SERVER_PAGE = (
    "beanwatch-fleet",
    "beanwatch-queue",
    "beanwatch-worker",
    "beanwatch-server",
)
# URL parameters that every link to another dashboard passes on.
KEPT_VARIABLES = (
    "${__url_time_range}&${datasource:queryparam}&${prefix:queryparam}&${worker_prefix:queryparam}"
)

Variable = Builder[dashboard.VariableModel]


class Section(NamedTuple):
    """A row of a dashboard: its title (empty for the first row) and its panels, left to right."""

    title: str
    panels: Sequence[Panel]


class Event(Query):
    """The query of an annotation. Each point that is not zero makes a mark on every chart."""

    def to_json(self) -> dict[str, object]:
        return {**super().to_json(), "fromAnnotations": True, "textEditor": True}


class _Event(Target):
    def __init__(self, target: str) -> None:
        self._query = Event("Anno", target)


def page(
    uid: str,
    title: str,
    description: str,
    variables: Iterable[Variable],
    sections: Iterable[Section],
    *,
    runbook: str,
) -> dashboard.Dashboard:
    """Build a dashboard. Panels are placed in their order, row after row.

    `runbook` is the runbook heading to which those panels link that name no heading themselves.
    """
    made = (
        Dashboard(title)
        .uid(uid)
        .description(description)
        .tags([TAG])
        .readonly()
        .time("now-1h", "now")
        .refresh("30s")
        .timezone("browser")
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .link(_others())
        .link(_runbook())
    )
    for variable in (_datasource(), *variables, *_prefixes(), _runbook_base()):
        made.with_variable(variable)
    for event in _events():
        made.annotation(event)
    for number, section in enumerate(sections):
        if section.title:
            made.with_row(Row(section.title).id(1000 + number))
        for panel in section.panels:
            if not panel.build().links:
                panel.links([help_link(runbook)])
            made.with_panel(panel)
    return made.build()


def choice(
    name: str, label: str, description: str, query: str, *, several: bool = True
) -> QueryVariable:
    """Build a variable whose values are the nodes that match `query`, a Graphite pattern.

    With `several`, the user may select several or all of them; without, exactly one.
    """
    variable = (
        QueryVariable(name)
        .label(label)
        .description(description)
        .datasource(DATASOURCE)
        .query(query)
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.NATURAL_ASC)
        .multi(several)
        .include_all(several)
    )
    if several:
        every = dashboard.VariableOption(selected=True, text="All", value="$__all")
        variable.all_value("*").current(every)
    return variable


def servers() -> QueryVariable:
    """Build the variable `server`, with which the user selects servers. All are selected first."""
    return choice(
        "server",
        "Server",
        "The queue servers that the dashboard shows.",
        paths.server("$prefix", "*", "up").rpartition(".")[0],
    )


def text(name: str, label: str, description: str, value: str) -> TextBoxVariable:
    """Build a variable that is a text box. `value` is its default."""
    only = dashboard.VariableOption(selected=True, text=value, value=value)
    variable = TextBoxVariable(name).label(label).description(description)
    return variable.default_value(value).current(only).options([only])


def _datasource() -> DatasourceVariable:
    return DatasourceVariable("datasource").label("Data source").type("graphite")


def _prefixes() -> tuple[Variable, ...]:
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


def _runbook_base() -> Variable:
    about = "The address of the runbook that the panels link to."
    variable = text("runbook", "Runbook", about, runbook_links.BASE)
    return variable.hide(dashboard.VariableHide.HIDE_VARIABLE)


def _others() -> DashboardLink:
    return (
        DashboardLink("beanwatch")
        .type(dashboard.DashboardLinkType.DASHBOARDS)
        .tags([TAG])
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


def _events() -> Iterable[AnnotationQuery]:
    every = Patterns(servers=ANY)
    server = nonempty(increase(every.server("restarts")))
    yield _event("Server restarts", "orange", name_by(server, SERVER))
    deploy = nonempty(increase(every.all_workers("deploys")))
    yield _event("Deploys", "blue", alias(deploy, "all workers were told to restart"))
    worker = nonempty(increase(every.worker("restarts")))
    yield _event("Worker restarts", "purple", name_by(worker, WORKER_HOST, WORKER_NAME))


def _event(name: str, color: str, query: str) -> AnnotationQuery:
    event = AnnotationQuery().name(name).datasource(DATASOURCE).enable(True).hide(False)
    return event.icon_color(color).target(_Event(query))
