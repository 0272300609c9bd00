"""What our dashboards are made of: boards with rows of panels, written as data, and how Grafana's JSON comes of them.

An expression is PromQL with two short forms in its selectors: ``{worker`` stands for the job and the instances that are
chosen, ``{group`` for the job alone, as what the exporter tells is the whole group's and not an instance's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Final, Literal

from grafana_foundation_sdk.builders import bargauge, common, dashboard, heatmap, prometheus, stat, timeseries
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

Kind = Literal["line", "stat", "bars", "heatmap"]
Step = tuple[float | None, str]
"""From which value on, which colour; the first one has None."""

TAG: Final = "sluice"
SOURCE: Final = common_models.DataSourceRef(type_val="prometheus", uid="${datasource}")
SELECTORS: Final = {
    "{worker": '{job=~"$job", instance=~"$instance"',
    "{group": '{job=~"$job"',
}
WIDTH: Final = 24
"""Columns of Grafana's grid."""


@dataclass(frozen=True, slots=True)
class Query:
    """One line or several of a panel.

    Attributes:
        expr: PromQL with the short forms.
        legend: Grafana's format of the name, such as ``{{topic}}``.
    """

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel.

    Attributes:
        title: what it shows.
        description: what a reader should make of it.
        unit: Grafana's name of the unit.
        queries: what is drawn.
        kind: a line chart, a number, bars, or a heatmap of a histogram's buckets.
        width: columns of ``WIDTH``.
        steps: colours from values on; of a line chart a line is drawn where the last one begins.
        stacked: whether the lines add up.
        top: the largest value there can be.
    """

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    kind: Kind = "line"
    width: int = 8
    steps: tuple[Step, ...] = ()
    stacked: bool = False
    top: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under a heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Variable:
    """What a reader chooses, one or several or all.

    Attributes:
        name: by which queries call it.
        label: what the reader sees.
        metric: its label's values are offered, with the short forms.
    """

    name: str
    label: str
    metric: str


JOB: Final = Variable("job", "Job", "sluice_broker_reachable")
INSTANCE: Final = Variable("instance", "Instance", "sluice_broker_reachable{group}")
TOPIC: Final = Variable("topic", "Topic", "sluice_events_processed_total{worker}")
TABLE: Final = Variable("table", "Table", "sluice_table_keys{worker}")


@dataclass(frozen=True, slots=True)
class Board:
    """One dashboard.

    Attributes:
        name: of its file; its uid is made of it.
        title: as people find it.
        description: whom it is for and what it answers.
        rows: from the top.
        variables: beside job and instance.
    """

    name: str
    title: str
    description: str
    rows: tuple[Row, ...]
    variables: tuple[Variable, ...] = ()


ANNOTATIONS: Final = (
    ("Rebalances", "orange", "changes(sluice_rebalances_total{worker}[$__rate_interval]) > 0"),
    ("Starts", "blue", "changes(process_start_time_seconds{worker}[$__rate_interval]) > 0"),
    ("Restarts of itself", "red", "increase(sluice_restarts_total{worker}[$__rate_interval]) > 0"),
)
"""Name, colour and expression of what is marked in every chart."""


def line(title: str, description: str, unit: str, *queries: Query, **more: Any) -> Panel:
    """Return a line chart."""
    return Panel(title, description, unit, queries, **more)


def number(title: str, description: str, unit: str, expr: str, *steps: Step, **more: Any) -> Panel:
    """Return a panel that shows one number, or one for each ``legend``."""
    return Panel(
        title,
        description,
        unit,
        (Query(expr, more.pop("legend", "")),),
        "stat",
        steps=steps,
        **{"width": 4} | more,
    )


def bars(title: str, description: str, unit: str, query: Query, **more: Any) -> Panel:
    """Return bars of the values as they are now."""
    return Panel(title, description, unit, (query,), "bars", **more)


def rate(metric: str, by: str, selector: str = "{worker}") -> Query:
    """Return how fast a counter grows, by a label or several."""
    return Query(
        f"sum by ({by}) (rate({metric}{selector}[$__rate_interval]))",
        " ".join(f"{{{{{label.strip()}}}}}" for label in by.split(",")),
    )


def quantiles(metric: str, selector: str = "{worker}") -> tuple[Query, ...]:
    """Return the median, P95 and P99 of a histogram."""
    buckets = f"sum by (le) (rate({metric}_bucket{selector}[$__rate_interval]))"
    return tuple(Query(f"histogram_quantile({q}, {buckets})", name) for q, name in QUANTILES)


QUANTILES: Final = ((0.5, "median"), (0.95, "P95"), (0.99, "P99"))


def expand(expr: str) -> str:
    """Return an expression without the short forms."""
    for short, long in SELECTORS.items():
        expr = expr.replace(short, long)
    return expr


def built(board: Board) -> models.Dashboard:
    """Return a board as Grafana has it."""
    made = (
        dashboard.Dashboard(board.title)
        .uid(f"{TAG}-{board.name}")
        .description(board.description)
        .tags([TAG])
        .readonly()
        .timezone("browser")
        .refresh("10s")
        .time("now-1h", "now")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .link(_links())
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data Source").type("prometheus"))
    )
    for variable in (JOB, INSTANCE, *board.variables):
        made.with_variable(_variable(variable))
    for name, colour, expr in ANNOTATIONS:
        made.annotation(_annotation(name, colour, expr))
    ids = count(1)
    for row in board.rows:
        made.with_row(dashboard.Row(row.title).id(next(ids)))
        for panel in row.panels:
            made.with_panel(_panel(panel).id(next(ids)))
    return made.build()


def _links() -> dashboard.DashboardLink:
    link = dashboard.DashboardLink("Sluice").type(models.DashboardLinkType.DASHBOARDS).tags([TAG])
    return link.as_dropdown(True).include_vars(True).keep_time(True)


def _variable(variable: Variable) -> dashboard.QueryVariable:
    query = f"label_values({expand(variable.metric)}, {variable.name})"
    return (
        dashboard.QueryVariable(variable.name)
        .label(variable.label)
        .datasource(SOURCE)
        .query({"query": query, "refId": variable.name})
        .definition(query)
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".+")
        .current(models.VariableOption(selected=True, text="All", value="$__all"))
    )


def _annotation(name: str, colour: str, expr: str) -> dashboard.AnnotationQuery:
    made = dashboard.AnnotationQuery().name(name).datasource(SOURCE).enable(True).icon_color(colour)
    return made.expr(expand(expr)).title_format(name).text_format("{{instance}}").step("10s")


def _panel(panel: Panel) -> Any:
    made = BUILDERS[panel.kind](panel)
    made.title(panel.title).description(panel.description).unit(panel.unit).datasource(SOURCE)
    made.span(panel.width).height(HEIGHTS[panel.kind])
    if panel.steps:
        steps = [models.Threshold(value=value, color=colour) for value, colour in panel.steps]
        made.thresholds(dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps))
    if panel.top is not None:
        made.max(panel.top)
    return made.targets([_target(panel, number, query) for number, query in enumerate(panel.queries)])


def _target(panel: Panel, number: int, query: Query) -> prometheus.Dataquery:
    made = prometheus.Dataquery().expr(expand(query.expr)).ref_id(chr(ord("A") + number)).datasource(SOURCE)
    if query.legend:
        made.legend_format(query.legend)
    if panel.kind == "heatmap":
        made.format(PromQueryFormat.HEATMAP)
    return made.instant() if panel.kind == "bars" else made.range()


def _line(panel: Panel) -> Any:
    made = timeseries.Panel().fill_opacity(25 if panel.stacked else 8).line_width(1).min(0)
    made.show_points(common_models.VisibilityMode.NEVER)
    made.tooltip(common.VizTooltipOptions().mode(common_models.TooltipDisplayMode.MULTI))
    made.legend(common.VizLegendOptions().show_legend(True).placement(common_models.LegendPlacement.BOTTOM))
    if panel.stacked:
        made.stacking(common.StackingConfig().mode(common_models.StackingMode.NORMAL))
    if panel.steps:
        made.thresholds_style(
            common.GraphThresholdsStyleConfig().mode(common_models.GraphThresholdsStyleMode.LINE)
        )
    return made


def _stat(panel: Panel) -> Any:
    made = (
        stat.Panel().reduce_options(_last()).graph_mode(common_models.BigValueGraphMode.AREA).no_value("none")
    )
    mode = common_models.BigValueColorMode
    return made.color_mode(mode.VALUE if panel.steps else mode.NONE)


def _bars(panel: Panel) -> Any:
    made = bargauge.Panel().reduce_options(_last()).display_mode(common_models.BarGaugeDisplayMode.BASIC)
    return made.orientation(common_models.VizOrientation.HORIZONTAL).min(0)


def _heatmap(panel: Panel) -> Any:
    return heatmap.Panel().calculate(False).y_axis(heatmap.YAxisConfig().unit(panel.unit))


def _last() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().calcs(["lastNotNull"])


BUILDERS: Final = {"line": _line, "stat": _stat, "bars": _bars, "heatmap": _heatmap}
HEIGHTS: Final = {"line": 8, "stat": 4, "bars": 8, "heatmap": 8}


def panels(boards: Sequence[Board]) -> list[tuple[str, Panel]]:
    """Return every panel with the name of its board."""
    return [(board.name, panel) for board in boards for row in board.rows for panel in row.panels]
