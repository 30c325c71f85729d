"""A measurement file into the warehouse, as one checked transaction like every other load.

A spectra file brings the singular values of one operator, and attention; a gram file the metric's inner products,
norms, eigenvalues and eigenvectors. Files with one NAME merge: each replaces only what it brings. What follows from a
file is worked out here (spectral grams, principal cosines, eigenvector overlaps), so that the views find it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from eigenhouse.ingest import console
from eigenhouse.ingest.exchange import files as measurement_files
from eigenhouse.ingest.exchange.files import SLACK, GramFile, MeasurementFile, SpectraFile
from eigenhouse.ingest.geometry import grams, null_spectra, subspaces
from eigenhouse.ingest.geometry.spectra import N_EIGENVECTORS
from eigenhouse.ingest.runs.pipeline import run_row
from eigenhouse.ingest.sources.catalog import cache_dir
from eigenhouse.ingest.sources.source import refuse_bad_key
from eigenhouse.ingest.stages import staging
from eigenhouse.ingest.stages.staging import RunFolder, growing_table, long_frame, pair_frame, vector_frame, write_table
from eigenhouse.ingest.warehouse import sqlfiles, store

from eigenhouse.errors import EigenhouseError
from eigenhouse.options import Ingest

# One prompt with one query that sees two keys: over one prompt a mean is the number itself whatever its weight, but
# without such a query head_attention would have no weight for logit_std and leave it out.
ATTENTION_KEYS = {"prompt_set": "imported", "prompt": 0}
ATTENTION_WEIGHTS = ("n_queries", "n_multi_queries")
KEYS = {
    "singular_values": ["operator", "layer", "head", "k"],
    "spectral_grams": ["operator", "head", "layer", "other_layer"],
}
GRAM_TABLES = ("grams", "head_norms", "eigenvalues", "eigenvectors", "principal_cosines", "eigenvector_overlaps")
NOT_FOR_FILES = ("revision", "prompts", "static_only", "dynamic_only", "no_weights", "principal_sides")
ENDINGS = (".spectra", ".gram")  # of what `make export` writes: its two files have one name


@dataclass
class Held:
    """What the warehouse holds under the name already, all of it imported; arrays are (layer, head)."""

    model: dict[str, Any] = field(default_factory=dict)
    layers: list[int] = field(default_factory=list)
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)  # stage → fingerprint, options of its run
    others: dict[str, pl.DataFrame] = field(default_factory=dict)  # table → rows of operators that stay
    energies: dict[str, np.ndarray] = field(default_factory=dict)  # operator → Σσ²
    n_values: dict[str, int] = field(default_factory=dict)  # operator → the longest spectrum
    norms: dict[str, np.ndarray] = field(default_factory=dict)  # operator → squared Frobenius norms


def import_file(options: Ingest, started_at: datetime) -> dict[str, int]:
    """Rows written by table; empty where this very file is in the warehouse already."""
    path, name = _located(options)
    found = measurement_files.read(path, options.operator)
    stage, sha256 = _stage(found), _sha256(found.paths)
    code = staging.code_version()
    mark = staging.fingerprint(stage=stage, sha256=sha256, eigenvectors=options.eigenvectors, code=code)
    held = _held(options, name, found)
    before = held.stages.get(stage, {})
    if before.get("fingerprint") == mark and not options.force:
        console.say(f"{path} is already imported as {name}: same file, options and code. FORCE=1 imports it again")
        return {}
    clash = _clash(found, held)
    if not options.force:
        _refuse_replacing(name, stage, clash, before, sha256)
    held = Held() if clash else held
    _check_energies(found, held)
    with RunFolder(cache_dir() / "runs" / f"import-{sha256[:16]}") as folder:
        shutil.rmtree(folder.path("import", mark), ignore_errors=True)  # of a run that was killed
        try:
            with folder.writing("import", mark) as out:
                expected = _write(found, held, out, options.eigenvectors)
            tables = staging.staged_tables(folder.path("import", mark))
            shared = {table: [tables.pop(table)] for table in ("null_spectra",) if table in tables}
            told = asdict(options) | {"sha256": sha256, "has_attention": "attention_stats" in tables}
            load = store.StackLoad(
                model_id=name,
                model=_model(found, held, name),
                run=run_row(told, started_at, datetime.now(UTC), {"import": folder.cost("import", mark)}),
                fingerprints={stage: mark},
                staged={table: [] for table in _replaced(found, before)}
                | {table: [file] for table, file in tables.items()},
                expected_rows=expected,
                replaces_all=clash is not None,
            )
            written = _load(options, load, shared)
        finally:
            folder.remove()  # what is staged depends on the warehouse too, so no later run may take it up
    seconds = (datetime.now(UTC) - started_at).total_seconds()
    console.summary(f"{name} is in the warehouse, from {path}", written, seconds, None, options.warehouse)
    return written


def _load(options: Ingest, load: store.StackLoad, shared: dict[str, list[Path]]) -> dict[str, int]:
    return store.load(
        options.warehouse,
        [load],
        shared,
        force=options.force,
        wait_seconds=options.wait,
        say=console.say,
    )


def _replaced(found: MeasurementFile, before: dict[str, Any]) -> tuple[str, ...]:
    """Tables that are left without rows where the file brings none: what its forerunner brought goes with that."""
    if isinstance(found, GramFile):
        return GRAM_TABLES
    return ("attention_stats",) if before and before["options"]["has_attention"] else ()


def _located(options: Ingest) -> tuple[Path, str]:
    """The file, and the name that its numbers get: NAME, or the file's without its endings."""
    for option in NOT_FOR_FILES:
        if getattr(options, option):
            raise EigenhouseError(f"{option.upper()} goes with a model; {options.model} is a file of measurements")
    path = Path(options.model).expanduser().absolute()
    if not path.is_file():
        raise EigenhouseError(f"wanted a measurement .json; there is no such file: {path}")
    stem = path.stem
    for ending in ENDINGS:
        stem = stem.removesuffix(ending)
    hint = "" if options.name is not None else " (the file's own name: give another with NAME=…)"
    name = stem if options.name is None else options.name
    refuse_bad_key("NAME", name, hint)
    return path, name


def _stage(found: MeasurementFile) -> str:
    """How the warehouse notes the file: spectra of several operators stand beside one another."""
    return f"import:spectra:{found.operator}" if isinstance(found, SpectraFile) else "import:grams"


def _sha256(paths: list[Path]) -> str:
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def _held(options: Ingest, name: str, found: MeasurementFile) -> Held:
    """Refuses a name that is bound to a model's weights, unless forced: then nothing of it counts."""
    if not store.bring_up_to_date(options.warehouse, wait_seconds=options.wait, say=console.say):
        return Held()
    con = store.connect(options.warehouse, read_only=True, wait_seconds=options.wait, say=console.say)
    try:
        for model_id in store.stack_ids(con, name):
            store.check_name(con, model_id, None, options.force)
        models = _asked(con, "model", model_id=name).to_dicts()
        if not models or models[0]["weights_sha256"] is not None:
            return Held()
        imports = _asked(con, "imports", model_id=name).iter_rows()
        held = Held(
            model=models[0],
            layers=_asked(con, "layers", model_id=name)["layer"].to_list(),
            stages={stage: {"fingerprint": mark, "options": json.loads(told)} for stage, mark, told in imports},
        )
        if isinstance(found, SpectraFile):
            keys = {"model_id": name, "operator": found.operator}
            for table in KEYS:
                held.others[table] = _asked(con, f"other_{table}", **keys).cast({pl.Int16: pl.Int32})
        shape = (len(held.layers), -1)
        for [operator], frame in _asked(con, "energies", model_id=name).group_by("operator", maintain_order=True):
            held.energies[str(operator)] = frame["energy"].to_numpy().reshape(shape)
            held.n_values[str(operator)] = int(frame["n_values"].to_numpy().max())
        norms = _asked(con, "norms", model_id=name)
        if len(norms):
            pairs = (("metric", norms["metric_fro_sq"]), ("head_product", norms["head_product_fro_sq"].drop_nulls()))
            held.norms = {operator: column.to_numpy().reshape(shape) for operator, column in pairs if len(column)}
        return held
    finally:
        con.close()


def _asked(con: store.Connection, name: str, **parameters: str) -> pl.DataFrame:
    query = sqlfiles.SQL_DIR / "exchange" / f"{name}.sql"
    return con.execute(query.read_text(encoding="utf-8"), parameters).pl()


def _clash(found: MeasurementFile, held: Held) -> str | None:
    """Why the file cannot be of the model that the name holds; None where it can."""
    if not held.model:
        return None
    path, n_heads = found.paths[0], held.model["n_heads"]
    if (len(found.layers), found.n_heads) != (len(held.layers), n_heads):
        came = f"{len(found.layers)} layers of {found.n_heads} heads in {path}"
        return f"wanted {len(held.layers)} layers of {n_heads} heads, as the name has already; got {came}"
    if found.layers != held.layers:
        return f"wanted the layers {held.layers}, as the name has already; got {found.layers} in {path}"
    longest = dict(held.n_values)
    if isinstance(found, SpectraFile):
        longest = {found.operator: max(sigma.shape[1] for sigma in found.sigma)}
    head_dim = found.head_dim or held.model["head_dim"]
    if head_dim and longest and max(longest.values()) > head_dim:
        return f"wanted at most head_dim={head_dim} singular values a head; got {max(longest.values())} ({path})"
    return None


def _refuse_replacing(name: str, stage: str, clash: str | None, before: dict[str, Any], sha256: str) -> None:
    if clash:
        raise EigenhouseError(f"{name}: {clash}. Give another NAME, or FORCE=1 to replace all that {name} holds")
    if before and before["options"].get("sha256") != sha256:
        what, file = stage.removeprefix("import:"), before["options"].get("model")
        raise EigenhouseError(f"{name} holds {what} of another file, {file}; give another NAME, or FORCE=1 to replace")


def _check_energies(found: MeasurementFile, held: Held) -> None:
    """Σσ² is the squared norm of its operator: what the files of one name say of it must agree, to SLACK.

    It tells singular values of the metric from those of the head product, where a file was imported as the wrong one.
    """
    norms, energies, n_values = held.norms, held.energies, held.n_values
    if isinstance(found, SpectraFile):
        energies = {found.operator: np.stack([np.square(sigma).sum(1) for sigma in found.sigma])}
        n_values = {found.operator: max(sigma.shape[1] for sigma in found.sigma)}
    elif isinstance(found, GramFile):
        norms = {"metric": np.diagonal(found.grams, axis1=1, axis2=2).T}
        if found.head_product_fro_sq is not None:
            norms["head_product"] = found.head_product_fro_sq
    head_dim = found.head_dim or held.model.get("head_dim")
    for operator, energy in energies.items():
        is_whole = n_values[operator] == head_dim
        off = {name: _off(energy, norm, is_whole) for name, norm in norms.items()}
        if off.get(operator, 0) <= SLACK:
            continue
        said = f"wanted Σσ² of {operator} = its squared norm in the gram file; off by {off[operator]:.2g} of it"
        fitting = [name for name, share in off.items() if share <= SLACK and is_whole]
        if fitting:
            raise EigenhouseError(
                f"{said}: these are the {fitting[0]}'s; import the spectra with OPERATOR={fitting[0]}"
            )
        if operator == "metric":
            raise EigenhouseError(f"{said} (files of two models, or OPERATOR=head_product?)")
        console.say(f"note: {said}: are both files of one model?")


def _off(energy: np.ndarray, norm: np.ndarray, is_whole: bool) -> float:
    """The largest relative difference; of a spectrum that was cut short only what lies above."""
    share = (energy - norm) / np.maximum(norm, np.finfo(np.float64).tiny)
    return float(np.abs(share).max() if is_whole else share.max())


def _model(found: MeasurementFile, held: Held, name: str) -> dict[str, object]:
    """The columns of `models`: what the files say, and what an earlier one of the same name said."""
    columns = sqlfiles.tables()["models"]["columns"].keys() - {"model_id", "model_key"}
    told: dict[str, Any] = {"name": name, "checkpoint": name, "source": str(found.paths[0])}
    told |= {"n_layers": found.layers[-1] + 1, "n_heads": found.n_heads}
    told |= {"head_dim": found.head_dim, "hidden_size": found.hidden_size}
    model = {column: told.get(column) or held.model.get(column) for column in columns}
    earlier = held.model.get("source") or ""
    if earlier and told["source"] not in earlier.split(", "):
        model["source"] = f"{earlier}, {told['source']}"
    return model


def _write(found: MeasurementFile, held: Held, out: Path, eigenvectors: str) -> dict[str, int]:
    """Stage every table that the file fills, and the rows to expect of each."""
    head_dim = found.head_dim or held.model.get("head_dim")
    rows = [
        (layer, found.n_heads if layer in found.layers else None, head_dim, layer in found.layers)
        for layer in range(found.layers[-1] + 1)
    ]
    kinds: dict[str, Any] = {"layer": pl.Int32, "n_heads": pl.Int32, "head_dim": pl.Int32, "is_measured": pl.Boolean}
    unknown = [pl.lit(None, pl.Int32).alias(name) for name in ("n_kv_heads", "window_size", "position_dim")]
    frame = pl.DataFrame(rows, schema=kinds, orient="row")
    write_table(out, "layers", [frame.with_columns(*unknown, attention_kind=pl.lit(None, pl.String))], ["layer"])
    expected = {"layers": len(rows)}
    if isinstance(found, SpectraFile):
        return expected | _write_spectra(found, held, out)
    assert isinstance(found, GramFile)
    return expected | _write_grams(found, out) | _write_directions(found, out, eigenvectors)


def _write_spectra(found: SpectraFile, held: Held, out: Path) -> dict[str, int]:
    frames: dict[str, list[pl.DataFrame]] = {"singular_values": [], "spectral_grams": []}
    for layer, sigma in zip(found.layers, found.sigma, strict=True):
        keys = {"operator": found.operator, "layer": layer}
        frames["singular_values"].append(long_frame(keys, ("head", "k"), sigma=sigma.astype(np.float32)))
    for head in range(found.n_heads):
        products = grams.spectral_grams([sigma[head] for sigma in found.sigma])
        frames["spectral_grams"].append(pair_frame({"operator": found.operator, "head": head}, found.layers, products))
    expected = {"singular_values": sum(sigma.size for sigma in found.sigma), "spectral_grams": _n_pairs(found, 1)}
    for table, others in held.others.items():
        frames[table].append(others)
        expected[table] += len(others)
    for table, keys_of_table in KEYS.items():
        write_table(out, table, frames[table], keys_of_table)
    if found.attention:
        write_table(out, "attention_stats", [_attention_frame(found)], ["layer", "head"])
        expected["attention_stats"] = len(found.layers) * found.n_heads
    return expected


def _attention_frame(found: SpectraFile) -> pl.DataFrame:
    columns = sqlfiles.tables()["attention_stats"]
    frames = [
        long_frame(
            ATTENTION_KEYS | {"layer": layer},
            ("head",),
            **{column: values[at].astype(np.float32) for column, values in found.attention.items()},
        )
        for at, layer in enumerate(found.layers)
    ]
    frame = pl.concat(frames).fill_nan(None).with_columns(pl.lit(1).alias(name) for name in ATTENTION_WEIGHTS)
    absent = columns["columns"].keys() - {"model_key"} - set(frame.columns)
    return frame.with_columns(pl.lit(None, pl.Float32).alias(name) for name in sorted(absent))


def _write_grams(found: GramFile, out: Path) -> dict[str, int]:
    frames = [
        pair_frame({"operator": "metric", "head": head}, found.layers, products)
        for head, products in enumerate(found.grams)
    ]
    write_table(out, "grams", frames, ["operator", "head", "layer", "other_layer"])
    unknown = np.full((len(found.layers), found.n_heads), np.nan)
    columns = {
        "metric_fro_sq": np.diagonal(found.grams, axis1=1, axis2=2).T,
        "trace": unknown if found.eigenvalues is None else found.eigenvalues.sum(2),
        "w_q_fro_sq": unknown,
        "w_k_fro_sq": unknown,
        "head_product_fro_sq": unknown if found.head_product_fro_sq is None else found.head_product_fro_sq,
    }
    norms = [
        long_frame({"operator": "metric", "layer": layer}, ("head",), **{name: of[at] for name, of in columns.items()})
        for at, layer in enumerate(found.layers)
    ]
    write_table(out, "head_norms", [frame.fill_nan(None) for frame in norms], ["layer", "head"])
    if found.hidden_size and found.head_dim:
        shape = (found.hidden_size, found.head_dim)
        write_table(out, "null_spectra", [null_spectra.null_frame([shape])], ["sample", "k"])
    return {"grams": _n_pairs(found, 1), "head_norms": unknown.size}


def _write_directions(found: GramFile, out: Path, eigenvectors: str) -> dict[str, int]:
    """Eigenvalues, eigenvectors, and what compares these between layers; nothing where the file came without a .pt."""
    if found.eigenvalues is None or found.vectors is None:
        return {}
    from eigenhouse.ingest.stages.spectra import EIGENVECTOR_BYTES  # they import torch, which has read the .pt by now
    from eigenhouse.ingest.stages.subspaces import HeadPairs, within_unit

    values, vectors = found.eigenvalues, _signed(found.vectors)
    frames = [
        long_frame({"operator": "metric", "layer": layer}, ("head", "k"), eigenvalue=values[at].astype(np.float32))
        for at, layer in enumerate(found.layers)
    ]
    write_table(out, "eigenvalues", frames, ["layer", "head", "k"])
    expected = {"eigenvalues": values.size}
    if eigenvectors == "all" or (eigenvectors == "auto" and vectors.nbytes <= EIGENVECTOR_BYTES):
        frames = [vector_frame(layer, vectors[at]) for at, layer in enumerate(found.layers)]
        write_table(out, "eigenvectors", frames, ["layer", "head", "k"])
        expected["eigenvectors"] = vectors.size // vectors.shape[3]
    else:
        console.say(f"eigenvectors left out ({vectors.nbytes / 2**20:.0f} MB); EIGENVECTORS=all keeps them")
    size, hidden_size = min(N_EIGENVECTORS, vectors.shape[2]), vectors.shape[3]
    with growing_table(out, "principal_cosines") as add_cosines, growing_table(out, "eigenvector_overlaps") as add_top1:
        for head in range(found.n_heads if len(found.layers) > 1 else 0):
            magnitudes, bases = np.abs(values[:, head]), _orthonormal(vectors[:, head, :size])
            pairs = HeadPairs(head, found.layers, subspaces.tied_at_cut(magnitudes, size, hidden_size))
            cosines = within_unit(subspaces.principal_cosines(bases), pairs.where)
            add_cosines(pairs.frame({"basis": "eigen"}, cosine=cosines))
            pairs = HeadPairs(head, found.layers, subspaces.tied_at_cut(magnitudes, 1, hidden_size))
            top1 = within_unit(subspaces.vector_overlaps(bases[:, 0])[pairs.indices], pairs.where)
            add_top1(pairs.frame({}, top1_overlap=top1))
    n_pairs = _n_pairs(found, 0)
    return expected | {"principal_cosines": n_pairs * size, "eigenvector_overlaps": n_pairs}


def _signed(vectors: np.ndarray) -> np.ndarray:
    """Rows of unit length with their largest-magnitude component positive, as every eigenvector of the warehouse."""
    peaks = np.take_along_axis(vectors, np.abs(vectors).argmax(-1)[..., None], -1)
    return vectors * np.where(peaks < 0, -1, 1).astype(np.float32) / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _orthonormal(rows: np.ndarray) -> np.ndarray:
    """An orthonormal basis (layer, vector, hidden) float64 of each layer's rows: a cosine above 1 would be theirs."""
    q, _ = np.linalg.qr(rows.astype(np.float64).transpose(0, 2, 1))
    return q.transpose(0, 2, 1)


def _n_pairs(found: MeasurementFile, with_itself: int) -> int:
    n_layers = len(found.layers)
    return found.n_heads * n_layers * (n_layers - 1 + 2 * with_itself) // 2
