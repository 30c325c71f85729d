"""A warehouse of made-up models, filled in chunks by SQL: the same rows for the same seed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import polars as pl

from bench import tiny_warehouse
from bench.made import shapes
from bench.made.shapes import Model
from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.stages.declaration import versions
from eigenhouse.ingest.stages.frames import null_frame
from eigenhouse.ingest.warehouse import checksums, rollups, sqlfiles, store

ROWS = Path(__file__).with_name("rows.sql")
BYTES_A_ROW = 8  # twice what a row takes: DuckDB writes blocks before it can give old ones back
CHUNK_ROWS = 10_000_000
MAYBE_NULL = {"stack": pl.String, "revision": pl.String, "revision_order": pl.Int64, "window_size": pl.Int64}
TEXTS = [f"This is prompt {number}, of as many words as it has." for number in range(shapes.N_PROMPTS)]
PROMPT_SET = f"made@{sha256(''.join(TEXTS).encode()).hexdigest()[:8]}"


def make(path: Path, n_models: int, n_rows: int, seed: int = 0, say: Callable[[str], None] = print) -> list[Model]:
    """At most as many rows of facts, in a file that isn't there yet. Refused where the disk has no room for them."""
    want_room(path, n_rows)
    made = shapes.models(n_models, n_rows)
    tiny_warehouse.copy_empty(path)
    with store.connect(path, read_only=False) as con:
        con.execute(_draw(seed))
        fill_shared(con, made)
        for place, chunk in enumerate(chunks(made)):
            fill(con, chunk)
            say(f"chunk {place}: {len(chunk)} models, {sum(model.n_rows for model in chunk):,} rows")
        con.begin()
        checksums.record_all(con)
        con.execute("drop macro draw")
        con.commit()
        con.execute("checkpoint")
    return made


def want_room(path: Path, n_rows: int) -> None:
    if path.exists():
        raise EigenhouseError(f"{path} is there; give another KEEP, or move it away")
    free, wanted = shutil.disk_usage(path.absolute().parent).free, n_rows * BYTES_A_ROW
    if free < wanted:
        raise EigenhouseError(
            f"{path}: {n_rows:,} rows want {wanted / 1e9:,.1f} GB of the disk while they are made, "
            f"{free / 1e9:,.1f} GB are free; ask for fewer --rows, or name another place by --keep"
        )


def chunks(made: list[Model]) -> Iterator[list[Model]]:
    """Models one after the other, of about as many rows in all."""
    chunk: list[Model] = []
    for model in made:
        chunk.append(model)
        if sum(each.n_rows for each in chunk) >= CHUNK_ROWS:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def fill(con: store.Connection, chunk: list[Model]) -> None:
    rows = pl.DataFrame([model.row() for model in chunk], infer_schema_length=None, schema_overrides=MAYBE_NULL)
    con.register("made_frame", rows.to_arrow())
    con.execute("create or replace temp table made as from made_frame")
    parameters = {
        "n_eigen": shapes.N_EIGEN, "n_matches": shapes.N_MATCHES, "n_prompts": shapes.N_PROMPTS,
        "subspace_size": shapes.SUBSPACE_SIZE, "first_key": shapes.FIRST_KEY, "prompt_set": PROMPT_SET,
        "stages": [{"name": name, "version": number} for name, number in versions().items() if ":" not in name],
    }  # fmt: skip
    con.begin()
    for statement in con.extract_statements(ROWS.read_text(encoding="utf-8")):
        con.execute(statement, {name: parameters[name] for name in statement.named_parameters})
    rollups.fill(con, [model.model_key for model in chunk], set(sqlfiles.tables()))
    con.commit()


def fill_shared(con: store.Connection, made: list[Model]) -> None:
    """What belongs to no model: chance for every shape, and the prompts."""
    con.register("null_rows", null_frame({(model.hidden_size, model.head_dim) for model in made}).to_arrow())
    con.execute("insert into null_spectra by name from null_rows")
    for prompt, text in enumerate(TEXTS):
        row = [PROMPT_SET, prompt, text, sha256(text.encode()).hexdigest()]
        con.execute("insert into prompts values (?, ?, ?, ?)", row)


def _draw(seed: int) -> str:
    """The macro that the rows are drawn with: a number in [0, 1) of three to seven arguments."""
    kinds = ",\n".join(
        f"({names}) as hash({seed}, {names}) / 18446744073709551616::double"
        for names in (", ".join("abcdefg"[:n]) for n in range(3, 8))
    )
    return f"create or replace macro draw {kinds}"
