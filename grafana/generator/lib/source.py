"""The two data sources that dashboards are made for. A page is written once, and built for each."""

from collections.abc import Callable
from typing import Concatenate, NamedTuple, ParamSpec, TypeAlias

from grafana_foundation_sdk.builders import prometheus, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models.prometheus import PromQueryFormat, QueryEditorMode

from beanwatch.grafana.generator.lib.query import Query

P = ParamSpec("P")
GridPanel: TypeAlias = stat.Panel | timeseries.Panel | table.Panel | statetimeline.Panel


class Source(NamedTuple):
    """A kind of data source, and what differs between the dashboards for it."""

    kind: str  # Grafana's name of the type
    every: str  # the value of a variable that selects all: a glob or a regular expression
    tag: str  # the dashboards with this tag link to each other
    uid_suffix: str = ""
    title_suffix: str = ""
    kept: tuple[str, ...] = ()  # URL parameters that every link to another dashboard passes on

    @property
    def reference(self) -> common.DataSourceRef:
        """The data source that the user chooses at the top of the page."""
        return common.DataSourceRef(type_val=self.kind, uid="${datasource}")

    def has(self, query: Query) -> bool:
        """Return True if this data source has the data of the query."""
        return bool(query.graphite if self is GRAPHITE else query.promql)

    def target(self, ref_id: str, query: Query, *, instant: bool = False) -> Builder[Dataquery]:
        """Build the query of a panel. `instant`: only the value of now is needed."""
        if self is GRAPHITE:
            fields = {"datasource": self.reference, "target": query.graphite, "textEditor": True}
            return _Target(OtherQuery(ref_id, **fields))
        made = prometheus.Dataquery().ref_id(ref_id).datasource(self.reference)
        made.expr(query.promql).legend_format(query.legend or "__auto")
        made.format(PromQueryFormat.TIME_SERIES).editor_mode(QueryEditorMode.CODE)
        return made.instant() if instant else made.range()

    def event(self, query: Query) -> Builder[Dataquery]:
        """Build the query of an annotation. Each point above zero makes a mark on every chart."""
        if self is GRAPHITE:
            fields = {"target": query.graphite, "textEditor": True, "fromAnnotations": True}
        else:
            rises = f"{query.promql} > 0"
            fields = {"expr": rises, "legendFormat": query.legend, "interval": "1m"}
        return _Target(OtherQuery("Anno", datasource=self.reference, **fields))

    def link(self, dashboard: str, *variables: str) -> str:
        """Return the address of a dashboard, with the variables as URL parameters."""
        return f"/d/{dashboard}{self.uid_suffix}?{'&'.join((*self.kept, *variables))}"


class OtherQuery(Dataquery):
    """A query that the SDK has no class for: one to Graphite, or that of an annotation."""

    def __init__(self, ref_id: str, **fields: object) -> None:
        self.ref_id = ref_id
        self.fields = fields

    def to_json(self) -> dict[str, object]:
        return {"refId": self.ref_id, **self.fields}


class _Target(Builder[Dataquery]):
    """The builder of a finished query, because the SDK's panels accept only builders."""

    def __init__(self, query: Dataquery) -> None:
        self._query = query

    def build(self) -> Dataquery:
        return self._query


KEPT = ("${__url_time_range}", "${datasource:queryparam}")
GRAPHITE = Source(
    "graphite",
    "*",
    "beanwatch",
    kept=(*KEPT, "${prefix:queryparam}", "${worker_prefix:queryparam}"),
)
PROMETHEUS = Source(
    "prometheus", ".*", "beanwatch-prometheus", "-prometheus", " (Prometheus)", KEPT
)

# A panel of a page. For a source that has none of its data, it makes None.
Panel: TypeAlias = Callable[[Source], GridPanel | None]


def for_each_source(
    make: Callable[Concatenate[Source, P], GridPanel | None],
) -> Callable[P, Panel]:
    """Turn a function that builds a panel for a source into one whose result does so."""

    def describe(*args: P.args, **kwargs: P.kwargs) -> Panel:
        return lambda source: make(source, *args, **kwargs)

    describe.__doc__ = make.__doc__
    return describe
