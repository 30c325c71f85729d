"""Models' measurements as files that other tools read: a spectra file, a gram file with its .pt, effective ranks.

A part that the warehouse has no rows for, or that its format cannot say, is left out with a reason. Layers are counted
as in the file's lists: where some of a model's layers are not measured, `layers` gives the model's own numbers.
"""

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl

from eigenhouse.analyses.answers import formats
from eigenhouse.analyses.answers.destinations import destination, want_no_warehouse
from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.warehouse import sqlfiles

DEFAULT_OPERATOR = "head_product"  # what readers of the format take its singular values for
STANDARD = "standard@"  # how the packaged prompts' sets begin
NOT_IN_FILE_NAMES = re.compile(r"[/\\@#:]+")


class _LeftOut(Exception):
    """Why a part is not written."""


class Export:
    """One model on its way into files; `say` takes a line for each part that is left out."""

    def __init__(self, con: duckdb.DuckDBPyConnection, model_id: str, say: Callable[[str], None]) -> None:
        self.con, self.model_id, self.say = con, model_id, say
        [self.model] = self.ask("model").to_dicts()
        self.stem = _stem(model_id)
        layers = self.ask("layers")
        self.layers, self.heads = layers["layer"].to_list(), layers["n_heads"].to_list()

    def ask(self, name: str, **parameters: str) -> pl.DataFrame:
        query = (sqlfiles.SQL_DIR / "exchange" / f"{name}.sql").read_text(encoding="utf-8")
        return self.con.execute(query, {"model_id": self.model_id, **parameters}).pl()

    def shape(self) -> dict[str, Any]:
        """The keys that open both JSON files."""
        if not self.layers:
            raise _LeftOut("the warehouse has no row for any of its layers")
        if len(set(self.heads)) != 1:
            raise _LeftOut(f"its layers have {min(self.heads)} to {max(self.heads)} heads; the format has one number")
        content = {"num_layers": len(self.layers), "num_heads": self.heads[0]}
        return content if self.layers == list(range(len(self.layers))) else content | {"layers": self.layers}

    def per_head(self, frame: pl.DataFrame, column: str) -> list[list[Any]]:
        """A column of rows sorted by layer and head as one list a layer; all heads must be there."""
        n_heads = self.heads[0]
        wanted = [(layer, head) for layer in self.layers for head in range(n_heads)]
        if list(zip(frame["layer"], frame["head"], strict=True)) != wanted:
            raise _LeftOut(f"{column} has {len(frame)} of {len(wanted)} heads")
        values = frame[column].to_list()
        return [values[at : at + n_heads] for at in range(0, len(values), n_heads)]


def export(
    con: duckdb.DuckDBPyConnection,
    model_ids: list[str],
    folder: Path,
    operator: str | None,
    prompt_set: str | None,
    say: Callable[[str], None],
) -> Iterator[Path]:
    """Write what there is of each model into the folder; the files written.

    A model that has nothing, or not what was asked for, is told at the end: the others are written.
    """
    _want_names_apart(model_ids)
    mistakes = []
    for model_id in model_ids:
        try:
            yield from _export(con, model_id, folder, operator, prompt_set, say)
        except EigenhouseError as error:
            mistakes.append(str(error))
    if mistakes:
        raise EigenhouseError("\n".join(mistakes))


def _stem(model_id: str) -> str:
    return NOT_IN_FILE_NAMES.sub("--", model_id)


def _want_names_apart(model_ids: list[str]) -> None:
    """`org/a` and `org@a` would be files of one name, the second in the place of the first."""
    stems: dict[str, str] = {}
    for model_id in model_ids:
        if (other := stems.setdefault(_stem(model_id), model_id)) != model_id:
            raise EigenhouseError(
                f"{other} and {model_id} would both be written as {_stem(model_id)}; export them into two folders"
            )


def _export(
    con: duckdb.DuckDBPyConnection,
    model_id: str,
    folder: Path,
    operator: str | None,
    prompt_set: str | None,
    say: Callable[[str], None],
) -> list[Path]:
    """Write what there is of the model into the folder; the files written."""
    model = Export(con, model_id, say)
    _want_operator(model, operator)
    chosen = _prompt_set(model, prompt_set)
    parts: dict[str, Callable[[], dict[Path, bytes]]] = {
        "spectra": lambda: _spectra(model, folder, operator or DEFAULT_OPERATOR, chosen),
        "grams": lambda: _grams(model, folder),
        "effective ranks": lambda: _effective_ranks(model, folder),
    }
    files: dict[Path, bytes] = {}
    for name, part in parts.items():
        try:
            files |= part()
        except _LeftOut as reason:
            say(f"{name} left out: {reason}")
    if not files:
        raise EigenhouseError(f"{model_id}: there is nothing to export")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        want_no_warehouse(*files)
        for path, content in files.items():
            with destination(path) as file:
                file.write(content)
    except OSError as error:
        raise EigenhouseError(f"cannot write into {folder}: {error.strerror}") from error
    return list(files)


def _want_operator(model: Export, operator: str | None) -> None:
    operators = model.ask("operators")["operator"].to_list()
    if operator and operator not in operators:
        raise EigenhouseError(f"{model.model_id} has no singular values of {operator}; it has {', '.join(operators)}")


def _prompt_set(model: Export, asked: str | None) -> str | None:
    """The one asked for, the only one, or the only standard one; None where there is none."""
    there = model.ask("prompt_sets")["prompt_set"].to_list()
    if asked and asked not in there:
        raise EigenhouseError(f"{model.model_id} has no prompt set {asked}; it has {', '.join(there) or 'none'}")
    standard = [name for name in there if name.startswith(STANDARD)]
    for fitting in ([asked] if asked else [], there, standard):
        if len(fitting) == 1:
            return fitting[0]
    if not there:
        return None
    raise EigenhouseError(f"{model.model_id} has {len(there)} prompt sets; give PROMPT_SET=one of {', '.join(there)}")


def _spectra(model: Export, folder: Path, operator: str, prompt_set: str | None) -> dict[Path, bytes]:
    """`operator` is named where it is not what readers expect; our own import reads it."""
    content = model.shape()
    spectra = model.ask("spectra", operator=operator)
    if spectra.is_empty():
        raise _LeftOut(f"there are no singular values of {operator}")
    if operator != DEFAULT_OPERATOR:
        content["operator"] = operator
    sigma = model.per_head(spectra, "sigma")
    content["static"] = [{"metric_singvals_per_head": [formats.shortest(head) for head in layer]} for layer in sigma]
    try:
        if prompt_set is None:
            raise _LeftOut("no prompts were measured")
        attention = model.ask("attention", prompt_set=prompt_set)
        entropy, spread = (model.per_head(attention, column) for column in ("entropy_nats", "logit_std"))
        content["dynamic"] = [
            {"mean_attention_entropy_per_head": one, "mean_logit_std_per_head": other}
            for one, other in zip(entropy, spread, strict=True)
        ]
    except _LeftOut as reason:
        model.say(f"dynamic left out of the spectra: {reason}")
    return {folder / f"{model.stem}.spectra.json": _json(content)}


def _grams(model: Export, folder: Path) -> dict[Path, bytes]:
    content, rows = model.shape(), model.ask("grams")
    n_layers, n_heads = content["num_layers"], content["num_heads"]
    if rows.is_empty():
        raise _LeftOut("there are no grams of the metric")
    if len(rows) != n_heads * n_layers * (n_layers + 1) // 2:
        raise _LeftOut(f"grams has {len(rows)} rows, not one for each pair of layers")
    for column in ("head_dim", "hidden_size"):
        if model.model[column] is None:
            raise _LeftOut(f"{column} is unknown, and the format wants it")
        content[column] = model.model[column]
    place = {layer: at for at, layer in enumerate(model.layers)}
    one, two = ([place[layer] for layer in rows[column]] for column in ("layer", "other_layer"))
    gram = np.zeros((n_layers, n_layers, n_heads))
    gram[one, two, rows["head"]] = gram[two, one, rows["head"]] = rows["gram"]
    content["gram"] = gram.tolist()
    fro_sq = model.per_head(model.ask("norms"), "head_product_fro_sq")
    content["fro_sq"] = None if any(None in layer for layer in fro_sq) else fro_sq
    files = {}
    content["eigdirs_path"] = None
    try:
        path = folder / f"{model.stem}.eigdirs.pt"
        files[path] = _eigdirs(model, n_heads)
        content["eigdirs_path"] = path.name
    except _LeftOut as reason:
        model.say(f"eigenvectors (.pt) left out: {reason}")
    return {folder / f"{model.stem}.gram.json": _json(content)} | files


def _eigdirs(model: Export, n_heads: int) -> bytes:
    """eig_dirs (layer, head, k, hidden) and sym_eigs (layer, head, 2 head_dim), zeros where a layer has fewer."""
    values, vectors = model.ask("eigenvalues"), model.ask("eigenvectors")
    if values.is_empty() or vectors.is_empty():
        raise _LeftOut(f"there are no {'eigenvalues' if values.is_empty() else 'eigenvectors'}")
    n_layers = len(model.layers)
    place = {layer: at for at, layer in enumerate(model.layers)}
    sym_eigs = np.zeros((n_layers, n_heads, 2 * model.model["head_dim"]), np.float32)
    sym_eigs[[place[layer] for layer in values["layer"]], values["head"], values["k"]] = values["eigenvalue"]
    n_vectors = int(vectors.group_by("layer", "head").len()["len"].to_numpy().min())
    kept = vectors.filter(pl.col("k") < n_vectors)
    if len(kept) != n_layers * n_heads * n_vectors:
        raise _LeftOut("some heads have no eigenvectors")
    eig_dirs = kept["vector"].explode().to_numpy().reshape(n_layers, n_heads, n_vectors, -1)
    import torch  # late: it takes seconds

    buffer = io.BytesIO()
    tensors = {"eig_dirs": torch.tensor(eig_dirs), "sym_eigs": torch.tensor(sym_eigs)}
    torch.save(tensors, buffer)
    return buffer.getvalue()


def _effective_ranks(model: Export, folder: Path) -> dict[Path, bytes]:
    rows = model.ask("effective_ranks")
    if rows.is_empty():
        raise _LeftOut("there are no spectra of whole weights")
    alone = rows.filter(pl.col("n_experts") == 1).drop("n_experts")
    if n_left := len(rows) - len(alone):
        model.say(f"{n_left} experts' weights left out of the effective ranks: the format has no word for an expert")
    if alone.is_empty():
        raise _LeftOut("every weight is an expert's")
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(alone.columns)
    writer.writerows(alone.iter_rows())
    return {folder / f"{model.stem}.effective_ranks.csv": text.getvalue().encode()}


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, allow_nan=False).encode()
