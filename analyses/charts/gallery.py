"""Every saved chart at once, as files in one folder."""

import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb

from eigenhouse.analyses.answers import saved
from eigenhouse.analyses.answers.destinations import destination, want_no_warehouse
from eigenhouse.analyses.answers.saved import SavedQuery
from eigenhouse.analyses.charts import charts, groups, pictures
from eigenhouse.analyses.charts.charts import NothingToDraw
from eigenhouse.analyses.charts.limits import AsksForModel
from eigenhouse.analyses.charts.renderer import Renderers
from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.warehouse.selection import Bound

Started = tuple[SavedQuery, Future[float] | EigenhouseError]


def draw_all(
    con: duckdb.DuckDBPyConnection, model: Bound | None, by: str | None, folder: Path, say: Callable[[str], None]
) -> None:
    """A line for each query, in order; an answer without a point has its line too, mistakes come at the end."""
    groups.want_known(con, by)
    queries = [query for query in saved.every() if query.chart]
    mistakes = []
    try:
        want_no_warehouse(*(folder / f"{query.name}{suffix}" for query in queries for suffix in pictures.SUFFIXES))
        folder.mkdir(parents=True, exist_ok=True)
        with Renderers(workers()) as renderers, ThreadPoolExecutor(workers()) as pool:

            def begin(path: Path, text: str) -> Future[float]:
                return pool.submit(_written, renderers, path, text)

            started = (_start(con, query, model, by, folder, begin) for query in queries)
            for place, (query, outcome) in enumerate(_some_ahead(started, workers()), 1):
                if isinstance(outcome, Future):
                    line = f"{folder / query.name}.html .png .svg, {outcome.result():.1f} s"
                elif isinstance(outcome, NothingToDraw):
                    line = "nothing to draw"
                elif isinstance(outcome, AsksForModel):
                    line = "draws models one by one; want MODEL"
                else:
                    line = "failed"
                    mistakes.append(f"{query.name}: {outcome}")
                say(f"[{place}/{len(queries)}] {query.name}: {line}")
    except OSError as error:
        raise EigenhouseError(f"cannot write {error.filename or folder}: {error.strerror}") from error
    if mistakes:
        raise EigenhouseError("\n".join(mistakes))


def workers() -> int:
    """Charts that are drawn at a time, each by a process of its own."""
    return min(os.cpu_count() or 1, 4)


def _start(
    con: duckdb.DuckDBPyConnection,
    query: SavedQuery,
    model: Bound | None,
    by: str | None,
    folder: Path,
    begin: Callable[[Path, str], Future[float]],
) -> Started:
    given: dict[str, Any] = {"model": model} if model is not None and "model" in query.parameters else {}
    given |= {} if by is None else {"by": by}
    try:
        spec = charts.draw(con, query, given)
    except EigenhouseError as error:
        return query, error
    return query, begin(folder / query.name, json.dumps(spec, allow_nan=False))


def _written(renderers: Renderers, path: Path, text: str) -> float:
    """Seconds to write a chart's files."""
    start = time.monotonic()
    for suffix, data in renderers.rendered(text).items():
        with destination(path.with_name(f"{path.name}{suffix}")) as file:
            file.write(data)
    return time.monotonic() - start


def _some_ahead(started: Iterable[Started], ahead: int) -> Iterator[Started]:
    """Each in turn, while the next ones are under way."""
    waiting: deque[Started] = deque()
    for one in started:
        waiting.append(one)
        if len(waiting) > ahead:
            yield waiting.popleft()
    yield from waiting
