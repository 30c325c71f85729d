"""A chart as a picture: rows and channels as an Altair chart for print and screen, written with no network."""

import json
import re
import textwrap
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

from eigenhouse.analyses.answers.saved import SavedQuery
from eigenhouse.analyses.charts import choosing

SUFFIXES = (".html", ".png", ".svg")
FACETS = ("facet", "row", "column")
# Okabe and Ito's colours, which the colour-blind can distinguish, palest last; viridis is as good, and gets lighter
OKABE_ITO = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442"]
GREY, PALE = "#595959", "#e6e6e6"
LESS_THAN = "eigenhouse-less-than"
MOST_PIXELS, MOST_BYTES = 4000, 3_000_000  # of a picture: a side of a PNG or SVG; any file
SILENT = 2000  # rows above which marks don't say in words what they are: that is most of an SVG
# a dark page shows a picture's lightness mirrored and its hues as they are
DARK = """<style>@media (prefers-color-scheme: dark) { body { background: #16181c; color-scheme: dark; color: #ddd }
.vega-embed :is(svg, canvas).marks { filter: invert(0.9) hue-rotate(180deg) } }</style>"""
LETTER = 5.5  # pixels of a subtitle's letter
FEWEST_LETTERS = 100  # in a line of it

Rows = list[dict[str, Any]]
Spec = dict[str, Any]  # Vega-Lite's JSON
Channels = dict[str, dict[str, Any]]  # x, color, … → Altair's keywords: field, type, title, scale, …


def picture(query: SavedQuery, channels: Channels, types: dict[str, str], rows: Rows, notes: list[str]) -> Spec:
    """The chart of these rows; the notes follow the query's reading under the title."""
    import altair as alt

    facets = {name: channel | {"title": None} for name, channel in channels.items() if name in FACETS}
    encoding = {name: _class(name)(**channel) for name, channel in channels.items() if name not in FACETS}
    across = _across(query, facets, rows)
    width = query.chart.get("width", 560 if across == 1 else max(180, 720 // across))
    height = query.chart.get("height", 320 if across == 1 else 260)
    points = alt.Chart().encode(**encoding, tooltip=_tooltip(query, types, rows[0] if rows else types))
    layers = [*_band(query, channels), _marked(points, query.chart.get("mark", "point"))]
    for layer in query.chart.get("layers", []):
        own = {name: _own(name, layer[name], channels, types) for name in layer if name != "mark"}
        drawn_where = _named_where(points, layer)
        layers.append(_marked(drawn_where.encode(**own), layer["mark"]))
    layers += _rules(query, channels)
    drawn: Any = alt.layer(*layers, data=alt.NamedData(name="rows")).properties(width=width, height=height)
    if facets:
        columns = {"columns": across} if "facet" in facets else {}
        drawn = drawn.facet(**{name: _class(name)(**channel) for name, channel in facets.items()}, **columns)
        drawn = drawn.resolve_scale(**dict.fromkeys(query.chart.get("independent", []), "independent"))
    letters = max(int(((width + 20) * across + 60) / LETTER), FEWEST_LETTERS)
    lines = [line for text in [query.reading, *notes] for line in textwrap.wrap(text, letters)]
    drawn = _styled(drawn.properties(title=alt.Title(query.title, subtitle=lines)), channels, rows)
    # Altair neither sees nor counts the rows: 20,000 would take it ten seconds, and 5,000 are all that it allows
    usermeta = {"notes": notes, "embedOptions": {"actions": {"editor": False}}}
    return drawn.to_dict() | {"datasets": {"rows": rows}, "usermeta": usermeta}


def _named_where(points: Any, layer: dict[str, Any]) -> Any:
    """The rows that have the layer's text: Vega would write null beside the others."""
    return points.transform_filter(f"isValid(datum[{json.dumps(layer['text'])}])") if "text" in layer else points


def _own(name: str, said: str | dict[str, Any], channels: Channels, types: dict[str, str]) -> Any:
    """A further layer's own channel: as the first layer's of that name, of another column; or one value."""
    if isinstance(said, dict):
        return said
    if name in ("x2", "y2"):  # these take their type from x and y
        return _class(name)(field=said)
    return _class(name)(**channels.get(name, {"type": types[said], "title": said}) | {"field": said})


def _across(query: SavedQuery, facets: Channels, rows: Rows) -> int:
    """How many views stand side by side."""
    counts = {name: len({row[channel["field"]] for row in rows}) for name, channel in facets.items()}
    return min(counts.get("facet", 1), query.chart.get("columns", 3)) * counts.get("column", 1)


def _class(name: str) -> Any:
    import altair as alt

    return getattr(alt, name[0].upper() + name[1:])


def _marked(chart: Any, mark: Any) -> Any:
    settings = dict(mark) if isinstance(mark, dict) else {"type": mark}
    return getattr(chart, f"mark_{settings.pop('type')}")(**settings)


def _band(query: SavedQuery, channels: Channels) -> list[Any]:
    """A pale area between two columns, coloured and split as the marks are."""
    import altair as alt

    if "band" not in query.chart:
        return []
    low, high = query.chart["band"]
    along: Channels = {name: channels[name] for name in ("x", "color", "detail", "strokeDash") if name in channels}
    # a dashed line's area is split like the line, but has no dashes; the legend is as dark as the lines
    if "color" in along:
        along["color"] = along["color"] | {"legend": {"symbolOpacity": 1}}
    if dash := along.pop("strokeDash", None):
        along["detail"] = {"field": dash["field"], "type": dash["type"]}
    along |= {"y": channels["y"] | {"field": low}, "y2": {"field": high}}
    encoding = {name: _class(name)(**channel) for name, channel in along.items()}
    return [alt.Chart().mark_area(opacity=0.18).encode(**encoding)]


def _tooltip(query: SavedQuery, types: dict[str, str], shown: Iterable[str]) -> list[Any]:
    """What the header asks for, or every column that the rows have."""
    number = {"quantitative": {"format": ".4~g"}}
    names = query.chart.get("tooltip", [name for name in types if name in shown])
    titled = [name if isinstance(name, dict) else {"field": name, "title": name} for name in names]
    kinds = [types[item["field"]] for item in titled]
    return [
        _class("tooltip")(**item, type=kind, **number.get(kind, {})) for item, kind in zip(titled, kinds, strict=True)
    ]


def _rules(query: SavedQuery, channels: Channels) -> list[Any]:
    """Dashed reference lines and their labels, each drawn once a facet: as its rows folded into one."""
    import altair as alt

    layers = []
    for rule in query.chart.get("rules", []):
        axis = "x" if "x" in rule else "y"
        place = {axis: alt.datum(rule[axis], type=channels[axis]["type"])}
        once: Any = alt.Chart().transform_aggregate(n="count()")
        if isinstance(rule[axis], str):
            once = alt.Chart().transform_aggregate(level=f"mean({rule[axis]})")
            place = {axis: _class(axis)(field="level", type="quantitative", title=channels[axis]["title"])}
        start = {"y" if axis == "x" else "x": alt.value(4)}
        shift = {"dx": 4, "baseline": "top"} if axis == "x" else {"dy": -3, "baseline": "bottom"}
        layers.append(once.mark_rule(color=GREY, strokeDash=[4, 3]).encode(**place))
        layers.append(once.mark_text(text=rule["label"], align="left", color=GREY, **shift).encode(**place, **start))
    return layers


def _styled(drawn: Any, channels: Channels, rows: Rows) -> Any:
    """Colours for print and for the colour-blind, quiet grids, horizontal labels."""
    color = channels.get("color", {}).get("field")
    is_many = color is not None and len({row[color] for row in rows}) > len(OKABE_ITO)
    ranges = {name: {"scheme": "viridis"} for name in ("heatmap", "ramp", "ordinal")}
    return (
        drawn.configure(range={**ranges, "category": {"scheme": "viridis"} if is_many else OKABE_ITO})
        .configure_title(anchor="start", fontSize=15, subtitleColor=GREY, subtitleFontSize=11, offset=14)
        .configure_axis(gridColor=PALE, domainColor=GREY, tickColor=GREY, titleFontWeight="normal", titleFontSize=12)
        .configure_axisXDiscrete(labelAngle=0, labelOverlap=True, labelSeparation=5)
        .configure_header(labelFontWeight="bold", labelFontSize=12)
        .configure_mark(color=OKABE_ITO[0], aria=len(rows) <= SILENT)
        .configure_line(strokeJoin="round")
        .configure_legend(titleFontWeight="normal", labelLimit=300)
        .configure_view(stroke=PALE)
    )


def render(spec: Spec, suffix: str) -> bytes:
    """The chart as a file: HTML holds every script that it runs, PNG has twice the pixels."""
    return rendered(json.dumps(spec, allow_nan=False), [suffix.lower()])[suffix.lower()]


def rendered(text: str, suffixes: Sequence[str] = SUFFIXES, version: str = "") -> dict[str, bytes]:
    """The chart of a specification's JSON as files, by suffix; PNG and SVG share the layout, half of the time.

    version: as `vega_lite_version` says it, by which altair need not be imported.
    """
    import vl_convert

    files, version = {}, version or vega_lite_version()
    if ".html" in suffixes:
        files[".html"] = _page(text, version)
    if ".svg" in suffixes or ".png" in suffixes:
        svg, side = _that_fits(vl_convert.vegalite_to_svg(text, vl_version=version))
        files[".svg"] = svg.encode()
        if ".png" in suffixes:
            files[".png"] = _png(svg, side)
    return {suffix: files[suffix] for suffix in suffixes}


def _that_fits(svg: str) -> tuple[str, float]:
    """The drawing, smaller where a side is too long, and its longer side."""
    head = re.search(r'<svg[^>]*? width="([\d.]+)" height="([\d.]+)"', svg)
    assert head, "Vega writes the size of what it draws"
    wide, high = float(head[1]), float(head[2])
    share = min(1, MOST_PIXELS / max(wide, high))
    if share < 1:
        smaller = head[0].replace(
            f'width="{head[1]}" height="{head[2]}"', f'width="{wide * share:.0f}" height="{high * share:.0f}"'
        )
        svg = svg.replace(head[0], smaller, 1)
    return svg, max(wide, high) * share


def _png(svg: str, side: float) -> bytes:
    """Twice the pixels, or as many as a picture may have."""
    import vl_convert

    scale = min(2, (MOST_PIXELS - 2) / side)
    png = packed(vl_convert.svg_to_png(svg, scale=scale))
    while len(png) > MOST_BYTES:
        scale *= 0.8
        png = packed(vl_convert.svg_to_png(svg, scale=scale))
    return png


def vega_lite_version() -> str:
    """That of the specifications which Altair writes, as vl-convert names it: 6.1."""
    import altair as alt

    return ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])


def _page(text: str, version: str) -> bytes:
    import vl_convert

    text = json.dumps(choosing.chosen(json.loads(text)), allow_nan=False)
    # vl-convert puts the rows into a script as they are, where a model named </script> would end it
    page = vl_convert.vegalite_to_html(text.replace("<", LESS_THAN), vl_version=version, bundle=True)
    return page.replace(LESS_THAN, "\\u003c").replace("<head>", f"<head>{DARK}", 1).encode()


def packed(png: bytes) -> bytes:
    """The same picture in a third of the bytes: vl-convert's own compression is hasty."""
    chunks, place = [], 8
    while place < len(png):
        size = int.from_bytes(png[place : place + 4])
        chunks.append((png[place + 4 : place + 8], png[place + 8 : place + 8 + size]))
        place += 12 + size
    raw = zlib.decompress(b"".join(body for kind, body in chunks if kind == b"IDAT"))
    data = zlib.compress(raw, 6)  # 9 would save 8 % more in triple the time
    (header, *others, end) = [chunk for chunk in chunks if chunk[0] != b"IDAT"]
    written = [
        len(body).to_bytes(4) + kind + body + zlib.crc32(kind + body).to_bytes(4)
        for kind, body in (header, *others, (b"IDAT", data), end)
    ]
    return png[:8] + b"".join(written)
