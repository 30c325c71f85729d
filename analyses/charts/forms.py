"""The forms of a crowd: each is a chart as a header would say it, its rows in SQL, and a sentence of what is shown.

A form has as many rows as marks, however many its answer had: what is beyond them is summed up in sql/charts/.
"""

import itertools
import json
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from eigenhouse.analyses.charts import depths
from eigenhouse.analyses.charts.crowds import Crowd
from eigenhouse.analyses.charts.depths import Axis
from eigenhouse.analyses.charts.groups import OTHERS, UNKNOWN, Groups
from eigenhouse.analyses.charts.pictures import FACETS, GREY, OKABE_ITO
from eigenhouse.ingest.warehouse import sqlfiles

MOST_TITLE = 250  # pixels of a panel that a long title of an axis fits below
WIDE = 860  # pixels of all panels together
ROW = 11  # pixels of a model's row
ALONE, TOGETHER = 38, 15  # pixels of a group's row, by itself or among those of one word
LETTER = 6  # pixels of a panel's title
PALE = {OTHERS: "#999999", UNKNOWN: "#bbbbbb"}


@dataclass(frozen=True)
class Drawing:
    """What a form draws: a chart, and the file of sql/charts/ that its rows come from."""

    chart: dict[str, Any]
    sql: str
    shown: str
    parameters: dict[str, Any] = field(default_factory=dict)


def cells(crowd: Crowd) -> Drawing:
    """A heat map with a row a model: along x its layers, or words; a panel for each further split."""
    panel, width = _panel(crowd, [*crowd.splits], most=300)
    chart = {"mark": "rect", **_rows_of_models(crowd), **panel, "width": width}
    value = {name: said for name, said in crowd.channels[crowd.value].items() if name in ("title", "scale")}
    chart["color"] = value | _of("value", scale=_shades(crowd))
    said = f"{_models(crowd)}, a row each"
    if crowd.at and crowd.is_word:
        chart |= {
            "x": _of(
                "place", "nominal", title="", sort=crowd.at.get("sort"), axis={"labelAngle": -40, "labelOverlap": False}
            ),
            "tooltip": _tooltip(crowd, "model", "grp", "panel", "place", "value"),
        }
        _lines(crowd, None)
        return Drawing(chart, "cells_of_words", said)
    axis = depths.of(crowd)
    title = {"title": axis.channel["title"].split(" (")[0].split(",")[0]} if width < MOST_TITLE else {}
    chart |= {"x": axis.channel | _of("from_place") | title, "x2": "to_place"}
    chart["tooltip"] = _tooltip(crowd, "model", "grp", "panel", "layers", "value")
    _lines(crowd, None)
    n_cells = depths.STEPS if axis.is_share else axis.n_places
    return Drawing(chart, "cells", said, {"is_share": axis.is_share, "n_cells": n_cells})


def intervals(crowd: Crowd) -> Drawing:
    """A row a model: its mean, the middle half of what it is the mean of, and chance."""
    panel, width = _panel(crowd, [role for role in crowd.splits if crowd.is_word or role != "shade"], most=420)
    chart = {"mark": {"type": "point", "filled": True, "size": 24, "opacity": 1}, **_rows_of_models(crowd), **panel}
    chart |= {"x": _measured(crowd, width), "width": width}
    if crowd.is_word and crowd.at:
        chart["color"] = _of("shade", "nominal", title=crowd.at["title"])
    elif split := crowd.splits.get("shade"):
        chart["color"] = _of("shade", "nominal", title=split.title, sort=split.values)
    chart["layers"] = [_bar(2, 0.5, "low", "high"), *_chance(crowd, "x")]
    chart["tooltip"] = _tooltip(crowd, "model", "grp", "panel", "shade", "low", "value", "high", "chance", "n_rows")
    said = f"{_models(crowd)}, a row each: the mean of a model's rows, and their middle half"
    return Drawing(_with_rules(chart, crowd), "intervals", said, {"is_word": crowd.is_word})


def bands(crowd: Crowd) -> Drawing:
    """Along the place the median and the middle half of each group's models, and the outermost models by name."""
    axis, in_panels = depths.of(crowd), crowd.who in FACETS
    _lines(crowd, axis)
    chart: dict[str, Any] = {
        "mark": "line",
        "band": ["low", "high"],
        "x": axis.channel | _of("place", axis.channel["type"]),
    }
    chart["y"] = crowd.channels["y"] | _of("value")
    for role, split in crowd.splits.items():
        chart[split.channel] = (
            crowd.channels[split.channel] | _of(role, "nominal", sort=split.values) | _trimmed(crowd, role)
        )
        if role == "dash" and split.channel != "strokeDash":
            chart["strokeDash"] = chart.pop(split.channel)
    role = crowd.who if in_panels else "color"
    chart[role] = _group(crowd, is_colour=role == "color")
    chart["independent"] = [axis for axis in crowd.chart.get("independent", []) if axis != "x"]
    if in_panels:
        chart |= {"width": 300 if role == "row" else 200, "height": 120, "columns": 4}
    chart["layers"] = [*_chance(crowd, "y"), *_outermost_lines(crowd, 200 if in_panels else 400)]
    chart["tooltip"] = _tooltip(crowd, "grp", *crowd.splits, "place", "n_models", "low", "value", "high")
    said = f"Median and middle half of {_models(crowd)}{axis.said}; thin: the outermost models"
    dash = crowd.splits["dash"].values[0] if "dash" in crowd.splits else None
    return Drawing(_with_rules(chart, crowd), "bands", said, {"in_panels": in_panels, "dash": dash})


def distribution(crowd: Crowd) -> Drawing:
    """Median, middle half and nine tenths of each group's models, and the outermost models by name."""
    panel, width = _panel(crowd, [*crowd.splits], most=460)
    chart = {"mark": {"type": "point", "filled": True, "size": 34, "opacity": 1}, **panel, "width": width}
    chart |= {"x": _measured(crowd, width), "color": _group(crowd, is_colour=True)}
    chart["y"] = _of("row_name", "nominal", title="", sort=None, axis={"labelLimit": 200}, scale={"paddingOuter": 0.45})
    step = ALONE
    if crowd.is_word and crowd.at:
        chart["y"] |= {"sort": crowd.at.get("sort", None)}
        chart["yOffset"] = _of("grp", "nominal", sort=crowd.groups.names)
        step = TOGETHER
    chart["height"] = {"step": step}
    chart["layers"] = [
        _bar(1, 1, "least", "most"),
        _bar(5, 0.4, "low", "high"),
        *_chance(crowd, "x"),
        *_outermost_points(crowd, width),
    ]
    chart["tooltip"] = _tooltip(crowd, "grp", "panel", "row_name", "n_models", "least", "low", "value", "high", "most")
    said = f"{_models(crowd)}: a point is the median, a bar the middle half, a line nine tenths"
    return Drawing(
        _with_rules(chart, crowd), "distribution", f"{said}; named: the outermost models", {"is_word": crowd.is_word}
    )


def scatter(crowd: Crowd) -> Drawing:
    """A point a model: the medians of its rows along x and y; the outermost models by name."""
    chart: dict[str, Any] = {name: crowd.chart[name] for name in ("columns", "independent") if name in crowd.chart}
    chart["mark"] = {"type": "point", "filled": True, "size": 26, "opacity": 0.75}
    for role, split in crowd.splits.items():
        if role != "shade":
            chart[split.channel] = crowd.channels[split.channel] | _of(role, "nominal", sort=split.values)
    chart |= {"x": crowd.channels["x"] | _of("place"), "y": crowd.channels["y"] | _of("value")}
    chart["color"] = _group(crowd, is_colour=True)
    sides = (("left_name", "left", 2), ("right_name", "right", -2))
    away = {"expr": "datum.is_upper ? -9 : 11"}  # from where the other points are
    chart["layers"] = [_name({"align": align, "dx": dx, "dy": away}, text) for text, align, dx in sides]
    chart["tooltip"] = _tooltip(
        crowd, "model", "grp", *(role for role in crowd.splits if role != "shade"), "place", "value", "n_rows"
    )
    said = f"{_models(crowd)}, a point each: the medians of a model's rows"
    return Drawing(_with_rules(chart, crowd), "scatter", f"{said}; named: the outermost models")


FORMS: dict[str, Callable[[Crowd], Drawing]] = {
    one.__name__: one for one in (cells, intervals, bands, distribution, scatter)
}


# --- what forms share ---


def _models(crowd: Crowd) -> str:
    return f"{crowd.n_models:,} models, by {crowd.groups.title}"


def rows_of(crowd: Crowd, drawing: Drawing) -> None:
    """Ask for the rows of a drawing; they are left in the connection, and in the table `drawn`."""
    crowd.con.execute(
        f"create or replace temp table drawn as {sqlfiles.statement(f'charts/{drawing.sql}')}", drawing.parameters
    )
    crowd.con.execute("from drawn")


def _lines(crowd: Crowd, axis: Axis | None) -> None:
    """The table `lines`; at places that models share where an axis has such."""
    crowd.con.execute(sqlfiles.statement("charts/lines"))
    if axis and axis.is_share:
        crowd.con.execute(sqlfiles.statement("charts/lines_at_places"), {"n_places": axis.n_places})


def _of(column: str, kind: str = "quantitative", **settings: Any) -> dict[str, Any]:
    return {"field": column, "type": kind, **settings}


def _measured(crowd: Crowd, width: int) -> dict[str, Any]:
    """The axis of the values along x, its title in lines as wide as a panel."""
    said = crowd.channels[crowd.value]
    return said | _of("value", title=textwrap.wrap(said["title"], width // LETTER))


def _rows_of_models(crowd: Crowd) -> dict[str, Any]:
    """A row a model, group by group, below its group's name in bold."""
    crowd.con.execute(
        "select grp, list(distinct model order by model) from seen group by grp, grp_order order by grp_order"
    )
    under = {f"{group} ({len(models)})": models for group, models in crowd.con.fetchall()}
    rows = [name for head, models in under.items() for name in (head, *models)]
    is_head = f"indexof({json.dumps([*under])}, datum.label) >= 0"
    weight = {"condition": {"test": is_head, "value": "bold"}, "value": "normal"}
    axis = {"labelFontSize": 9, "labelLimit": 210, "ticks": False, "domain": False, "labelFontWeight": weight}
    return {"y": _of("model", "nominal", scale={"domain": rows}, title="", axis=axis), "height": {"step": ROW}}


def _panel(crowd: Crowd, roles: list[str], *, most: int) -> tuple[dict[str, Any], int]:
    """A panel for every value that these splits have together, and how wide each is."""
    splits = [crowd.splits[role] for role in roles]
    if not splits:
        return {}, most
    names = [" · ".join(values) for values in itertools.product(*(split.values for split in splits))]
    width = max(64, min(most, WIDE // len(names)))
    lines = {
        name: [
            line for part in name.split(" · ") for line in textwrap.wrap(part, width // LETTER, break_long_words=False)
        ]
        for name in names
    }
    header = {"labelExpr": f"({json.dumps(lines)})[datum.label]", "labelFontSize": 10, "labelLimit": width + 20}
    return {"column": _of("panel", "nominal", sort=names, header=header)}, width


def _shades(crowd: Crowd) -> dict[str, Any]:
    """A ramp, or two about 0 where values are on both sides of it; logarithmic where the header's axis is."""
    said = crowd.channels[crowd.value].get("scale") or {}
    if said.get("type") == "log":
        return {"type": "log", "scheme": "viridis"}
    (low, high) = crowd.con.execute("select min(value), max(value) from seen").fetchone() or (0, 0)
    has_sides = low is not None and low < 0 < high
    return {"scheme": "blueorange", "domainMid": 0} if has_sides else {"scheme": "viridis", "zero": False}


def _group(crowd: Crowd, *, is_colour: bool) -> dict[str, Any]:
    own = group_channel(crowd.groups)
    return own if is_colour else {name: said for name, said in own.items() if name != "scale"} | {"type": "nominal"}


def group_channel(groups: Groups) -> dict[str, Any]:
    """Colours that can be told apart, grey for what is no group; a ramp where groups are of numbers."""
    names = groups.names
    channel = _of("grp", "nominal", title=groups.title, sort=names)
    if groups.is_ordered:
        return channel | {"type": "ordinal", "scale": {"domain": names, "scheme": "viridis"}}
    colours = iter(OKABE_ITO)
    return channel | {"scale": {"domain": names, "range": [PALE.get(name) or next(colours) for name in names]}}


def _trimmed(crowd: Crowd, role: str) -> dict[str, Any]:
    """A scale of the header, without what the crowd doesn't hold."""
    split = crowd.splits[role]
    scale = crowd.channels[split.channel].get("scale") or {}
    if "domain" not in scale or "range" not in scale:
        return {}
    kept = [pair for pair in zip(scale["domain"], scale["range"], strict=False) if pair[0] in split.values]
    return {"scale": {"domain": [name for name, _ in kept], "range": [shown for _, shown in kept]}}


def _bar(width: float, opacity: float, low: str, high: str) -> dict[str, Any]:
    return {"mark": {"type": "rule", "strokeWidth": width, "opacity": opacity}, "x": low, "x2": high}


def _chance(crowd: Crowd, axis: str) -> list[dict[str, Any]]:
    """The header's further marks of chance, where it has such."""
    own = crowd.value
    layers = [layer for layer in crowd.chart.get("layers", []) if own in layer and f"{own}2" not in layer]
    black = {"color": {"value": "black"}} if axis == "x" else {}  # along depth it is dashed, in its group's colour
    return [{"mark": layer["mark"], axis: "chance", **black} for layer in layers]


def _with_rules(chart: dict[str, Any], crowd: Crowd) -> dict[str, Any]:
    """The chart with the header's reference lines on the value's axis, those of a column at the mean of chance."""
    axis = "y" if crowd.value == "y" and "row_name" != chart["y"]["field"] != "model_row" else "x"
    rules = [
        {axis: "chance" if isinstance(rule[crowd.value], str) else rule[crowd.value], "label": rule["label"]}
        for rule in crowd.chart.get("rules", [])
        if crowd.value in rule
    ]
    return chart | ({"rules": rules} if rules else {})


def _outermost_lines(crowd: Crowd, width: int) -> list[dict[str, Any]]:
    """The outermost models' own lines, a name above the highest and one below the lowest, where each is outermost."""
    (middle,) = crowd.con.execute("select quantile_disc(distinct place, 0.5) from lines").fetchone() or (0,)
    inwards = {"expr": f"datum.place < {json.dumps(middle)} ? 'left' : 'right'"}
    thin = {"type": "line", "strokeWidth": 0.7, "opacity": 0.9}
    return [
        layer
        for column, dy in (("highest", -7), ("lowest", 8))
        for layer in (
            {"mark": thin, "y": column},
            _name({"dy": dy, "align": inwards, "limit": _room(width)}, f"{column}_model") | {"y": column},
        )
    ]


def _outermost_points(crowd: Crowd, width: int) -> list[dict[str, Any]]:
    """The outermost models, their names above them, the lowest's below where a row has both."""
    middle = _middle(crowd)
    below = {"expr": "isValid(datum.highest_model) ? 8 : -7"}
    ring = {"type": "point", "size": 10}
    return [
        layer
        for column, dy in (("highest", -7), ("lowest", below))
        for layer in (
            {"mark": ring, "x": column},
            _name(
                {"dy": dy, "align": {"expr": f"datum.{column} < {middle} ? 'left' : 'right'"}, "limit": _room(width)},
                f"{column}_model",
            )
            | {"x": column},
        )
    ]


def _room(width: int) -> int:
    """Pixels of a name: from the middle of a panel inwards it ends about where the panel does."""
    return min(170, int(0.62 * width))


def _middle(crowd: Crowd) -> float:
    """About the middle of the value's axis, from which names must not lead outwards."""
    ends = crowd.con.execute("select min(value), max(value) from seen").fetchone() or (0, 0)
    scale = crowd.channels[crowd.value].get("scale") or {}
    ruled = [
        rule[crowd.value] for rule in crowd.chart.get("rules", []) if not isinstance(rule.get(crowd.value, ""), str)
    ]
    shown = [*ends, *ruled, *([] if scale.get("zero") is False else [0])]
    low, high = scale.get("domain") or (min(shown), max(shown))
    return float((low + high) / 2)


def _name(place: dict[str, Any], column: str) -> dict[str, Any]:
    """A model's name beside its mark, grey whatever its group's colour is."""
    return {"mark": {"type": "text", "fontSize": 9, "limit": 170} | place, "text": column, "color": {"value": GREY}}


def _tooltip(crowd: Crowd, *names: str) -> list[dict[str, str]]:
    titles = {"grp": crowd.groups.title, "value": crowd.channels[crowd.value]["title"], "row_name": "row"}
    titles |= {"place": crowd.at["title"] if crowd.at else "", "low": "lower quartile", "high": "upper quartile"}
    titles |= {role: split.title for role, split in crowd.splits.items()}
    return [{"field": name, "title": titles.get(name) or name.replace("_", " ")} for name in names]
