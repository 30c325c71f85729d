"""The warehouse in a notebook: answers as polars frames, saved queries as Altair charts.

house = eigenhouse.connect("warehouse.duckdb")
house.queries()                                             # what can be asked
house.query("effective_rank_by_layer", model="gpt2")        # its rows
house.chart("effective_rank_by_layer", model="gpt2")        # its chart
house.sql("from head_descriptors where model_id = $model", model="gpt2")
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import altair as alt
import polars as pl
import pyarrow as pa

from eigenhouse.analyses.answers import apart, asking, saved
from eigenhouse.analyses.answers.question import ARROW, Question
from eigenhouse.analyses.charts import charts as drawing
from eigenhouse.ingest.warehouse import backend, store


class House:
    """A warehouse to ask. Its file is open only while a question runs, so that an ingest can load in between.

    A mistake raises EigenhouseError, with the names nearby, as the command line would say it.
    """

    def __init__(self, warehouse: str | os.PathLike[str]) -> None:
        self.warehouse = backend.wherever(Path(warehouse))
        store.connect(self.warehouse, read_only=True).close()  # refuses what is no warehouse

    def __repr__(self) -> str:
        return f"eigenhouse.connect({str(self.warehouse)!r})"

    def sql(self, sql: str, **parameters: Any) -> pl.DataFrame:
        """The rows of a question; `$model` in it is filled by model=…, `$models` is the list of those that it means."""
        given = {name.lower(): value for name, value in parameters.items()}
        return self._frame(sql, given, is_own=True)

    def query(self, name: str, **parameters: Any) -> pl.DataFrame:
        """The rows of a saved query; a parameter that is left out, or None, has the query's own default.

        model: as MODEL on the command line (`"org/*"`), or a list of such.
        """
        known = saved.find(name)
        return self._frame(known.sql, known.bind(_given(parameters)))

    def chart(self, name: str, **parameters: Any) -> alt.TopLevelMixin:
        """The chart of a saved query, as `eigenhouse chart` draws it; by: what models are grouped by, as with BY."""
        known = drawing.find(name)
        with store.reading(self.warehouse) as con:
            spec = drawing.draw(con, known, asking.with_models(con, _given(parameters)))
        kind = alt.FacetChart if "facet" in spec else alt.LayerChart
        return kind.from_dict(spec, validate=False)  # it was made by Altair; checking 20,000 rows again takes seconds

    def queries(self) -> pl.DataFrame:
        """Every saved query, theme by theme: what it shows, and the parameters that it takes."""
        rows = [
            {
                "name": query.name,
                "title": query.title,
                "theme": query.theme,
                "parameters": ", ".join(
                    name if default is None else f"{name}={default!r}" for name, default in query.parameters.items()
                ),
                "reading": query.reading,
                "has_chart": bool(query.chart),
            }
            for query in saved.every()
        ]
        return pl.DataFrame(rows)

    def models(self) -> pl.DataFrame:
        """The models, their worst conformance error, and what of them is doubted or stale."""
        return self.query("models")

    def _frame(self, sql: str, parameters: dict[str, Any], is_own: bool = False) -> pl.DataFrame:
        """Every row, each column in DuckDB's own type, or as text where polars has none like it.

        Asked in a process of its own, as on the command line: a notebook outlives whatever becomes of that.
        """
        warehouse = str(self.warehouse)
        asked = Question(warehouse=warehouse, sql=sql, parameters=parameters, form=ARROW, is_own=is_own)
        answer = b"".join(apart.parts(asked, apart.SECONDS))
        rows = pa.ipc.open_stream(answer).read_all()
        huge = [column.name for column in rows.schema if column.metadata]
        frame = pl.from_arrow(rows)
        assert isinstance(frame, pl.DataFrame)
        return frame.cast(dict.fromkeys(huge, pl.Int128))  # sum() of integers is one; Arrow makes it a decimal


def _given(parameters: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if value is not None}
