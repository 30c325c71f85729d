"""The command line of the read side: `python -m analyses query|chart|charts|report|models|queries|export|views`."""

import itertools
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from analyses import asking, charts, formats, gallery, pictures, saved, tables
from analyses.destinations import destination
from ingest import process, store
from ingest.errors import EigenhouseError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="Ask the warehouse.")


class Format(StrEnum):
    table = "table"
    csv = "csv"
    json = "json"
    parquet = "parquet"
    npy = "npy"


WRITERS = {
    Format.table: tables.write_table,
    Format.csv: formats.write_csv,
    Format.json: formats.write_json,
    Format.parquet: formats.write_parquet,
    Format.npy: formats.write_npy,
}
BINARY = (Format.parquet, Format.npy)
WAREHOUSE = Path("warehouse.duckdb")


def option(name: str, text: str) -> Any:
    """An option that make hands over in the environment: --out is EIGENHOUSE_OUT."""
    return typer.Option(
        f"--{name}", envvar=f"EIGENHOUSE_{name.upper().replace('-', '_')}", help=text, show_envvar=False
    )


Warehouse = Annotated[Path, option("warehouse", "The DuckDB file.")]
Sql = Annotated[str, option("sql", "A question; $model, $anchor, $operator, $head, $k are filled from the options.")]
Saved = Annotated[str, option("q", "A saved query by name; `queries` lists them.")]
Fmt = Annotated[Format, option("format", "How the answer is written.")]
Out = Annotated[Path | None, option("out", "The file to write; standard output without it.")]
Picture = Annotated[Path | None, option("out", "The .html, .png or .svg to write; all three in charts/ without it.")]
Model = Annotated[str | None, option("model", "Parameter of the query: a model_id; all models without it.")]
Anchor = Annotated[str | None, option("anchor", "Parameter of the query: last, middle, best, … or a layer.")]
Operator = Annotated[str | None, option("operator", "Parameter of the query: metric, head_product or a variant.")]
Head = Annotated[int | None, option("head", "Parameter of the query: a head, counted from 0.")]
K = Annotated[int | None, option("k", "Parameter of the query: how many.")]


@app.command(cls=process.Command)
def query(
    sql: Sql = "",
    q: Saved = "",
    fmt: Fmt = Format.table,
    out: Out = None,
    model: Model = None,
    anchor: Anchor = None,
    operator: Operator = None,
    head: Head = None,
    k: K = None,
    warehouse: Warehouse = WAREHOUSE,
) -> None:
    """Answer a question in SQL or a saved query."""
    given = _given(model=model or None, anchor=anchor, operator=operator, head=head, k=k)
    if bool(sql.strip()) == bool(q):
        came = "both" if q else "neither"
        raise EigenhouseError(f'wanted SQL="…" or Q=<saved query>, {came} came; `make queries` lists the saved ones')
    if q:
        known = saved.find(q)
        sql, given = known.sql, known.bind(given)
    else:
        asking.want_all_used(sql, given)
    answer(warehouse, sql, given, fmt, out)


@app.command(cls=process.Command)
def chart(
    q: Saved = "",
    out: Picture = None,
    model: Model = None,
    anchor: Anchor = None,
    operator: Operator = None,
    head: Head = None,
    k: K = None,
    warehouse: Warehouse = WAREHOUSE,
) -> None:
    """Draw a saved query, as its header says."""
    known = charts.find(q)
    paths = charts.targets(q, out)
    con = store.connect(warehouse, read_only=True)
    try:
        picture = charts.draw(con, known, _given(model=model or None, anchor=anchor, operator=operator, head=head, k=k))
    finally:
        con.close()
    for path in paths:
        drawn = pictures.render(picture, path.suffix)
        if out is None:
            path.parent.mkdir(exist_ok=True)
        with destination(path) as file:
            file.write(drawn)
        _say(str(path))


@app.command("charts", cls=process.Command)
def all_charts(
    out: Annotated[Path, option("out", "The folder to write into; made where there is none.")] = charts.FOLDER,
    model: Annotated[str | None, option("model", "The one model to draw; all models without it.")] = None,
    warehouse: Warehouse = WAREHOUSE,
) -> None:
    """Draw every saved query that has a chart, as .html, .png and .svg in a folder."""
    con = store.connect(warehouse, read_only=True)
    try:
        gallery.draw_all(con, asking.known_model(con, model or None), out, _say)
    finally:
        con.close()


@app.command(cls=process.Command)
def report(
    out: Annotated[Path, option("out", "The folder to write.")] = Path("report"),
    model: Annotated[str | None, option("model", "The one model to report on; all models without it.")] = None,
    warehouse: Warehouse = WAREHOUSE,
) -> None:
    """Write every model's charts, verdicts and data as pages to read without a network, and as Markdown."""
    from analyses import report as pages  # jinja2 takes a tenth of the second that a query has

    con = store.connect(warehouse, read_only=True)
    try:
        pages.write(con, warehouse.name, out, asking.known_model(con, model or None), _say)
    finally:
        con.close()


def _say(line: str) -> None:
    print(line, flush=True)


@app.command(cls=process.Command)
def models(fmt: Fmt = Format.table, out: Out = None, warehouse: Warehouse = WAREHOUSE) -> None:
    """List the models, with their worst conformance error."""
    known = saved.find("models")
    answer(warehouse, known.sql, known.bind({}), fmt, out)


@app.command(cls=process.Command)
def queries() -> None:
    """List the saved queries and their parameters."""
    with destination(None) as file:
        for theme, known in itertools.groupby(saved.every(), key=lambda query: query.theme):
            file.write(f"## {theme}\n".encode())
            for query in known:
                file.write(f"{query.usage()}\n    {query.title}\n    {query.reading}\n".encode())


@app.command(cls=process.Command)
def export(
    model: Annotated[str, option("model", "The model_id to export.")] = "",
    out: Annotated[Path | None, option("out", "The folder to write into; made where there is none.")] = None,
    operator: Annotated[str, option("operator", "Whose singular values: head_product, or metric, …")] = "",
    prompt_set: Annotated[str, option("prompt-set", "Whose attention, where there are several.")] = "",
    warehouse: Warehouse = WAREHOUSE,
) -> None:
    """Write a model's measurements as files for other tools: spectra, grams, effective ranks."""
    from analyses import export as files  # numpy and polars take their time

    if not model or out is None:
        raise EigenhouseError(
            "wanted MODEL=<a model of the warehouse> and OUT=<folder>; `make models` lists the models"
        )
    con = store.connect(warehouse, read_only=True)
    try:
        for path in files.export(con, model, out, operator or None, prompt_set or None, store.say_on_stderr):
            _say(str(path))
    finally:
        con.close()


@app.command(cls=process.Command)
def views(warehouse: Warehouse = WAREHOUSE) -> None:
    """Bring an existing warehouse up to date: its views, and its tables where an older program made them."""
    store.bring_up_to_date(warehouse)
    store.connect(warehouse, read_only=True).close()  # opening for writing would make a missing one
    store.connect(warehouse, read_only=False, renew=True).close()
    _say(f"{warehouse}: views are up to date")


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def answer(warehouse: Path, sql: str, parameters: dict[str, Any], fmt: Format, out: Path | None) -> None:
    """Ask, read-only, and write what comes back."""
    if out is None and fmt in BINARY and sys.stdout.isatty():
        raise EigenhouseError(f"{fmt} is not for a terminal; give OUT=<file>, or send it on with > or |")
    if out and out.exists() and warehouse.exists() and out.samefile(warehouse):
        raise EigenhouseError(f"OUT={out} is the warehouse itself; give another file")
    con = store.connect(warehouse, read_only=True)
    try:
        asking.ask(con, sql, parameters, exact=True)
        with asking.explained(con), destination(out) as file:
            WRITERS[fmt](con, file)
    finally:
        con.close()


def main(args: list[str] | None = None) -> None:
    app(args)


if __name__ == "__main__":
    process.run(main)
