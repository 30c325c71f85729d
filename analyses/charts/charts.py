"""A saved query as a chart: its answer, read the way that `chart` in its header says.

Keys of `chart`: `mark`, and Altair's channels, each a shorthand ("layer:O") or a table of the channel's own settings
with the shorthand among them. `x_title` and the like set a title; `rules = [{y = 1, label = "…"}]` are reference
lines, at a number or at the mean of a column within the facet (`y = "chance"`); `band = ["low", "high"]` are two
columns to shade between, along y; `layers = [{mark = "rule", x = "low", x2 = "high"}]` are further marks, drawn as the
first but for the columns that they name; `independent = ["x"]` gives every facet its own axis; `width`, `height` and
`columns` (of facets) are numbers.
"""

import difflib
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb

from eigenhouse.analyses.answers import asking, formats, saved
from eigenhouse.analyses.answers.saved import SavedQuery
from eigenhouse.analyses.charts import crowds, few, forms, limits, pictures
from eigenhouse.analyses.charts.limits import AsksForModel
from eigenhouse.analyses.charts.pictures import FACETS, SUFFIXES, Channels, Rows, Spec
from eigenhouse.errors import EigenhouseError

FOLDER = Path("charts")
COMPARED = (*FACETS, "shape", "strokeDash")
CHANNELS = (
    *COMPARED, "x", "y", "x2", "y2", "xOffset", "yOffset", "color", "size", "strokeWidth", "opacity", "detail", "order",
    "text", "tooltip",
)  # fmt: skip
SETTINGS = ("crowd", "mark", "band", "layers", "rules", "independent", "width", "height", "columns")
UNITS = {"nats": "nats", "bits": "bits", "deg": "degrees", "seconds": "s", "mb": "MB"}
MOST_MODELS = 20  # named in an error


class NothingToDraw(EigenhouseError):
    """The query's answer holds no point."""


def find(name: str) -> SavedQuery:
    """The saved query of that name; refuses one without a chart."""
    drawn = ", ".join(query.name for query in saved.every() if query.chart)
    if not name:
        raise EigenhouseError(f"wanted Q=<saved query>; these have a chart: {drawn}")
    query = saved.find(name)
    if not query.chart:
        raise EigenhouseError(f"the header of query {name} has no chart; these have one: {drawn}")
    return query


def targets(name: str, out: Path | None) -> list[Path]:
    """The one file that OUT names, or all three formats under charts/."""
    if out is None:
        return [FOLDER / f"{name}{suffix}" for suffix in SUFFIXES]
    if out.suffix.lower() not in SUFFIXES:
        raise EigenhouseError(f"OUT={out}: the name of a chart ends in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
    return [out]


def draw(con: duckdb.DuckDBPyConnection, query: SavedQuery, given: dict[str, Any]) -> Spec:
    """The chart of the query's answer; its models are coloured or set apart by what `by` names, if it is given.

    That is for the query itself where it takes it. Raises AsksForModel where the query draws models one by one, and
    they are too many.
    """
    by = None
    if "by" not in query.parameters:
        by, given = given.get("by"), {name: value for name, value in given.items() if name != "by"}
    want_worth_asking(con, query, given)
    asking.ask(con, query.sql, query.bind(given), keep=True)
    spec = drawn(con, query, by)
    if spec is None:
        raise NothingToDraw(f"query {query.name} has nothing to draw{_elsewhere(con, query, given)}")
    return spec


def want_worth_asking(con: duckdb.DuckDBPyConnection, query: SavedQuery, given: dict[str, Any]) -> None:
    """Raises AsksForModel where the answer would have too many models to be drawn, before it is asked for."""
    if crowds.ASK in query.chart.get("crowd", {}).values() and (n_chosen := _n_chosen(con, query, given)) > crowds.SOME:
        _want_drawn(query, n_chosen)


def answer(con: duckdb.DuckDBPyConnection, query: SavedQuery, given: dict[str, Any]) -> tuple[dict[str, str], Rows]:
    """Each column's type in a chart, and the rows, which stay as the table `answer` too."""
    asking.ask(con, query.sql, query.bind(given), keep=True)
    return _types(con), _rows(con)


def drawn(con: duckdb.DuckDBPyConnection, query: SavedQuery, by: str | None = None) -> Spec | None:
    """The chart of the table `answer`, in the form that fits the number of its models; None where it holds no point."""
    con.execute("from answer")
    types = _types(con)
    n_models = _n_answered(con, query, types)
    _want_drawn(query, n_models)
    form = crowds.form_of(query, n_models)
    if form in forms.FORMS:
        return _crowd(con, query, types, form, by)
    query, types = (query, types) if by is None else few.grouped(con, query, types, by)
    con.execute(f"from {'answer' if by is None else few.GROUPED}")
    return spec_of(query, types, _rows(con))


def _crowd(
    con: duckdb.DuckDBPyConnection, query: SavedQuery, types: dict[str, str], form: str, by: str | None
) -> Spec | None:
    crowd = crowds.gathered(con, query, _channels(crowds.overlaid(query), types), by)
    if not crowd.n_models:
        return None
    drawing = forms.FORMS[form](crowd)
    forms.rows_of(crowd, drawing)
    reading = f"{drawing.shown}. In a chart of few models: {query.reading}"
    return spec_of(replace(query, chart=drawing.chart, reading=reading), _types(con), _rows(con), crowd.notes)


def _n_chosen(con: duckdb.DuckDBPyConnection, query: SavedQuery, given: dict[str, Any]) -> int:
    model = given.get("model")
    if model is not None or "model" not in query.parameters:
        return len(model) if isinstance(model, list) else 1
    (n_models,) = con.execute("select count(*) from models").fetchone() or (0,)
    return int(n_models)


def _n_answered(con: duckdb.DuckDBPyConnection, query: SavedQuery, types: dict[str, str]) -> int:
    who = crowds.key(query)
    if who not in types:
        return 1
    (n_models,) = con.execute(f"select count(distinct {who}) from answer where {crowds.where(query)}").fetchone() or (
        0,
    )
    return int(n_models)


def _want_drawn(query: SavedQuery, n_models: int) -> None:
    """Refuse more models than the query draws, which draws them one by one."""
    if crowds.form_of(query, n_models) == crowds.ASK:
        most = crowds.MATRICES if query.chart["crowd"]["some"] == crowds.ASK else crowds.SOME
        raise AsksForModel(query.name, f"{most} at most, and there are {n_models:,}")


def _types(con: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """The type that each column of the last statement has in a chart."""
    return dict(zip(formats.names(con), (_type(str(column[1])) for column in con.description), strict=True))


def _rows(con: duckdb.DuckDBPyConnection) -> Rows:
    with asking.explained(con):
        return list(formats.records(con))


def spec_of(query: SavedQuery, types: dict[str, str], rows: Rows, more: Sequence[str] = ()) -> Spec | None:
    """The chart of these rows; None where they hold no point."""
    channels = _channels(query, types)
    rows, notes = _without_what_a_log_axis_lacks(channels, rows)
    fields = [channels[axis]["field"] for axis in ("x", "y") if "field" in channels.get(axis, {})]
    if not any(all(row[field] is not None for field in fields) for row in rows):
        return None
    channels, single = _without_single_values(channels, rows)
    fitted = _fitted(channels, rows)
    rows, thinned = limits.that_fit(query, fitted, rows)
    return pictures.picture(query, fitted, types, rows, [*single, *more, *notes, *thinned])


def spelled(value: Any) -> str:
    """A parameter's value as it is typed."""
    return ",".join(value) if isinstance(value, list) else str(value)


def axis_title(column: str) -> str:
    """A column's name as words, its unit in brackets: mean_entropy_nats → mean entropy (nats)."""
    words = column.removesuffix("_id").split("_")
    if words[0] == "n" and words[1:]:
        words[0] = "number of"
    if words[-1] in UNITS and words[:-1]:
        words[-1] = f"({UNITS[words[-1]]})"
    return " ".join(words)


# --- what was asked ---


def _type(duckdb_type: str) -> str:
    if re.fullmatch(r"U?\w*INT(EGER)?|FLOAT|DOUBLE|DECIMAL.*", duckdb_type):
        return "quantitative"
    return "temporal" if duckdb_type.startswith(("DATE", "TIMESTAMP")) else "nominal"


def _channels(query: SavedQuery, types: dict[str, str]) -> Channels:
    """Every channel of the header but the tooltip, as Altair's keywords."""
    titles = [f"{name}_title" for name in CHANNELS]
    for key in query.chart:
        if key not in (*CHANNELS, *SETTINGS, *titles):
            raise _refusal(query, f"key {key}", key, [*CHANNELS, *SETTINGS])
    levels = [rule[axis] for rule in query.chart.get("rules", []) for axis in ("x", "y") if axis in rule]
    named = [level for level in levels if isinstance(level, str)]
    named += [
        layer[name]
        for layer in query.chart.get("layers", [])
        for name in layer
        if name != "mark" and isinstance(layer[name], str)
    ]
    tooltip = [item["field"] if isinstance(item, dict) else item for item in query.chart.get("tooltip", [])]
    for column in [*tooltip, *query.chart.get("band", []), *named]:
        if column not in types:
            raise _refusal(query, f"column {column}", column, list(types))
    names = [name for name in query.chart if name in CHANNELS and name != "tooltip"]
    return {name: _channel(query, name, types) for name in names}


def _channel(query: SavedQuery, name: str, types: dict[str, str]) -> dict[str, Any]:
    from altair.utils import parse_shorthand

    said = query.chart[name]
    if name in ("x2", "y2") and isinstance(said, str):  # these take their type from x and y
        return {"field": said}
    own = dict(said) if isinstance(said, dict) else {"shorthand": said}
    channel = parse_shorthand(own.pop("shorthand", "")) | own
    if field := channel.get("field"):
        if field not in types:
            raise _refusal(query, f"column {field}", field, list(types))
        channel = {"type": types[field], "title": axis_title(field)} | channel
    title = query.chart.get(f"{name}_title")
    return channel | ({"title": title} if title else {})


def _refusal(query: SavedQuery, what: str, name: str, known: list[str]) -> EigenhouseError:
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
    return EigenhouseError(f"the chart of query {query.name} has an unknown {what}; {hint}")


def _elsewhere(con: duckdb.DuckDBPyConnection, query: SavedQuery, given: dict[str, Any]) -> str:
    """What was asked for, and the models whose answer is not empty."""
    asked = [f"{name.upper()}={spelled(value)}" for name, value in given.items()]
    models: list[str] = []
    if "model" in given:
        asking.ask(con, query.sql, query.bind({**given, "model": None}))
        models = list(dict.fromkeys(str(row.get("model_id")) for row in formats.records(con)))
    there = "there are rows for MODEL="
    if not models:
        models = [name for (name,) in con.execute("select model_id from models order by model_id").fetchall()]
        there = "the warehouse holds " if models else "the warehouse holds no model: `make ingest`"
    more = f" and {len(models) - MOST_MODELS} more (`make models`)" if len(models) > MOST_MODELS else ""
    return f"{' for ' if asked else ''}{' '.join(asked)}; {there}{', '.join(models[:MOST_MODELS])}{more}"


# --- what can be seen ---


def _log_fields(channels: Channels) -> dict[str, str]:
    """The axes with a logarithmic scale, and their columns."""
    scales = {axis: (channels.get(axis, {}).get("scale") or {}).get("type") for axis in ("x", "y")}
    return {axis: channels[axis]["field"] for axis, scale in scales.items() if scale == "log"}


def _without_what_a_log_axis_lacks(channels: Channels, rows: Rows) -> tuple[Rows, list[str]]:
    """The rows above 0 in every column on a logarithmic axis, and a note of how many are not."""
    fields = _log_fields(channels).values()
    kept = [row for row in rows if all(row[field] is None or row[field] > 0 for field in fields)]
    lost = f"{len(rows) - len(kept):,} of {len(rows):,} points"
    return kept, [f"{lost} are 0 or below, where a logarithmic axis has none."] if len(kept) < len(rows) else []


def _without_single_values(channels: Channels, rows: Rows) -> tuple[Channels, list[str]]:
    """Facets and shapes with a single value are not drawn; a note names the value."""
    single = {}
    for name in [name for name in COMPARED if "field" in channels.get(name, {})]:
        values = {str(row[channels[name]["field"]]) for row in rows}
        if len(values) == 1:
            single[name] = f"{channels[name]['title']}: {values.pop()}"
    kept = {name: channel for name, channel in channels.items() if name not in single}
    return kept, list(dict.fromkeys(single.values()))


def _fitted(channels: Channels, rows: Rows) -> Channels:
    """Logarithmic axes labelled at the powers of ten, names in the order of the rows, colours even about a middle."""
    fitted = dict(channels)
    scale = channels.get("color", {}).get("scale") or {}
    if "domainMid" in scale and "domain" not in scale:
        # Vega would stretch each side to its own end, so that a faint negative value looks as large as a great positive
        middle, field = scale["domainMid"], channels["color"]["field"]
        reach = max((abs(row[field] - middle) for row in rows if row[field] is not None), default=0) or 1
        even = {"domain": [middle - reach, middle + reach]}
        fitted["color"] = channels["color"] | {"scale": scale | even}
    for axis, field in _log_fields(channels).items():
        powers = [math.log10(row[field]) for row in rows if row[field] is not None]
        decades = [10.0**power for power in range(math.floor(min(powers)), math.ceil(max(powers)) + 1)]
        if len(decades) > 2:
            fitted[axis] = {"axis": {"values": decades, "format": "~g"}} | channels[axis]
    for name in [name for name in ("color", *COMPARED) if "field" in channels.get(name, {})]:
        if channels[name]["type"] == "nominal":
            fitted[name] = {"sort": list(dict.fromkeys(row[channels[name]["field"]] for row in rows))} | channels[name]
    return fitted
