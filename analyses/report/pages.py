"""How a report's pages are written: templates of report_assets/, everything that they are given escaped."""

import hashlib
import html
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from eigenhouse.analyses.charts.charts import axis_title
from eigenhouse.analyses.charts.pictures import Spec

ASSETS = Path(__file__).parent / "report_assets"
MARKS_OF_MARKDOWN = re.compile(r"[\\`*\[\]#|~$!]|(?<![^\W_])_|_(?![^\W_])|^[-+=]|^\d{1,9}[.)](?=\s|$)")
DIGITS = 6  # of a number that is drawn


@cache
def _environment(folder: str) -> Environment:
    """Templates of HTML or of Markdown, each with its own escapes."""
    made = Environment(
        loader=FileSystemLoader(ASSETS / folder, encoding="utf-8"),
        autoescape=True,
        finalize=None if folder == "html" else markdown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {"words": axis_title, "anchor": anchor, "fenced": fenced}
    return made


def page(template: str, **values: Any) -> bytes:
    """A template with its values; its suffix says whether it is HTML or Markdown."""
    return _environment(template.rsplit(".", 1)[1]).get_template(template).render(**values).encode()


def slug(name: str) -> str:
    """A file name for a model_id: readable, safe on every system, no two alike.

    Lower-case letters, digits, dots and dashes stand for themselves. A name with anything else gets `_` and a hash,
    which no name of the first kind can have.
    """
    plain = re.sub(r"[^a-z0-9.-]+", "-", name.lower()).strip("-.")[:60].strip("-.")
    return plain if plain and plain == name else f"{plain}_{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def anchor(words: str) -> str:
    return re.sub(r"\W+", "-", words.lower()).strip("-")


def drawing(spec: Spec, about: str) -> Markup:
    """A chart as JSON for a script element: without its title, which the page has, and its rows column by column."""
    kept = {name: value for name, value in spec.items() if name not in ("title", "datasets", "usermeta")}
    rows = spec["datasets"]["rows"]
    columns = {name: [_drawn(row[name]) for row in rows] for name in (rows[0] if rows else {})}
    text = json.dumps({"spec": kept | {"description": about}, "columns": columns}, allow_nan=False, ensure_ascii=False)
    # neither an end tag nor a comment may open within the script
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))


def _drawn(value: Any) -> Any:
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


# --- Markdown ---


def markdown(value: Any) -> Markup:
    """Text that Markdown shows as it is, on one line."""
    if isinstance(value, Markup):
        return value
    text = html.escape(" ".join(str(value).split()), quote=False)
    return Markup(MARKS_OF_MARKDOWN.sub(lambda mark: f"{mark[0][:-1]}\\{mark[0][-1]}", text))


def fenced(text: str, language: str = "") -> Markup:
    """A block of code whose fence is longer than any in it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return Markup(f"{fence}{language}\n{text}\n{fence}")
