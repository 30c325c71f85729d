"""The verbs of the read side, each a function of its options. What only one of them needs is imported there.

A question of the user's runs in a process of its own. Charts, reports and exports ask with SQL of this program alone,
in this process, on a connection that is locked in the same way.
"""

import itertools
import json
import sys
from pathlib import Path
from typing import Any

from eigenhouse.analyses.answers import apart, saved
from eigenhouse.analyses.answers.destinations import destination, want_no_warehouse
from eigenhouse.analyses.answers.question import Question
from eigenhouse.errors import EigenhouseError
from eigenhouse.options import Chart, Charts, Export, Format, Models, Query, Report, TagSheet, Views
from eigenhouse.visible import visible

BINARY = (Format.parquet, Format.npy)
TAGS = "pivot tags on tag using any_value(value) group by model_id order by model_id"
UNSAFE = "UNSAFE: this SQL may read and write every file that you may"


def query(options: Query) -> None:
    """Answer a question in SQL or a saved query."""
    sql, given = options.sql, options.given
    if bool(sql.strip()) == bool(options.q):
        came = "both" if options.q else "neither"
        raise EigenhouseError(f'wanted SQL="…" or Q=<saved query>, {came} came; `make queries` lists the saved ones')
    if options.q:
        if options.files or options.unsafe:
            raise EigenhouseError(
                f"{'FILES' if options.files else 'UNSAFE'} is for SQL of your own; Q={options.q} is none"
            )
        known = saved.find(options.q)
        sql, given = known.sql, known.bind(given)
    if options.unsafe:
        print(UNSAFE, file=sys.stderr)
    own = {"is_own": not options.q, "acts": options.unsafe, "files": tuple(filter(None, options.files.split(",")))}
    asked = _question(options, sql, given, **own)
    answer(asked, options.out, options.timeout)


def chart(options: Chart) -> None:
    """Draw a saved query, as its header says."""
    from eigenhouse.analyses.answers import asking, lockdown
    from eigenhouse.analyses.charts import charts as drawing
    from eigenhouse.analyses.charts.renderer import Renderers

    known = drawing.find(options.q)
    paths = drawing.targets(options.q, options.out)
    want_no_warehouse(*paths)
    with lockdown.asking(options.warehouse) as con:
        picture = json.dumps(drawing.draw(con, known, asking.with_models(con, options.given)), allow_nan=False)
    with Renderers() as renderers:
        files = renderers.rendered(picture, [path.suffix.lower() for path in paths])
    for path in paths:
        if options.out is None:
            path.parent.mkdir(exist_ok=True)
        with destination(path) as file:
            file.write(files[path.suffix.lower()])
        _say(str(path))


def charts(options: Charts) -> None:
    """Draw every saved query that has a chart, as .html, .png and .svg in a folder."""
    from eigenhouse.analyses.answers import asking, lockdown
    from eigenhouse.analyses.charts import gallery

    with lockdown.asking(options.warehouse) as con:
        asking.want_models(con)
        chosen = asking.with_models(con, {"model": options.model})["model"]
        gallery.draw_all(con, chosen, options.by, options.out, _say)


def report(options: Report) -> None:
    """Write every model's charts, verdicts and data as pages to read without a network, and as Markdown."""
    from eigenhouse.analyses.answers import asking, lockdown
    from eigenhouse.analyses.report import report as pages

    with lockdown.asking(options.warehouse) as con:
        asking.want_models(con)
        model = asking.with_models(con, {"model": options.model})["model"]
        pages.write(con, options.warehouse.name, options.out, model, _say)


def models(options: Models) -> None:
    """List the models, their worst conformance error, and what of them is doubted or stale."""
    known = saved.find("models")
    sql = known.sql
    if options.format is Format.table:  # a time as text needs no Arrow, which takes a quarter of a second to import
        sql = f"select * replace (ingested_at::varchar as ingested_at) from ({sql})"
    answer(_question(options, sql, known.bind({"model": options.model})), options.out)


def tags(options: TagSheet) -> None:
    """List the tags, a line a model and a column a tag, or take those of a CSV."""
    if options.from_ is None:
        answer(_question(options, TAGS, {}), options.out)
        return
    from eigenhouse.ingest import tagging

    if options.out or options.format is not Format.table:
        raise EigenhouseError("FROM takes tags in, OUT and FORMAT are for the list of them without it; got both")
    tagging.tags_from(options)


def queries(_: object) -> None:
    """List the saved queries and their parameters."""
    with destination(None) as file:
        for theme, known in itertools.groupby(saved.every(), key=lambda query: query.theme):
            file.write(f"## {theme}\n".encode())
            for query in known:
                file.write(f"{query.usage()}\n    {query.title}\n    {query.reading}\n".encode())


def export(options: Export) -> None:
    """Write models' measurements as files for other tools: spectra, grams, effective ranks."""
    from eigenhouse.analyses import export as files
    from eigenhouse.analyses.answers import lockdown
    from eigenhouse.ingest.warehouse import selection
    from eigenhouse.ingest.warehouse.store import say_on_stderr

    if not options.model or options.out is None:
        raise EigenhouseError("wanted MODEL=<models of the warehouse> and OUT=<folder>; `make models` lists the models")
    with lockdown.asking(options.warehouse) as con:
        models = list(selection.chosen(con, options.model).values())
        for path in files.export(con, models, options.out, options.operator, options.prompt_set, say_on_stderr):
            _say(str(path))


def views(options: Views) -> None:
    """Bring an existing warehouse up to date: its views, and its tables where an older program made them."""
    from eigenhouse.ingest.warehouse import store

    store.bring_up_to_date(options.warehouse)
    store.connect(options.warehouse, read_only=True).close()  # opening for writing would make a missing one
    store.connect(options.warehouse, read_only=False, renew=True).close()
    _say(f"{options.warehouse}: views are up to date")


def _say(line: str) -> None:
    print(visible(line), flush=True)


def _question(options: Query | Models | TagSheet, sql: str, parameters: dict[str, Any], **settings: Any) -> Question:
    if options.out is None and options.format in BINARY and sys.stdout.isatty():
        raise EigenhouseError(f"{options.format} is not for a terminal; give OUT=<file>, or send it on with > or |")
    is_terminal = options.out is None and sys.stdout.isatty()
    warehouse, form = str(options.warehouse), str(options.format)
    return Question(warehouse=warehouse, sql=sql, parameters=parameters, form=form, is_terminal=is_terminal, **settings)


def answer(asked: Question, out: Path | None, seconds: float = apart.SECONDS) -> None:
    """Ask, and write what comes back."""
    with destination(out) as file:
        apart.answer(asked, file, seconds)
