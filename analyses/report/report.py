"""`make report`: a folder of pages that need neither network nor server, the same as Markdown, and the data as CSV."""

import hashlib
import itertools
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import duckdb

import eigenhouse
from eigenhouse.analyses.answers import formats, saved
from eigenhouse.analyses.answers.destinations import want_no_warehouse
from eigenhouse.analyses.charts import gallery, pictures
from eigenhouse.analyses.charts.pictures import Rows
from eigenhouse.analyses.report import facts, pages, sections
from eigenhouse.analyses.report.sections import Section
from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.warehouse.selection import Bound

OURS = ("index.html", "dictionary.html", "assets", "data", "images", "markdown", "models")
GENERATOR = b'<meta name="generator" content="Eigenhouse'
SCRIPTS = ("style.css", "report.js")

Say = Callable[[str], None]


def write(con: duckdb.DuckDBPyConnection, warehouse: str, out: Path, model: Bound | None, say: Say) -> None:
    """Write the whole report beside its place, then put it there: a report is never half old."""
    _refuse_others(out)
    want_no_warehouse(out, *(path for name in OURS for path in _files(out / name)))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as made:
            with ThreadPoolExecutor(gallery.workers()) as pool:
                Report(con, warehouse, Path(made), pool, say).write(model)
            out.mkdir(exist_ok=True)
            for name in OURS:
                _remove(out / name)
                shutil.move(Path(made) / name, out / name)
    except OSError as error:
        raise EigenhouseError(f"cannot write {error.filename or out}: {error.strerror}") from error
    say(f"{out / 'index.html'}")


def _refuse_others(out: Path) -> None:
    """A folder that holds something else than an earlier report is not written into."""
    if out.is_dir() and not any(out.iterdir()):
        return
    index = out / "index.html"
    if out.exists() and not (index.is_file() and GENERATOR in index.read_bytes()):
        raise EigenhouseError(f"OUT={out} is there, and no earlier report; give another folder")


def _files(place: Path) -> Iterable[Path]:
    return place.rglob("*") if place.is_dir() and not place.is_symlink() else [place]


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@dataclass
class Report:
    """One report under way."""

    con: duckdb.DuckDBPyConnection
    warehouse: str
    folder: Path
    pool: ThreadPoolExecutor
    say: Say
    drawn: dict[bytes, tuple[Path, Future[None]]] = field(default_factory=dict)  # a chart's hash → its PNG
    under_way: list[Future[None]] = field(default_factory=list)
    shown: dict[str, set[str]] = field(default_factory=dict)  # model_id → the queries on its page

    def write(self, model: Bound | None) -> None:
        """All pages; the PNGs of the charts are drawn meanwhile."""
        for name in SCRIPTS:
            self._put(f"assets/{name}", (pages.ASSETS / name).read_bytes())
        self._put("assets/vega.js", _vega())
        models = facts.models(self.con, model)
        verdicts: sections.Verdicts = {}
        for place, row in enumerate(models, 1):
            self._model_page(row, verdicts, f"[{place}/{len(models) + 1}] {row['model_id']}")
        self._first_page(models, model, verdicts, f"[{len(models) + 1}/{len(models) + 1}] all models")
        self._both("dictionary", "", "", title="Data dictionary", kinds=facts.dictionary(self.con), drawn=False)
        self._finish(self.under_way)

    def _model_page(self, row: dict[str, Any], verdicts: sections.Verdicts, page: str) -> None:
        model_id = row["model_id"]
        place = f"models/{pages.slug(model_id)}"
        themes = self._themes(sections.answered(self.con, place, model_id, verdicts, compares=False), page)
        self.shown[model_id] = {section.query.name for _, some in themes for section in some}
        known = facts.of_model(self.con, row)
        self._both("model", place, "../", title=model_id, model=row, facts=known, themes=themes, drawn=True)

    def _first_page(self, models: Rows, model: Bound | None, verdicts: sections.Verdicts, page: str) -> None:
        slugs = {row["model_id"]: pages.slug(row["model_id"]) for row in models}
        links = {name: f"models/{slug}.html" for name, slug in slugs.items()}
        in_markdown = {name: f"models/{slug}.md" for name, slug in slugs.items()}
        comparison = sections.one(self.con, saved.find("model_comparison"), "all", model, {})
        self._data(comparison)
        themes = self._themes(sections.answered(self.con, "all", model, verdicts, compares=True), page)
        self._both(
            "index", "", "", title="All models", models=models, links=links, pages=in_markdown,
            shown=self.shown, comparison=comparison, themes=themes, drawn=True,
        )  # fmt: skip

    def _both(self, template: str, place: str, root: str, **values: Any) -> None:
        """The page, and the same in Markdown."""
        place = place or template
        common = values | {
            "here": template,
            "version": eigenhouse.__version__,
            "warehouse": self.warehouse,
            "written_at": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            "first_color": pictures.OKABE_ITO[0],
        }
        html = pages.page(f"{template}.html", root=root, in_markdown=f"{place}.md", **common)
        self._put(f"{place}.html", html)
        self._put(f"markdown/{place}.md", pages.page(f"{template}.md", root=f"../{root}", **common))

    def _themes(self, answers: Iterable[Section], page: str) -> list[tuple[str, list[Section]]]:
        """The sections theme by theme, their data written and their pictures begun."""
        start, before = time.monotonic(), self.under_way
        self.under_way, found = [], []
        for section in answers:
            self._data(section)
            self._picture(section)
            found.append(section)
        self._finish(before)  # a page's charts wait in memory, not those of fifty
        self.say(f"{page}: {len(found)} questions, {time.monotonic() - start:.1f} s")
        return [(theme, list(some)) for theme, some in itertools.groupby(found, key=lambda one: one.query.theme)]

    @staticmethod
    def _finish(pictures: list[Future[None]]) -> None:
        for picture in pictures:
            picture.result()

    def _data(self, section: Section) -> None:
        with self._place(section.data).open("wb") as file:
            formats.write_records_csv(section.names, section.rows, file)

    def _picture(self, section: Section) -> None:
        if section.picture is None:
            return
        text = json.dumps(section.spec, allow_nan=False)
        path, known = self._place(section.picture), hashlib.sha256(text.encode()).digest()
        if known in self.drawn:  # a lone model's charts stand on the first page too
            done = self.pool.submit(_copy, *self.drawn[known], path)
        else:
            done = self.pool.submit(_draw, text, path)
            self.drawn[known] = path, done
        self.under_way.append(done)

    def _put(self, place: str, data: bytes) -> None:
        self._place(place).write_bytes(data)

    def _place(self, place: str) -> Path:
        path = self.folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def _draw(text: str, path: Path) -> None:
    path.write_bytes(pictures.rendered(text, [".png"])[".png"])


def _copy(source: Path, drawn: Future[None], path: Path) -> None:
    drawn.result()
    shutil.copyfile(source, path)


@cache
def _vega() -> bytes:
    """Vega, Vega-Lite and vega-embed as one script, from vl-convert's own copy."""
    import vl_convert

    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", pictures.vega_lite_version()).encode()
