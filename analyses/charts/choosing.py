"""The legend as a selection: a click, or a word in a field below the chart, leaves the others pale. For HTML alone."""

import json
from typing import Any

CHOSEN, FOUND = "chosen", "found"  # names of Vega-Lite's parameters
PALE = 0.08  # opacity of what is not chosen
NAMES = ("model", "model_id", "name", "panel", "label")  # columns that a search looks into
LIT = ("line", "point", "rect", "bar", "area", "tick", "rule")  # marks that grow pale


def chosen(spec: dict[str, Any]) -> dict[str, Any]:
    """The specification with what can be chosen in it: values of a legend of words, models where there are several."""
    view = spec.get("spec", spec)
    rows = spec["datasets"]["rows"]
    named = [column for column in NAMES if len({row.get(column) for row in rows} - {None}) > 1]
    color = _color(view["layer"])
    has_legend = color.get("type") in ("nominal", "ordinal") and color.get("legend", "there") is not None
    tests: list[Any] = [{"param": CHOSEN}] if has_legend else []
    if named:
        tests.append(_matches(named))
        spec = spec | {"params": [*spec.get("params", []), _search()]}
    if not tests:
        return spec
    layers = [_lit(layer, tests, {*named, color.get("field", "")}) for layer in view["layer"]]
    if has_legend:
        legend = {"name": CHOSEN, "select": {"type": "point", "fields": [color["field"]]}, "bind": "legend"}
        layers[0] = layers[0] | {"params": [legend]}
    return spec | {"spec": view | {"layer": layers}} if "spec" in spec else spec | {"layer": layers}


def _color(layers: list[dict[str, Any]]) -> dict[str, Any]:
    """The channel of the first layer that has a colour of its rows: that of the legend."""
    colors = [layer.get("encoding", {}).get("color", {}) for layer in layers]
    return next((color for color in colors if "field" in color), {})


def _matches(columns: list[str]) -> str:
    """A row without a model, as of a group, always does."""
    words = " + ' ' + ".join(f"(datum[{json.dumps(column)}] || '')" for column in columns)
    return f"{FOUND} === '' || indexof(lower({words}), lower({FOUND})) >= 0"


def _search() -> dict[str, Any]:
    return {"name": FOUND, "value": "", "bind": {"input": "search", "name": "find ", "placeholder": "a model"}}


def _lit(layer: dict[str, Any], tests: list[Any], columns: set[str]) -> dict[str, Any]:
    """The layer, pale where its rows aren't chosen; reference lines, which have no rows of their own, stay."""
    mark = layer["mark"] if isinstance(layer["mark"], dict) else {"type": layer["mark"]}
    encoding = layer.get("encoding", {})
    fields = {channel.get("field") for channel in encoding.values() if isinstance(channel, dict)}
    if mark["type"] not in LIT or "opacity" in encoding or not fields & columns:
        return layer
    lit = {"condition": {"test": {"and": tests}, "value": mark.get("opacity", 1)}, "value": PALE}
    return layer | {"encoding": encoding | {"opacity": lit}}
