"""A measurement file into the warehouse, as one checked transaction like every other load.

A spectra file brings the singular values of one operator, and attention; a gram file the metric's inner products,
norms, eigenvalues and eigenvectors. Files with one NAME merge: each replaces only what it brings.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest import console
from eigenhouse.ingest.exchange import files
from eigenhouse.ingest.exchange.files import MeasurementFile, SpectraFile
from eigenhouse.ingest.exchange.held import Held, check_energies, clash_with, held_under
from eigenhouse.ingest.exchange.rows import STACK, FileInputs
from eigenhouse.ingest.fingerprints import fingerprint
from eigenhouse.ingest.runs.folder import RunFolder
from eigenhouse.ingest.runs.provenance import run_row
from eigenhouse.ingest.sources.catalog import cache_dir
from eigenhouse.ingest.sources.source import refuse_bad_key
from eigenhouse.ingest.stages.declaration import Stage, declared
from eigenhouse.ingest.warehouse import backend, sqlfiles, store
from eigenhouse.ingest.warehouse.loads import Entry, StackLoad
from eigenhouse.options import Ingest

NOT_FOR_FILES = ("revision", "prompts", "static_only", "dynamic_only", "no_weights", "principal_sides")
ENDINGS = (".spectra", ".gram")  # of what `make export` writes: its two files have one name


def import_file(options: Ingest) -> dict[str, int]:
    """Rows written by table; empty where this very file is in the warehouse already."""
    started_at = datetime.now(UTC)
    options.check()
    backend.of(options.warehouse).want_place(options.warehouse)
    if not options.force:
        store.want_whole(options.warehouse)
    path, name = _located(options)
    found = files.read(path, options.operator)
    stage = declared("exchange")["import:spectra" if isinstance(found, SpectraFile) else "import:grams"]
    parameters = {"operator": found.operator} if isinstance(found, SpectraFile) else {}
    noted, sha256 = stage.entry(parameters), _sha256(found.paths)
    settled = {name: options.settled(name) for name in stage.options}
    entry = Entry(fingerprint(noted, stage.version, sha256, settled), stage.version)
    held = held_under(options, name)
    before, earlier = held.stages.get(noted, (None, {}))
    if before and before.stands_for(entry) and not options.force:
        console.say(f"{path} is already imported as {name}: same file and options. FORCE=1 imports it again")
        return {}
    clash = clash_with(found, held)
    if not options.force:
        _refuse_replacing(name, noted, clash, earlier, sha256)
    held = Held() if clash else held
    check_energies(found, held)
    has_attention = isinstance(found, SpectraFile) and bool(found.attention)
    given = asdict(options) | {"sha256": sha256, "has_attention": has_attention}
    with _staged(stage, entry, sha256, FileInputs(found, held.model.get("head_dim"), options.eigenvectors)) as folder:
        tables = folder.tables([stage], STACK)
        if not has_attention and not earlier.get("has_attention"):
            tables.pop("attention_stats", None)  # those of another file stay
        run = run_row(given, started_at, datetime.now(UTC), {"import": folder.manifest(stage.name).cost})
        load = StackLoad(name, _model(found, held, name), run, {noted: entry}, tables, parameters, clash is not None)
        written = _load(options, load, folder.shared([stage]))
    seconds = (datetime.now(UTC) - started_at).total_seconds()
    title, house = f"{name} is in the warehouse, from {path}", store.size(options.warehouse)
    console.summary(title, written, seconds, None, house, [])
    return written


@contextmanager
def _staged(stage: Stage, entry: Entry, sha256: str, inputs: FileInputs) -> Iterator[RunFolder]:
    """The folder with the file's rows. It goes in any case: they depend on the warehouse too, so none may be reused."""
    with RunFolder(cache_dir() / "runs" / f"import-{sha256[:16]}", {stage.name: entry.fingerprint}) as folder:
        try:
            shutil.rmtree(folder.path(stage.name), ignore_errors=True)  # of a run that was killed
            with folder.writing(stage) as out:
                stage.run(inputs, out)
            yield folder
        finally:
            folder.remove()


def _load(options: Ingest, load: StackLoad, shared: dict[str, list[Path]]) -> dict[str, int]:
    return store.load(
        options.warehouse, [load], shared, force=options.force, wait_seconds=options.wait, say=console.say
    )


def _located(options: Ingest) -> tuple[Path, str]:
    """The file, and the name that its numbers get: NAME, or the file's without its endings."""
    for option in NOT_FOR_FILES:
        if getattr(options, option):
            raise EigenhouseError(f"{option.upper()} goes with a model; {options.model} is a file of measurements")
    path = Path(options.model).expanduser().absolute()
    if not path.exists():
        raise EigenhouseError(f"wanted a measurement .json; there is no such file: {path}")
    stem = path.stem
    for ending in ENDINGS:
        stem = stem.removesuffix(ending)
    hint = "" if options.name is not None else " (the file's own name: give another with NAME=…)"
    name = stem if options.name is None else options.name
    refuse_bad_key("NAME", name, hint)
    return path, name


def _sha256(paths: list[Path]) -> str:
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def _refuse_replacing(name: str, stage: str, clash: str | None, earlier: dict[str, Any], sha256: str) -> None:
    if clash:
        raise EigenhouseError(f"{name}: {clash}. Give another NAME, or FORCE=1 to replace all that {name} holds")
    if earlier and earlier.get("sha256") != sha256:
        what, file = stage.removeprefix("import:"), earlier.get("model")
        raise EigenhouseError(f"{name} holds {what} of another file, {file}; give another NAME, or FORCE=1 to replace")


def _model(found: MeasurementFile, held: Held, name: str) -> dict[str, object]:
    """The columns of `models`: what the files say, and what an earlier one of the same name said."""
    columns = sqlfiles.tables()["models"]["columns"].keys() - {"model_id", "model_key", "family"}
    given: dict[str, Any] = {"name": name, "checkpoint": name, "source": str(found.paths[0])}
    given |= {"n_layers": found.layers[-1] + 1, "n_heads": found.n_heads}
    given |= {"head_dim": found.head_dim, "hidden_size": found.hidden_size}
    model = {column: given.get(column) or held.model.get(column) for column in columns}
    earlier = held.model.get("source") or ""
    if earlier and given["source"] not in earlier.split(", "):
        model["source"] = f"{earlier}, {given['source']}"
    return model
