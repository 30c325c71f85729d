"""What the warehouse holds under a name already, and whether a file can stand beside it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest import console
from eigenhouse.ingest.exchange.files import SLACK, GramFile, MeasurementFile, SpectraFile
from eigenhouse.ingest.warehouse import sqlfiles, store
from eigenhouse.ingest.warehouse.loads import Entry
from eigenhouse.options import Ingest


@dataclass
class Held:
    """What the warehouse holds under the name already, all of it imported; arrays are (layer, head)."""

    model: dict[str, Any] = field(default_factory=dict)
    layers: list[int] = field(default_factory=list)
    stages: dict[str, tuple[Entry, dict[str, Any]]] = field(default_factory=dict)  # entry → and options of its run
    energies: dict[str, np.ndarray] = field(default_factory=dict)  # operator → Σσ²
    n_values: dict[str, int] = field(default_factory=dict)  # operator → the longest spectrum
    norms: dict[str, np.ndarray] = field(default_factory=dict)  # operator → squared Frobenius norms


def held_under(options: Ingest, name: str) -> Held:
    """Refuses a name that is bound to a model's weights, unless forced: then nothing of it counts."""
    with store.up_to_date(options.warehouse, wait_seconds=options.wait, say=console.say) as con:
        if con is None:
            return Held()
        for model_id in store.stack_ids(con, name):
            store.check_name(con, model_id, None, options.force)
        models = _asked(con, "model", model_id=name).to_dicts()
        if not models or models[0]["weights_sha256"] is not None:
            return Held()
        entries = store.ingested(con, name)[1]
        imports = _asked(con, "imports", model_id=name).iter_rows()
        held = Held(
            model=models[0],
            layers=_asked(con, "layers", model_id=name)["layer"].to_list(),
            stages={stage: (entries[stage], json.loads(options)) for stage, options in imports},
        )
        shape = (len(held.layers), -1)
        for [operator], frame in _asked(con, "energies", model_id=name).group_by("operator", maintain_order=True):
            held.energies[str(operator)] = frame["energy"].to_numpy().reshape(shape)
            held.n_values[str(operator)] = int(frame["n_values"].to_numpy().max())
        norms = _asked(con, "norms", model_id=name)
        if len(norms):
            pairs = (("metric", norms["metric_fro_sq"]), ("head_product", norms["head_product_fro_sq"].drop_nulls()))
            held.norms = {operator: column.to_numpy().reshape(shape) for operator, column in pairs if len(column)}
        return held


def _asked(con: store.Connection, name: str, **parameters: str) -> pl.DataFrame:
    query = sqlfiles.SQL_DIR / "exchange" / f"{name}.sql"
    return con.execute(query.read_text(encoding="utf-8"), parameters).pl()


def clash_with(found: MeasurementFile, held: Held) -> str | None:
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


def check_energies(found: MeasurementFile, held: Held) -> None:
    """Σσ² is the squared norm of its operator: what the files of one name say of it must agree, to SLACK.

    That parts singular values of the metric from those of the head product, where a file was imported as the wrong one.
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
