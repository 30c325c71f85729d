"""The stages that prove factors and measure heads: from a model or arrays to staged Parquet and the rows to expect.

A stage writes one folder a stack, `expected.json` (stack folder → table → rows that the shapes predict) beside them.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ingest import console, grams, identities, null_spectra, spectra
from ingest.capture import Unreadable
from ingest.conformance import TOLERANCE, proven_factors
from ingest.errors import EigenhouseError
from ingest.factors import HeadFactors
from ingest.spectra import LayerHeads
from ingest.stacks import Stack, attention_kind
from ingest.staging import long_frame, pair_frame, vector_frame, write_table
from ingest.workbench import Workbench

EIGENVECTOR_BYTES = 64 * 2**20  # kept by default up to this size a model
OPERATOR = {"operator": "metric"}
NULL_KEYS = ["hidden_size", "head_dim", "sample", "k"]
HEAD_NORMS = ("metric_fro_sq", "trace", "w_q_fro_sq", "w_k_fro_sq", "head_product_fro_sq")


def write_factors(bench: Workbench, out: Path) -> None:
    """Prove every head's factors and stage them (.npy), with `conformance`, `layers` and `skipped_modules`.

    Raises EigenhouseError naming layer, head and error where a head's factors don't reproduce the model's scores.
    """
    expected, told = {}, []
    total = sum(len(stack.sites) for stack in bench.stacks)
    with console.stage("proving heads (layers)", total) as advance:
        for number, stack in enumerate(bench.stacks):
            folder = out / f"stack{number}"
            folder.mkdir()
            shapes, errors = {}, []
            first: HeadFactors | None = None
            for layer, index in sorted(stack.sites.items()):
                factors, rel_errors = _prove(bench, stack, layer, index)
                advance(1)
                if factors is None:
                    continue
                first = first or factors
                shapes[layer] = (factors.w_q.shape, factors.w_k.shape)
                errors.append((layer, rel_errors, factors.layout))
                np.save(folder / f"w_q_{layer:04d}.npy", factors.w_q.astype(np.float32))
                np.save(folder / f"w_k_{layer:04d}.npy", factors.w_k.astype(np.float32))
            skipped = stack.skipped
            if first is None:
                raise EigenhouseError(_nothing_measured(stack, skipped))
            _write_structure(bench, stack, folder, shapes, errors, skipped)
            told.append(
                {
                    "folder": folder.name,
                    "is_cross": stack.is_cross,
                    "worst_error": max(float(error.max()) for _, error, _ in errors),
                    "model": describe_stack(bench, stack, first, shapes),
                }
            )
            n_heads = sum(shape[0][0] for shape in shapes.values())
            expected[folder.name] = {
                "layers": stack.n_layers,
                "conformance": n_heads,
                "skipped_modules": len(skipped),
            }
    (out / "stacks.json").write_text(json.dumps(told))
    (out / "expected.json").write_text(json.dumps(expected))


def _prove(bench: Workbench, stack: Stack, layer: int, index: int) -> tuple[HeadFactors | None, np.ndarray]:
    site = bench.sites[index]
    try:
        with bench.loaded.filled(site.path):
            factors, errors = proven_factors(site, bench.singles[index])
    except Unreadable as reason:
        stack.skipped[site.path] = str(reason)
        return None, np.zeros(0)
    if not errors.max() <= TOLERANCE:
        head = int(np.argmax(np.where(np.isnan(errors), np.inf, errors)))
        raise EigenhouseError(
            f"want factors that reproduce {site.path}'s q·k to {TOLERANCE:g}; layer {layer}, head {head} is off by "
            f"{errors[head]:.3g} of its largest logit. Its module isn't what it is taken for; nothing was written"
        )
    return factors, errors


def _nothing_measured(stack: Stack, skipped: dict[str, str]) -> str:
    path, reason = next(iter(skipped.items()), (stack.prefix, "no reason known"))
    return f"want at least one layer that can be measured in {stack.prefix or 'the model'}, got none; {path}: {reason}"


def _write_structure(
    bench: Workbench,
    stack: Stack,
    folder: Path,
    shapes: dict[int, Any],
    errors: list[tuple[int, np.ndarray, str]],
    skipped: dict[str, str],
) -> None:
    frames = [
        long_frame({"layer": layer}, ("head",), max_rel_error=error.astype(np.float32)).with_columns(
            layout=pl.lit(layout)
        )
        for layer, error, layout in errors
    ]
    write_table(folder, "conformance", frames, ["layer", "head"])
    rows = []
    for layer in range(stack.n_layers):
        kind, window = attention_kind(bench.loaded.config, stack, layer, bench.sites)
        (n_heads, head_dim, _), (n_kv_heads, *_) = shapes.get(layer, ((None, None, None), (None,)))
        rows.append((layer, n_heads, n_kv_heads, head_dim, kind, window, layer in shapes))
    integer, columns = pl.Int32, ("layer", "n_heads", "n_kv_heads", "head_dim")
    schema = dict.fromkeys(columns, integer) | {
        "attention_kind": pl.String,
        "window_size": integer,
        "is_measured": pl.Boolean,
    }
    write_table(folder, "layers", [pl.DataFrame(rows, schema=schema, orient="row")], ["layer"])
    if skipped:
        reasons = pl.DataFrame({"module": list(skipped), "reason": list(skipped.values())}).with_columns(
            stage=pl.lit("factors")
        )
        write_table(folder, "skipped_modules", [reasons], ["module"])


def write_spectra(factors: Path, out: Path, eigenvectors: str) -> None:
    """Stage `singular_values`, `eigenvalues`, `eigenvectors`, `head_norms` and `spectral_grams`, identities checked.

    And `null_spectra` of the layers' shapes, which belong to no model.
    """
    expected, shapes = {}, set()
    stacks = json.loads((factors / "stacks.json").read_text())
    with console.stage(
        "spectra (layers)", sum(len(measured_layers(factors / stack["folder"])) for stack in stacks)
    ) as advance:
        for stack in stacks:
            folder = factors / stack["folder"]
            frames: dict[str, list[pl.DataFrame]] = {
                name: [] for name in ("singular_values", "eigenvalues", "eigenvectors", "head_norms", "spectral_grams")
            }
            sigmas: dict[str, dict[int, np.ndarray]] = {"metric": {}, "head_product": {}}
            counts: Counter[str] = Counter()
            keeps_vectors = eigenvectors == "all" or (
                eigenvectors == "auto" and _vector_bytes(folder) <= EIGENVECTOR_BYTES
            )
            for layer in measured_layers(folder):
                heads = LayerHeads.of(*load_factors(folder, layer), is_cross=stack["is_cross"])
                if heads.w_q.shape[2] == heads.w_k.shape[2]:
                    shapes.add((heads.w_q.shape[2], heads.w_q.shape[1]))
                for operator, sigma in _spectra_of_layer(heads, layer, keeps_vectors, frames, counts).items():
                    sigmas[operator][layer] = sigma
                advance(1)
            for operator, by_layer in sigmas.items():
                frames["spectral_grams"] += _spectral_gram_frames(operator, by_layer)
            if not keeps_vectors and not stack["is_cross"]:
                size = _vector_bytes(folder) / 2**20
                console.say(f"eigenvectors left out ({size:.0f} MB); EIGENVECTORS=all keeps them")
            target = out / stack["folder"]
            keys = ["operator", "layer", "head"]
            write_table(target, "singular_values", frames["singular_values"], [*keys, "k"])
            write_table(target, "eigenvalues", frames["eigenvalues"], [*keys, "k"])
            write_table(target, "eigenvectors", frames["eigenvectors"], ["layer", "head", "k"])
            write_table(target, "head_norms", frames["head_norms"], keys)
            write_table(
                target,
                "spectral_grams",
                frames["spectral_grams"],
                ["operator", "head", "layer", "other_layer"],
            )
            pairs = _pairs_of_layers(folder) * sum(1 for by_layer in sigmas.values() if by_layer)
            expected[stack["folder"]] = {name: counts[name] for name in frames} | {"spectral_grams": pairs}
    if shapes:
        write_table(out, "null_spectra", [null_spectra.null_frame(shapes)], NULL_KEYS)
    (out / "expected.json").write_text(json.dumps(expected))


def _spectra_of_layer(
    heads: LayerHeads,
    layer: int,
    keeps_vectors: bool,
    frames: dict[str, list[pl.DataFrame]],
    counts: Counter[str],
) -> dict[str, np.ndarray]:
    """Measure, check and frame one layer; the row counts are taken from its shape, not from the frames."""
    n_heads, head_dim, hidden_size = heads.w_q.shape
    rank = min(head_dim, hidden_size, heads.w_k.shape[2])
    norms, metric = spectra.head_norms(heads), spectra.metric_svd(heads)
    eigen = None if heads.is_cross else spectra.signed_eigen(heads)
    identities.check_spectra(heads, norms, metric, eigen, f"layer {layer}")
    sigmas = {"metric": metric[1]}
    if not heads.is_cross:
        sigmas["head_product"] = spectra.head_product_sigma(heads)
    for operator, sigma in sigmas.items():
        frames["singular_values"].append(
            long_frame({"operator": operator, "layer": layer}, ("head", "k"), sigma=sigma.astype(np.float32))
        )
    at = OPERATOR | {"layer": layer}
    missing = np.full(n_heads, np.nan)
    values = {name: norms.get(name, missing) for name in HEAD_NORMS}
    frames["head_norms"].append(long_frame(at, ("head",), **values).fill_nan(None))
    counts["singular_values"] += n_heads * (rank + (0 if heads.is_cross else head_dim))
    counts["head_norms"] += n_heads
    if eigen is not None:
        frames["eigenvalues"].append(long_frame(at, ("head", "k"), eigenvalue=eigen[0].astype(np.float32)))
        counts["eigenvalues"] += n_heads * min(2 * head_dim, hidden_size)
        if keeps_vectors:
            frames["eigenvectors"].append(vector_frame(layer, eigen[1]))
            counts["eigenvectors"] += n_heads * min(spectra.N_EIGENVECTORS, 2 * head_dim, hidden_size)
    return sigmas


def _spectral_gram_frames(operator: str, by_layer: dict[int, np.ndarray]) -> list[pl.DataFrame]:
    heads = range(max((len(sigma) for sigma in by_layer.values()), default=0))
    frames = []
    for head in heads:
        layers = [layer for layer, sigma in by_layer.items() if head < len(sigma)]
        pairs = grams.spectral_grams([by_layer[layer][head] for layer in layers])
        frames.append(pair_frame({"operator": operator, "head": head}, layers, pairs))
    return frames


def write_grams(factors: Path, out: Path) -> None:
    """Stage `grams`, key head by key head over all layers: memory is one key head's stack and its queries'."""
    expected = {}
    stacks = json.loads((factors / "stacks.json").read_text())
    gangs = {stack["folder"]: _gangs(factors / stack["folder"]) for stack in stacks}
    generator = np.random.default_rng(3)
    with console.stage("grams (key heads)", sum(map(len, gangs.values()))) as advance:
        for stack in stacks:
            folder, frames = factors / stack["folder"], []
            for layers, heads in gangs[stack["folder"]]:
                w_q, w_k = _stack_of_gang(folder, layers, heads)
                products = grams.metric_grams(w_q, w_k)
                fro_sq = np.array([_fro_sq(q, k) for q, k in zip(w_q, w_k, strict=True)])
                row, column = generator.integers(len(layers), size=2)
                for member, head in enumerate(heads):
                    direct = identities.direct_gram(w_q[row][member], w_k[row], w_q[column][member], w_k[column])
                    identities.check_grams(
                        products[member],
                        fro_sq[:, member],
                        (row, column, direct),
                        f"{stack['folder']}, head {head}",
                    )
                    frames.append(pair_frame(OPERATOR | {"head": head}, layers, products[member]))
                advance(1)
            write_table(out / stack["folder"], "grams", frames, ["operator", "head", "layer", "other_layer"])
            expected[stack["folder"]] = {"grams": _pairs_of_layers(folder)}
    (out / "expected.json").write_text(json.dumps(expected))


def _fro_sq(w_q: np.ndarray, w_k: np.ndarray) -> np.ndarray:
    """‖M‖² of every query head of a gang in one layer, as Σσ² of the metric."""
    return np.square(spectra.metric_svd(LayerHeads.of(w_q, w_k[None]))[1]).sum(-1)


def _gangs(folder: Path) -> list[tuple[list[int], list[int]]]:
    """(layers, query heads) that share a key head in every one of the layers; single heads where layers differ."""
    shapes = {layer: [array.shape[0] for array in load_factors(folder, layer)] for layer in measured_layers(folder)}
    layers, (n_heads, n_kv_heads) = list(shapes), next(iter(shapes.values()))
    if all(shape == [n_heads, n_kv_heads] for shape in shapes.values()):
        group = n_heads // n_kv_heads
        return [(layers, list(range(key * group, (key + 1) * group))) for key in range(n_kv_heads)]
    most = max(shape[0] for shape in shapes.values())
    return [([layer for layer in layers if head < shapes[layer][0]], [head]) for head in range(most)]


def _stack_of_gang(folder: Path, layers: list[int], heads: list[int]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    w_q, w_k = [], []
    for layer in layers:
        queries, keys = load_factors(folder, layer)
        w_q.append(queries[heads[0] : heads[-1] + 1])
        w_k.append(keys[heads[0] // (len(queries) // len(keys))])
    return w_q, w_k


def describe_stack(bench: Workbench, stack: Stack, factors: HeadFactors, shapes: dict[int, Any]) -> dict[str, object]:
    """The columns of `models` that the stack's shape, config and first measured layer tell; no names of the run."""
    from ingest.checkpoint import weight_format
    from ingest.stacks import position_encoding

    dtype, quantization = weight_format(bench.source)
    site = bench.sites[next(iter(stack.sites.values()))]
    return {
        "stack": stack.suffix or None,
        "architecture": bench.loaded.model.config.model_type,
        "n_layers": stack.n_layers,
        "n_heads": max(query[0] for query, _ in shapes.values()),
        "n_kv_heads": max(key[0] for _, key in shapes.values()),
        "head_dim": max(query[1] for query, _ in shapes.values()),
        "hidden_size": max(query[2] for query, _ in shapes.values()),
        "ffn_size": _ffn_size(bench.loaded.config),
        "dtype": dtype,
        "quantization": quantization,
        "attention_scale": site.call.scaling * factors.q_scale * factors.k_scale,
        "has_qk_norm": factors.norm_q is not None or factors.norm_k is not None,
        "has_qk_bias": bool(np.any(factors.b_q) or np.any(factors.b_k)),
        "position_encoding": position_encoding(bench.loaded.model, site),
    }


def _ffn_size(config: Any) -> int | None:
    for name in (
        "intermediate_size",
        "ffn_dim",
        "n_inner",
        "d_ff",
        "hidden_dim",
        "encoder_ffn_dim",
        "ffn_hidden_size",
    ):
        size = getattr(config, name, None)
        if isinstance(size, list | tuple) and size:
            size = max(size)
        if isinstance(size, int):
            return size
    return 4 * config.hidden_size if hasattr(config, "n_inner") else None


def load_factors(folder: Path, layer: int) -> tuple[np.ndarray, np.ndarray]:
    """W_Q (head, feature, hidden) and W_K (kv head, feature, hidden) of a staged layer, mapped, not read."""
    w_q, w_k = (np.load(folder / f"{side}_{layer:04d}.npy", mmap_mode="r") for side in ("w_q", "w_k"))
    return w_q, w_k


def measured_layers(folder: Path) -> list[int]:
    return sorted(int(path.stem.removeprefix("w_q_")) for path in folder.glob("w_q_*.npy"))


def _vector_bytes(folder: Path) -> int:
    shapes = [load_factors(folder, layer)[0].shape for layer in measured_layers(folder)]
    return sum(4 * n_heads * spectra.N_EIGENVECTORS * hidden_size for n_heads, _, hidden_size in shapes)


def _pairs_of_layers(folder: Path) -> int:
    """Pairs layer <= other_layer, summed over the heads that both have."""
    counts = [load_factors(folder, layer)[0].shape[0] for layer in measured_layers(folder)]
    return sum(min(counts[i], counts[j]) for i in range(len(counts)) for j in range(i, len(counts)))
