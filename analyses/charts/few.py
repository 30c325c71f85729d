"""BY for a chart of few models: their colour where it is free or theirs, else a word before their names."""

from dataclasses import replace
from typing import Any

import duckdb

from eigenhouse.analyses.answers.saved import SavedQuery
from eigenhouse.analyses.charts import forms, groups
from eigenhouse.analyses.charts.crowds import WHO

GROUPED = "answer_by_group"


def grouped(
    con: duckdb.DuckDBPyConnection, query: SavedQuery, types: dict[str, str], by: str
) -> tuple[SavedQuery, dict[str, str]]:
    """The query with a chart of the table GROUPED: `answer` in the order of the groups, with their names as `grp`."""
    found = groups.make(con, by)
    who = _who(query.chart)
    is_free = "color" not in query.chart or who.get("color") is not None
    renamed = "" if is_free else _renamed(set(who.values()) & types.keys())
    con.execute(
        f"create or replace temp table {GROUPED} as select answer.* {renamed}, groups.grp from answer"
        " inner join groups on answer.model_id = groups.model_id order by groups.grp_order, answer.rowid"
    )
    chart = query.chart
    if is_free:
        lines = {"detail": f"{who['color']}:N"} if "color" in who and "detail" not in chart else {}
        chart = chart | lines | {"color": forms.group_channel(found)}
    title = f"{query.reading} Models are by {found.title}."
    return replace(query, chart=chart, reading=title), types | {"grp": "nominal"}


def _who(chart: dict[str, Any]) -> dict[str, str]:
    """The channels that tell models apart, and their columns."""
    said = {
        name: own["shorthand"] if isinstance(own, dict) and "shorthand" in own else own for name, own in chart.items()
    }
    columns = {name: own.split(":")[0] for name, own in said.items() if isinstance(own, str)}
    return {name: column for name, column in columns.items() if column in WHO}


def _renamed(columns: set[str]) -> str:
    said = [f"groups.grp || ' · ' || answer.{column} as {column}" for column in sorted(columns)]
    return f"replace ({', '.join(said)})" if said else ""
