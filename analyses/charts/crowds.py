"""More models than lines can be told apart: which form a chart then has, and the table that every form begins with.

`crowd` in a query's chart says how it is drawn of more than eight models: `some` is the form for up to 60, `many` for
more; `where` is a condition on the answer's rows; any other key takes the place of the chart's own, and "" removes it.
"""

from dataclasses import dataclass, replace
from typing import Any

import duckdb

from eigenhouse.analyses.answers.saved import SavedQuery
from eigenhouse.analyses.charts import groups
from eigenhouse.analyses.charts.groups import Groups
from eigenhouse.analyses.charts.pictures import Channels

FEW, SOME, MATRICES = 8, 60, 12  # the most models
ASK = "ask"  # what matrices have for a form: MODEL is asked for
WHO = ("model_id", "name", "panel", "label")  # columns that tell models apart
DEPTHS = ("layer", "anchor_layer", "bottleneck_layer", "from_layer", "distance", "k")
SETTINGS = ("some", "many", "where")
# the columns of `seen` that split a model's rows, and the channels that may say so, the first of them that does
SPLITS = {
    "panel_row": ("row",),
    "panel_column": ("column", "facet"),
    "shade": ("color",),
    "dash": ("strokeDash", "shape", "yOffset"),
}
MOST_VALUES = 6  # of a split


@dataclass(frozen=True)
class Split:
    """A column of `seen` with more values than one."""

    channel: str
    title: str
    values: list[str]  # in the order of the answer


@dataclass(frozen=True)
class Crowd:
    """An answer about many models as the table `seen`: a row of the answer, its columns named for their roles.

    `seen` has model, grp, grp_order, the splits (null where they split nothing), at, value and chance.
    """

    con: duckdb.DuckDBPyConnection
    chart: dict[str, Any]  # of the header, with `crowd` laid over it
    channels: Channels
    groups: Groups
    n_models: int
    value: str  # the axis of what was measured: x or y
    splits: dict[str, Split]
    notes: list[str]

    @property
    def at(self) -> dict[str, Any] | None:
        """The channel of the places that a model has values at; None where it has one value."""
        return _place(self.channels, self.value)

    @property
    def is_word(self) -> bool:
        return self.at is not None and self.at["type"] != "quantitative" and not self.is_depth

    @property
    def is_depth(self) -> bool:
        """Whether places are numbered in each model: layers, distances, ranks; a few k to choose from are words."""
        return (
            self.at is not None
            and self.at["field"] in DEPTHS
            and (self.at["field"], self.at["type"]) != ("k", "ordinal")
        )

    @property
    def who(self) -> str:
        """The channel that tells models apart."""
        names = ("facet", "row", "column", "color", "detail", "y")
        return next((name for name in names if self.channels.get(name, {}).get("field") in WHO), "color")


def form_of(query: SavedQuery, n_models: int) -> str:
    """few, or the form that the query's header has for so many models."""
    said = query.chart.get("crowd", {})
    few = MATRICES if said.get("some") == ASK else FEW
    return "few" if n_models <= few else str(said.get("some" if n_models <= SOME else "many", "few"))


def key(query: SavedQuery) -> str:
    """The column that counts models: a chart of revisions counts the names that have them."""
    return "name" if str(query.chart.get("color")).startswith("name:") else "model_id"


def where(query: SavedQuery) -> str:
    """The condition on the rows that a crowd is drawn of."""
    return str(query.chart.get("crowd", {}).get("where", "true"))


def overlaid(query: SavedQuery) -> SavedQuery:
    """The query with the chart that a crowd is drawn by."""
    laid = query.chart | {name: own for name, own in query.chart.get("crowd", {}).items() if name not in SETTINGS}
    return replace(query, chart={name: own for name, own in laid.items() if own != "" and name != "crowd"})


def _place(channels: Channels, value: str) -> dict[str, Any] | None:
    said = channels.get("y" if value == "x" else "x", {})
    return said if said.get("field") not in (None, *WHO) else None


def gathered(con: duckdb.DuckDBPyConnection, query: SavedQuery, channels: Channels, by: str | None) -> Crowd:
    """The crowd of the table `answer`; `channels` are those of the overlaid chart."""
    chart = overlaid(query).chart
    value = "x" if channels["y"]["type"] == "nominal" or channels["y"]["field"] in WHO else "y"
    place = (_place(channels, value) or {}).get("field")
    columns = {"place": place, "value": channels[value]["field"], "chance": _chance(chart, value)}
    named = {}
    for role, names in SPLITS.items():
        fits = [name for name in names if _splits(channels.get(name, {}), [place, *columns.values()])]
        if fits:
            named[role] = fits[0]
            columns[role] = channels[fits[0]]["field"]
    grouped = groups.make(con, by)
    _see(con, key(query), columns, where(query))
    splits, notes = _found(con, {role: (name, channels[name]["title"]) for role, name in named.items()})
    (n_models,) = con.execute("select count(distinct model) from seen").fetchone() or (0,)
    return Crowd(con, chart, channels, grouped, n_models, value, splits, notes)


def _splits(channel: dict[str, Any], others: list[str | None]) -> bool:
    return channel.get("type") == "nominal" and channel["field"] not in (*WHO, *others)


def _chance(chart: dict[str, Any], value: str) -> str | None:
    """The column of a further mark, or of a rule, on the value's axis."""
    named = [layer[value] for layer in chart.get("layers", []) if value in layer and f"{value}2" not in layer]
    named += [rule[value] for rule in chart.get("rules", []) if isinstance(rule.get(value), str)]
    return next(iter(named), None)


def _see(con: duckdb.DuckDBPyConnection, who: str, columns: dict[str, str | None], where: str) -> None:
    """The answer's columns by their roles; texts where they split."""
    roles = {role: columns.get(role) for role in (*SPLITS, "place", "value", "chance")}
    said = [
        f"{'null' if column is None else f'answer.{_quoted(column)}'}{'::varchar' if role in SPLITS else ''} as {role}"
        for role, column in roles.items()
    ]
    con.execute(
        f"create or replace temp table seen as select answer.{who} as model, groups.grp, groups.grp_order,"
        f" {', '.join(said)} from answer inner join groups on answer.model_id = groups.model_id where {where}"
    )
    con.execute("delete from seen where value is null")


def _quoted(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def _found(con: duckdb.DuckDBPyConnection, named: dict[str, tuple[str, str]]) -> tuple[dict[str, Split], list[str]]:
    """The splits that split something, by no more values than can be drawn; notes of what isn't."""
    splits, notes = {}, []
    for role, (channel, title) in named.items():
        con.execute(f"select {role}, count(distinct model), min(rowid) from seen where {role} is not null group by 1")
        found = sorted(con.fetchall(), key=lambda row: (-row[1], row[2]))
        kept = [value for value, *_ in sorted(found[:MOST_VALUES], key=lambda row: row[2])]
        if len(kept) > 1:
            splits[role] = Split(channel, title, kept)
            con.execute(f"delete from seen where {role} not in (select unnest($1::varchar[]))", [kept])
        else:
            con.execute(f"update seen set {role} = null")
            notes += [f"{title}: {value}" for value in kept]
        if len(found) > len(kept):
            notes.append(f"{title}: the {len(kept)} of {len(found)} that most models have.")
    return splits, list(dict.fromkeys(notes))
