"""A warehouse of an older schema brought up to date by the numbered files of sql/migrations/, after a copy of it.

0004.sql makes schema 4 of schema 3, and so on: the newest file's number is the schema that this program works with.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

import duckdb

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.fingerprints import fingerprint
from eigenhouse.ingest.geometry import operators
from eigenhouse.ingest.sources.family import family
from eigenhouse.ingest.warehouse import checksums, doubts, sqlfiles

Connection = duckdb.DuckDBPyConnection
CHUNK_BYTES = 1 << 24


def newest_schema() -> int:
    return max(map(_number, sqlfiles.files("migrations")))


def oldest_schema() -> int:
    """Of those that can be brought up to date."""
    return min(map(_number, sqlfiles.files("migrations"))) - 1


def _number(path: Path) -> int:
    return int(path.stem)


def run(con: Connection, schema: int) -> None:
    """Everything that a warehouse of this schema lacks, within the caller's transaction.

    All SQL comes first: DuckDB 1.5.5 can't commit a table that was altered again after its rows were.
    """
    for path in _steps(schema):
        con.execute(path.read_text(encoding="utf-8"))
    for path in _steps(schema):
        for further in FURTHER.get(_number(path), ()):
            further(con)


def in_words(schema: int) -> str:
    """What `run` brings, in words."""
    return "; ".join(sqlfiles.header(path)["title"] for path in _steps(schema))


def _steps(schema: int) -> list[Path]:
    return [path for path in sqlfiles.files("migrations") if _number(path) > schema]


def doubt_models(con: Connection) -> None:
    """Note on every stage of a model that its checkpoint may have been misread; imports have no checkpoint."""
    models = con.execute(
        "select source, dtype, quantization, list(model_key) from models where weights_sha256 is not null group by all"
    ).fetchall()
    for source, dtype, quantization, model_keys in models:
        if why := doubts.doubt(source, dtype, quantization):
            con.execute(
                "update ingested_stages set doubt = ? where list_contains(?::bigint[], model_key)", [why, model_keys]
            )


# the options that each stage's fingerprint names in version 1: a migration goes by what was true when it was written
OPTIONS_OF_SCHEMA_5: dict[str, tuple[str, ...]] = {
    "factors": ("variants",),
    "spectra": ("eigenvectors",),
    "grams": (),
    "variants": ("variants",),
    "subspaces": ("subspace_size", "principal_sides"),
    "alignments": ("subspace_size", "experts"),
    "weights": ("experts",),
    "attention": ("prompts",),
    "import": (),
    "import:grams": ("eigenvectors",),
}


def number_stages(con: Connection) -> None:
    """Give the rows of each stage version 1 and the fingerprint that goes with it: nothing is measured again.

    The options are those of the run that wrote the rows: one that names no variants is of a program without any. A row
    whose run can't be understood keeps its old mark, and is measured again.
    """
    entries = con.execute(
        "select ingested_stages.model_key, ingested_stages.stage, models.weights_sha256, ingest_runs.options "
        "from ingested_stages inner join models using (model_key) "
        "inner join ingest_runs on ingested_stages.run_id = ingest_runs.run_id"
    ).fetchall()
    for model_key, entry, weights, text in entries:
        with contextlib.suppress(LookupError, TypeError, ValueError, AttributeError, EigenhouseError):
            con.execute(
                "update ingested_stages set version = 1, fingerprint = ? where model_key = ? and stage = ?",
                [_fingerprint_of_schema_5(entry, weights, json.loads(text)), model_key, entry],
            )


def _fingerprint_of_schema_5(entry: str, weights: str | None, options: dict[str, Any]) -> str:
    stage, _, parameter = entry.partition(":")
    experts = str(options.get("experts", "8"))
    settled = {"subspace_size": 20, "principal_sides": False, "eigenvectors": "auto"} | options
    settled |= {"variants": ",".join(operators.asked(options.get("variants", "none")))}
    settled |= {"experts": int(experts) if experts.isdecimal() else experts, "prompts": parameter}
    named = "import:grams" if entry == "import:grams" else stage
    chosen = {name: settled[name] for name in OPTIONS_OF_SCHEMA_5[named]}
    return fingerprint(entry if stage == "import" else stage, 1, weights or options["sha256"], chosen)


def note_float32(con: Connection) -> None:
    """Prompts were run in float32 alone; the files of other tools don't say."""
    if con.execute("select 1 from duckdb_tables() where table_name = 'attention_stats'").fetchone():
        con.execute("update attention_stats set dtype = 'float32' where dtype is null and prompt_set <> 'imported'")


def name_families(con: Connection) -> None:
    """By name and model type; the checksums of those rows are noted anew."""
    for model_key, name, model_type in con.execute("select model_key, name, architecture from models").fetchall():
        con.execute("update models set family = ? where model_key = ?", [family(name, model_type), model_key])
        checksums.record(con, model_key, ["models"])


# what SQL can't say, or what has to follow all of it: steps in Python after the file of that number
FURTHER: dict[int, tuple[Callable[[Connection], None], ...]] = {
    4: (doubt_models,),
    5: (number_stages,),
    6: (note_float32,),
    7: (checksums.record_all,),
    8: (name_families,),
}


def keep_copy(original: BinaryIO, path: Path, schema: int) -> tuple[Path, bool]:
    """A copy of the warehouse beside it, and whether it was made just now; one that is there is never overwritten.

    original: the warehouse's file, open for reading, without anything left in a WAL.
    """
    for target in _copy_names(path, schema):
        if not target.exists():
            break
        if _is_same(original, target):
            return target, False
    partial = target.with_name(f"{target.name}.partial")
    try:
        _copy(original, partial)
        shutil.copymode(path, partial)
        partial.rename(target)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _no_copy(path, target, error) from error
        raise
    return target, True


def _copy_names(path: Path, schema: int) -> Iterator[Path]:
    for number in count(1):
        yield path.with_name(f"{path.stem}.schema{schema}{f'-{number}' if number > 1 else ''}{path.suffix}")


def _copy(original: BinaryIO, partial: Path) -> None:
    n_bytes = os.fstat(original.fileno()).st_size
    if n_bytes > shutil.disk_usage(partial.parent).free:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(partial))
    original.seek(0)
    with partial.open("wb") as file:
        shutil.copyfileobj(original, file, CHUNK_BYTES)
        file.flush()
        os.fsync(file.fileno())


def _is_same(original: BinaryIO, other: Path) -> bool:
    if os.fstat(original.fileno()).st_size != other.stat().st_size:
        return False
    original.seek(0)
    with other.open("rb") as file:
        while chunk := original.read(CHUNK_BYTES):
            if chunk != file.read(len(chunk)):
                return False
    return True


def _no_copy(path: Path, target: Path, error: OSError) -> EigenhouseError:
    wanted = f"{path} is of an older program, and is copied to {target.name} before it is brought up to date"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        n_megabytes = path.stat().st_size / 1e6
        return EigenhouseError(f"{wanted}: the disk has no room for {n_megabytes:,.0f} MB, nothing was written")
    return EigenhouseError(f"{wanted}: {error.strerror or error}, nothing was written")
