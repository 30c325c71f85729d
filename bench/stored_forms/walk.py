"""Every form stored, ingested by the real pipeline, and its numbers held against dense ones of the exact weights.

right: all written numbers agree with the values that the stored codes stand for. refused: an EigenhouseError, and
nothing written. WRONG: no error, and a number that is off or missing. crashed: any other error.
"""

from __future__ import annotations

import os
import re
import tempfile
import warnings
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any
from unittest.mock import patch

import duckdb
import numpy as np
import torch

from bench.architectures import sigma_error
from bench.stored_forms.form import FORMS, Form, store_form
from bench.stored_forms.models import Pair, State, attention_pair, biases, build, layer_matrices, stored_state
from bench.tiny_text import prompts
from bench.tiny_warehouse import copy_empty
from eigenhouse.errors import EigenhouseError, first_line
from eigenhouse.ingest.runs import plan, run
from eigenhouse.options import Ingest

TOLERANCE = 1e-4  # of the largest σ, against the exact values: what the warehouse holds is float32
DISTANCE = 16
READINGS = ("whole", "STATIC_ONLY")
# stages that read a form, each in its own way
COMPARED = ("factors", "spectra", "variants", "weights", "attention")
WAREHOUSE = "warehouse.duckdb"
Sigmas = dict[tuple[Any, ...], np.ndarray]  # (operator, layer, head) or (weight, layer, expert) → σ


@dataclass(frozen=True)
class Outcome:
    """exact: largest error against the stored codes' own values · original: against the weights before storing."""

    verdict: str
    why: str = ""
    exact: float | None = None
    original: float | None = None

    def is_expected(self, form: Form) -> bool:
        near = self.original is None or self.original <= form.tolerance
        return self.verdict in form.expected and near


def outcomes(name: str, readings: tuple[str, ...] = READINGS, compared_alone: bool = False) -> dict[str, Outcome]:
    """Store one form in a throw-away folder and ingest it once for each reading.

    compared_alone: leave out the stages that read nothing of a checkpoint but what the others read too.
    """
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        try:
            exact = store_form(name, folder / "form")
        except Exception as error:  # an outcome can be sent from a worker; not every exception can
            return dict.fromkeys(readings, Outcome("not stored", f"{type(error).__name__}: {first_line(error)}"))
        own = plan.Plan.wanted.func  # type: ignore[attr-defined]
        some = cached_property(lambda it: [stage for stage in own(it) if stage.name in COMPARED or not compared_alone])
        some.__set_name__(plan.Plan, "wanted")
        with patch.object(plan.Plan, "wanted", some):
            return {reading: _outcome(FORMS[name], folder, exact, reading == "STATIC_ONLY") for reading in readings}


def first_of_models() -> set[str]:
    """A form of each tiny model, the first."""
    return set({form.model: name for name, form in reversed(FORMS.items())}.values())


def _outcome(form: Form, folder: Path, exact: State, static_only: bool) -> Outcome:
    warehouse = copy_empty(folder / f"{static_only}-{WAREHOUSE}")
    variants = [f"rope_{DISTANCE}"] * bool(form.rotation) + ["biased"] * form.is_biased
    options = Ingest(
        model=str(folder / "form" / form.file),
        warehouse=warehouse,
        static_only=static_only,
        eigenvectors="none",
        variants=",".join(variants) or "none",
        experts="all",
        prompts=prompts(folder, 3, 7, 5),
    )
    own_cache = {
        "EIGENHOUSE_CACHE": str(folder / f"{static_only}-cache")
    }  # no reading goes on from what another staged
    try:
        with patch.dict(os.environ, own_cache):
            run.ingest(options)
    except EigenhouseError as error:
        return Outcome("refused", _shortened(error, folder))
    except Exception as error:
        return Outcome("crashed", f"{type(error).__name__}: {_shortened(error, folder)}")
    with duckdb.connect(str(warehouse), read_only=True) as con:
        return _judged(con, form, exact)


def _shortened(error: Exception, folder: Path) -> str:
    return re.sub(r"/\S*/(?=[\w-]+\.py)", "", first_line(error).replace(f"{folder}/", ""))


def _judged(con: duckdb.DuckDBPyConnection, form: Form, exact: State) -> Outcome:
    skipped = dict(con.execute("select module, reason from skipped_modules order by all").fetchall())
    rows = con.execute(
        "select operator, layer, head, list(sigma order by k) from singular_values where operator <> 'head_product' "
        "group by all union all "
        "select weight, layer, expert, list(sigma order by k) from weight_singular_values group by all"
    ).fetchall()
    stored = {tuple(at): np.array(sigma) for *at, sigma in rows}
    dense = dense_sigmas(form, exact)
    missing, errors = dense.keys() - stored.keys(), _errors(stored, dense)
    before = _errors(stored, original_sigmas(form.name))
    worst = max(errors.values(), default=0.0)
    unnamed = [module for module in form.skipped if not any(module in name for name in skipped)]
    said = {
        f"{len(missing)} numbers missing, {min(missing, default='')} first": bool(missing),
        f"off, {max(errors, key=lambda at: errors[at], default='')} most": not worst <= TOLERANCE,
        f"skipped_modules doesn't name {', '.join(unnamed)}": bool(unnamed),
    }
    wrong = [line for line, holds in said.items() if holds]
    of_metric = max((error for at, error in before.items() if at[0] == "metric"), default=0.0)
    return Outcome("WRONG" if wrong else "right", "; ".join(wrong), worst, of_metric)


def _errors(stored: Sigmas, dense: Sigmas) -> dict[tuple[Any, ...], float]:
    return {at: sigma_error(stored[at], dense[at]) for at in stored.keys() & dense.keys()}


def original_sigmas(name: str) -> Sigmas:
    return _original_sigmas(FORMS[name].model)


@cache
def _original_sigmas(kind: str) -> Sigmas:
    model = build(kind)
    state = {name: value.double() for name, value in stored_state(model).items()}
    pairs = {(layer, "metric"): attention_pair(model.config, state, layer) for layer in range(_n_layers(model.config))}
    return _of_heads(pairs)


def dense_sigmas(form: Form, exact: State) -> Sigmas:
    """The long way round, in float64: hidden × hidden for the heads, and every matrix of a layer."""
    config = build(form.model).config
    sigmas: Sigmas = {}
    pairs: dict[tuple[int, str], Pair] = {}
    for layer in range(_n_layers(config)):
        w_q, w_k = pairs[layer, "metric"] = attention_pair(config, exact, layer)
        if form.rotation:
            turns, scale = form.rotation(config)
            turned = rotated(w_q, DISTANCE * turns.double()) * scale**2
            pairs[layer, f"metric_rope_{DISTANCE}"] = turned, w_k
        if form.is_biased:
            b_q, b_k = biases(config, exact, layer)
            longer = torch.cat([w_q, b_q[..., None]], -1), torch.cat([w_k, b_k[..., None]], -1)
            pairs[layer, "metric_biased"] = longer
        for (weight, expert), matrix in layer_matrices(config, exact, layer).items():
            sigmas[weight, layer, expert] = np.linalg.svd(matrix.numpy(), compute_uv=False)
    return sigmas | _of_heads(pairs)


def _of_heads(pairs: dict[tuple[int, str], Pair]) -> Sigmas:
    """W_Kᵀ W_Q of every head; query head h reads key head h // (H / G)."""
    return {
        (operator, layer, head): np.linalg.svd((w_k[head * len(w_k) // len(w_q)].T @ query).numpy(), compute_uv=False)
        for (layer, operator), (w_q, w_k) in pairs.items()
        for head, query in enumerate(w_q)
    }


def _n_layers(config: Any) -> int:
    return config.num_hidden_layers


def rotated(w_q: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    """Feature i and feature i + head_dim / 2 are turned by angle i, as transformers' Llama has them."""
    first, second = w_q.chunk(2, dim=1)
    cos, sin = angles.cos()[None, :, None], angles.sin()[None, :, None]
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=1)
