"""The verbs of the read side, each a function of its options. What only one of them needs is imported there."""

import itertools
import sys
from pathlib import Path
from typing import Any

from eigenhouse.analyses.answers import asking, formats, saved, tables
from eigenhouse.analyses.answers.destinations import destination
from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.warehouse import store
from eigenhouse.options import Chart, Charts, Export, Format, Models, Query, Report, Views

WRITERS = {
    Format.table: tables.write_table,
    Format.csv: formats.write_csv,
    Format.json: formats.write_json,
    Format.parquet: formats.write_parquet,
    Format.npy: formats.write_npy,
}
BINARY = (Format.parquet, Format.npy)


def query(options: Query) -> None:
    """Answer a question in SQL or a saved query."""
    sql, given = options.sql, options.given
    if bool(sql.strip()) == bool(options.q):
        came = "both" if options.q else "neither"
        raise EigenhouseError(f'wanted SQL="…" or Q=<saved query>, {came} came; `make queries` lists the saved ones')
    if options.q:
        known = saved.find(options.q)
        sql, given = known.sql, known.bind(given)
    else:
        asking.want_all_used(sql, given)
    answer(options.warehouse, sql, given, options.format, options.out)


def chart(options: Chart) -> None:
    """Draw a saved query, as its header says."""
    from eigenhouse.analyses.charts import charts as drawing
    from eigenhouse.analyses.charts import pictures

    known = drawing.find(options.q)
    paths = drawing.targets(options.q, options.out)
    with store.reading(options.warehouse) as con:
        picture = drawing.draw(con, known, options.given)
    for path in paths:
        drawn = pictures.render(picture, path.suffix)
        if options.out is None:
            path.parent.mkdir(exist_ok=True)
        with destination(path) as file:
            file.write(drawn)
        _say(str(path))


def charts(options: Charts) -> None:
    """Draw every saved query that has a chart, as .html, .png and .svg in a folder."""
    from eigenhouse.analyses.charts import gallery

    with store.reading(options.warehouse) as con:
        gallery.draw_all(con, asking.known_model(con, options.model), options.out, _say)


def report(options: Report) -> None:
    """Write every model's charts, verdicts and data as pages to read without a network, and as Markdown."""
    from eigenhouse.analyses.report import report as pages

    with store.reading(options.warehouse) as con:
        pages.write(con, options.warehouse.name, options.out, asking.known_model(con, options.model), _say)


def models(options: Models) -> None:
    """List the models, their worst conformance error, and what of them is doubted or stale."""
    known = saved.find("models")
    sql = known.sql
    if options.format is Format.table:  # a time as text needs no Arrow, which takes a quarter of a second to import
        sql = f"select * replace (ingested_at::varchar as ingested_at) from ({sql})"
    answer(options.warehouse, sql, known.bind({}), options.format, options.out)


def queries(_: object) -> None:
    """List the saved queries and their parameters."""
    with destination(None) as file:
        for theme, known in itertools.groupby(saved.every(), key=lambda query: query.theme):
            file.write(f"## {theme}\n".encode())
            for query in known:
                file.write(f"{query.usage()}\n    {query.title}\n    {query.reading}\n".encode())


def export(options: Export) -> None:
    """Write a model's measurements as files for other tools: spectra, grams, effective ranks."""
    from eigenhouse.analyses import export as files

    if not options.model or options.out is None:
        raise EigenhouseError(
            "wanted MODEL=<a model of the warehouse> and OUT=<folder>; `make models` lists the models"
        )
    with store.reading(options.warehouse) as con:
        for path in files.export(
            con, options.model, options.out, options.operator, options.prompt_set, store.say_on_stderr
        ):
            _say(str(path))


def views(options: Views) -> None:
    """Bring an existing warehouse up to date: its views, and its tables where an older program made them."""
    store.bring_up_to_date(options.warehouse)
    store.connect(options.warehouse, read_only=True).close()  # opening for writing would make a missing one
    store.connect(options.warehouse, read_only=False, renew=True).close()
    _say(f"{options.warehouse}: views are up to date")


def _say(line: str) -> None:
    print(line, flush=True)


def answer(warehouse: Path, sql: str, parameters: dict[str, Any], fmt: Format, out: Path | None) -> None:
    """Ask, read-only, and write what comes back."""
    if out is None and fmt in BINARY and sys.stdout.isatty():
        raise EigenhouseError(f"{fmt} is not for a terminal; give OUT=<file>, or send it on with > or |")
    if out and out.exists() and warehouse.exists() and out.samefile(warehouse):
        raise EigenhouseError(f"OUT={out} is the warehouse itself; give another file")
    with store.reading(warehouse) as con:
        asking.ask(con, sql, parameters, exact=True)
        with asking.explained(con), destination(out) as file:
            WRITERS[fmt](con, file)
